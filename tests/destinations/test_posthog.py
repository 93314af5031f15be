"""PostHog: what is sent, a quota in a 200, and ids that are spent."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.core.delivery import Grade
from consentry.destinations import posthog
from consentry.destinations.http import Unsendable
from consentry.destinations.instruction import Found
from consentry.destinations.message import Response
from consentry.destinations.steps import Spoiled
from consentry.secret import Secret

from .wire_server import message


def options(**more: Any) -> posthog.Options:
    usual: dict[str, Any] = {"personal_api_key": (Secret("phx_1"),), "project_id": "7"}
    return posthog.Options(api_key=(Secret("phc_1"),), **usual | more)


def test_a_batch() -> None:
    identity = "0190e3c4-7d9c-7000-8000-000000000000"
    request = posthog.request_for([message(message_id=identity)], options())
    assert request.url == "https://us.i.posthog.com/batch/"
    assert json.loads(request.body) == {
        "api_key": "phc_1",
        "batch": [
            {
                "event": "Video Played",
                "distinct_id": "user-1",
                "properties": {"title": "Film"},
                "timestamp": "2026-11-22T10:00:00+00:00",
                "uuid": identity,
            }
        ],
    }


TYPES: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "page": ({"type": "page"}, "$pageview", {"$current_url": "https://shop.example/film"}),
    "screen": ({"type": "screen", "name": "Home"}, "$screen", {"$screen_name": "Home"}),
    "identify": (
        {"type": "identify", "traits": {"plan": "pro"}},
        "$identify",
        {"$set": {"plan": "pro"}, "$anon_distinct_id": "anon-1"},
    ),
}


@pytest.mark.parametrize(("body", "name", "properties"), TYPES.values(), ids=list(TYPES))
def test_other_types(body: dict[str, Any], name: str, properties: dict[str, Any]) -> None:
    item = posthog.item_of(message(body={"properties": {}, **body}))
    assert (item["event"], item["properties"]) == (name, properties)


def test_an_event_of_nobody_is_not_sent() -> None:
    with pytest.raises(Unsendable):
        posthog.item_of(message(user_id=None, anonymous_id=None))


@given(st.text(max_size=40))
def test_a_repetition_has_the_same_uuid(message_id: str) -> None:
    made = posthog.event_uuid(message_id)
    assert str(uuid.UUID(made)) == made == posthog.event_uuid(message_id)


@pytest.mark.parametrize(
    ("status", "body", "grade"),
    [
        (200, {"status": "Ok"}, Grade.ACCEPTED),
        (200, {"status": 1}, Grade.ACCEPTED),
        (200, {"status": "Ok", "quota_limited": ["events"]}, Grade.NOOP),
        (200, {}, Grade.FAILED_RETRY),
        (401, {}, Grade.AUTH_BLOCKED),
        (400, {}, Grade.FAILED_FINAL),
    ],
)
def test_an_answer(status: int, body: dict[str, Any], grade: Grade) -> None:
    response = Response(status, {}, json.dumps(body).encode())
    assert posthog.outcomes_of(response, [None])[0].grade is grade


@pytest.mark.parametrize("status", [400, 413])
def test_a_refused_batch_is_halved(status: int) -> None:
    with pytest.raises(Spoiled):
        posthog.outcomes_of(Response(status, {}, b""), [None, None])


def test_an_erasure_takes_events_and_recordings_along() -> None:
    request = posthog.erase_request(["alice", "anon-1"], options())
    assert request.url == "https://us.posthog.com/api/projects/7/persons/bulk_delete/"
    assert dict(request.headers)["Authorization"] == "Bearer phx_1"
    assert json.loads(request.body) == {
        "distinct_ids": ["alice", "anon-1"],
        "delete_events": True,
        "delete_recordings": True,
    }


def deleted(found: int, gone: int, **more: Any) -> dict[str, Any]:
    usual = {"persons_found": found, "persons_deleted": gone, "events_queued_for_deletion": True}
    return {**usual, **more}


DELETIONS: dict[str, tuple[dict[str, Any], Grade]] = {
    "all": (deleted(2, 2, deletion_errors=[]), Grade.ACCEPTED),
    "nobody": (deleted(0, 0, events_queued_for_deletion=False), Grade.NOOP),
    "one is left": (deleted(2, 1), Grade.FAILED_RETRY),
    "an error": (deleted(1, 1, deletion_errors=[{"person_uuid": "x"}]), Grade.FAILED_RETRY),
    "events are kept": (deleted(1, 1, events_queued_for_deletion=False), Grade.FAILED_RETRY),
    "not its words": ({}, Grade.FAILED_RETRY),
}


@pytest.mark.parametrize(("body", "grade"), DELETIONS.values(), ids=list(DELETIONS))
def test_an_answer_to_an_erasure(body: dict[str, Any], grade: Grade) -> None:
    response = Response(202, {}, json.dumps(body).encode())
    assert posthog.erase_outcomes(response, (0,))[0].grade is grade


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"results": []}, Found.EQUAL),
        ({"results": [{"id": 1}]}, Found.DIFFERENT),
        ({}, Found.UNKNOWN),
    ],
)
def test_whether_the_person_is_gone(body: dict[str, Any], found: Found) -> None:
    assert posthog.read(Response(200, {}, json.dumps(body).encode())).found is found
