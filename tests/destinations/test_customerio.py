"""Customer.io: what is sent, who comes back after a deletion, and its reporting webhooks."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64decode
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
from consentry.destinations import customerio
from consentry.destinations.customerio import order_parts, outcome_of_entity
from consentry.destinations.http import Unsendable
from consentry.destinations.instruction import Heard, InboundCall, Person, Unproven
from consentry.destinations.message import Message, Request, Response
from consentry.destinations.obeying import Part
from consentry.destinations.transport import OutboundClient
from tests.destinations.crm import (
    NEWS,
    PUSH,
    UNKNOWN_TOPIC,
    customerio_options,
    event,
    order,
)
from tests.destinations.messages import track
from tests.running import StandIn, call, stand_in

NOW = datetime(2026, 11, 22, 10, 5, tzinfo=UTC)
KEY = "cio-signing-key"


@pytest.fixture(scope="module")
def running() -> Iterator[StandIn]:
    with stand_in() as found:
        yield found


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    client = OutboundClient(allow_private=True)
    yield client
    await client.close()


ENTITY = {
    "type": "object",
    "additionalProperties": False,
    "required": ["type", "action", "identifiers"],
    "properties": {
        "type": {"const": "person"},
        "action": {"enum": ["event", "page", "screen", "identify", "suppress"]},
        "identifiers": {
            "type": "object",
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
            "properties": {"id": {"type": "string"}, "email": {"type": "string"}},
        },
        "name": {"type": "string", "minLength": 1},
        "attributes": {"type": "object"},
        "timestamp": {"type": "integer"},
    },
}


def requests_of(verb: Verb, topics: Any = (), **options: Any) -> list[Request]:
    parts = order_parts([order(verb, topics)], customerio_options(**options))
    return [part.request for part in parts if isinstance(part, Part)]


def of_type(kind: str, **members: Any) -> Message:
    made = track("m-2")
    body = {"type": kind, **members}
    return Message("m-2", kind, "anon-1", "alice", made.timestamp, "", body, {})


EVENTS = {
    "event": event(),
    "page": of_type("page", properties={"url": "https://shop.example/film"}),
    "screen": of_type("screen", name="Film"),
    "identify": of_type("identify", traits={"email": "Alice@example.com", "plan": "gold"}),
}


def test_every_request_is_as_the_card_says() -> None:
    made = [
        request
        for verb in (Verb.SUPPRESS, Verb.GRANT, Verb.ERASE)
        for topics in ((), NEWS, PUSH)
        for request in requests_of(verb, topics, resubscribe=True)
    ]
    for action, message in EVENTS.items():
        request = customerio.request_for([message], customerio_options(), NOW)
        assert json.loads(request.body)["action"] == action
        made.append(request)
    for request in made:
        assert (request.method, urlsplit(request.url).path) == ("POST", "/api/v2/entity")
        credentials = dict(request.headers)["Authorization"].removeprefix("Basic ")
        assert b64decode(credentials) == b"site:cio-key"
        jsonschema.validate(json.loads(request.body), ENTITY)


def test_an_event_that_names_nobody_or_is_too_large_is_not_sent() -> None:
    nobody = track("m-1")
    large = event(properties={"text": "x" * 33_000})
    for message, says in ((nobody, "neither"), (large, "over"), (of_type("page"), "page")):
        with pytest.raises(Unsendable, match=says):
            customerio.request_for([message], customerio_options(), NOW)


def test_one_topic_leaves_the_others_as_they_are_and_nobody_is_made() -> None:
    for verb, flag in ((Verb.SUPPRESS, False), (Verb.GRANT, True)):
        for request in requests_of(verb, NEWS):
            attributes = json.loads(request.body)["attributes"]
            assert attributes == {
                "cio_subscription_preferences.topics.topic_7": flag,
                "_update": True,
            }


@pytest.mark.parametrize(
    ("status", "body", "grade"),
    [
        (200, b"{}", Grade.ACCEPTED),
        (207, b'{"errors":[{"batch_index":0,"reason":"x"}]}', Grade.FAILED_FINAL),
        (200, b'{"errors":[{"reason":"x"}]}', Grade.FAILED_FINAL),
        (200, b"[]", Grade.FAILED_RETRY),
        (204, b"", Grade.FAILED_RETRY),
    ],
)
def test_what_an_answer_means(status: int, body: bytes, grade: Grade) -> None:
    assert outcome_of_entity(Response(status, {}, body)).grade is grade


# The trap: who is only deleted comes back


def state(running: StandIn, instance: str) -> dict[str, Any]:
    found: dict[str, Any] = call(
        running.base, "GET", f"/_ctl/customerio/state?instance={instance}"
    ).json["persons"]
    return found


@pytest.mark.parametrize("action", ["delete", "suppress"])
async def test_who_is_deleted_alone_comes_back_and_who_is_suppressed_does_not(
    running: StandIn, client: OutboundClient, action: str
) -> None:
    instance = f"back-{action}"
    options = customerio_options(f"{running.base}/customerio/{instance}")
    await customerio.send(client, [event("m-1")], options, None)
    if action == "suppress":
        asked = [order(Verb.ERASE)]
        (outcome,) = (await customerio.obey(client, asked, options, None)).outcomes
        assert outcome.grade is Grade.ACCEPTED
    else:  # what the connector never sends
        (erasing, *_) = requests_of(Verb.ERASE, base=options.base_url)
        body = erasing.body.replace(b'"suppress"', b'"delete"')
        await client.send(Request("POST", erasing.url, erasing.headers, body))
    await customerio.send(client, [event("m-2")], options, None)
    events = [each["eventCount"] for each in state(running, instance).values()]
    assert events == ([0] if action == "suppress" else [1])


async def test_a_withdrawal_makes_nobody(running: StandIn, client: OutboundClient) -> None:
    options = customerio_options(f"{running.base}/customerio/nobody")
    for topics in ((), NEWS):
        await customerio.obey(client, [order(Verb.SUPPRESS, topics)], options, None)
    assert state(running, "nobody") == {}


async def test_what_it_holds_after_each_order(running: StandIn, client: OutboundClient) -> None:
    options = customerio_options(f"{running.base}/customerio/holds", resubscribe=True)
    await customerio.send(client, [event()], options, None)
    topic = "cio_subscription_preferences.topics.topic_7"
    for asked, name, value in (
        (order(Verb.SUPPRESS), "unsubscribed", True),
        (order(Verb.SUPPRESS, NEWS), topic, False),
        (order(Verb.GRANT), "unsubscribed", False),
        (order(Verb.GRANT, NEWS), topic, True),
    ):
        await customerio.obey(client, [asked], options, None)
        assert state(running, "holds")["alice"]["consent"][name] is value


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (order(Verb.GRANT), "resubscribe"),
        (order(Verb.SUPPRESS, UNKNOWN_TOPIC), "topic_ids"),
        (order(Verb.SUPPRESS, person=Person(phones=("+1",))), "nobody"),
    ],
)
async def test_what_cannot_be_told_is_gated_aloud(
    client: OutboundClient, asked: Any, says: str
) -> None:
    options = customerio_options("http://127.0.0.1:1")
    (outcome,) = (await customerio.obey(client, [asked], options, None)).outcomes
    assert outcome.grade is Grade.GATED
    assert says in outcome.detail


# What Customer.io tells us

ACCOUNT = Node(NodeKind.ACCOUNT, "42")


def told(kind: str, metric: str, **data: Any) -> dict[str, Any]:
    identifiers = {"id": "42", "email": "test@example.com", "cio_id": "d9c1"}
    held = {"customer_id": "42", "identifiers": identifiers} | data
    base = {"event_id": "01E4", "object_type": kind, "metric": metric, "timestamp": 1_613_063_089}
    return base | {"data": held}


def inbound(body: object, **changes: str) -> InboundCall:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    stamp = "1795341600"
    signature = hmac.new(KEY.encode(), f"v0:{stamp}:".encode() + raw, hashlib.sha256).hexdigest()
    headers = {"x-cio-signature": signature, "x-cio-timestamp": stamp} | changes
    return InboundCall("POST", "https://u.example/", headers, raw, moment.from_datetime(NOW))


AT = 1_613_063_089 * moment.SECOND
ADDRESS = Node(NodeKind.EMAIL, "test@example.com")


def both(*what: Any, **more: Any) -> list[Heard]:
    """Said of the account, and of the address: one may be all that another system knows."""
    return [Heard(node, *what, **more) for node in (ACCOUNT, ADDRESS)]


CHANGED = "cio_subscription_preferences_changed"
HEARD: dict[str, tuple[dict[str, Any], list[Heard]]] = {
    "everything": (
        told("customer", "unsubscribed"),
        both(True, "unsubscribed", "01E4", AT),
    ),
    "a yes": (
        told("customer", "subscribed"),
        both(False, "subscribed", "01E4", AT),
    ),
    "spam": (
        told("email", "spammed"),
        both(True, "spammed", "01E4", AT, channels=("email",)),
    ),
    "by address": (
        told("email", "unsubscribed", identifiers={"email": "Test@example.com"}),
        [Heard(ADDRESS, True, "unsubscribed", "01E4", AT, channels=("email",))],
    ),
    "topics": (
        told("customer", CHANGED, content='{"topics":{"topic_7":false,"topic_9":true}}'),
        both(True, "topic_7", "01E4-7", AT, NEWS),
    ),
    "topics as an object": (
        told("customer", CHANGED, content={"topics": {"topic_8": True}}),
        [Heard(ACCOUNT, False, "topic_8", "01E4-8", AT, PUSH)],
    ),
    "topics that cannot be read": (told("customer", CHANGED, content="<"), []),
    "another metric": (told("email", "opened"), []),
    "nobody": (told("customer", "unsubscribed", identifiers={}), []),
}


@pytest.mark.parametrize(("body", "heard"), HEARD.values(), ids=list(HEARD))
def test_what_it_tells_is_heard(body: dict[str, Any], heard: list[Heard]) -> None:
    assert list(customerio.hear(inbound(body), customerio_options())) == heard


@pytest.mark.parametrize(
    "changes",
    [
        {"x-cio-signature": "00"},
        {"x-cio-signature": ""},
        {"x-cio-timestamp": "1795341601"},
        {"x-cio-timestamp": ""},
    ],
)
def test_a_call_that_is_not_signed_is_not_believed(changes: dict[str, str]) -> None:
    with pytest.raises(Unproven):
        customerio.hear(inbound({}, **changes), customerio_options())


def test_without_a_key_nothing_is_believed() -> None:
    with pytest.raises(Unproven):
        customerio.hear(inbound({}), customerio_options(signing_key=()))
    with pytest.raises(Unproven):
        customerio.hear(inbound(b"<"), customerio_options())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"topic_ids": {"news:email": "topic_7"}}, "topic_ids"),
        ({"topic_ids": {"news:post": "7"}}, "topic_ids"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=rf"^{says}: "):
        customerio_options(**changes)
