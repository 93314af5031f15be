"""The control plane and the journal."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession
from hypothesis import given
from hypothesis import strategies as st
from standin_calls import EVENT, GA4, SEGMENT, VALID, WEBHOOK, Sent, Wire, envelope, webhook

from consentry.standin.app import serve
from consentry.standin.control import Ids, Journal, Mode, Moment, Plan

MOMENT = Moment(1_700_000_000.25, 5)


def add(journal: Journal, raw: bytes = b"") -> int:
    entry = journal.open(
        started=MOMENT, method="POST", path="/x", query={}, raw=raw, ids=Ids(), mode=Mode.OK
    )
    return entry.n


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (Sent("/_ctl/nobody", {"mode": "ok"}), 404, "unknown_vendor"),
        (Sent("/_ctl/nobody/state", method="GET"), 404, "unknown_vendor"),
        (Sent("/nobody/v1/batch", {}), 404, "unknown_vendor"),
        (Sent("/", method="GET"), 404, "unknown_vendor"),
        (Sent("/_ctl/segment/persons", method="GET"), 404, "not_found"),
        (Sent("/_ctl/reset/state", method="GET"), 404, "not_found"),
        (Sent("/_ctl/segment", {"mode": "sideways"}), 400, "unknown_mode"),
        (Sent("/_ctl/segment", {"mode": None}), 400, "unknown_mode"),
        (Sent("/_ctl/segment", {"mode": ["ok"]}), 400, "unknown_mode"),
        (Sent("/_ctl/segment", {}), 400, "unknown_mode"),
        (Sent("/_ctl/segment", {"mode": "ok", "until": 3}), 400, "unknown_field"),
        (Sent("/_ctl/segment", {"mode": "ok", "after": -1}), 400, "invalid_field"),
        (Sent("/_ctl/segment", {"mode": "ok", "after": True}), 400, "invalid_field"),
        (Sent("/_ctl/segment", {"mode": "ok", "count": 0}), 400, "invalid_field"),
        (Sent("/_ctl/segment", {"mode": "ok", "delay_ms": "9"}), 400, "invalid_field"),
        (Sent("/_ctl/segment", {"mode": "429", "retry_after": 0.5}), 400, "invalid_field"),
        (Sent("/_ctl/segment", ["ok"]), 400, "invalid_body"),
        (Sent("/_ctl/segment", raw=b"{"), 400, "invalid_body"),
        (Sent("/_ctl/segment", method="GET"), 405, "method_not_allowed"),
        (Sent("/_ctl/reset", method="GET"), 405, "method_not_allowed"),
        (Sent("/_ctl", {}), 405, "method_not_allowed"),
        (Sent("/_ctl/segment/journal?after=x", method="GET"), 400, "invalid_parameter"),
        (Sent("/_ctl/segment/journal?limit=0", method="GET"), 400, "invalid_parameter"),
    ],
)
async def test_what_the_control_plane_refuses(
    wire: Wire, sent: Sent, status: int, code: str
) -> None:
    answer = await wire.send(sent)
    body = answer.json()
    assert (answer.status, body["code"]) == (status, code)
    assert body["message"]


async def test_a_refused_mode_leaves_the_old_one(wire: Wire) -> None:
    await wire.mode("ga4", "5xx")
    assert (await wire.mode("ga4", "nonsense")).status == 400
    assert (await wire.get("/_ctl"))["vendors"]["ga4"]["mode"] == "5xx"


async def test_the_overview_names_the_vendors_with_their_modes(wire: Wire) -> None:
    await wire.mode("segment", "429", retry_after=3, count=1)
    vendors = (await wire.get("/_ctl"))["vendors"]
    assert set(vendors) >= set(VALID)
    assert vendors["ga4"]["mode"] == "ok"
    told = {k: vendors["segment"][k] for k in ("mode", "retry_after", "count", "next_mode")}
    assert told == {"mode": "429", "retry_after": 3, "count": 1, "next_mode": "429"}
    await wire.send(SEGMENT)
    assert (await wire.get("/_ctl"))["vendors"]["segment"]["next_mode"] == "ok"


async def test_reset_forgets_modes_journals_and_persons(wire: Wire) -> None:
    await wire.send(SEGMENT)
    await wire.mode("segment", "401")
    assert (await wire.send(Sent("/_ctl/reset"))).status == 200
    assert await wire.journal("segment") == []
    assert await wire.persons("segment") == {}
    assert (await wire.send(SEGMENT)).status == 200
    assert [entry["n"] for entry in await wire.journal("segment")] == [1]


async def test_an_entry_says_when_what_and_about_whom(wire: Wire) -> None:
    before = time.monotonic_ns()
    await wire.send(SEGMENT.but(path="/segment/eu/v1/batch"))
    after = time.monotonic_ns()
    (entry,) = await wire.journal("segment")
    assert before < entry["started_monotonic_ns"] < after
    assert entry["started_at"] <= entry["ended_at"]
    assert entry["started_monotonic_ns"] <= entry["ended_monotonic_ns"]
    assert entry["started_at"].endswith("Z")
    assert entry["body"] == SEGMENT.body
    told = {k: entry[k] for k in ("n", "method", "path", "ids", "mode", "status")}
    assert told == {
        "n": 1,
        "method": "POST",
        "path": "/segment/eu/v1/batch",
        "ids": {"messageIds": ["m-1"], "userIds": ["alice"], "anonymousIds": ["anon-1"]},
        "mode": "ok",
        "status": 200,
    }


async def test_the_start_is_taken_before_the_body_is_there(wire: Wire) -> None:
    reader, writer = await asyncio.open_connection(wire.host, wire.port)
    body = json.dumps(SEGMENT.body).encode()
    head = f"POST /segment/v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    writer.write(f"{head}Authorization: {SEGMENT.headers['Authorization']}\r\n\r\n".encode())
    await writer.drain()
    async with asyncio.timeout(5):
        while (await wire.get("/_ctl"))["vendors"]["segment"]["taken"] == 0:
            await asyncio.sleep(0.005)
    headers_handled = time.monotonic_ns()
    writer.write(body)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()
    (entry,) = await wire.journal("segment")
    assert entry["started_monotonic_ns"] < headers_handled


async def test_a_request_that_never_finished_is_journaled_too(either_wire: Wire) -> None:
    _, writer = await asyncio.open_connection(either_wire.host, either_wire.port)
    writer.write(b'POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"half":')
    await writer.drain()
    async with asyncio.timeout(5):
        while (await either_wire.get("/_ctl"))["vendors"]["webhook"]["taken"] == 0:
            await asyncio.sleep(0.005)
        writer.close()
        while not (entries := await either_wire.journal("webhook")):
            await asyncio.sleep(0.005)
    assert (entries[0]["path"], entries[0]["status"]) == ("/webhook", None)


async def test_no_secret_is_journaled(wire: Wire) -> None:
    await wire.send(GA4)
    keyed = SEGMENT.body | {"writeKey": "wk_hidden", "batch": [EVENT | {"writeKey": "wk_hidden"}]}
    await wire.send(SEGMENT.but(body=keyed))
    shown = json.dumps([await wire.journal("ga4"), await wire.journal("segment")])
    for secret in ("s3cret", "wk_hidden", SEGMENT.headers["Authorization"].split()[1]):
        assert secret not in shown
    (hit,) = await wire.journal("ga4")
    assert hit["path"] == "/ga4/mp/collect"
    assert hit["query"] == {"measurement_id": "G-1", "api_secret": "***"}


@pytest.mark.parametrize(
    ("raw", "shown"), [(b"", None), (b"no json", "no json"), (b"\xff", "\ufffd"), (b"null", None)]
)
async def test_a_body_that_is_no_json_is_shown_as_text(wire: Wire, raw: bytes, shown: Any) -> None:
    await wire.send(GA4.but(raw=raw))
    assert (await wire.journal("ga4"))[0]["body"] == shown


async def test_gzip_is_read_and_broken_gzip_is_a_bad_body(wire: Wire) -> None:
    zipped = gzip.compress(json.dumps(SEGMENT.body).encode())
    headers = {**SEGMENT.headers, "Content-Encoding": "gzip"}
    assert (await wire.send(SEGMENT.but(raw=zipped, headers=headers))).status == 200
    assert (await wire.journal("segment"))[0]["body"] == SEGMENT.body
    assert (await wire.send(SEGMENT.but(raw=b"not gzip", headers=headers))).status == 400


async def test_instances_are_told_apart_by_path_and_by_state(wire: Wire) -> None:
    for instance, word in (("analytics", "withdrawn"), ("ads", "granted")):
        data = {"subject": {"userId": "alice"}, "categories": [instance]}
        sent = webhook(envelope(f"consent.{word}", data), path=f"/webhook/{instance}")
        assert (await wire.send(sent)).json()["status"] == "applied"
    paths = [entry["path"] for entry in await wire.journal("webhook")]
    assert paths == ["/webhook/analytics", "/webhook/ads"]
    one = await wire.get("/_ctl/webhook/state?instance=ads")
    assert one["persons"]["alice"]["consent"] == {"ads": "granted"}
    both = await wire.get("/_ctl/webhook/state")
    assert both["persons"]["alice"]["consent"] == {"analytics": "withdrawn", "ads": "granted"}
    assert (both["instances"], both["duplicates"]) == (["ads", "analytics"], 0)


async def test_the_journal_is_read_page_by_page(wire: Wire) -> None:
    for number in range(5):
        await wire.send(webhook(webhook_id=f"msg-{number}"))
    seen: list[int] = []
    page = await wire.get("/_ctl/webhook/journal?limit=2")
    while page["entries"]:
        seen += [entry["n"] for entry in page["entries"]]
        page = await wire.get(f"/_ctl/webhook/journal?after={page['next']}&limit=2")
    assert seen == [1, 2, 3, 4, 5]
    assert page["next"] is None


@given(count=st.integers(0, 30), limit=st.integers(1, 12), kept=st.integers(1, 40))
def test_pages_hold_each_kept_entry_once_and_count_the_lost(
    count: int, limit: int, kept: int
) -> None:
    journal = Journal(max_entries=kept)
    numbers = [add(journal) for _ in range(count)]
    assert journal.page(0)["lost"] == max(0, count - kept)
    seen: list[int] = []
    after = 0
    while (page := journal.page(after, limit))["entries"]:
        assert len(page["entries"]) <= limit
        seen += [entry["n"] for entry in page["entries"]]
        after = page["next"]
    assert seen == numbers[-kept:]


def test_the_journal_is_bounded_by_bytes_and_keeps_the_newest() -> None:
    journal = Journal(max_bytes=100)
    for size in (60, 60, 500):
        add(journal, b"x" * size)
    assert [entry["n"] for entry in journal.page(0)["entries"]] == [3]


@given(
    after=st.integers(0, 6),
    count=st.none() | st.integers(1, 6),
    requests=st.integers(0, 15),
)
def test_a_plan_holds_for_count_requests_after_after(
    after: int, count: int | None, requests: int
) -> None:
    plan = Plan(Mode.GARBAGE, after=after, count=count)
    held = [index for index in range(requests) if plan.holds_for(index)]
    assert held == list(range(requests))[after : None if count is None else after + count]


async def test_serve_tells_its_port_and_stops_when_cancelled() -> None:
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve("127.0.0.1", 0, port.set_result))
    async with ClientSession() as session:
        wire = Wire(session, "127.0.0.1", await asyncio.wait_for(port, 5))
        await wire.mode("webhook", "slow")
        waiting = asyncio.create_task(wire.send(WEBHOOK))
        async with asyncio.timeout(5):
            while not await wire.journal("webhook"):
                await asyncio.sleep(0.005)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(serving, 5)
        with pytest.raises(ClientError):
            await waiting
