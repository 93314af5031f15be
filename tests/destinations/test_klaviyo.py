"""Klaviyo: what is sent, the two calls that do more than they say, and what it tells us."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema
import pytest

from consentry.core import moment
from consentry.core.delivery import Grade
from consentry.core.order import Verb
from consentry.core.record import Node, NodeKind
from consentry.destinations import klaviyo
from consentry.destinations.http import Unsendable
from consentry.destinations.instruction import Found, Heard, InboundCall, Person, Unproven
from consentry.destinations.klaviyo_orders import Holds, Known, order_parts
from consentry.destinations.klaviyo_readings import questions_for
from consentry.destinations.klaviyo_wire import is_suppressed
from consentry.destinations.message import Request
from consentry.destinations.obeying import Part
from consentry.destinations.transport import OutboundClient
from tests.destinations.crm import NEWS, TEXTS, UNKNOWN_TOPIC, klaviyo_options, order
from tests.destinations.instructions import ALICE
from tests.destinations.messages import track
from tests.running import StandIn, stand_in

NOW = datetime(2026, 11, 22, 10, 5, tzinfo=UTC)
SECRET = "klaviyo-webhook-secret"
ALICES = "alice@example.com"


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

PROFILES = {
    "type": "object",
    "required": ["data"],
    "properties": {
        "data": {
            "type": "array",
            "minItems": 1,
            "maxItems": 100,
            "items": {
                "type": "object",
                "required": ["type", "attributes"],
                "properties": {"type": {"const": "profile"}, "attributes": {"type": "object"}},
            },
        }
    },
}


def job(kind: str, attributes: dict[str, Any], *required: str) -> dict[str, Any]:
    data = {
        "type": "object",
        "required": ["type", "attributes"],
        "additionalProperties": False,
        "properties": {
            "type": {"const": kind},
            "attributes": {"type": "object", "required": list(required), "properties": attributes},
            "relationships": {"type": "object", "required": ["list"]},
        },
    }
    return {
        "type": "object",
        "required": ["data"],
        "additionalProperties": False,
        "properties": {"data": data},
    }


CARD = {
    "/api/events": job(
        "event",
        {
            "properties": {"type": "object", "maxProperties": 400},
            "time": {"type": "string", "format": "date-time"},
            "unique_id": {"type": "string"},
            "metric": {"type": "object", "required": ["data"]},
            "profile": {"type": "object", "required": ["data"]},
        },
        "properties",
        "metric",
        "profile",
    ),
    "/api/profile-import": job("profile", {"properties": {"type": "object"}}),
    "/api/profile-subscription-bulk-create-jobs": job(
        "profile-subscription-bulk-create-job", {"profiles": PROFILES}, "profiles"
    ),
    "/api/profile-subscription-bulk-delete-jobs": job(
        "profile-subscription-bulk-delete-job", {"profiles": PROFILES}, "profiles"
    ),
    "/api/profile-suppression-bulk-create-jobs": job(
        "profile-suppression-bulk-create-job", {"profiles": PROFILES}, "profiles"
    ),
    "/api/profile-suppression-bulk-delete-jobs": job(
        "profile-suppression-bulk-delete-job", {"profiles": PROFILES}, "profiles"
    ),
    "/api/data-privacy-deletion-jobs": job(
        "data-privacy-deletion-job", {"profile": {"type": "object"}}, "profile"
    ),
}
ON_ALL = Known({("email", "L1"): Holds(frozenset({ALICES})), ("sms", "L2"): Holds()})
ON_ALL = Known({**ON_ALL.on_list, ("sms", "L2"): Holds(frozenset(ALICE.phones))})


def requests_of(*orders: Any, known: Known = ON_ALL, **options: Any) -> list[Request]:
    parts = order_parts(list(orders), klaviyo_options(**options), known)
    return [part.request for part in parts if isinstance(part, Part)]


def every_request() -> list[Request]:
    verbs = (Verb.SUPPRESS, Verb.GRANT, Verb.ERASE)
    made = [
        request
        for verb in verbs
        for topics in ((), NEWS, TEXTS)
        for request in requests_of(order(verb, topics))
    ]
    identify = track("m-2", user_id="alice")
    identify = type(identify)(
        "m-2",
        "identify",
        "anon-1",
        "alice",
        identify.timestamp,
        identify.received_at,
        {"type": "identify", "traits": {"email": ALICES, "plan": "gold"}},
        {},
    )
    made += [
        klaviyo.request_for([message], klaviyo_options(), NOW)
        for message in (track("m-1", user_id="alice"), identify)
    ]
    return made


def test_every_request_is_as_the_card_says() -> None:
    paths = set()
    for request in every_request():
        assert request.method == "POST"
        headers = dict(request.headers)
        assert headers["Authorization"] == "Klaviyo-API-Key pk_1"
        assert headers["revision"] == "2026-10-15"
        assert headers["Content-Type"] == "application/vnd.api+json"
        path = urlsplit(request.url).path
        jsonschema.validate(json.loads(request.body), CARD[path])
        paths.add(path)
    assert paths == set(CARD)


def test_a_question_asks_about_at_most_a_page_and_changes_nothing() -> None:
    (asked,) = questions_for(order(Verb.SUPPRESS, NEWS), klaviyo_options())
    assert asked.request.method == "GET"
    query = parse_qs(urlsplit(asked.request.url).query)
    assert query["filter"] == ['any(email,["alice@example.com"])']
    assert query["page[size]"] == ["100"]


def test_an_event_without_a_name_or_a_zone_is_not_sent() -> None:
    for message in (track("m", event=" "), track("m", user_id="u")):
        if message.body["event"] != " ":
            message = type(message)(
                "m", "track", None, "u", "2026-11-22T10:00:00", "", dict(message.body), {}
            )
        with pytest.raises(Unsendable):
            klaviyo.request_for([message], klaviyo_options(), NOW)


def test_a_hundred_and_one_addresses_are_two_jobs() -> None:
    orders = [
        order(Verb.SUPPRESS, person=Person(emails=tuple(f"{n}-{m}@x.example" for m in range(3))))
        for n in range(40)
    ]
    parts = order_parts(orders, klaviyo_options(), Known())
    sizes = [
        len(json.loads(part.request.body)["data"]["attributes"]["profiles"]["data"])
        for part in parts
        if isinstance(part, Part)
    ]
    assert sizes == [100, 20]
    assert {place for part in parts for place in part.whose or ()} == set(range(40))


def test_a_deletion_names_exactly_one_identifier() -> None:
    for request in requests_of(order(Verb.ERASE)):
        profile = json.loads(request.body)["data"]["attributes"]["profile"]["data"]
        assert len(profile["attributes"]) == 1


def test_a_person_who_is_nobody_there_is_gated() -> None:
    for verb in (Verb.SUPPRESS, Verb.GRANT, Verb.ERASE):
        assert requests_of(order(verb, person=Person(user_ids=("alice",)))) == []


# The traps, on the wire


class There:
    """An account of its own in the stand-in."""

    def __init__(self, running: StandIn, client: OutboundClient, name: str, **more: Any) -> None:
        self.running, self.client = running, client
        self.options = klaviyo_options(f"{running.base}/klaviyo/{name}", **more)
        self.name = name

    async def obey(self, verb: Verb, topics: Any = (), **more: Any) -> Grade:
        asked = order(verb, topics, **more)
        attempted = await klaviyo.obey(self.client, [asked], self.options, None)
        return attempted.outcomes[0].grade

    async def read(self, verb: Verb, topics: Any = ()) -> Found:
        return (await klaviyo.read_back(self.client, order(verb, topics), self.options, "")).found

    def paths(self) -> list[str]:
        prefix = f"/klaviyo/{self.name}/api/"
        found = [e["path"] for e in self.running.journal("klaviyo") if prefix in e["path"]]
        return [path.removeprefix(prefix) for path in found]


async def test_unsubscribing_from_a_list_one_is_not_on_would_be_global_so_it_is_not_sent(
    running: StandIn, client: OutboundClient
) -> None:
    there = There(running, client, "trap-1", lists={"news:email": "L1", "offers:email": "L9"})
    assert await there.obey(Verb.GRANT, (("offers", "email"),)) is Grade.ACCEPTED
    assert await there.obey(Verb.SUPPRESS, NEWS) is Grade.NOOP
    assert await there.read(Verb.GRANT, (("offers", "email"),)) is Found.EQUAL
    assert await there.read(Verb.SUPPRESS) is Found.DIFFERENT, "and may still be mailed"
    assert "profile-subscription-bulk-delete-jobs" not in there.paths()


async def test_the_stand_in_is_as_cruel_as_the_vendor(
    running: StandIn, client: OutboundClient
) -> None:
    """Else the test above could not fail."""
    there = There(running, client, "trap-2", lists={"news:email": "L1", "offers:email": "L9"})
    await there.obey(Verb.GRANT, (("offers", "email"),))
    believed = Known({("email", "L1"): Holds(frozenset({ALICES}))})
    (part,) = order_parts([order(Verb.SUPPRESS, NEWS)], there.options, believed)
    assert isinstance(part, Part)
    assert (await client.send(part.request)).status == 202
    assert await there.read(Verb.SUPPRESS) is Found.EQUAL, "unsubscribed from everything"


async def test_a_list_that_cannot_be_asked_is_not_told(
    running: StandIn, client: OutboundClient
) -> None:
    there = There(running, client, "trap-3")
    await there.obey(Verb.GRANT, NEWS)
    running.mode("klaviyo", "5xx", count=1)
    assert await there.obey(Verb.SUPPRESS, NEWS) is Grade.FAILED_RETRY
    assert there.paths().count("profile-subscription-bulk-delete-jobs") == 0
    running.mode("klaviyo", "ok")


@pytest.mark.parametrize("resubscribe", [False, True])
async def test_subscribing_lifts_opt_outs_so_who_is_suppressed_is_not_subscribed(
    running: StandIn, client: OutboundClient, resubscribe: bool
) -> None:
    there = There(running, client, f"trap-4{resubscribe}", resubscribe=resubscribe)
    await there.obey(Verb.SUPPRESS)
    granted = await there.obey(Verb.GRANT, NEWS)
    assert granted is (Grade.ACCEPTED if resubscribe else Grade.GATED)
    still = await there.read(Verb.SUPPRESS)
    assert still is (Found.DIFFERENT if resubscribe else Found.EQUAL)


async def test_a_whole_grant_lifts_our_suppression_and_subscribes_nobody(
    running: StandIn, client: OutboundClient
) -> None:
    there = There(running, client, "whole")
    await there.obey(Verb.GRANT, NEWS)
    await there.obey(Verb.SUPPRESS, NEWS)
    await there.obey(Verb.SUPPRESS)
    assert await there.obey(Verb.GRANT) is Grade.ACCEPTED
    assert await there.read(Verb.GRANT) is Found.EQUAL
    assert await there.read(Verb.SUPPRESS, NEWS) is Found.EQUAL


async def test_a_topic_without_a_list_is_gated_and_says_where_to_add_it(
    running: StandIn, client: OutboundClient
) -> None:
    there = There(running, client, "no-id")
    asked = order(Verb.SUPPRESS, UNKNOWN_TOPIC)
    (outcome,) = (await klaviyo.obey(client, [asked], there.options, None)).outcomes
    assert outcome.grade is Grade.GATED
    assert '"club:email"' in outcome.detail
    assert "lists" in outcome.detail


async def test_many_orders_of_one_kind_are_one_request(
    running: StandIn, client: OutboundClient
) -> None:
    there = There(running, client, "many")
    people = [Person(emails=(f"p{n}@example.com",)) for n in range(50)]
    orders = [order(Verb.SUPPRESS, person=person) for person in people]
    attempted = await klaviyo.obey(client, orders, there.options, None)
    assert [o.grade for o in attempted.outcomes] == [Grade.ACCEPTED] * 50
    assert there.paths() == ["profile-suppression-bulk-create-jobs"]


@pytest.mark.parametrize("topics", [(), TEXTS], ids=["whole", "topic"])
async def test_a_number_that_klaviyo_cannot_read_fails_nobody_elses_order(
    running: StandIn, client: OutboundClient, topics: Any
) -> None:
    there = There(running, client, f"spoiled-{len(topics)}")
    numbers = [f"+491511234567{n}" for n in range(7)]
    for number in numbers:
        await there.obey(Verb.GRANT, TEXTS, person=Person(phones=(number,)))
    people = [Person(phones=(number,)) for number in numbers]
    people.insert(3, Person(phones=("01511234567",)))  # as somebody wrote it, without a country
    orders = [order(Verb.SUPPRESS, topics, person=person) for person in people]
    attempted = await klaviyo.obey(client, orders, there.options, None)
    expected = [Grade.ACCEPTED] * 8
    expected[3] = Grade.FAILED_FINAL
    assert [o.grade for o in attempted.outcomes] == expected
    for person in people[:3] + people[4:]:
        asked = order(Verb.SUPPRESS, topics, person=person)
        assert (await klaviyo.read_back(client, asked, there.options, "")).found is Found.EQUAL


async def test_a_withdrawal_is_not_confirmed_while_texts_may_still_be_sent(
    running: StandIn, client: OutboundClient
) -> None:
    there = There(running, client, "texts")
    await there.obey(Verb.GRANT, TEXTS)
    assert await there.obey(Verb.SUPPRESS) is Grade.ACCEPTED
    assert await there.read(Verb.SUPPRESS) is Found.EQUAL
    await there.obey(Verb.GRANT, TEXTS)
    assert await there.read(Verb.SUPPRESS) is Found.DIFFERENT


async def test_a_job_that_is_not_done_is_pending(running: StandIn, client: OutboundClient) -> None:
    """No job of this name is known, so the difference stands; a known one is complete at once."""
    there = There(running, client, "job")
    await there.obey(Verb.GRANT, NEWS)
    reading = await klaviyo.read_back(client, order(Verb.SUPPRESS), there.options, "job-none")
    assert reading.found is Found.DIFFERENT


@pytest.mark.parametrize(
    ("profile", "suppressed"),
    [
        ({}, True),  # asked for, and not there
        ({"subscriptions": {"email": {"marketing": {"consent": "SUBSCRIBED"}}}}, False),
        ({"subscriptions": {"email": {"marketing": {"consent": "UNSUBSCRIBED"}}}}, True),
        (
            {
                "subscriptions": {
                    "email": {"marketing": {"suppression": [{"reason": "SPAM_REPORT"}]}}
                }
            },
            True,
        ),
        (
            {
                "subscriptions": {
                    "email": {"marketing": {"suppression": [{"reason": "HARD_BOUNCE"}]}}
                }
            },
            False,
        ),
    ],
)
def test_who_would_lose_an_opt_out_is_suppressed(profile: Any, suppressed: bool) -> None:
    assert is_suppressed(profile) is suppressed


# What it tells us


def call(body: bytes, **changes: str) -> InboundCall:
    stated = "1795341600"
    signature = hmac.new(SECRET.encode(), body + stated.encode(), hashlib.sha256).hexdigest()
    headers = {"klaviyo-signature": signature, "klaviyo-timestamp": stated}
    now = moment.from_datetime(NOW)
    return InboundCall("POST", "https://us.example/in", headers | changes, body, now)


def told(topic: str, **attributes: Any) -> dict[str, Any]:
    profile = {"type": "profile", "id": "01H", "attributes": attributes}
    event = {"type": "event", "attributes": {"datetime": "2026-11-22T10:00:00+00:00"}}
    return {
        "external_id": f"ev-{topic}",
        "topic": f"event:klaviyo.{topic}",
        "payload": {"data": event, "included": [{"type": "metric"}, profile]},
    }


def test_an_unsubscription_there_is_heard() -> None:
    items = [
        told("unsubscribed_from_email_marketing", email="Alice@Example.com"),
        told("unsubscribed_from_sms_marketing", phone_number="+4915112345678"),
        told("subscribed_to_email_marketing", email=ALICES),
        told("opened_email", email=ALICES),
        told("marked_email_as_spam", external_id="alice"),
        told("unsubscribed_from_email_marketing"),
        told("manually_suppressed_from_email_marketing", email=ALICES, external_id="alice"),
    ]
    body = json.dumps({"data": items, "meta": {}}).encode()
    at = moment.parse("2026-11-22T10:00:00Z")
    address, number = Node(NodeKind.EMAIL, ALICES), Node(NodeKind.PHONE, "+4915112345678")
    account = Node(NodeKind.ACCOUNT, "alice")
    assert klaviyo.hear(call(body), klaviyo_options()) == tuple(
        Heard(node, denied, said, f"ev-{said}", at, channels=(channel,))
        for node, denied, said, channel in (
            (address, True, "unsubscribed_from_email_marketing", "email"),
            (number, True, "unsubscribed_from_sms_marketing", "sms"),
            (address, False, "subscribed_to_email_marketing", "email"),
            (account, True, "marked_email_as_spam", "email"),
            (account, True, "manually_suppressed_from_email_marketing", "email"),
            (address, True, "manually_suppressed_from_email_marketing", "email"),
        )
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"klaviyo-signature": "0" * 64},
        {"klaviyo-signature": ""},
        {"klaviyo-timestamp": "1795341601"},
        {"klaviyo-timestamp": ""},
    ],
)
def test_a_call_that_is_not_signed_is_not_believed(changes: dict[str, str]) -> None:
    with pytest.raises(Unproven):
        klaviyo.hear(call(b'{"data":[]}', **changes), klaviyo_options())


def test_without_a_secret_nothing_is_believed() -> None:
    with pytest.raises(Unproven):
        klaviyo.hear(call(b'{"data":[]}'), klaviyo_options(webhook_secret=()))


def test_what_cannot_be_read_is_not_believed() -> None:
    with pytest.raises(Unproven):
        klaviyo.hear(call(b"<html>"), klaviyo_options())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"lists": {"news:fax": "L"}}, "lists"),
        ({"revision": "latest"}, "revision"),
        ({"base_url": "https://x.example/?a=b"}, "base_url"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(changes: dict[str, Any], says: str) -> None:
    base = changes.pop("base_url", "https://a.klaviyo.com")
    with pytest.raises(ValueError, match=says):
        klaviyo_options(base, **changes)
