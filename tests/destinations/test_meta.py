"""Meta: what is sent, what would fail a whole request, and errors by their code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consentry.core.delivery import Grade
from consentry.core.order import Verb
from consentry.destinations import meta, named
from consentry.destinations.http import Unsendable
from consentry.destinations.instruction import Person
from consentry.destinations.message import Message, Response
from consentry.destinations.steps import Spoiled
from consentry.destinations.transport import OutboundClient
from consentry.secret import Secret

from .instructions import ALICE, instruction
from .vendors import event
from .wire_server import answer, message, serving

NOW = datetime(2026, 11, 22, 10, 5, tzinfo=UTC)
HASH = named.sha256


def options(url: str = "https://graph.facebook.com", **more: Any) -> meta.Options:
    return meta.Options(dataset_id="77", access_token=(Secret("t0ken"),), base_url=url, **more)


def person(**body: Any) -> Message:
    context = {"page": {"url": "https://shop.example/?fbclid=c1"}, "userAgent": "UA", "ip": "::1"}
    traits = {"email": " Alice@Example.com", "phone": "+49 151 1"}
    return message(body={"context": context, "traits": traits, **body})


def test_an_event() -> None:
    product = {"product_id": "p1", "price": 9.5, "quantity": 2}
    bought = {"order_id": "o1", "revenue": 19, "currency": "eur", "products": [product]}
    sent = person(event="Order Completed", properties=bought)
    request = meta.request_for([sent], options(test_event_code="T1"), NOW)
    assert request.url == "https://graph.facebook.com/v25.0/77/events"
    assert dict(request.headers)["Authorization"] == "Bearer t0ken"  # not in the URL
    body = json.loads(request.body)
    assert body["test_event_code"] == "T1"
    (item,) = body["data"]
    assert item == {
        "event_name": "Purchase",
        "event_time": 1_795_341_600,
        "event_id": "m-1",
        "action_source": "website",
        "event_source_url": "https://shop.example/?fbclid=c1",
        "user_data": {
            "em": [HASH("alice@example.com")],
            "ph": [HASH("491511")],
            "external_id": [HASH("user-1"), HASH("anon-1")],
            "client_ip_address": "::1",
            "client_user_agent": "UA",
            "fbc": "fb.1.1795341600000.c1",
        },
        "custom_data": {
            "value": 19,
            "currency": "EUR",
            "order_id": "o1",
            "content_type": "product",
            "content_ids": ["p1"],
            "contents": [{"id": "p1", "item_price": 9.5, "quantity": 2}],
        },
    }


def test_a_website_event_needs_the_browsers_name() -> None:
    item = meta.item_of(person(context={"page": {"url": "https://shop.example/"}}), NOW)
    assert item["action_source"] == "other"
    assert "event_source_url" not in item


def test_an_event_about_nobody_is_not_sent() -> None:
    with pytest.raises(Unsendable, match="user_data"):
        meta.item_of(message(user_id=None, anonymous_id=None, body={"context": {}}), NOW)


@pytest.mark.parametrize(("age", "sent"), [(timedelta(days=7), True), (timedelta(days=8), False)])
def test_an_event_older_than_seven_days_would_fail_the_whole_request(
    age: timedelta, sent: bool
) -> None:
    if sent:
        meta.item_of(message(), NOW - timedelta(minutes=5) + age)
    else:
        with pytest.raises(Unsendable, match="seven days"):
            meta.item_of(message(), NOW + age)


async def test_the_old_one_is_final_and_the_others_go() -> None:
    old = event("old", made=-60 * 86_400)
    client = OutboundClient(allow_private=True)
    async with serving(answer(200, b'{"events_received":2}')) as server:
        attempted = await meta.send(
            client, [event("a"), old, event("b")], options(server.url), None
        )
        sent = json.loads(server.requests[0].rpartition(b"\r\n\r\n")[2])["data"]
    await client.close()
    assert [o.grade for o in attempted.outcomes] == [
        Grade.ACCEPTED,
        Grade.FAILED_FINAL,
        Grade.ACCEPTED,
    ]
    assert [item["event_id"] for item in sent] == ["a", "b"]


def error(code: int, status: int = 400) -> Response:
    return Response(status, {}, json.dumps({"error": {"code": code, "message": "m"}}).encode())


CODES: dict[Grade, tuple[int, ...]] = {
    Grade.AUTH_BLOCKED: (190, 102),
    Grade.FAILED_FINAL: (3, 100, 105, 200, 294, 2650, 2655, 1487301, 1487366),
    Grade.FAILED_RETRY: (1, 2, 341, 368, 5000, 21009),
    Grade.RATE_LIMITED: (4, 17, 80003),
}


@pytest.mark.parametrize(
    ("grade", "code"), [(g, code) for g, many in CODES.items() for code in many]
)
@pytest.mark.parametrize("status", [400, 500])
def test_an_error_is_read_by_its_code_and_not_by_its_status(
    grade: Grade, code: int, status: int
) -> None:
    read = error(code, status)
    for (outcome,) in (meta.outcomes_of(read, (0,)), meta.order_outcomes(read, (0,), 1)):
        assert outcome.grade is grade
        assert outcome.pause == (grade is Grade.AUTH_BLOCKED)


@pytest.mark.parametrize(
    ("status", "grade"),
    [(200, Grade.FAILED_RETRY), (400, Grade.FAILED_FINAL), (503, Grade.FAILED_RETRY)],
)
def test_an_unknown_code_is_read_by_its_status_and_never_a_success(
    status: int, grade: Grade
) -> None:
    assert meta.outcomes_of(error(424242, status), (0,))[0].grade is grade


def test_one_bad_event_of_several_is_looked_for() -> None:
    for response in (error(100), Response(200, {}, b'{"events_received":1}')):
        with pytest.raises(Spoiled):
            meta.outcomes_of(response, (0, 1))


# Withdrawals


def test_a_withdrawal_is_about_every_audience_of_the_account() -> None:
    assert meta.places(options(ad_account="act_5", audience_ids=("6",))) == [
        "act_5/usersofanyaudience",
        "6/users",
    ]
    assert meta.places(options(ad_account="5")) == ["act_5/usersofanyaudience"]


def test_one_identifier_a_row_and_nothing_for_a_number_without_digits() -> None:
    who = Person((), ("alice",), ("Alice@example.com",), ("none", "+49 151 1", "0151 123"))
    request = meta.order_request(list(meta.rows_of(who)), "act_5/usersofanyaudience", options())
    assert (request.method, request.url) == (
        "DELETE",
        "https://graph.facebook.com/v25.0/act_5/usersofanyaudience",
    )
    assert json.loads(request.body) == {
        "payload": {
            "schema": ["EXTERN_ID", "EMAIL", "PHONE"],
            "data": [
                ["alice", "", ""],
                ["", HASH("alice@example.com"), ""],
                ["", "", HASH("491511")],
            ],
        }
    }


TAKEN: list[tuple[dict[str, int], Grade]] = [
    ({"num_received": 2, "num_invalid_entries": 0}, Grade.ACCEPTED),
    ({"num_received": 2, "num_invalid_entries": 1}, Grade.NOOP),
    ({"num_received": 1, "num_invalid_entries": 0}, Grade.NOOP),  # of two rows of one person
    ({"num_received": 0, "num_invalid_entries": 0}, Grade.NOOP),
    ({}, Grade.FAILED_RETRY),
]


@pytest.mark.parametrize(("body", "grade"), TAKEN)
def test_an_invalid_row_did_nothing(body: dict[str, int], grade: Grade) -> None:
    response = Response(200, {}, json.dumps(body).encode())
    assert meta.order_outcomes(response, (0,), 2)[0].grade is grade


async def orders(people: Sequence[Person], *bodies: Any, **more: Any) -> list[Grade]:
    client = OutboundClient(allow_private=True)
    answers = [answer(200, json.dumps(body).encode()) for body in bodies]
    async with serving(*answers) as server:
        attempted = await meta.obey(
            client,
            [instruction(person=who) for who in people],
            options(server.url, **more),
            None,
        )
        assert len(server.requests) == len(bodies)
    await client.close()
    return [outcome.grade for outcome in attempted.outcomes]


async def test_whose_row_was_invalid_is_found_out() -> None:
    good: dict[str, int] = {"num_received": 1, "num_invalid_entries": 0}
    bad = {"num_received": 1, "num_invalid_entries": 1}
    both = {"num_received": 2, "num_invalid_entries": 1}
    people = [Person(emails=("a@x.example",)), Person(emails=("b@x.example",))]
    found = await orders(people, both, good, bad, ad_account="1")
    assert found == [Grade.ACCEPTED, Grade.NOOP]


async def test_all_audiences_are_asked_and_the_worst_counts() -> None:
    good = {"num_received": 3, "num_invalid_entries": 0}
    failed = {"error": {"code": 100}}
    assert await orders([ALICE], good, failed, good, audience_ids=("1", "2", "3")) == [
        Grade.FAILED_FINAL
    ]


async def test_without_an_account_it_is_gated() -> None:
    client = OutboundClient(allow_private=True)
    for verb in (Verb.SUPPRESS, Verb.GRANT):
        attempted = await meta.obey(client, [instruction(verb)], options(), None)
        assert attempted.outcomes[0].grade is Grade.GATED
    await client.close()
