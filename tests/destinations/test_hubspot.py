"""HubSpot: what is sent, a 200 in which nothing happened, and what it tells us."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
from hubspot.utils.signature import Signature

from consentry.core import moment
from consentry.core.delivery import Grade
from consentry.core.order import Verb
from consentry.core.record import Node, NodeKind
from consentry.destinations import hubspot
from consentry.destinations.http import Unsendable
from consentry.destinations.hubspot_orders import order_parts, outcome_of_statuses
from consentry.destinations.instruction import Found, Heard, InboundCall, Person, Unproven
from consentry.destinations.message import Response
from consentry.destinations.obeying import Part
from consentry.destinations.transport import OutboundClient
from tests.destinations.crm import NEWS, UNKNOWN_TOPIC, event, hubspot_options, order
from tests.running import StandIn, stand_in

NOW = datetime(2026, 11, 22, 10, 5, tzinfo=UTC)
SECRET = "hubspot-client-secret"


@pytest.fixture(scope="module")
def running() -> Iterator[StandIn]:
    with stand_in() as found:
        yield found


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    client = OutboundClient(allow_private=True)
    yield client
    await client.close()


def schema(required: list[str], **properties: Any) -> dict[str, Any]:
    kind = {"type": "object", "additionalProperties": False, "required": required}
    return kind | {"properties": properties}


TEXT = {"type": "string", "minLength": 1}
WHO = "/communication-preferences/v4/statuses/alice%40example.com"
CARD = {
    "/events/v3/send": schema(
        ["eventName", "email"],
        eventName={"type": "string", "pattern": r"^pe\d+_[a-z0-9_]+$"},
        email=TEXT,
        properties={"type": "object", "additionalProperties": {"type": "string"}},
        occurredAt={"type": "string", "format": "date-time"},
        uuid={"type": "string", "pattern": "^[0-9a-f-]{36}$"},
    ),
    WHO: schema(
        ["subscriptionId", "channel", "statusState"],
        subscriptionId={"type": "integer"},
        channel={"const": "EMAIL"},
        statusState={"enum": ["SUBSCRIBED", "UNSUBSCRIBED"]},
        legalBasis={"const": "CONSENT_WITH_NOTICE"},
        legalBasisExplanation=TEXT,
    ),
    "/crm/v3/objects/contacts/gdpr-delete": schema(
        ["objectId"], objectId=TEXT, idProperty={"const": "email"}
    ),
}


def test_every_request_is_as_the_card_says() -> None:
    made = [
        part.request
        for verb in (Verb.SUPPRESS, Verb.GRANT, Verb.ERASE)
        for topics in ((), NEWS)
        for part in order_parts([order(verb, topics)], hubspot_options())
        if isinstance(part, Part)
    ]
    made.append(hubspot.request_for([event()], hubspot_options(), NOW))
    seen = set()
    for request in made:
        assert request.method == "POST"
        assert dict(request.headers)["Authorization"] == "Bearer pat-1"
        url = urlsplit(request.url)
        seen.add(url.path)
        if url.path.endswith("/unsubscribe-all"):  # without verbose the answer would be empty
            assert (url.query, request.body) == ("channel=EMAIL&verbose=true", b"")
        else:
            jsonschema.validate(json.loads(request.body), CARD[url.path])
    assert seen == {*CARD, f"{WHO}/unsubscribe-all"}


def test_an_event_says_values_as_texts_under_plain_names() -> None:
    message = event(
        "6f1c1d2e-0000-4000-8000-000000000001",
        event="Order Completed!",
        properties={"Total Value": 3.5, "gift": True, "items": [1], "?": "x"},
    )
    body = json.loads(hubspot.request_for([message], hubspot_options(), NOW).body)
    assert body["eventName"] == "pe123_order_completed"
    assert body["properties"] == {"total_value": "3.5", "gift": "true", "value": "3"}
    assert body["uuid"] == "6f1c1d2e-0000-4000-8000-000000000001"
    other = [hubspot.request_for([event("m-1")], hubspot_options(), NOW).body for _ in range(2)]
    assert json.loads(other[0])["uuid"] == json.loads(other[1])["uuid"]


def test_an_event_without_an_address_is_not_sent() -> None:
    with pytest.raises(Unsendable, match="address"):
        hubspot.request_for([event(properties={"email": None})], hubspot_options(), NOW)


ANSWERS: dict[str, tuple[int, Any, Grade]] = {
    "done": (200, {"results": [{"status": "UNSUBSCRIBED"}]}, Grade.ACCEPTED),
    "200 and nothing happened": (200, {"status": "COMPLETE", "results": []}, Grade.NOOP),
    "207 and nothing happened": (207, {"results": []}, Grade.NOOP),
    "207 with errors": (
        207,
        {"results": [], "numErrors": 1, "errors": [{"message": "x"}]},
        Grade.FAILED_FINAL,
    ),
    "another state": (200, {"results": [{"status": "SUBSCRIBED"}]}, Grade.FAILED_FINAL),
    "a state nobody knows": (200, {"results": [{"status": "x\ny"}]}, Grade.FAILED_FINAL),
    "no object": (200, [], Grade.FAILED_RETRY),
    "204": (204, {}, Grade.FAILED_RETRY),
}


@pytest.mark.parametrize(("status", "body", "grade"), ANSWERS.values(), ids=list(ANSWERS))
def test_a_success_without_a_result_is_none(status: int, body: Any, grade: Grade) -> None:
    raw = json.dumps(body).encode()
    outcome = outcome_of_statuses("UNSUBSCRIBED", Response(status, {}, raw))
    assert outcome.grade is grade
    assert outcome.detail.isprintable()


async def test_an_opt_out_of_all_mail_is_lifted_by_nobody(
    running: StandIn, client: OutboundClient
) -> None:
    options = hubspot_options(f"{running.base}/hubspot/all")
    await hubspot.obey(client, [order(Verb.SUPPRESS)], options, None)
    (whole,) = (await hubspot.obey(client, [order(Verb.GRANT)], options, None)).outcomes
    assert whole.grade is Grade.GATED
    (topic,) = (await hubspot.obey(client, [order(Verb.GRANT, NEWS)], options, None)).outcomes
    assert topic.grade is Grade.FAILED_FINAL
    reading = await hubspot.read_back(client, order(Verb.SUPPRESS), options, "")
    assert reading.found is Found.EQUAL


async def test_an_unknown_address_is_erased_all_the_same(
    running: StandIn, client: OutboundClient
) -> None:
    """HubSpot then blocks the address, which is what an erasure wants."""
    options = hubspot_options(f"{running.base}/hubspot/unknown")
    (outcome,) = (await hubspot.obey(client, [order(Verb.ERASE)], options, None)).outcomes
    assert outcome.grade is Grade.ACCEPTED
    found = await hubspot.read_back(client, order(Verb.ERASE), options, "")
    assert found.found is Found.EQUAL


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (order(Verb.SUPPRESS, UNKNOWN_TOPIC), "subscriptions"),
        (order(Verb.SUPPRESS, person=Person(user_ids=("u",))), "nobody"),
    ],
)
async def test_what_cannot_be_told_is_gated_aloud(
    client: OutboundClient, asked: Any, says: str
) -> None:
    options = hubspot_options("http://127.0.0.1:1")
    (outcome,) = (await hubspot.obey(client, [asked], options, None)).outcomes
    assert outcome.grade is Grade.GATED
    assert says in outcome.detail


# What HubSpot tells us: signed by its own SDK

URL = "https://us.example/v1/inbound/hubspot?from=a%40b"
DECODED = "https://us.example/v1/inbound/hubspot?from=a@b"


def call(body: object, *, age_s: int = 0, signed_url: str = DECODED, **headers: str) -> InboundCall:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    stated = str(int((NOW.timestamp() - age_s) * 1000))
    signature = Signature.get_signature(SECRET, raw.decode(), "v3", signed_url, "POST", stated)
    given = {"x-hubspot-signature-v3": signature, "x-hubspot-request-timestamp": stated}
    return InboundCall("POST", URL, given | headers, raw, moment.from_datetime(NOW))


ADDRESS = Node(NodeKind.EMAIL, "alice@example.com")


def heard(body: object, **changes: Any) -> list[tuple[bool, str, Any, Any]]:
    found = hubspot.hear(call(body, **changes), hubspot_options())
    assert all(isinstance(each, Heard) and each.node == ADDRESS for each in found)
    assert len({each.event_id for each in found}) == len(found)
    return [(each.denied, each.said, each.topics, each.channels) for each in found]


def test_a_workflow_tells_of_opt_outs() -> None:
    flat = {"email": "Alice@example.com", "hs_email_optout": "true"}
    assert heard(flat) == [(True, "hs_email_optout true", (), ("email",))]
    name = "hs_email_optout_39644612"
    legacy = {"vid": 1, "properties": {"email": {"value": ADDRESS.value}, name: {"value": "true"}}}
    assert heard(legacy) == [(True, f"{name} true", NEWS, ())]
    yes = {"email": ADDRESS.value, name: False}
    assert heard(yes) == [(False, f"{name} false", NEWS, ())]


@pytest.mark.parametrize(
    "body",
    [
        {"email": "alice@example.com", "hs_email_optout_1": "true"},
        {"email": "alice@example.com", "hs_email_optout": "perhaps"},
        {"hs_email_optout": "true"},
        [{"subscriptionType": "contact.propertyChange", "objectId": 1, "propertyValue": "true"}],
    ],
)
def test_what_names_nobody_or_nothing_is_not_heard(body: Any) -> None:
    assert heard(body) == []


def test_the_url_may_be_signed_as_it_is() -> None:
    assert heard({"email": ADDRESS.value, "hs_email_optout": "true"}, signed_url=URL)


@pytest.mark.parametrize(
    "changes",
    [
        {"age_s": 301},
        {"age_s": -301},
        {"signed_url": "https://elsewhere.example/"},
        {"x-hubspot-signature-v3": "AAAA"},
        {"x-hubspot-request-timestamp": "soon"},
        {"x-hubspot-signature-v3": ""},
    ],
)
def test_a_call_that_is_not_signed_or_old_is_not_believed(changes: dict[str, Any]) -> None:
    with pytest.raises(Unproven):
        hubspot.hear(call({"email": "a@b.example"}, **changes), hubspot_options())


def test_without_a_secret_nothing_is_believed() -> None:
    with pytest.raises(Unproven):
        hubspot.hear(call({}), hubspot_options(client_secret=()))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"portal_id": "pe1"}, "portal_id"),
        ({"subscriptions": {"news:email": "news"}}, "subscriptions"),
        ({"subscriptions": {"news:sms": "1"}}, "subscriptions"),
        ({"legal_basis": "BECAUSE"}, "legal_basis"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=rf"^{says}: "):
        hubspot_options(**changes)
