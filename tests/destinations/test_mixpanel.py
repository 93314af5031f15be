"""Mixpanel: what is sent, what never is, and a 400 that took most of it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.core.delivery import Grade
from consentry.destinations import mixpanel
from consentry.destinations.http import Unsendable
from consentry.destinations.instruction import Found
from consentry.destinations.message import Response
from consentry.secret import Secret

from .wire_server import message


def options(**more: Any) -> mixpanel.Options:
    return mixpanel.Options(token=(Secret("t k"),), gdpr_token=(Secret("gdpr"),), **more)


def test_an_import() -> None:
    request = mixpanel.request_for([message()], options())
    assert request.url == "https://api.mixpanel.com/import?strict=1"
    assert json.loads(request.body) == [
        {
            "event": "Video Played",
            "properties": {
                "title": "Film",
                "$device_id": "anon-1",
                "$user_id": "user-1",
                "time": 1_795_341_600_000,
                "distinct_id": "user-1",
                "$insert_id": "m-1",
            },
        }
    ]


def test_an_event_never_asks_to_be_dropped_in_silence() -> None:
    event = message(body={"properties": {"$ignore": True, "token": "other", "price": 1}})
    (item,) = json.loads(mixpanel.request_for([event], options()).body)
    assert "$ignore" not in item["properties"]
    assert "token" not in item["properties"]
    assert item["properties"]["price"] == 1


@pytest.mark.parametrize("identity", ["anonymous", "NULL", "n/a", " undefined ", ""])
def test_an_id_that_means_nobody_is_not_sent(identity: str) -> None:
    with pytest.raises(Unsendable, match="distinct_id"):
        mixpanel.item_of(message(user_id=None, anonymous_id=identity))


@given(st.text(max_size=60))
def test_an_insert_id_is_one_that_mixpanel_takes_and_the_same_again(message_id: str) -> None:
    made = mixpanel.insert_id(message_id)
    assert re.fullmatch(r"[A-Za-z0-9-]{1,36}", made)
    assert mixpanel.insert_id(message_id) == made


def failed(*indexes: int) -> dict[str, Any]:
    return {"code": 400, "failed_records": [{"index": n, "field": "x"} for n in indexes]}


OK, FINAL, AGAIN = Grade.ACCEPTED, Grade.FAILED_FINAL, Grade.FAILED_RETRY
ANSWERS: dict[str, tuple[int, Any, list[Grade]]] = {
    "all": (200, {"code": 200, "num_records_imported": 3}, [OK] * 3),
    "none": (200, {"code": 200, "num_records_imported": 0}, [Grade.NOOP] * 3),
    "not its words": (200, {}, [AGAIN] * 3),
    "some failed, the others are in": (400, failed(0, 2), [FINAL, OK, FINAL]),
    "nothing listed": (400, {"code": 400}, [FINAL] * 3),
    "locked": (401, {}, [Grade.AUTH_BLOCKED] * 3),
    "busy": (429, {}, [Grade.RATE_LIMITED] * 3),
}


@pytest.mark.parametrize(("status", "body", "expected"), ANSWERS.values(), ids=list(ANSWERS))
def test_an_answer_to_three_events(status: int, body: Any, expected: list[Grade]) -> None:
    response = Response(status, {}, json.dumps(body).encode())
    assert [o.grade for o in mixpanel.outcomes_of(response, [None] * 3)] == expected


def test_a_withdrawal_deletes_the_profile_and_follows_no_alias() -> None:
    request = mixpanel.suppress_request(["alice"], options())
    assert request.url == "https://api.mixpanel.com/engage?verbose=1"
    assert json.loads(request.body) == [
        {"$token": "t k", "$distinct_id": "alice", "$delete": "null", "$ignore_alias": True}
    ]


@pytest.mark.parametrize(
    ("body", "grade"),
    [
        (b'{"status":1,"error":null}', Grade.SENT_UNVERIFIABLE),  # so for unknown tokens too
        (b'{"status":0,"error":"data, missing or empty"}', Grade.FAILED_FINAL),
        (b"1", Grade.FAILED_RETRY),
    ],
)
def test_an_answer_of_engage_proves_nothing(body: bytes, grade: Grade) -> None:
    (outcome,) = mixpanel.suppress_outcomes(Response(200, {}, body), (0,))
    assert outcome.grade is grade


def test_an_erasure() -> None:
    request = mixpanel.erase_request(["alice", "anon-1"], options(compliance_type="CCPA"))
    assert request.url == "https://mixpanel.com/api/app/data-deletions/v3.0?token=t%20k"
    assert dict(request.headers)["Authorization"] == "Bearer gdpr"
    assert json.loads(request.body) == {
        "distinct_ids": ["alice", "anon-1"],
        "compliance_type": "CCPA",
    }


@pytest.mark.parametrize(
    ("state", "found"),
    [
        ("SUCCESS", Found.EQUAL),
        ("PENDING", Found.PENDING),
        ("STAGING", Found.PENDING),
        ("STARTED", Found.PENDING),
        ("FAILURE", Found.DIFFERENT),
        ("REVOKED", Found.DIFFERENT),
        ("NOT_FOUND", Found.DIFFERENT),
        ("UNKNOWN", Found.UNKNOWN),
        ("new", Found.UNKNOWN),
        (None, Found.UNKNOWN),
    ],
)
def test_the_state_of_a_task(state: object, found: Found) -> None:
    body = json.dumps({"status": "ok", "results": {"status": state}}).encode()
    assert mixpanel.read(Response(200, {}, body)).found is found
