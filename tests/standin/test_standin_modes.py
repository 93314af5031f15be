"""Every mode of every vendor, as a real client meets it."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest
from aiohttp import ClientError, ClientPayloadError
from standin_calls import GA4, REGULATION, VALID, WEBHOOK, Sent, Wire

VENDORS = sorted(VALID)
SUCCESS = {"webhook": 200, "segment": 200, "rudderstack": 200, "ga4": 204}
REFUSALS = {
    ("webhook", "401"): (401, {"code": "invalid_signature", "message": "stand-in mode"}),
    ("webhook", "429"): (429, {"code": "rate_limited", "message": "stand-in mode"}),
    ("webhook", "5xx"): (500, {"code": "internal", "message": "stand-in mode"}),
    ("segment", "401"): (401, {"code": "unauthorized", "message": "stand-in mode"}),
    ("segment", "429"): (429, {"code": "rate_limited", "message": "stand-in mode"}),
    ("segment", "5xx"): (500, {"code": "internal_error", "message": "stand-in mode"}),
    ("rudderstack", "401"): (401, "Invalid Write Key"),
    ("rudderstack", "429"): (429, "Max Requests Limit reached"),
    ("rudderstack", "5xx"): (500, "Internal Server Error"),
    ("ga4", "401"): (401, {"error": {"code": 401, "status": "UNAUTHENTICATED"}}),
    ("ga4", "429"): (429, {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}),
    ("ga4", "5xx"): (500, {"error": {"code": 500, "status": "INTERNAL"}}),
}


def body_of(vendor: str, answer: Any) -> Any:
    if vendor == "rudderstack":
        return answer.raw.decode()
    body = answer.json()
    if vendor == "ga4":
        del body["error"]["message"]
    return body


@pytest.mark.parametrize("vendor", VENDORS)
async def test_ok_answers_in_the_vendors_own_words_and_keeps_the_person(
    wire: Wire, vendor: str
) -> None:
    answer = await wire.send(VALID[vendor])
    assert answer.status == SUCCESS[vendor]
    if vendor == "webhook":
        receipt = answer.json()
        assert receipt["status"] == "applied"
        assert receipt["ref"]
        assert receipt["applied_at"].endswith("Z")
    else:
        expected = {"segment": b'{"success":true}', "rudderstack": b"OK", "ga4": b""}
        assert answer.raw == expected[vendor]
    alice = (await wire.persons(vendor))["alice"]
    assert [event["messageId"] for event in alice["events"]] == ["m-1"]
    assert alice["anonymousIds"] == ["anon-1"]


@pytest.mark.parametrize("vendor", VENDORS)
async def test_noop_is_a_success_that_did_nothing(wire: Wire, vendor: str) -> None:
    await wire.mode(vendor, "noop")
    answer = await wire.send(VALID[vendor])
    assert answer.status == SUCCESS[vendor]
    if vendor == "webhook":
        assert answer.json() == {"status": "noop"}
    assert await wire.persons(vendor) == {}


@pytest.mark.parametrize("vendor", VENDORS)
async def test_partial_is_ok_where_the_vendor_has_no_such_answer_and_says_so(
    wire: Wire, vendor: str
) -> None:
    await wire.mode(vendor, "partial")
    answer = await wire.send(VALID[vendor])
    assert answer.status == SUCCESS[vendor]
    assert "alice" in await wire.persons(vendor)
    assert "ok" in (await wire.get("/_ctl"))["vendors"][vendor]["notes"]["partial"]


@pytest.mark.parametrize(("vendor", "mode"), sorted(REFUSALS))
async def test_refusals_have_the_vendors_body_and_change_nothing(
    wire: Wire, vendor: str, mode: str
) -> None:
    await wire.mode(vendor, mode)
    answer = await wire.send(VALID[vendor])
    assert (answer.status, body_of(vendor, answer)) == REFUSALS[(vendor, mode)]
    assert "Retry-After" not in answer.headers
    assert await wire.persons(vendor) == {}
    (entry,) = await wire.journal(vendor)
    assert (entry["mode"], entry["status"]) == (mode, answer.status)


@pytest.mark.parametrize("vendor", VENDORS)
async def test_retry_after_is_sent_when_asked_for(wire: Wire, vendor: str) -> None:
    await wire.mode(vendor, "429", retry_after=7)
    assert (await wire.send(VALID[vendor])).headers["Retry-After"] == "7"


@pytest.mark.parametrize("vendor", VENDORS)
async def test_slow_is_done_and_answered_after_the_delay(wire: Wire, vendor: str) -> None:
    await wire.mode(vendor, "slow", delay_ms=120)
    began = time.monotonic()
    answer = await wire.send(VALID[vendor])
    assert time.monotonic() - began >= 0.12
    assert answer.status == SUCCESS[vendor]
    assert "alice" in await wire.persons(vendor)


async def test_slow_without_a_delay_outlasts_an_impatient_client(either_wire: Wire) -> None:
    await either_wire.mode("webhook", "slow")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(either_wire.send(WEBHOOK), 0.1)
    async with asyncio.timeout(5):
        while (entries := await either_wire.journal("webhook"))[0]["ended_at"] is None:
            await asyncio.sleep(0.01)
    assert entries[0]["status"] is None, "nobody was answered"
    assert "alice" in await either_wire.persons("webhook"), "the work was done all the same"


@pytest.mark.parametrize("vendor", VENDORS)
async def test_garbage_is_200_and_no_json(wire: Wire, vendor: str) -> None:
    await wire.mode(vendor, "garbage")
    answer = await wire.send(VALID[vendor])
    assert answer.status == 200
    with pytest.raises(ValueError, match=r"utf-8|JSON|Expecting|decode"):
        answer.json()
    assert await wire.persons(vendor) == {}


@pytest.mark.parametrize("vendor", VENDORS)
async def test_truncate_sends_less_than_it_promised(wire: Wire, vendor: str) -> None:
    await wire.mode(vendor, "truncate")
    response = await wire.open(VALID[vendor])
    assert response.status == 200
    with pytest.raises(ClientPayloadError):
        await response.read()
    promised = int(response.headers["Content-Length"])
    assert promised > 64
    assert "alice" in await wire.persons(vendor)
    (entry,) = await wire.journal(vendor)
    assert (entry["mode"], entry["status"]) == ("truncate", 200)


@pytest.mark.parametrize("vendor", VENDORS)
async def test_reset_gives_the_client_no_answer(wire: Wire, vendor: str) -> None:
    await wire.mode(vendor, "reset")
    with pytest.raises(ClientError):
        await wire.send(VALID[vendor])
    assert await wire.persons(vendor) == {}
    (entry,) = await wire.journal(vendor)
    assert (entry["mode"], entry["status"]) == ("reset", None)
    assert entry["ended_at"] is not None
    assert entry["ids"]["messageIds"] == ["m-1"]


async def test_reset_is_a_tcp_reset_and_no_polite_close(wire: Wire) -> None:
    await wire.mode("ga4", "reset")

    def meet() -> None:
        with socket.create_connection((wire.host, wire.port), timeout=5) as connection:
            head = b"POST /ga4/mp/collect HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
            connection.sendall(head)
            assert connection.recv(100) == b"unreachable"

    with pytest.raises(ConnectionResetError):
        await asyncio.to_thread(meet)


async def test_after_and_count_bound_a_mode(wire: Wire) -> None:
    await wire.mode("segment", "5xx", after=2, count=3)
    statuses = [(await wire.send(VALID["segment"])).status for _ in range(7)]
    assert statuses == [200, 200, 500, 500, 500, 200, 200]
    modes = [entry["mode"] for entry in await wire.journal("segment")]
    assert modes == ["ok", "ok", "5xx", "5xx", "5xx", "ok", "ok"]


async def test_a_vendors_mode_leaves_the_others_alone(wire: Wire) -> None:
    await wire.mode("segment", "401")
    assert (await wire.send(VALID["rudderstack"])).status == 200


@pytest.mark.parametrize(
    ("mode", "overall", "streams"),
    [
        ("ok", "FINISHED", ["FINISHED"]),
        ("noop", "NOT_SUPPORTED", ["NOT_SUPPORTED"]),
        ("partial", "PARTIAL_SUCCESS", ["FINISHED", "FAILED"]),
    ],
)
async def test_a_segment_regulation_carries_the_mode_it_was_made_in(
    wire: Wire, mode: str, overall: str, streams: list[str]
) -> None:
    await wire.mode("segment", mode, count=1)
    made = (await wire.send(REGULATION)).json()["data"]["regulateId"]
    read = await wire.send(REGULATION.but(method="GET", path=f"/segment/regulations/{made}"))
    regulation = read.json()["data"]["regulation"]
    assert regulation["overallStatus"] == overall
    (stream,) = regulation["streamStatus"]
    assert [each["status"] for each in stream["destinationStatus"]] == streams


async def test_the_suppressed_are_listed_until_they_are_unsuppressed(wire: Wire) -> None:
    listing: Sent = REGULATION.but(method="GET", path="/segment/suppressions", body=None)
    await wire.send(REGULATION)
    listed = (await wire.send(listing)).json()["data"]["suppressed"]
    assert listed == [{"subjectType": "USER_ID", "subjectIds": ["alice"]}]
    await wire.send(REGULATION.but(body=REGULATION.body | {"regulationType": "UNSUPPRESS"}))
    assert (await wire.send(listing)).json()["data"]["suppressed"] == []


async def test_delay_ms_holds_in_any_mode(wire: Wire) -> None:
    await wire.mode("ga4", "5xx", delay_ms=60)
    began = time.monotonic()
    assert (await wire.send(GA4)).status == 500
    assert time.monotonic() - began >= 0.06
