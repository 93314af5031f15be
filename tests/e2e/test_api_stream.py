"""The stream: what one device decides, another one that may read it hears of within a second."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.asking import (
    BOTH,
    NEITHER,
    acme_with,
    choose,
    fresh,
    proof,
    send,
    state,
    update,
    withdraw,
)
from tests.running import ADMIN_KEY, BACKEND_KEY, WRITE_KEY, Server, StandIn, call

IN_TIME_S = 1.0
SITE = "https://shop.example"


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory, vendors: StandIn) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("acme")
    with acme_with(folder, vendors.base, website=f'origins = ["{SITE}"]') as running:
        yield running


class Stream:
    """One open stream. ``status`` and ``headers`` are those of the answer."""

    def __init__(self, server: Server, headers: dict[str, str]) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        lines = [f"{name}: {value}" for name, value in {"Host": "x", **headers}.items()]
        head = "\r\n".join(["GET /v1/stream HTTP/1.1", *lines, "", ""])
        self._socket.sendall(head.encode())
        self._file = self._socket.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        self.headers: dict[str, str] = {}
        while (line := self._file.readline().strip()) != b"":
            name, _, value = line.decode().partition(":")
            self.headers[name.lower()] = value.strip()

    def event(self, within_s: float = 20.0) -> Any:
        """The data of the next event; None where the server ended the stream."""
        self._socket.settimeout(within_s)
        name = data = None
        while True:
            line = self._line()
            if line is None:
                return None
            if line.startswith("event:"):
                name = line.removeprefix("event:").strip()
            elif line.startswith("data:"):
                data = json.loads(line.removeprefix("data:"))
            elif line == "" and data is not None:
                assert name == "preferences"
                return data

    def _line(self) -> str | None:
        """One line of the body, which comes in chunks; None at its end."""
        while True:
            line = self._file.readline()
            if line == b"" or line == b"0\r\n":
                return None
            text = line.decode()
            if not text.endswith("\r\n"):
                return text.rstrip("\n")

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def as_page(device: str | None = None, key: str = WRITE_KEY, **more: str) -> dict[str, str]:
    basic = base64.b64encode(f"{key}:".encode()).decode()
    named = {} if device is None else {"Consentry-Anonymous-Id": device}
    return {"Authorization": f"Basic {basic}", **named, **more}


@contextlib.contextmanager
def following(server: Server, headers: dict[str, str]) -> Iterator[Stream]:
    """A stream that was let in."""
    stream = Stream(server, headers)
    try:
        assert stream.status == 200, stream.headers
        yield stream
    finally:
        stream.close()


def refusal(server: Server, headers: dict[str, str]) -> tuple[int, str]:
    answer = call(server.base, "GET", "/v1/stream", headers=headers)
    return answer.status, answer.json["code"]


# -- what is told -----------------------------------------------------------------------------
def test_the_laptop_hears_of_a_withdrawal_on_the_phone_within_a_second(acme: Server) -> None:
    user, laptop, phone = fresh("ann"), fresh("laptop"), fresh("phone")
    both = {"anonymousId": laptop, "userId": user}
    choose(acme, both, BOTH, key=WRITE_KEY, headers=proof(user))

    with following(acme, as_page(laptop, **proof(user))) as stream:
        assert state(stream.event()) == ("granted", "granted", None)
        began = time.monotonic()
        withdraw(
            acme, {"anonymousId": phone, "userId": user}, key=None, writeKey=WRITE_KEY
        )  # anybody may say no for anybody
        told = stream.event()
        assert time.monotonic() - began < IN_TIME_S
        assert state(told) == ("denied", "denied", "denied")


# Who changes what, and whether who follows the device hears of it.
def by_server(server: Server, device: str) -> None:
    choose(server, {"anonymousId": device}, NEITHER)


def by_event(server: Server, device: str) -> None:
    send(server, update(NEITHER, anonymousId=device))


def by_signal(server: Server, device: str) -> None:
    body = {"writeKey": WRITE_KEY, "what": "shown", "anonymousId": device}
    headers = {"Sec-GPC": "1", "Origin": SITE}
    assert call(server.base, "POST", "/v1/notices/noted", body, headers=headers).status == 200


def by_suppression(server: Server, device: str) -> None:
    body = {"subject": {"anonymousId": device}}
    assert call(server.base, "POST", "/v1/subjects/suppress", body, key=ADMIN_KEY).status == 200


@pytest.mark.parametrize("change", [by_server, by_event, by_signal, by_suppression])
def test_a_page_hears_of_its_own_device_whoever_changes_it(acme: Server, change: Any) -> None:
    device = fresh("dev")
    choose(acme, {"anonymousId": device}, {"analytics": True})
    with following(acme, as_page(device)) as stream:
        assert state(stream.event()) == ("granted", "granted", None)
        began = time.monotonic()
        change(acme, device)
        told = stream.event()
        assert time.monotonic() - began < IN_TIME_S
        assert told["advertising"]["effective"] == "denied"


def test_what_changes_nothing_is_not_told(acme: Server) -> None:
    device = fresh("dev")
    with following(acme, as_page(device)) as stream:
        stream.event()
        choose(acme, {"anonymousId": fresh("other")}, BOTH)
        choose(acme, {"anonymousId": device}, {"analytics": True})
        assert state(stream.event()) == ("granted", "granted", None), "the first news is of it"


def test_a_changed_configuration_is_told(tmp_path: Path, vendors: StandIn) -> None:
    with acme_with(tmp_path, vendors.base) as running:
        device = fresh("dev")
        choose(running, {"anonymousId": device}, BOTH)
        with following(running, as_page(device)) as stream:
            assert stream.event()["advertising"]["effective"] == "granted"
            text = running.config.read_text()
            since = "requires_consent_since = 2999-01-01T00:00:00Z\ngpc = true"
            running.config.write_text(text.replace("gpc = true", since))
            assert stream.event()["advertising"]["why"] == "stale"


# -- who may follow whom ----------------------------------------------------------------------
def test_who_knows_an_account_may_not_follow_it(acme: Server) -> None:
    user, device = fresh("ann"), fresh("dev")
    choose(acme, {"userId": user, "anonymousId": device}, BOTH)
    with following(acme, as_page(fresh("stranger"))) as stream:
        assert state(stream.event()) == ("never_collected", "denied", "never_collected")
    # A token for somebody else, or none that holds, proves nobody.
    wrong = proof(user, aud="other")
    assert refusal(acme, as_page(None, **wrong)) == (400, "missing_subject")


def test_a_device_does_not_tell_what_its_account_chose(acme: Server) -> None:
    user, device = fresh("ann"), fresh("dev")
    send(acme, {"type": "identify", "userId": user, "anonymousId": device, "messageId": fresh("m")})
    with following(acme, as_page(device)) as stream:
        stream.event()
        choose(acme, {"userId": user}, NEITHER)
        choose(acme, {"anonymousId": device}, {"advertising": True})
        told = stream.event()
        assert told["analytics"]["state"] == "never_collected"


REFUSED: dict[str, tuple[dict[str, str], tuple[int, str]]] = {
    "no key": ({}, (401, "missing_key")),
    "an unknown key": (as_page("dev", "wk_nobody"), (401, "unknown_key")),
    "nobody named": (as_page(), (400, "missing_subject")),
    "an id too long": (as_page("d" * 2000), (400, "invalid_body")),
    "a server": ({"Authorization": f"Bearer {BACKEND_KEY}", "Consentry-Anonymous-Id": "d"}, (403, "forbidden")),
    "the operator": ({"Authorization": f"Bearer {ADMIN_KEY}", "Consentry-Anonymous-Id": "d"}, (403, "forbidden")),
    "another site": (as_page("dev", Origin="https://evil.example"), (403, "origin_not_allowed")),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_who_may_not_follow_is_refused(acme: Server, name: str) -> None:
    headers, refused = REFUSED[name]
    assert refusal(acme, headers) == refused


def test_nothing_that_identifies_is_taken_from_the_url(acme: Server) -> None:
    query = "/v1/stream?anonymousId=dev&userId=ann"
    answer = call(acme.base, "GET", query, headers=as_page())
    assert (answer.status, answer.json["code"]) == (400, "missing_subject")


def test_a_site_of_the_source_may_read_it_from_another_origin(acme: Server) -> None:
    asked = {
        "Origin": SITE,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization, consentry-anonymous-id, consentry-subject-token",
    }
    preflight = call(acme.base, "OPTIONS", "/v1/stream", headers=asked)
    assert preflight.headers["access-control-allow-origin"] == SITE
    allowed = preflight.headers["access-control-allow-headers"]
    assert {"consentry-anonymous-id", "consentry-subject-token"} <= set(allowed.split(", "))
    with following(acme, as_page(fresh("dev"), Origin=SITE)) as stream:
        assert stream.headers["access-control-allow-origin"] == SITE
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-store"


# -- how long, and how many -------------------------------------------------------------------
def test_it_ends_when_the_server_stops(tmp_path: Path, vendors: StandIn) -> None:
    with (
        acme_with(tmp_path, vendors.base) as running,
        following(running, as_page(fresh("dev"))) as stream,
    ):
        stream.event()
        assert running.stop() == 0
        assert stream.event() is None


def test_one_subject_is_not_followed_without_end(acme: Server) -> None:
    device = fresh("dev")
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(following(acme, as_page(device))).event()
        assert refusal(acme, as_page(device)) == (429, "too_many_streams")
        stack.enter_context(following(acme, as_page(fresh("other")))).event()


def test_who_leaves_makes_room(acme: Server) -> None:
    device = fresh("dev")
    for _ in range(3):
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(following(acme, as_page(device))) for _ in range(15)]
            for stream in streams:
                stream.event()
        choose(acme, {"anonymousId": device}, BOTH)  # a dead one is noticed at its next event
        deadline = time.monotonic() + 20
        while True:
            stream = Stream(acme, as_page(device))
            stream.close()
            if stream.status == 200:
                break
            assert time.monotonic() < deadline
            time.sleep(0.1)
