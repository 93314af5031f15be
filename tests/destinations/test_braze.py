"""Braze: what is sent, a 201 that is no success, and what Currents tells us."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest

from consentry.core import moment
from consentry.core.delivery import Grade
from consentry.core.order import Verb
from consentry.core.record import Node, NodeKind
from consentry.destinations import braze
from consentry.destinations.braze_orders import (
    order_parts,
    outcome_of_deletion,
    outcome_of_message,
)
from consentry.destinations.instruction import Found, Heard, InboundCall, Person, Unproven
from consentry.destinations.message import Message, Response
from consentry.destinations.obeying import Part
from consentry.destinations.transport import OutboundClient
from tests.destinations.crm import NEWS, PUSH, TEXTS, UNKNOWN_TOPIC, braze_options, event, order
from tests.destinations.messages import track
from tests.running import StandIn, stand_in

NOW = datetime(2026, 11, 22, 10, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def running() -> Iterator[StandIn]:
    with stand_in() as found:
        yield found


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    client = OutboundClient(allow_private=True)
    yield client
    await client.close()


# The card, as schemas

TEXTS_50 = {"type": "array", "minItems": 1, "maxItems": 50, "items": {"type": "string"}}
GROUP = {
    "type": "object",
    "additionalProperties": False,
    "required": ["subscription_group_id", "subscription_state"],
    "properties": {
        "subscription_group_id": {"type": "string"},
        "subscription_state": {"enum": ["subscribed", "unsubscribed"]},
        "external_ids": TEXTS_50,
        "emails": TEXTS_50,
        "phones": TEXTS_50,
    },
    "minProperties": 3,
    "not": {"required": ["emails", "phones"]},
}
TRACKED = {"type": "array", "maxItems": 75, "items": {"type": "object"}}
CARD: dict[str, Any] = {
    "/users/track": {
        "type": "object",
        "additionalProperties": False,
        "minProperties": 1,
        "properties": {"events": TRACKED, "attributes": TRACKED},
    },
    "/email/status": {
        "type": "object",
        "additionalProperties": False,
        "required": ["email", "subscription_state"],
        "properties": {
            "email": TEXTS_50,
            "subscription_state": {"enum": ["subscribed", "unsubscribed", "opted_in"]},
        },
    },
    "/v2/subscription/status/set": {
        "type": "object",
        "additionalProperties": False,
        "required": ["subscription_groups"],
        "properties": {"subscription_groups": {"type": "array", "minItems": 1, "items": GROUP}},
    },
    "/users/delete": {
        "type": "object",
        "additionalProperties": False,
        "minProperties": 1,
        "properties": {
            "external_ids": TEXTS_50,
            "email_addresses": {
                "type": "array",
                "maxItems": 50,
                "items": {"type": "object", "required": ["email", "prioritization"]},
            },
        },
    },
}


def identify(**traits: Any) -> Message:
    made = track("m-2")
    body = {"type": "identify", "traits": traits}
    return Message("m-2", "identify", "anon-1", "alice", made.timestamp, "", body, {})


def test_every_request_is_as_the_card_says() -> None:
    made = [
        part.request
        for verb in (Verb.SUPPRESS, Verb.GRANT, Verb.ERASE)
        for topics in ((), NEWS, TEXTS, PUSH)
        for part in order_parts([order(verb, topics)], braze_options(resubscribe=True))
        if isinstance(part, Part)
    ]
    messages = [track("m-1", user_id="alice"), identify(email="alice@example.com")]
    made.append(braze.request_for(messages, braze_options(), NOW))
    for request in made:
        assert request.method == "POST"
        assert dict(request.headers)["Authorization"] == "Bearer braze-key"
        jsonschema.validate(json.loads(request.body), CARD[urlsplit(request.url).path])
    assert {urlsplit(request.url).path for request in made} == set(CARD)


def test_events_and_profiles_go_in_one_request() -> None:
    messages = [
        track("m-1", user_id="alice", properties={"value": 3}),
        identify(email="Alice@Example.com", plan="gold"),
        track("m-3", anonymous_id="anon-9"),
    ]
    body = json.loads(braze.request_for(messages, braze_options(), NOW).body)
    assert body["attributes"] == [
        {"email": "alice@example.com", "plan": "gold", "external_id": "alice"}
    ]
    first, second = body["events"]
    assert first["external_id"] == "alice"
    assert first["properties"] == {"value": 3}
    assert second["user_alias"] == {"alias_name": "anon-9", "alias_label": "anonymous_id"}


# What a 201 means

ANSWERS: dict[str, tuple[dict[str, Any], list[Grade]]] = {
    "all taken": ({"message": "success", "events_processed": 2}, [Grade.ACCEPTED] * 3),
    "no success": ({"message": "Valid data must be provided"}, [Grade.FAILED_FINAL] * 3),
    "one of them": (
        {"message": "success", "errors": [{"type": "x", "input_array": "events", "index": 1}]},
        [Grade.ACCEPTED, Grade.ACCEPTED, Grade.FAILED_FINAL],
    ),
    "the profile": (
        {"message": "success", "errors": [{"type": "x", "input_array": "attributes", "index": 0}]},
        [Grade.ACCEPTED, Grade.FAILED_FINAL, Grade.ACCEPTED],
    ),
    "errors that name none": (
        {"message": "success", "errors": ["minor"]},
        [Grade.FAILED_FINAL] * 3,
    ),
    "nothing processed": (
        {"message": "success", "events_processed": 0, "attributes_processed": 0},
        [Grade.NOOP] * 3,
    ),
    "another body": ({"status": "ok"}, [Grade.FAILED_RETRY] * 3),
}


@pytest.mark.parametrize(("body", "grades"), ANSWERS.values(), ids=list(ANSWERS))
def test_a_201_is_no_success_by_itself(body: dict[str, Any], grades: list[Grade]) -> None:
    messages = [track("m-1"), identify(), track("m-3")]
    outcomes = braze.outcomes_of(Response(201, {}, json.dumps(body).encode()), messages)
    assert [outcome.grade for outcome in outcomes] == grades


def test_an_order_is_not_obeyed_by_a_201_without_success() -> None:
    refused = Response(201, {}, b'{"message":"some identifiers are invalid"}')
    assert outcome_of_message(refused).grade is Grade.FAILED_FINAL
    partly = Response(201, {}, b'{"message":"success","errors":["one was left out"]}')
    assert outcome_of_message(partly).grade is Grade.FAILED_FINAL


def test_a_deletion_that_deleted_nobody_is_a_noop() -> None:
    nobody = Response(201, {}, b'{"deleted":0,"message":"success"}')
    assert outcome_of_deletion(nobody).grade is Grade.NOOP
    assert outcome_of_deletion(nobody, further=True).grade is Grade.ACCEPTED
    for body in (b'{"deleted":true}', b'{"deleted":"1"}', b"[]"):
        assert outcome_of_deletion(Response(201, {}, body)).grade is Grade.FAILED_RETRY


def test_braze_has_its_own_name_for_how_long_to_wait() -> None:
    busy = Response(429, {"x-ratelimit-retry-after": "9"}, b"{}")
    both = Response(429, {"x-ratelimit-retry-after": "9", "retry-after": "3"}, b"{}")
    for read in (
        outcome_of_message,
        outcome_of_deletion,
        lambda response: braze.outcomes_of(response, [track("m")])[0],
    ):
        assert (read(busy).grade, read(busy).retry_after_s) == (Grade.RATE_LIMITED, 9)
        assert read(both).retry_after_s == 3


# On the wire


async def test_orders_know_people_by_account_address_and_number(
    running: StandIn, client: OutboundClient
) -> None:
    options = braze_options(f"{running.base}/braze/people")
    people = [
        Person(user_ids=("u1",)),
        Person(emails=("a@example.com",)),
        Person(phones=("+491511111111",)),
        Person(anonymous_ids=("d",)),
    ]
    orders = [order(Verb.SUPPRESS, TEXTS, person=person) for person in people]
    outcomes = (await braze.obey(client, orders, options, None)).outcomes
    assert [o.grade for o in outcomes] == [
        Grade.ACCEPTED,
        Grade.GATED,  # an address is in no SMS group
        Grade.ACCEPTED,
        Grade.GATED,
    ]


@pytest.mark.parametrize("topics", [(), TEXTS], ids=["whole", "topic"])
async def test_a_number_that_braze_cannot_read_fails_nobody_elses_order(
    running: StandIn, client: OutboundClient, topics: Any
) -> None:
    options = braze_options(f"{running.base}/braze/spoiled-{len(topics)}")
    people = [Person(phones=(f"+491511111111{n}",)) for n in range(7)]
    people.insert(3, Person(phones=("01511111111",)))  # as somebody wrote it, without a country
    orders = [order(Verb.SUPPRESS, topics, person=person) for person in people]
    outcomes = (await braze.obey(client, orders, options, None)).outcomes
    expected = [Grade.ACCEPTED] * 8
    expected[3] = Grade.FAILED_FINAL
    assert [o.grade for o in outcomes] == expected
    for person in people[:3] + people[4:]:
        asked = order(Verb.SUPPRESS, TEXTS, person=person)
        assert (await braze.read_back(client, asked, options, "")).found is Found.EQUAL


async def test_a_withdrawal_is_not_confirmed_while_texts_may_still_be_sent(
    running: StandIn, client: OutboundClient
) -> None:
    options = braze_options(f"{running.base}/braze/texts")
    await braze.send(client, [event()], options, None)
    await braze.obey(client, [order(Verb.GRANT, TEXTS)], options, None)
    withdrawn = order(Verb.SUPPRESS)
    assert (await braze.obey(client, [withdrawn], options, None)).outcomes[
        0
    ].grade is Grade.ACCEPTED
    assert (await braze.read_back(client, withdrawn, options, "")).found is Found.EQUAL
    await braze.obey(client, [order(Verb.GRANT, TEXTS)], options, None)
    assert (await braze.read_back(client, withdrawn, options, "")).found is Found.DIFFERENT


async def test_a_whole_withdrawal_makes_no_profile(
    running: StandIn, client: OutboundClient
) -> None:
    options = braze_options(f"{running.base}/braze/none")
    stranger = order(Verb.SUPPRESS, person=Person(user_ids=("stranger",)))
    await braze.obey(client, [stranger], options, None)
    reading = await braze.read_back(client, stranger, options, "")
    assert reading.found is Found.UNKNOWN
    assert "no such profile" in reading.detail


async def test_a_whole_grant_lifts_nobodys_opt_out_unless_it_may(
    running: StandIn, client: OutboundClient
) -> None:
    options = braze_options(f"{running.base}/braze/lift")
    (outcome,) = (await braze.obey(client, [order(Verb.GRANT)], options, None)).outcomes
    assert outcome.grade is Grade.GATED
    assert "resubscribe" in outcome.detail
    paths = [entry["path"] for entry in running.journal("braze")]
    assert not any("/braze/lift/" in path for path in paths)


async def test_a_topic_without_a_group_is_gated(running: StandIn, client: OutboundClient) -> None:
    options = braze_options(running.base + "/braze")
    asked = [order(Verb.SUPPRESS, UNKNOWN_TOPIC)]
    (outcome,) = (await braze.obey(client, asked, options, None)).outcomes
    assert outcome.grade is Grade.GATED
    assert "groups" in outcome.detail


# What Currents tells us


def call(body: object, token: str = "Bearer currents-token") -> InboundCall:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    now = moment.from_datetime(NOW)
    return InboundCall("POST", "https://us.example/in", {"authorization": token}, raw, now)


GLOBAL = "users.behaviors.subscription.GlobalStateChange"
STATE = "users.behaviors.subscriptiongroup.StateChange"
AT = moment.parse("2026-11-22T10:00:00Z")
ALICE = Node(NodeKind.ACCOUNT, "alice")


def told(kind: str, **members: Any) -> dict[str, Any]:
    return {"event_type": kind, "id": "e-1", "time": AT // moment.SECOND} | members


BY_MAIL = {"external_user_id": "alice", "email_address": "a@example.com"}
HEARD: dict[str, tuple[dict[str, Any], Heard | None]] = {
    "all mail": (
        told(
            GLOBAL,
            user={"external_user_id": "alice"},
            properties={"channel": "email", "subscription_status": "Unsubscribed"},
        ),
        Heard(ALICE, True, "GlobalStateChange unsubscribed", "e-1", AT, channels=("email",)),
    ),
    "a group": (
        told(
            STATE,
            external_user_id="alice",
            subscription_group_id="g-mail",
            subscription_status="Unsubscribed",
        ),
        Heard(ALICE, True, "StateChange unsubscribed", "e-1", AT, topics=(("news", "email"),)),
    ),
    "a yes": (
        told(
            STATE,
            external_user_id="alice",
            subscription_group_id="g-mail",
            subscription_status="Subscribed",
        ),
        Heard(ALICE, False, "StateChange subscribed", "e-1", AT, topics=(("news", "email"),)),
    ),
    "a link in a mail": (
        told("users.messages.email.Unsubscribe", properties={"email_address": "A@Example.com"}),
        Heard(
            Node(NodeKind.EMAIL, "a@example.com"), True, "Unsubscribe", "e-1", AT,
            channels=("email",),
        ),
    ),
    "a group of somebody else's": (
        told(STATE, external_user_id="alice", subscription_group_id="g-9"),
        None,
    ),
    "a channel that is none here": (
        told(GLOBAL, external_user_id="alice", channel="whatsapp", subscription_status="Unsubscribed"),
        None,
    ),
    "nobody": (told(GLOBAL, properties={"subscription_status": "Unsubscribed"}), None),
    "another event": (told("users.messages.email.Open", external_user_id="alice"), None),
}  # fmt: skip


@pytest.mark.parametrize(("event", "heard"), HEARD.values(), ids=list(HEARD))
def test_what_currents_tells_is_heard(event: dict[str, Any], heard: Heard | None) -> None:
    found = braze.hear(call({"events": [event]}), braze_options())
    assert found == ((heard,) if heard else ())


@pytest.mark.parametrize(
    ("event", "also"),
    [
        (told("users.messages.email.Unsubscribe", **BY_MAIL), True),
        (told(STATE, subscription_group_id="g-mail", **BY_MAIL), True),
        (told(STATE, subscription_group_id="g-push", **BY_MAIL), False),
        (told(GLOBAL, channel="push", **BY_MAIL), False),
    ],
)
def test_what_was_said_of_mail_is_said_of_the_address_too(
    event: dict[str, Any], also: bool
) -> None:
    found = [heard.node for heard in braze.hear(call({"events": [event]}), braze_options())]
    assert found == [ALICE, Node(NodeKind.EMAIL, "a@example.com")][: 1 + also]


@pytest.mark.parametrize("token", ["Bearer other", "Basic currents-token", "currents-token", ""])
def test_a_call_without_the_token_is_not_believed(token: str) -> None:
    with pytest.raises(Unproven):
        braze.hear(call({"events": []}, token), braze_options())


def test_without_a_token_of_ours_nothing_is_believed() -> None:
    with pytest.raises(Unproven):
        braze.hear(call({"events": []}, "Bearer "), braze_options(webhook_token=()))


def test_what_cannot_be_read_is_not_believed() -> None:
    with pytest.raises(Unproven):
        braze.hear(call(b"<"), braze_options())
