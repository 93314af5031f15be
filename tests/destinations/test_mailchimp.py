"""Mailchimp: what is sent, the compliance state, nobody deleted by mistake, and its webhooks."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

import jsonschema
import pytest

from consentry.core import moment
from consentry.core.delivery import Grade
from consentry.core.order import Verb
from consentry.core.record import Node, NodeKind
from consentry.destinations import mailchimp
from consentry.destinations.http import Unsendable
from consentry.destinations.instruction import Found, Heard, InboundCall, Person, Unproven
from consentry.destinations.mailchimp_orders import order_parts, outcome_of_status_change
from consentry.destinations.message import Response
from consentry.destinations.obeying import Part
from consentry.destinations.transport import OutboundClient
from consentry.secret import Secret
from tests.destinations.crm import DEALS, NEWS, UNKNOWN_TOPIC, event, mailchimp_options, order
from tests.running import StandIn, stand_in

NOW = datetime(2026, 11, 22, 10, 5, tzinfo=UTC)
HASH = hashlib.md5(b"alice@example.com").hexdigest()
LEFT = Person(emails=("left-alice@example.com",))


@pytest.fixture(scope="module")
def running() -> Iterator[StandIn]:
    with stand_in() as found:
        yield found


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    client = OutboundClient(allow_private=True)
    yield client
    await client.close()


STATUS = {"enum": ["subscribed", "unsubscribed", "pending"]}
MEMBER = {
    "type": "object",
    "additionalProperties": False,
    "minProperties": 1,
    "properties": {
        "email_address": {"type": "string"},
        "status_if_new": {"const": "subscribed"},
        "status": STATUS,
        "interests": {"type": "object", "additionalProperties": {"type": "boolean"}},
    },
}
EVENT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Za-z0-9_-]{2,30}$"},
        "properties": {"type": "object", "additionalProperties": {"type": "string"}},
        "occurred_at": {"type": "string", "format": "date-time"},
    },
}


def requests_of(verb: Verb, topics: Any = (), **options: Any) -> list[Any]:
    parts = order_parts([order(verb, topics)], mailchimp_options(**options))
    return [part.request for part in parts if isinstance(part, Part)]


def test_every_request_is_as_the_card_says() -> None:
    made = [
        request
        for verb in (Verb.SUPPRESS, Verb.GRANT, Verb.ERASE)
        for topics in ((), NEWS, DEALS)
        for request in requests_of(verb, topics, resubscribe=True)
    ]
    made.append(mailchimp.request_for([event()], mailchimp_options(), NOW))
    for request in made:
        scheme, _, credentials = dict(request.headers)["Authorization"].partition(" ")
        assert (scheme, b64decode(credentials)) == ("Basic", b"consentry:key-us1")
        path = urlsplit(request.url).path
        assert path.startswith(("/3.0/lists/A0/members/", "/3.0/lists/A1/members/"))
        assert path.split("/")[5] == HASH
        body = json.loads(request.body) if request.body else None
        if path.endswith("/events"):
            jsonschema.validate(body, EVENT)
        elif path.endswith("/actions/delete-permanent"):
            assert (request.method, body) == ("POST", None)
        else:
            assert request.method in ("PATCH", "PUT")
            jsonschema.validate(body, MEMBER)
            if request.method == "PUT":
                assert {"email_address", "status_if_new"} <= set(body)


def test_nobody_is_deleted_where_an_opt_out_is_meant() -> None:
    """A member that is deleted takes the opt-out along."""
    for verb in (Verb.SUPPRESS, Verb.GRANT):
        for topics in ((), NEWS, DEALS):
            for request in requests_of(verb, topics, resubscribe=True):
                assert request.method != "DELETE"
                assert "delete" not in request.url
    assert {request.method for request in requests_of(Verb.ERASE)} == {"POST"}


def test_a_whole_withdrawal_is_for_every_audience_that_is_named() -> None:
    urls = [request.url for request in requests_of(Verb.SUPPRESS)]
    assert [url.split("/")[5] for url in urls] == ["A0", "A1"]


def test_the_data_centre_is_in_the_key() -> None:
    options = mailchimp_options(None)
    request = mailchimp.request_for([event()], options, NOW)
    assert request.url.startswith("https://us1.api.mailchimp.com/3.0/lists/A0/")


def test_an_event_that_cannot_be_named_or_names_nobody_is_not_sent() -> None:
    for message in (event(event="!"), event(properties={"email": "nobody"})):
        with pytest.raises(Unsendable):
            mailchimp.request_for([message], mailchimp_options(), NOW)
    long = event(event="A very long name of an event, with words")
    body = json.loads(mailchimp.request_for([long], mailchimp_options(), NOW).body)
    assert body["name"] == "A_very_long_name_of_an_event_w"


ANSWERS: dict[str, tuple[int, Any, Grade]] = {
    "done": (200, {"status": "unsubscribed"}, Grade.ACCEPTED),
    "as it was": (200, {"status": "subscribed"}, Grade.NOOP),
    "no member": (404, {"title": "Resource Not Found"}, Grade.NOOP),
    "gone for good": (400, {"title": "Forgotten Email Not Subscribed"}, Grade.FAILED_FINAL),
    "another problem": (400, {"title": "Invalid Resource"}, Grade.FAILED_FINAL),
    "no status": (200, {"id": "x"}, Grade.FAILED_RETRY),
    "no object": (200, [], Grade.FAILED_RETRY),
}


@pytest.mark.parametrize(("status", "body", "grade"), ANSWERS.values(), ids=list(ANSWERS))
def test_what_an_answer_means(status: int, body: Any, grade: Grade) -> None:
    response = Response(status, {}, json.dumps(body).encode())
    assert outcome_of_status_change("unsubscribed", response).grade is grade


# On the wire


async def test_who_left_by_themselves_is_asked_and_not_subscribed(
    running: StandIn, client: OutboundClient
) -> None:
    options = mailchimp_options(f"{running.base}/mailchimp/left")
    asked = order(Verb.GRANT, NEWS, person=LEFT)
    (outcome,) = (await mailchimp.obey(client, [asked], options, None)).outcomes
    assert outcome.grade is Grade.NOOP, "no member yet: there is nobody to be set to pending"
    joined = {"email_address": LEFT.emails[0], "status_if_new": "unsubscribed"}
    (part,) = order_parts([asked], options)
    assert isinstance(part, Part)
    request = part.request
    body = json.dumps(joined).encode()
    seeded = type(request)(request.method, request.url, request.headers, body)
    assert (await client.send(seeded)).status == 200
    (outcome,) = (await mailchimp.obey(client, [asked], options, None)).outcomes
    assert (outcome.grade, outcome.detail) == (
        Grade.ACCEPTED,
        "pending: Mailchimp asks the person",
    )
    reading = await mailchimp.read_back(client, asked, options, "")
    assert reading.found is Found.PENDING


async def test_who_is_no_member_is_not_made_one_by_a_withdrawal(
    running: StandIn, client: OutboundClient
) -> None:
    options = mailchimp_options(f"{running.base}/mailchimp/none")
    for topics in ((), NEWS, DEALS):
        asked = order(Verb.SUPPRESS, topics)
        (outcome,) = (await mailchimp.obey(client, [asked], options, None)).outcomes
        assert outcome.grade is Grade.NOOP
        assert (await mailchimp.read_back(client, asked, options, "")).found is Found.EQUAL


async def test_who_was_erased_stays_away(running: StandIn, client: OutboundClient) -> None:
    options = mailchimp_options(f"{running.base}/mailchimp/erased")
    for asked, grade in (
        (order(Verb.GRANT, NEWS), Grade.ACCEPTED),
        (order(Verb.ERASE), Grade.NOOP),  # of one of the two audiences she was no member
        (order(Verb.GRANT, NEWS), Grade.FAILED_FINAL),
    ):
        (outcome,) = (await mailchimp.obey(client, [asked], options, None)).outcomes
        assert outcome.grade is grade


async def test_a_whole_grant_subscribes_nobody_unless_it_may(client: OutboundClient) -> None:
    options = mailchimp_options("http://127.0.0.1:1")
    for asked, says in (
        (order(Verb.GRANT), "resubscribe"),
        (order(Verb.GRANT, UNKNOWN_TOPIC), "lists"),
    ):
        (outcome,) = (await mailchimp.obey(client, [asked], options, None)).outcomes
        assert outcome.grade is Grade.GATED
        assert says in outcome.detail


# What Mailchimp tells us

ADDRESS = Node(NodeKind.EMAIL, "api+unsub@mailchimp.com")


def call(kind: str = "unsubscribe", audience: str = "A1", **changes: Any) -> InboundCall:
    form = {
        "type": kind,
        "fired_at": "2009-03-26 21:40:57",
        "data[action]": "unsub",
        "data[reason]": "manual",
        "data[id]": "8a25ff1d98",
        "data[list_id]": audience,
        "data[email]": "api+unsub@mailchimp.com",
    }
    body = changes.pop("body", urlencode(form).encode())
    url = changes.pop("url", "https://us.example/v1/inbound/mailchimp?secret=mailchimp-secret")
    method = changes.pop("method", "POST")
    return InboundCall(method, url, {}, body, moment.from_datetime(NOW))


@pytest.mark.parametrize(
    ("kind", "audience", "topics", "channels"),
    [
        ("unsubscribe", "A1", NEWS, ()),
        ("unsubscribe", "A0", (), ("email",)),
        ("subscribe", "A1", NEWS, ()),
    ],
)
def test_who_leaves_an_audience_is_heard(
    kind: str, audience: str, topics: Any, channels: Any
) -> None:
    (heard,) = mailchimp.hear(call(kind, audience), mailchimp_options())
    assert isinstance(heard, Heard)
    assert (heard.node, heard.denied) == (ADDRESS, kind == "unsubscribe")
    assert (heard.topics, heard.channels, heard.at) == (topics, channels, None)
    (again,) = mailchimp.hear(call(kind, audience), mailchimp_options())
    assert again.event_id == heard.event_id


@pytest.mark.parametrize("kind", ["profile", "cleaned", "upemail", "campaign"])
def test_other_news_is_no_choice(kind: str) -> None:
    assert mailchimp.hear(call(kind), mailchimp_options()) == ()


def test_an_audience_that_stands_for_nothing_is_not_heard() -> None:
    assert mailchimp.hear(call(audience="A9"), mailchimp_options()) == ()


def test_the_question_whether_somebody_lives_there_tells_nothing() -> None:
    asked = call(method="GET", url="https://us.example/v1/inbound/mailchimp", body=b"")
    assert mailchimp.hear(asked, mailchimp_options()) == ()


@pytest.mark.parametrize(
    "query", ["", "?secret=", "?secret=other", "?secret=a&secret=mailchimp-secret"]
)
def test_a_call_without_the_secret_is_not_believed(query: str) -> None:
    with pytest.raises(Unproven):
        mailchimp.hear(call(url="https://us.example/in" + query), mailchimp_options())


def test_without_a_secret_of_ours_nothing_is_believed() -> None:
    with pytest.raises(Unproven):
        mailchimp.hear(call(), mailchimp_options(webhook_secret=()))
    with pytest.raises(Unproven):
        mailchimp.hear(call(body=b"\xff"), mailchimp_options())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"lists": {"news:email": "A/B/C"}}, "lists"),
        ({"lists": {"news:push": "A"}}, "lists"),
        ({"base": None, "key": "no centre"}, "api_key"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(changes: dict[str, Any], says: str) -> None:
    made = {"api_key": (Secret(changes.pop("key", "k-us1")),), "audience": "A0"}
    changes.pop("base", None)
    with pytest.raises(ValueError, match=rf"^{says}: "):
        mailchimp.Options(**made | changes)
