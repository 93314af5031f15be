"""What a webhook is told of a choice, and how far its answer is believed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook

from consentry.core.delivery import Grade
from consentry.core.order import Verb
from consentry.destinations import webhook
from consentry.destinations.instruction import Person
from consentry.destinations.message import LastLookRefused
from consentry.destinations.transport import OutboundClient

from .instructions import instruction
from .test_http_destinations import KEY, NEXT_KEY, webhook_options
from .wire_server import answer, serving

TYPES = {
    Verb.SUPPRESS: "consent.withdrawn",
    Verb.GRANT: "consent.granted",
    Verb.ERASE: "subject.erase",
}


@pytest.mark.parametrize("verb", TYPES)
def test_an_order_is_signed_and_says_everything(verb: Verb) -> None:
    options = webhook_options("https://h.example/", NEXT_KEY, KEY)
    request = webhook.order_request([instruction(verb)], options, datetime.now(UTC))
    for key in (KEY, NEXT_KEY):
        told = Webhook(key).verify(request.body, dict(request.headers))
    assert told == {
        "type": TYPES[verb],
        "timestamp": "2026-11-22T10:00:00.000Z",
        "data": {
            "orderId": "ord_1",
            "recordId": "rec_1",
            "seq": 7,
            "madeAt": "2026-11-22T09:59:59.000Z",
            "subject": {
                "anonymousIds": ["anon-1"],
                "userIds": ["alice"],
                "emails": ["alice@example.com"],
                "phones": ["+4915112345678"],
            },
            "whole": True,
            "topics": [],
            "preferences": {"analytics": verb is Verb.GRANT, "advertising": False},
        },
    }


def test_what_ended_by_itself_was_withdrawn_by_nobody() -> None:
    order = replace(instruction(), expired=True)
    body = json.loads(webhook.order_request([order], webhook_options(), datetime.now(UTC)).body)
    assert body["type"] == "consent.expired"


def test_a_repetition_has_the_same_id_and_the_same_bytes() -> None:
    now = datetime.now(UTC)
    first = webhook.order_request([instruction()], webhook_options(), now)
    again = webhook.order_request([instruction()], webhook_options(), now + timedelta(hours=1))
    assert first.body == again.body
    assert dict(first.headers)["webhook-id"] == dict(again.headers)["webhook-id"] == "ord_1"


def test_an_order_about_a_topic_names_it() -> None:
    order = instruction(whole=False, topics=(("news", "email"),))
    body = json.loads(webhook.order_request([order], webhook_options(), datetime.now(UTC)).body)
    assert body["data"]["topics"] == [{"topic": "news", "channel": "email"}]
    assert body["data"]["whole"] is False


ANSWERS = {
    "applied": (200, b'{"status":"applied"}', Grade.CONFIRMED),
    "accepted": (200, b'{"status":"accepted"}', Grade.ACCEPTED),
    "noop": (200, b'{"status":"noop"}', Grade.NOOP),
    "no receipt": (204, b"", Grade.ACCEPTED),
    "broken": (500, b"", Grade.FAILED_RETRY),
    "busy": (429, b"", Grade.RATE_LIMITED),
    "locked": (401, b"", Grade.AUTH_BLOCKED),
    "refused": (400, b"", Grade.FAILED_FINAL),
    "gone": (410, b"", Grade.FAILED_FINAL),
}


@pytest.mark.parametrize(("status", "body", "grade"), ANSWERS.values(), ids=list(ANSWERS))
async def test_what_the_answer_proves(status: int, body: bytes, grade: Grade) -> None:
    client = OutboundClient(allow_private=True)
    async with serving(answer(status, body)) as server:
        attempted = await webhook.obey(client, [instruction()], webhook_options(server.url), None)
    await client.close()
    (outcome,) = attempted.outcomes
    assert outcome.grade is grade
    assert attempted.request_digest


async def test_an_order_that_no_longer_holds_is_not_sent() -> None:
    def refuse() -> None:
        raise LastLookRefused

    client = OutboundClient(allow_private=True)
    async with serving(answer(200)) as server:
        with pytest.raises(LastLookRefused):
            await webhook.obey(client, [instruction()], webhook_options(server.url), refuse)
        await server.all_ended()
        assert server.received == b""
    await client.close()


async def test_an_order_that_is_no_utf8_ends_without_a_request() -> None:
    client = OutboundClient(allow_private=True)
    order = instruction(person=Person(user_ids=("\ud800",)))
    async with serving(answer(200)) as server:
        attempted = await webhook.obey(client, [order], webhook_options(server.url), None)
        assert server.connections == 0
    await client.close()
    assert attempted.outcomes[0].grade is Grade.FAILED_FINAL
