"""Regulations of RudderStack: made, listed, cancelled."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from consentry.core.delivery import Grade
from consentry.core.order import Verb
from consentry.destinations import rudderstack
from consentry.destinations.instruction import Found, Person
from consentry.destinations.transport import OutboundClient
from consentry.secret import Secret

from .instructions import ALICE, instruction
from .wire_server import answer, serving


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    client = OutboundClient(allow_private=True)
    yield client
    await client.close()


def options(url: str = "https://api.rudderstack.com", **more: Any) -> rudderstack.Options:
    usual: dict[str, Any] = {"access_token": (Secret("t0ken"),), "destination_ids": ("d1",)}
    return rudderstack.Options(
        write_key=(Secret("wk"),), base_url="https://data.example", api_url=url, **usual | more
    )


def test_a_suppression_names_sources_and_an_erasure_destinations() -> None:
    suppress = rudderstack.order_request(Verb.SUPPRESS, ["alice"], options(source_ids=("s1",)))
    assert (suppress.method, suppress.url) == (
        "POST",
        "https://api.rudderstack.com/v2/regulations",
    )
    users = [{"userId": "alice"}]
    assert json.loads(suppress.body) == {
        "regulationType": "suppress",
        "users": users,
        "sourceIds": ["s1"],
    }
    erase = rudderstack.order_request(Verb.ERASE, ["alice"], options(source_ids=("s1",)))
    assert json.loads(erase.body) == {
        "regulationType": "suppress_with_delete",
        "users": users,
        "destinationIds": ["d1"],
    }


def regulation(number: str, user: str, **changes: Any) -> dict[str, Any]:
    usual = {"id": number, "canceled": False, "regulationType": "suppress"}
    return {**usual, "attributes": {"userId": user}, **changes}


async def test_each_user_has_a_regulation_of_their_own(client: OutboundClient) -> None:
    orders = [instruction(person=Person(user_ids=(who,))) for who in ("alice", "bob")]
    body = json.dumps([regulation("r-1", "alice")]).encode()
    async with serving(answer(201, body)) as server:
        attempted = await rudderstack.obey(client, orders, options(server.url), None)
    assert [(o.grade, o.ref) for o in attempted.outcomes] == [
        (Grade.ACCEPTED, "r-1"),
        (Grade.FAILED_RETRY, ""),  # no word of bob
    ]


def page(*rows: dict[str, Any], following: str = "") -> bytes:
    paging = {"next": f"/v2/regulations?after_cursor={following}"} if following else {}
    return answer(200, json.dumps({"data": list(rows), "paging": paging}).encode())


async def test_a_grant_cancels_what_is_in_force_on_every_page(client: OutboundClient) -> None:
    first = page(
        regulation("r-1", "alice"),
        regulation("r-2", "bob"),
        regulation("r-3", "alice", canceled=True),
        regulation("r-4", "alice", regulationType="suppress_with_delete"),
        following="c1",
    )
    async with serving(first, page(regulation("r-5", "alice")), answer(204)) as server:
        attempted = await rudderstack.obey(
            client, [instruction(Verb.GRANT)], options(server.url), None
        )
        lines = [request.partition(b" HTTP")[0] for request in server.requests]
    assert attempted.outcomes[0].grade is Grade.ACCEPTED
    assert lines == [
        b"GET /v2/regulations",
        b"GET /v2/regulations?after_cursor=c1",
        b"DELETE /v2/regulations/r-1",
        b"DELETE /v2/regulations/r-5",
    ]


async def test_a_list_without_end_is_given_up(client: OutboundClient) -> None:
    async with serving(page(following="c1")) as server:
        attempted = await rudderstack.obey(
            client, [instruction(Verb.GRANT)], options(server.url), None
        )
        assert len(server.requests) == rudderstack.MOST_PAGES
    assert attempted.outcomes[0].grade is Grade.FAILED_RETRY


@pytest.mark.parametrize(
    ("verb", "rows", "found"),
    [
        (Verb.SUPPRESS, [regulation("r-1", "alice")], Found.EQUAL),
        (Verb.SUPPRESS, [regulation("r-1", "alice", canceled=True)], Found.DIFFERENT),
        (Verb.SUPPRESS, [], Found.DIFFERENT),
        (Verb.GRANT, [], Found.EQUAL),
        (Verb.GRANT, [regulation("r-1", "alice")], Found.DIFFERENT),
    ],
)
async def test_what_the_list_shows(
    client: OutboundClient, verb: Verb, rows: list[dict[str, Any]], found: Found
) -> None:
    async with serving(page(*rows)) as server:
        reading = await rudderstack.read_back(
            client, instruction(verb, person=ALICE), options(server.url), ""
        )
    assert reading.found is found


@pytest.mark.parametrize(
    ("verb", "more", "grade"),
    [
        (Verb.SUPPRESS, {"access_token": ()}, Grade.GATED),
        (Verb.ERASE, {"access_token": ()}, Grade.AUTH_BLOCKED),
        (Verb.ERASE, {"destination_ids": ()}, Grade.AUTH_BLOCKED),
    ],
)
async def test_what_is_not_configured(
    client: OutboundClient, verb: Verb, more: dict[str, Any], grade: Grade
) -> None:
    attempted = await rudderstack.obey(client, [instruction(verb)], options(**more), None)
    assert attempted.outcomes[0].grade is grade
