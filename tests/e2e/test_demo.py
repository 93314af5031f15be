"""The demo: its comparison, its scripted visitor, its pages."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import http.client
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from consentry.demo.comparison import Judged, Outcome, Row, disagreements
from consentry.demo.overheard import shown_request
from consentry.demo.stage import listen, stage
from consentry.demo.stand_ins import StandIns
from consentry.demo.visitor import Visitor, story
from consentry.destinations.message import Request
from tests.running import call, free_port, wait_for

ALLOW = Judged("allow", "consented")
WITHHOLD = Judged("withhold", "filtered_by_end_user_consent", (("advertising", "never_collected"),))
DENIED = Judged("withhold", "filtered_by_end_user_consent", (("advertising", "denied"),))

DELIVERED = Row("m1", "ads", ALLOW, ALLOW, "delivered", kept=True, statuses=(200,))
WITHHELD = Row("m1", "ads", WITHHOLD, WITHHOLD, "withheld", kept=False)
STOPPED = Row("m1", "ads", ALLOW, DENIED, "withheld", kept=False, statuses=(500,), again=DENIED)


# -- the comparison -----------------------------------------------------------------------------
@pytest.mark.parametrize("row", [DELIVERED, WITHHELD, STOPPED])
def test_agreement(row: Row) -> None:
    assert disagreements(Outcome((row,), {"ads": {"m1"} if row.kept else set()})) == []


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (dataclasses.replace(DELIVERED, kept=False), "did not arrive"),
        (dataclasses.replace(DELIVERED, state="waiting"), "left waiting"),
        (dataclasses.replace(DELIVERED, state="dead", kept=False), "left dead"),
        (dataclasses.replace(DELIVERED, asked=WITHHOLD), "withheld before it was sent"),
        (dataclasses.replace(WITHHELD, kept=True), "but it arrived"),
        (dataclasses.replace(WITHHELD, statuses=(500,)), "1 requests held it"),
        (dataclasses.replace(WITHHELD, asked=DENIED), "advertising denied"),
        (dataclasses.replace(WITHHELD, asked=ALLOW), "asked, allow"),
        (dataclasses.replace(STOPPED, again=None), "asked, allow"),
        (dataclasses.replace(STOPPED, again=ALLOW), "asked, allow"),
        (dataclasses.replace(STOPPED, kept=True), "but it arrived"),
    ],
)
def test_disagreement_is_said(row: Row, says: str) -> None:
    assert says in "\n".join(disagreements(Outcome((row,))))


def test_what_nobody_sent_may_not_arrive() -> None:
    assert disagreements(Outcome((DELIVERED,), {"ads": {"m1", "m2"}})) == [
        "m2 to ads: it arrived, but no such event was sent"
    ]


# -- the scripted visitor -----------------------------------------------------------------------
async def test_destination_that_lies_is_found_out() -> None:
    """It answers 200 to everything and keeps nothing, so the server believes it was delivered."""
    async with (
        stage(listen(0)) as running,
        StandIns(running.stand_in, running.vendors) as stand_ins,
        aiohttp.ClientSession() as http,
    ):
        await stand_ins.behave("segment", "noop")
        visitor = Visitor(running, stand_ins, http)
        await story(visitor)
        outcome = await visitor.outcome()
    lied = [row for row in outcome.rows if row.destination == "segment" and row.final.allows]
    assert lied
    said = disagreements(outcome)
    assert {line.partition(":")[0] for line in said} == {f"{r.message_id} to segment" for r in lied}
    assert all(line.endswith("but it did not arrive") for line in said)


async def test_a_system_that_is_stopped_is_down_until_it_is_started() -> None:
    async with (
        stage(listen(0)) as running,
        StandIns(running.stand_in, running.vendors) as stand_ins,
        aiohttp.ClientSession() as http,
    ):
        await stand_ins.stop("meta", stand_ins.start)
        assert stand_ins.shown("meta")["until"] is not None
        with pytest.raises(aiohttp.ClientError):
            await http.get(f"{running.stand_in}/meta/v25.0/me")
        await stand_ins.start("meta")
        assert stand_ins.shown("meta")["until"] is None
        async with http.get(f"{running.stand_in}/meta/v25.0/me") as answer:
            assert answer.status == 400
        back: asyncio.Queue[str] = asyncio.Queue()
        async with StandIns(running.stand_in, running.vendors, stopped_for_s=0) as brief:
            await brief.stop("meta", back.put)
            assert await asyncio.wait_for(back.get(), 30) == "meta"  # by itself


def test_scripted_visitor_in_an_empty_folder(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "consentry", "demo", "--once", "--port", "0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout
    assert list(tmp_path.iterdir()) == []
    for said in ("integrations_object", "advertising signal", "tried: 500", "exactly those"):
        assert said in ended.stdout
    rows = re.findall(r" (allow|withhold) +(.*) (yes|no)\b", ended.stdout)
    allowed = [
        (reason.strip(), arrived) for decision, reason, arrived in rows if decision == "allow"
    ]
    assert set(allowed) == {("consented", "yes"), ("it takes no such event", "no")}
    assert all(arrived == "no" for decision, _, arrived in rows if decision == "withhold")
    proofs = dict(re.findall(r"^ (\w+) +(?:suppress|gate) +(\w+) .* \d+ ms *$", ended.stdout, re.M))
    assert proofs == {
        "rudderstack": "accepted",
        "amplitude": "gated",
        "ga4": "gated",
        "mixpanel": "sent_unverifiable",
        "segment": "accepted",
        "klaviyo": "accepted",
        "sendgrid": "accepted",
        "mailchimp": "noop",
        "meta": "accepted",
        "ads": "confirmed",
    }


def test_taken_port_is_one_line(tmp_path: Path) -> None:
    with demo(tmp_path) as base:
        port = base.rpartition(":")[2]
        ended = subprocess.run(
            [sys.executable, "-m", "consentry", "demo", "--port", port],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert ended.returncode == 4
    assert ended.stderr.count("\n") == 1
    assert "choose another --port" in ended.stderr


# -- what is overheard --------------------------------------------------------------------------
KEYED = [
    (
        Request(
            "POST", "https://mp.example/mp/collect?measurement_id=G-1&api_secret=k3y", (), b"{}"
        ),
        {"path": "/mp/collect?measurement_id=G-1&api_secret=***", "body": {}},
    ),
    (
        Request(
            "POST", "https://m.example/engage", (("Authorization", "k3y"),), b'[{"$token":"k3y"}]'
        ),
        {"path": "/engage", "body": [{"$token": "***"}]},
    ),
    (
        Request("GET", "https://l.example/lists/a%20b", (), b""),
        {"path": "/lists/a%20b", "body": None},
    ),
]


@pytest.mark.parametrize(("request_", "shown"), KEYED)
def test_what_is_shown_of_a_request_has_no_keys(request_: Request, shown: dict[str, Any]) -> None:
    assert shown_request(request_) == {"method": request_.method, **shown}


# -- the pages ----------------------------------------------------------------------------------
@contextlib.contextmanager
def demo(folder: Path) -> Iterator[str]:
    """A demo on a free port; at the end it is stopped, and has left nothing behind."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [sys.executable, "-m", "consentry", "demo", "--port", str(port)],
        cwd=folder,
        env={"PATH": "", "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: call(base, "GET", "/healthz").status == 200, what="demo")
        yield base
    finally:
        process.send_signal(signal.SIGTERM)
        said, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert f"http://localhost:{port}/live" in said
    assert errors == ""
    assert list(folder.iterdir()) == []


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with demo(tmp_path_factory.mktemp("demo")) as running:
        yield running


@pytest.mark.parametrize("path", ["/", "/live"])
def test_page_is_strict_about_where_things_come_from(base: str, path: str) -> None:
    page = call(base, "GET", path)
    assert page.status == 200
    assert page.headers["content-security-policy"].startswith("default-src 'self';")
    text = page.body.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)|\bstyle=|<style|\bon[a-z]+=|https?://", text)
    for file in re.findall(r"(?:src|href)=\"(/demo/[^\"]+)\"", text):
        assert call(base, "GET", file).status == 200, file


PLACES: list[tuple[str, str, dict[str, str], int]] = [
    ("GET", "/demo/setting", {}, 200),
    ("GET", "/", {"Host": "rebound.example"}, 403),
    ("GET", "/demo/setting", {"Host": "rebound.example"}, 403),
    ("GET", "/demo/feed", {"Host": "localhost.rebound.example"}, 403),
    ("GET", "/v1/ledger/checkpoint", {"Host": "rebound.example"}, 403),
    ("GET", "/demo/received", {"Origin": "https://elsewhere.example"}, 403),
    ("GET", "/demo/received", {"Origin": "null"}, 403),
    ("GET", "/demo/received", {"Sec-Fetch-Site": "cross-site"}, 403),
    ("POST", "/demo/system", {"Origin": "https://elsewhere.example"}, 403),
    ("POST", "/demo/system", {"Content-Type": "text/plain"}, 415),
    ("POST", "/demo/system", {"Content-Type": "application/json"}, 400),
    ("POST", "/demo/sign-in", {"Origin": "https://elsewhere.example"}, 403),
    ("POST", "/demo/token", {"Content-Type": "application/json"}, 400),
    ("GET", "/demo/subject", {}, 400),
    ("GET", "/demo/nothing", {}, 404),
    ("GET", "/v1/tail", {}, 401),
]


@pytest.mark.parametrize(("method", "path", "headers", "status"), PLACES)
def test_who_is_answered(
    base: str, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    connection = http.client.HTTPConnection(base.removeprefix("http://"), timeout=10)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", "2")
        connection.endheaders(b"{}")
        assert connection.getresponse().status == status
    finally:
        connection.close()


def test_feed_begins_with_the_recent_past(base: str) -> None:
    event = {
        "anonymousId": "feed",
        "messageId": "feed-1",
        "event": "Looked",
        "writeKey": "wk_demo_shop",
    }
    assert call(base, "POST", "/v1/track", event).status == 200
    connection = http.client.HTTPConnection(base.removeprefix("http://"), timeout=10)
    try:
        connection.request("GET", "/demo/feed")
        feed = connection.getresponse()
        past: list[dict[str, Any]] = []
        while not past or past[-1]["kind"] != "now":
            past.append(json.loads(feed.readline()))
        told = next(line for line in past if line.get("messageId") == "feed-1")
        assert [d["decision"] for d in told["decisions"]] == ["withhold"] * 10
        later = {**event, "messageId": "feed-2"}
        assert call(base, "POST", "/v1/track", later).status == 200
        assert json.loads(feed.readline())["messageId"] == "feed-2"
    finally:
        connection.close()


JSON = {"Content-Type": "application/json"}


def test_a_system_that_is_not_there_cannot_be_stopped(base: str) -> None:
    answer = call(base, "POST", "/demo/system", {"name": "nobody", "down": True}, headers=JSON)
    assert (answer.status, answer.json["code"]) == (404, "unknown_destination")
