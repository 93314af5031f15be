"""Regulations: what Segment is told, and what its streams prove."""

from __future__ import annotations

import json
from typing import Any

import pytest

from consentry.core.delivery import Grade
from consentry.core.order import Verb
from consentry.destinations import segment
from consentry.destinations.instruction import Found, Person
from consentry.destinations.message import Response
from consentry.destinations.transport import OutboundClient
from consentry.secret import Secret

from .instructions import instruction
from .wire_server import answer, serving

TYPES = {
    Verb.SUPPRESS: "SUPPRESS_ONLY",
    Verb.GRANT: "UNSUPPRESS",
    Verb.ERASE: "SUPPRESS_WITH_DELETE",
}


def options(url: str = "https://api.segmentapis.com", **more: Any) -> segment.Options:
    more.setdefault("api_token", (Secret("t0ken"),))
    return segment.Options(write_key=(Secret("wk"),), api_url=url, **more)


@pytest.mark.parametrize(("verb", "kind"), TYPES.items())
def test_a_regulation(verb: Verb, kind: str) -> None:
    request = segment.order_request(verb, ["alice", "bob"], options())
    assert (request.method, request.url) == ("POST", "https://api.segmentapis.com/regulations")
    assert dict(request.headers)["Authorization"] == "Bearer t0ken"
    assert dict(request.headers)["Accept"] == "application/vnd.segment.v1+json"
    assert json.loads(request.body) == {
        "regulationType": kind,
        "subjectType": "USER_ID",
        "subjectIds": ["alice", "bob"],
    }


def test_a_regulation_of_one_source() -> None:
    request = segment.order_request(Verb.SUPPRESS, ["alice"], options(source_id="s/1"))
    assert request.url == "https://api.segmentapis.com/regulations/sources/s%2F1"


async def obey(*people: Person, verb: Verb = Verb.SUPPRESS, **more: Any) -> list[Any]:
    """The outcomes, then the bodies that were sent."""
    orders = [instruction(verb, person=person) for person in people]
    client = OutboundClient(allow_private=True)
    async with serving(answer(200, b'{"data":{"regulateId":"reg_1"}}')) as server:
        attempted = await segment.obey(client, orders, options(server.url, **more), None)
        bodies = [json.loads(r.rpartition(b"\r\n\r\n")[2]) for r in server.requests]
    await client.close()
    return [*attempted.outcomes, *bodies]


async def test_many_people_are_one_regulation_and_the_anonymous_are_gated() -> None:
    one, two, three, body = await obey(
        Person(user_ids=("a", "b")), Person(anonymous_ids=("d",)), Person(user_ids=("c",))
    )
    assert [one.grade, two.grade, three.grade] == [Grade.ACCEPTED, Grade.GATED, Grade.ACCEPTED]
    assert (one.ref, two.ref) == ("reg_1", "")
    assert body["subjectIds"] == ["a", "b", "c"]


async def test_over_5000_ids_are_several_regulations() -> None:
    outcome, first, second = await obey(Person(user_ids=tuple(f"u{n:04}" for n in range(5001))))
    assert outcome.grade is Grade.ACCEPTED
    assert (len(first["subjectIds"]), second["subjectIds"]) == (5000, ["u5000"])


@pytest.mark.parametrize(
    ("verb", "grade"), [(Verb.SUPPRESS, Grade.GATED), (Verb.ERASE, Grade.AUTH_BLOCKED)]
)
async def test_without_a_token_nothing_is_said_and_an_erasure_stays_open(
    verb: Verb, grade: Grade
) -> None:
    (outcome,) = await obey(Person(user_ids=("a",)), verb=verb, api_token=())
    assert outcome.grade is grade
    assert "api_token" in outcome.detail


def regulation(own: str, *states: str) -> Response:
    streams = [{"id": "s", "destinationStatus": [{"name": "d", "status": s} for s in states]}]
    body = {"overallStatus": own, "streamStatus": streams if states else []}
    return Response(200, {}, json.dumps({"data": {"regulation": body}}).encode())


STATES = [
    (("FINISHED", "FINISHED", "FINISHED"), Found.EQUAL),
    (("FINISHED",), Found.EQUAL),  # a suppression has no streams
    (("FINISHED", "FINISHED", "FAILED"), Found.DIFFERENT),  # the overall flag says it is done
    (("FINISHED", "NOT_SUPPORTED"), Found.UNKNOWN),
    (("FINISHED", "RUNNING", "FAILED"), Found.PENDING),
    (("INITIALIZED",), Found.PENDING),
    (("RUNNING", "FINISHED"), Found.PENDING),
    (("PARTIAL_SUCCESS",), Found.DIFFERENT),
    (("INVALID",), Found.DIFFERENT),
    (("NOT_SUPPORTED",), Found.UNKNOWN),
    (("FINISHED", "something new"), Found.UNKNOWN),
]


@pytest.mark.parametrize(("states", "found"), STATES)
def test_the_grade_comes_from_the_streams(states: tuple[str, ...], found: Found) -> None:
    reading = segment.read(regulation(*states))
    assert reading.found is found
    if found is Found.EQUAL:
        assert reading.grade is Grade.JOB_DONE


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'{"data":{}}', b"\xff"])
def test_what_is_no_regulation_proves_nothing(body: bytes) -> None:
    response = Response(200, {}, body)
    assert segment.read(response).found is Found.UNKNOWN
    assert segment.order_outcomes(response, (0,))[0].grade is Grade.FAILED_RETRY
