"""Amplitude: what is sent, and the answers that lie about success."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from consentry.core.delivery import Grade
from consentry.core.order import Verb
from consentry.destinations import amplitude
from consentry.destinations.instruction import Found, Person
from consentry.destinations.message import Response
from consentry.destinations.steps import Spoiled
from consentry.destinations.transport import OutboundClient
from consentry.secret import Secret

from .instructions import instruction
from .wire_server import answer, message, serving

NOTHING = b'"Nothing scheduled due to invalid amplitude/user ids"'


def options(url: str = "https://api2.amplitude.com") -> amplitude.Options:
    return amplitude.Options(
        api_key=(Secret("k3y"),), secret_key=(Secret("s3cret"),), base_url=url, privacy_url=url
    )


def test_an_upload() -> None:
    request = amplitude.request_for([message()], options())
    assert request.url == "https://api2.amplitude.com/2/httpapi"
    assert json.loads(request.body) == {
        "api_key": "k3y",
        "events": [
            {
                "event_type": "Video Played",
                "time": 1_795_341_600_000,
                "insert_id": "m-1",
                "user_id": "user-1",
                "device_id": "anon-1",
                "event_properties": {"title": "Film"},
            }
        ],
        "options": {"min_id_length": 1},  # else ids under five characters are refused
    }
    assert "k3y" not in repr(request) + repr(options())


def test_an_identify_sets_the_properties_of_the_user() -> None:
    event = message(body={"type": "identify", "traits": {"plan": "pro"}})
    (item,) = json.loads(amplitude.request_for([event], options()).body)["events"]
    assert item["event_type"] == "$identify"
    assert item["user_properties"] == {"$set": {"plan": "pro"}}


def grades(status: int, body: Any, count: int = 3) -> list[Grade]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return [o.grade for o in amplitude.outcomes_of(Response(status, {}, raw), [None] * count)]


FINAL, AGAIN, SLOW = Grade.FAILED_FINAL, Grade.FAILED_RETRY, Grade.RATE_LIMITED
ANSWERS: dict[str, tuple[int, Any, list[Grade]]] = {
    "taken": (200, {"code": 200, "events_ingested": 3}, [Grade.ACCEPTED] * 3),
    "nothing taken": (200, {"code": 200, "events_ingested": 0}, [Grade.NOOP] * 3),
    "not its words": (200, b"<html>", [AGAIN] * 3),
    "some listed: those are dropped, the rest goes again": (
        400,
        {"code": 400, "events_with_invalid_fields": {"time": [1], "event_type": [1, 2]}},
        [AGAIN, FINAL, FINAL],
    ),
    "missing": (400, {"events_with_missing_fields": {"user_id": [0]}}, [FINAL, AGAIN, AGAIN]),
    "short ids": (400, {"events_with_invalid_id_lengths": {"u": [2]}}, [AGAIN, AGAIN, FINAL]),
    "silenced": (400, {"silenced_events": [0, 1]}, [FINAL, FINAL, AGAIN]),
    "none listed": (400, {"missing_field": "api_key"}, [FINAL] * 3),
    "unknown key": (400, {"error": "Invalid API key: abc"}, [Grade.AUTH_BLOCKED] * 3),
    "throttled": (429, {"throttled_events": [1]}, [AGAIN, SLOW, AGAIN]),
    "all throttled": (429, {}, [SLOW] * 3),
    "broken": (500, {}, [AGAIN] * 3),
}


@pytest.mark.parametrize(("status", "body", "expected"), ANSWERS.values(), ids=list(ANSWERS))
def test_an_answer_to_three_events(status: int, body: Any, expected: list[Grade]) -> None:
    assert grades(status, body) == expected


def test_too_large_a_batch_is_halved_and_a_single_event_is_final() -> None:
    with pytest.raises(Spoiled):
        grades(413, {})
    assert grades(413, {}, 1) == [FINAL]


def test_a_deletion() -> None:
    request = amplitude.erase_request(["alice"], options("https://amplitude.com"))
    assert request.url == "https://amplitude.com/api/2/deletions/users"
    pair = base64.b64encode(b"k3y:s3cret").decode()
    assert dict(request.headers)["Authorization"] == f"Basic {pair}"
    assert json.loads(request.body) == {
        "user_ids": ["alice"],
        "requester": "consentry",
        "ignore_invalid_id": "true",  # else one unknown id refuses the whole request
    }


def job(*ids: int, status: str = "staging") -> dict[str, Any]:
    return {
        "day": "2026-12-06",
        "status": status,
        "amplitude_ids": [{"amplitude_id": n} for n in ids],
    }


DELETIONS: dict[str, tuple[bytes, Grade, str]] = {
    "scheduled": (json.dumps([job(1)]).encode(), Grade.ACCEPTED, "2026-12-06"),
    "one job alone": (json.dumps(job(1)).encode(), Grade.ACCEPTED, "2026-12-06"),
    "nothing scheduled is no success": (NOTHING, Grade.NOOP, ""),
    "a job for nobody": (json.dumps([job()]).encode(), Grade.NOOP, ""),
    "not its words": (b"[]", Grade.FAILED_RETRY, ""),
}


@pytest.mark.parametrize(("body", "grade", "ref"), DELETIONS.values(), ids=list(DELETIONS))
def test_an_answer_to_a_deletion(body: bytes, grade: Grade, ref: str) -> None:
    (outcome,) = amplitude.erase_outcomes(Response(200, {}, body), (0,), 1)
    assert (outcome.grade, outcome.ref) == (grade, ref)


async def test_who_of_two_is_unknown_is_found_out() -> None:
    orders = [instruction(Verb.ERASE, person=Person(user_ids=(who,))) for who in ("a", "b")]
    both, first = json.dumps([job(1)]).encode(), json.dumps([job(1)]).encode()
    client = OutboundClient(allow_private=True)
    async with serving(answer(200, both), answer(200, first), answer(200, NOTHING)) as server:
        attempted = await amplitude.obey(client, orders, options(server.url), None)
        assert len(server.requests) == 3
    await client.close()
    assert [o.grade for o in attempted.outcomes] == [Grade.ACCEPTED, Grade.NOOP]


JOBS = [
    ([job(1, status="done")], Found.EQUAL),
    ([job(1, status="staging")], Found.PENDING),
    ([job(1, status="submitted")], Found.PENDING),
    ([job(1, status="lost")], Found.UNKNOWN),
    ([], Found.UNKNOWN),
    ([{**job(1, status="done"), "day": "2026-12-07"}], Found.UNKNOWN),
]


@pytest.mark.parametrize(("jobs", "found"), JOBS)
def test_the_state_of_the_job_of_the_day(jobs: list[Any], found: Found) -> None:
    reading = amplitude.read(Response(200, {}, json.dumps(jobs).encode()), "2026-12-06")
    assert reading.found is found


def test_a_day_that_is_none_is_not_asked_about() -> None:
    assert amplitude.jobs_request("2026-12-06", options()) is not None
    assert amplitude.jobs_request("x&day=2", options()) is None


async def test_a_withdrawal_is_gated_for_there_is_no_opt_out() -> None:
    client = OutboundClient(allow_private=True)
    async with serving(answer(200)) as server:
        attempted = await amplitude.obey(
            client, [instruction(Verb.SUPPRESS)], options(server.url), None
        )
        assert server.connections == 0
    await client.close()
    assert attempted.outcomes[0].grade is Grade.GATED
