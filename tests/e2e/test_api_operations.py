"""Operations of the real server: watched, reconfigured, stopped, killed, started again."""

from __future__ import annotations

import http.client
import json
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import ASGIApp

from consentry.compose import start
from consentry.config import load_config
from consentry.ports import StoreRefused, StoreUnavailable
from consentry.store.memory import MemoryStore
from consentry.web.app import create_app
from tests.e2e.asking import (
    BOTH,
    acme_with,
    choose,
    config,
    consentry,
    delivery,
    destination,
    fresh,
    logged,
    message,
    send,
    states,
    tried,
    update,
    verify,
    withdraw,
)
from tests.running import (
    ADMIN_KEY,
    BACKEND_KEY,
    WRITE_KEY,
    Server,
    StandIn,
    call,
    free_port,
    wait_for,
)


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
    known = key in (WRITE_KEY, BACKEND_KEY)  # a key that is known, but may not do this
    expected = (403, "forbidden") if known else (401, "unauthorized")
    assert (answer.status, answer.json["code"]) == expected


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


FAILURES: dict[str, tuple[Exception, int, str]] = {
    "the disk is full": (StoreUnavailable("the disk is full"), 503, "unavailable"),
    "it cannot be stored": (StoreRefused("this cannot be stored"), 500, "internal_error"),
}


@pytest.mark.parametrize("case", FAILURES)
async def test_only_what_may_succeed_later_is_asked_for_again(tmp_path: Path, case: str) -> None:
    failure, status, code = FAILURES[case]
    path = tmp_path / "consentry.toml"
    path.write_text(
        '[workspace]\nname = "Acme"\n[store]\nurl = "memory://"\n'
        '[[category]]\nid = "analytics"\nname = "Analytics"\n'
        '[[source]]\nname = "website"\nwrite_key = "wk_website"\n'
    )
    running = await start(load_config(str(path)))
    try:
        store = running.world.store
        assert isinstance(store, MemoryStore)
        store.fail_next = failure
        event = {"event": "Seen", "anonymousId": "d", "writeKey": "wk_website"}
        told, answer = await asked(create_app(running.site), "/v1/track", event)
        assert (told, answer["code"]) == (status, code)
        assert await asked(create_app(running.site), "/v1/track", event) == (200, {"success": True})
    finally:
        await running.stop()


async def asked(app: ASGIApp, path: str, body: Any) -> tuple[int, Any]:
    """One POST without a server in between."""
    sent: list[Any] = []
    scope = {
        "type": "http", "method": "POST", "path": path, "query_string": b"", "headers": [],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "scheme": "http",
    }  # fmt: skip

    async def receive() -> Any:
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


def watch(server: Server) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """An open /v1/tail, past the line that says that nothing is missed from here on."""
    host, port = server.base.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.request("GET", "/v1/tail", headers={"Authorization": f"Bearer {ADMIN_KEY}"})
    lines = connection.getresponse()
    assert lines.readline() == b"\n"
    return connection, lines


def test_tail_shows_events_attempts_and_choices(acme: Server) -> None:
    connection, lines = watch(acme)
    one = update({"analytics": True})
    send(acme, one)
    withdraw(acme, {"anonymousId": one["anonymousId"]})
    kinds = []
    while kinds.count("choice") < 2 or "attempt" not in kinds:
        told = json.loads(lines.readline())
        kinds.append(told["kind"])
        if told["kind"] == "event":
            assert told["messageId"] == one["messageId"]
            decided = {d["destination"]: d["decision"] for d in told["decisions"]}
            assert decided == {"warehouse": "allow", "ads": "withhold"}
    assert "event" in kinds
    connection.close()


# -- reconfigured ---------------------------------------------------------------------------------
def test_a_good_configuration_is_taken_and_a_bad_one_refused(
    tmp_path: Path, vendors: StandIn
) -> None:
    with acme_with(tmp_path, vendors.base) as server:
        one = message(stamp={"analytics": True})
        send(server, one)
        assert states(server, one["messageId"])["ads"] == "withheld"
        # ads no longer needs advertising, and the write key is being replaced
        both = 'write_key = ["wk_new", "wk_website"]'
        text = config(vendors.base).replace('["advertising", "analytics"]', '["analytics"]')
        text = text.replace('write_key = "wk_website"', both)
        bad = text.replace('name = "Analytics"', 'name = "Analytics"\nkolour = "blue"')
        server.config.write_text(bad)
        wait_for(lambda: "configuration_refused" in server.log, what="the refusal")
        assert "kolour" in server.log
        assert destination(server, "ads")["categories"] == ["advertising", "analytics"]
        server.config.write_text(text)
        wait_for(lambda: destination(server, "ads")["categories"] == ["analytics"])
        for key in ("wk_new", "wk_website"):  # replaced without a gap
            two = message(stamp={"analytics": True})
            send(server, two, key=key)
            assert states(server, two["messageId"])["ads"] == "delivered"
        # what was withheld when it was accepted stays withheld
        assert states(server, one["messageId"])["ads"] == "withheld"
        server.config.write_text(text.replace('name = "Acme"', 'name = "Other"'))
        wait_for(lambda: "restart to take it" in server.log, what="the second refusal")
        text = text.replace(both, 'write_key = "wk_new"')
        server.config.write_text(text)
        wait_for(lambda: server.track(message(), key="wk_website").status == 401)
        send(server, message(), key="wk_new")
        entries = server.admin("GET", "/v1/ledger").body.decode().splitlines()
        assert [json.loads(e)["type"] for e in entries] == ["config", "config"]
        assert server.stop() == 0
        verify(server)


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


def test_who_watches_does_not_keep_the_server_from_stopping(
    tmp_path: Path, vendors: StandIn
) -> None:
    with acme_with(tmp_path, vendors.base) as server:
        gone, _ = watch(server)
        gone.close()
        here, lines = watch(server)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 5
        assert lines.read() == b""
        here.close()
        assert not [x for x in logged(server) if x["event"] in ("internal_error", "library")]


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
        tried(server, one["messageId"], "ads")  # written after the pause, which is durable now
        server.kill()
        server.start()
        assert destination(server, "ads")["paused"]["reason"]
        assert delivery(server, one["messageId"], "ads")["state"] == "waiting"
        assert delivery(server, late["messageId"], "warehouse")["state"] == "waiting"
        assert server.admin("POST", "/v1/deliveries/retry", {}).json["resumed"] == ["ads"]
        assert states(server, one["messageId"])["ads"] == "delivered"
        assert states(server, late["messageId"])["warehouse"] == "delivered"
