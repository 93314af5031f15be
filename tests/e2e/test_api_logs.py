"""A full life of the real server, about one person whom no log, metric or leaf may name."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.e2e.asking import (
    BOTH,
    acme_with,
    choose,
    hook,
    logged,
    message,
    send,
    update,
    verify,
    withdraw,
)
from tests.running import (
    ADMIN_KEY,
    BACKEND_KEY,
    HOOK_SECRET,
    TOKEN_SECRET,
    WRITE_KEY,
    Server,
    StandIn,
    call,
    wait_for,
)

# -- what the log does not say --------------------------------------------------------------------
SEEDED = {
    "email": "zaphod.beeblebrox@heart-of-gold.example",
    "phone": "+493055512345",
    "address": "198.51.100.77",
    "user": "user-zaphod-4242",
    "device": "device-trillian-4242",
    "page": "https://shop.example/private?q=towel42",
    "name": "Zaphod",
}


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory, vendors: StandIn) -> Iterator[Server]:
    """A server with a full life behind it, all of it about one person."""
    folder = tmp_path_factory.mktemp("spoken")
    tail = 'trusted_proxies = ["127.0.0.1/32"]\n'
    more = hook(vendors.base, "partner", 'categories = ["advertising"]\nshare_consent = true')
    with acme_with(folder, vendors.base, more=more, tail=tail) as server:
        _full_life(server, vendors)
        yield server


def _full_life(server: Server, vendors: StandIn) -> None:
    who = {"anonymousId": SEEDED["device"], "userId": SEEDED["user"]}
    traits = {"email": SEEDED["email"], "phone": SEEDED["phone"], "name": SEEDED["name"]}
    context = {"direct": True, "ip": SEEDED["address"], "page": {"url": SEEDED["page"]}}
    headers = {"X-Forwarded-For": SEEDED["address"], "Origin": "https://shop.example"}
    full = {**who, "traits": traits, "context": context, "writeKey": WRITE_KEY}
    for mode in ("ok", "5xx", "429", "401", "reset", "garbage", "noop"):
        begun = len(vendors.journal())  # before the mode: a retry may take it at once
        vendors.mode("webhook", mode, count=1, **({"retry_after": 1} if mode == "429" else {}))
        one = message("identify", stamp=BOTH, **full)
        one["context"] = {**one["context"], **context}
        send(server, one, headers=headers)
        server.admin("POST", "/v1/deliveries/retry", {})
        wait_for(lambda m=mode, n=begun: _seen(vendors, m, n), what=f"an attempt in mode {mode}")
    server.admin("POST", "/v1/deliveries/retry", {})
    send(server, update(BOTH, **who), headers={**headers, "Sec-GPC": "1"})
    subject = {**who, "email": SEEDED["email"], "phone": SEEDED["phone"]}
    evidence = {"page": SEEDED["page"], "surface": "form"}
    choose(server, subject, BOTH, evidence=evidence, headers=headers)
    withdraw(server, subject)
    for path in ("suppress", "unsuppress"):
        call(server.base, "POST", f"/v1/subjects/{path}", {"subject": subject}, key=BACKEND_KEY)
    broken = b'{"userId": "%s", "event": }' % SEEDED["user"].encode()
    call(server.base, "POST", "/v1/track", broken, basic=WRITE_KEY, headers=headers)
    call(server.base, "POST", "/v1/track", {**full, "event": 7}, headers=headers)
    call(server.base, "GET", f"/v1/subjects/user_id:{SEEDED['user']}", key=ADMIN_KEY)
    call(server.base, "GET", f"/v1/nothing/{SEEDED['email']}", headers=headers)
    call(server.base, "POST", "/v1/track", full, basic="wk_wrong_4242")
    item = {"id": "1", "event": {**full, "type": "track", "event": "X"}}
    call(server.base, "POST", "/v1/decisions", {"items": [item]}, key=ADMIN_KEY)
    _speak_badly(server)
    server.config.write_text(server.config.read_text() + "kolour = 1\n")
    wait_for(lambda: "configuration_refused" in server.log, what="the refusal")


def _seen(vendors: StandIn, mode: str, begun: int) -> bool:
    return any(entry["mode"] == mode for entry in vendors.journal()[begun:])


def _speak_badly(server: Server) -> None:
    """Bytes that are no HTTP, with a person in them."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as plain:
        plain.sendall(f"{SEEDED['email']} {SEEDED['user']}\r\n\r\n".encode())
        plain.recv(1024)


def test_the_log_of_a_full_life_names_nobody(spoken: Server) -> None:
    text = spoken.log
    lines = logged(spoken)
    assert {"serving", "attempt_failed", "configuration_refused"} <= {x["event"] for x in lines}
    for what, value in SEEDED.items():
        assert value not in text, what
    assert "zaphod" not in text.lower()
    for what in ("4930555", "5551234", "trillian", "towel42", "198.51.100"):
        assert what not in text
    for secret in (ADMIN_KEY, BACKEND_KEY, HOOK_SECRET, TOKEN_SECRET, WRITE_KEY, "wk_wrong_4242"):
        assert secret not in text
    assert "Traceback" not in text
    assert not [x for x in lines if x["event"] == "internal_error"]


def test_metrics_and_errors_name_nobody(spoken: Server) -> None:
    metrics = call(spoken.base, "GET", "/metrics").body.decode()
    for value in (*SEEDED.values(), WRITE_KEY, "wk_wrong_4242"):
        assert value not in metrics


def test_the_ledger_of_a_full_life_verifies_while_it_is_served(spoken: Server) -> None:
    spoken.config.write_text(spoken.config.read_text().replace("kolour = 1\n", ""))
    verify(spoken)
    leaves = spoken.admin("GET", "/v1/ledger").body.decode()
    for value in SEEDED.values():
        assert value not in leaves
    note = spoken.admin("GET", "/v1/ledger/checkpoint").body.decode()
    assert int(note.splitlines()[1]) == len(leaves.splitlines())
