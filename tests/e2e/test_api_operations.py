"""Operations of the real server: watched, reconfigured, stopped, killed, started again."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.asking import (
    BOTH,
    acme_with,
    choose,
    config,
    delivery,
    destination,
    fresh,
    hook,
    message,
    send,
    states,
    tried,
    update,
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
    free_port,
    wait_for,
)


def consentry(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line, in the server's folder."""
    return subprocess.run(
        [sys.executable, "-m", "consentry", *arguments],
        cwd=server.folder,
        env={**os.environ, **server.environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def verify(server: Server) -> None:
    """`consentry ledger verify` must find nothing."""
    done = consentry(server, "ledger", "verify", "--config", "consentry.toml", "--json")
    assert done.returncode == 0, done.stdout + done.stderr


def logged(server: Server) -> list[dict[str, Any]]:
    """The log, as JSON; what the command line says before it serves stands in front."""
    lines = [line for line in server.log.splitlines() if not line.startswith("consentry: ")]
    return [json.loads(line) for line in lines]


# -- watched --------------------------------------------------------------------------------------
def test_alive_ready_and_described(acme: Server) -> None:
    assert call(acme.base, "GET", "/healthz").json == {"status": "ok"}
    ready = call(acme.base, "GET", "/readyz")
    assert (ready.status, ready.json) == (200, {"ready": True, "enforcing": True})
    assert call(acme.base, "GET", "/.well-known/gpc.json").json["gpc"] is True
    assert call(acme.base, "GET", "/openapi.json").json["openapi"].startswith("3.1")


ADMIN_ONLY = [
    ("GET", "/v1/destinations"),
    ("GET", "/v1/deliveries"),
    ("POST", "/v1/deliveries/retry"),
    ("GET", "/v1/dead-letters"),
    ("POST", "/v1/dead-letters/replay"),
    ("GET", "/v1/suppressions"),
    ("POST", "/v1/imports"),
    ("GET", "/v1/events/m1"),
    ("GET", "/v1/ledger"),
    ("GET", f"/v1/notices/{'0' * 64}"),
    ("GET", "/v1/tail"),
]


@pytest.mark.parametrize(("method", "path"), ADMIN_ONLY)
@pytest.mark.parametrize("key", [None, WRITE_KEY, BACKEND_KEY, "admin", ""])
def test_the_operators_side_is_closed(acme: Server, method: str, path: str, key: str) -> None:
    answer = call(acme.base, method, path, {} if method == "POST" else None, key=key)
    assert (answer.status, answer.json["code"]) == (401, "unauthorized")


def counted(server: Server) -> dict[tuple[str, ...], float]:
    """Every sample of /metrics by its name and its sorted label values."""
    text = call(server.base, "GET", "/metrics").body.decode()
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_count_what_happened(acme: Server) -> None:
    before = counted(acme)
    one = message(stamp={"analytics": True})
    send(acme, one)
    send(acme, one)
    call(acme.base, "POST", "/v1/track", {}, basic=WRITE_KEY)
    call(acme.base, "POST", "/v1/track", message(), basic="wk_nobody")
    choose(acme, {"anonymousId": one["anonymousId"]}, BOTH)
    states(acme, one["messageId"])
    after = counted(acme)
    grew = {
        "consentry_events_accepted_total": ("track", "website"),
        "consentry_events_repeated_total": ("website",),
        "consentry_events_refused_total": ("missing_id", "website"),
        "consentry_unknown_keys_total": (),
        "consentry_records_total": ("choice",),
        "consentry_attempts_total": ("confirmed", "warehouse"),
    }
    for name, labels in grew.items():
        assert after[(name, *labels)] >= before.get((name, *labels), 0) + 1, name
    for labels in (
        ("allow", "consented", "warehouse"),
        ("ads", "filtered_by_end_user_consent", "withhold"),
    ):
        key = ("consentry_decisions_total", *labels)
        assert after[key] >= before.get(key, 0) + 1
    assert after[("consentry_enforcing",)] == 1
    for gauge in ("lag_events", "queue_age_seconds", "waiting_rows", "destination_paused"):
        assert after[(f"consentry_{gauge}", "warehouse")] == 0


def test_tail_shows_events_attempts_and_choices(acme: Server) -> None:
    host, port = acme.base.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.request("GET", "/v1/tail", headers={"Authorization": f"Bearer {ADMIN_KEY}"})
    lines = connection.getresponse()
    assert lines.readline() == b"\n"  # from here on nothing is missed
    one = update({"analytics": True})
    send(acme, one)
    withdraw(acme, {"anonymousId": one["anonymousId"]})
    kinds = []
    while kinds.count("choice") < 2:
        told = json.loads(lines.readline())
        kinds.append(told["kind"])
        if told["kind"] == "event":
            assert told["messageId"] == one["messageId"]
            decided = {d["destination"]: d["decision"] for d in told["decisions"]}
            assert decided == {"warehouse": "allow", "ads": "withhold"}
    assert {"choice", "event"} <= set(kinds)
    connection.close()


# -- reconfigured ---------------------------------------------------------------------------------
def test_a_good_configuration_is_taken_and_a_bad_one_refused(
    tmp_path: Path, vendors: StandIn
) -> None:
    with acme_with(tmp_path, vendors.base) as server:
        one = message(stamp={"analytics": True})
        send(server, one)
        assert states(server, one["messageId"])["ads"] == "withheld"
        # ads no longer needs advertising
        text = config(vendors.base).replace('["advertising", "analytics"]', '["analytics"]')
        bad = text.replace('name = "Analytics"', 'name = "Analytics"\nkolour = "blue"')
        server.config.write_text(bad)
        wait_for(lambda: "configuration_refused" in server.log, what="the refusal")
        assert "kolour" in server.log
        assert destination(server, "ads")["categories"] == ["advertising", "analytics"]
        server.config.write_text(text)
        wait_for(lambda: destination(server, "ads")["categories"] == ["analytics"])
        two = message(stamp={"analytics": True})
        send(server, two)
        assert states(server, two["messageId"])["ads"] == "delivered"
        # what was withheld when it was accepted stays withheld
        assert states(server, one["messageId"])["ads"] == "withheld"
        changed = config(vendors.base).replace('name = "Acme"', 'name = "Other"')
        server.config.write_text(changed)
        wait_for(lambda: "restart to take it" in server.log, what="the second refusal")
        send(server, message())
        entries = server.admin("GET", "/v1/ledger").body.decode().splitlines()
        assert [json.loads(e)["type"] for e in entries] == ["config", "config"]
        assert server.stop() == 0
        server.config.write_text(text)
        verify(server)


def test_a_key_can_be_replaced_without_a_gap(tmp_path: Path, vendors: StandIn) -> None:
    with acme_with(tmp_path, vendors.base) as server:
        both = 'write_key = ["wk_new", "wk_website"]'
        text = config(vendors.base).replace('write_key = "wk_website"', both)
        server.config.write_text(text)
        wait_for(lambda: server.track(message(), key="wk_new").status == 200, what="the new key")
        send(server, message(), key="wk_website")
        server.config.write_text(text.replace(both, 'write_key = "wk_new"'))
        wait_for(lambda: server.track(message(), key="wk_website").status == 401)
        send(server, message(), key="wk_new")


# -- stopped --------------------------------------------------------------------------------------
def test_stopping_loses_nothing(tmp_path: Path, vendors: StandIn, well: StandIn) -> None:
    well.mode("webhook", "ok", delay_ms=50)
    with acme_with(tmp_path, vendors.base) as server:
        device = fresh("dev")
        mine = [message(stamp=BOTH, anonymousId=device) for _ in range(20)]
        theirs = [message(stamp=BOTH) for _ in range(20)]
        send(server, *mine, *theirs)
        wait_for(lambda: well.received("warehouse"), what="the first attempt")
        assert server.stop() == 0
        under_way = [e for e in well.journal() if e["ended_at"] is None]
        assert under_way == []  # what was on the wire came to its end
        went = set(well.received("warehouse"))
        assert not {m["messageId"] for m in mine} <= went
        well.mode("webhook", "ok")
        server.start()
        for one in (*mine, *theirs):
            assert set(states(server, one["messageId"]).values()) == {"delivered"}
        received = [m for m in well.received("warehouse") if m in {x["messageId"] for x in mine}]
        assert received == [one["messageId"] for one in mine]  # in order, and none twice
        assert server.stop() == 0
        verify(server)


def test_a_store_has_one_server(acme: Server) -> None:
    done = consentry(acme, "serve", "--config", "consentry.toml", "--port", str(free_port()))
    assert done.returncode == 4
    last = done.stderr.strip().splitlines()[-1]
    assert "Another process serves this store" in last or "another process" in last.lower()
    assert "Traceback" not in done.stderr
    assert call(acme.base, "GET", "/healthz").status == 200
    send(acme, message())


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[workspace", "line"),
        ('[workspace]\nname = "A"\n[store]\nurl = "mysql://x"\n', "store.url"),
    ],
)
def test_a_bad_configuration_does_not_start(tmp_path: Path, text: str, named: str) -> None:
    server = Server(tmp_path, free_port())
    server.config.write_text(text)
    done = consentry(server, "serve", "--config", "consentry.toml", "--port", str(server.port))
    assert done.returncode == 3
    assert named in done.stderr
    assert "Traceback" not in done.stderr


# -- killed ---------------------------------------------------------------------------------------
class Traffic:
    """A client that goes on sending, and remembers what was acknowledged."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.events: list[str] = []
        self.withdrawn: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._some()

    def _some(self) -> None:
        batch = [message(stamp=BOTH) for _ in range(3)]
        if self.server.track(batch[0]).status == 200:
            self.events.append(batch[0]["messageId"])
        send(self.server, *batch[1:])
        self.events += [m["messageId"] for m in batch[1:]]
        device = fresh("gone")
        answer = withdraw(self.server, {"anonymousId": device}, key=WRITE_KEY)
        if answer.status == 201:
            self.withdrawn.append(device)


def test_killed_again_and_again_nothing_acknowledged_is_lost(
    tmp_path: Path, vendors: StandIn
) -> None:
    chance = random.Random(20261122)
    with acme_with(tmp_path, vendors.base) as server, Traffic(server) as traffic:
        for _ in range(4):
            reached = len(traffic.events) + 5
            wait_for(lambda n=reached: len(traffic.events) >= n, what="traffic")
            time.sleep(chance.uniform(0.0, 0.2))  # anywhere in what it does
            server.kill()
            server.start()
        traffic.__exit__()
        last = message(stamp=BOTH)
        send(server, last)
        server.event(last["messageId"])
        assert len(traffic.events) >= 20
        for message_id in traffic.events:
            assert states(server, message_id) == {"warehouse": "delivered", "ads": "delivered"}
        assert set(traffic.events) <= set(vendors.received("warehouse"))
        assert set(traffic.events) <= set(vendors.received("ads"))
        for device in traffic.withdrawn:
            answer = call(
                server.base, "GET", f"/v1/subjects/anonymous_id:{device}", basic=WRITE_KEY
            )
            assert answer.json["preferences"]["analytics"]["state"] == "denied"
        assert server.stop() == 0
        verify(server)


def test_a_pause_and_a_retry_survive_a_kill(tmp_path: Path, vendors: StandIn) -> None:
    with acme_with(tmp_path, vendors.base) as server:
        vendors.mode("webhook", "429", count=1, retry_after=3600)
        late = message(stamp={"analytics": True})
        send(server, late)
        tried(server, late["messageId"], "warehouse")
        vendors.mode("webhook", "401", count=1)
        one = message(stamp=BOTH)
        send(server, one)
        wait_for(lambda: destination(server, "ads")["paused"], what="the pause")
        server.kill()
        server.start()
        assert destination(server, "ads")["paused"]["reason"]
        assert delivery(server, one["messageId"], "ads")["state"] == "waiting"
        assert delivery(server, late["messageId"], "warehouse")["state"] == "waiting"
        assert server.admin("POST", "/v1/deliveries/retry", {}).json["resumed"] == ["ads"]
        assert states(server, one["messageId"])["ads"] == "delivered"
        assert states(server, late["messageId"])["warehouse"] == "delivered"


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
        vendors.mode("webhook", mode, count=1, **({"retry_after": 1} if mode == "429" else {}))
        begun = len(vendors.journal())
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
    import socket

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
