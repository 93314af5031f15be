"""Requests that carry many: what is sent again, and what a last look stops."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Sequence

import pytest

from consentry.core.delivery import Grade, Outcome
from consentry.destinations.batches import rows_each, rows_in, send_rows
from consentry.destinations.http import Unsendable
from consentry.destinations.message import LastLookRefused, Request, Response
from consentry.destinations.steps import Spoiled, follow
from consentry.destinations.transport import OutboundClient

from .wire_server import answer, reset, serving


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    client = OutboundClient(allow_private=True)
    yield client
    await client.close()


def post(url: str, rows: Sequence[object]) -> Request:
    return Request("POST", url, (), json.dumps(list(rows)).encode())


def by_status(response: Response, whom: tuple[int, ...]) -> tuple[Outcome, ...]:
    grade = Grade.ACCEPTED if response.status == 200 else Grade.FAILED_FINAL
    return (Outcome(grade, response.status),) * len(whom)


def spoiling(response: Response, whom: tuple[int, ...]) -> tuple[Outcome, ...]:
    if response.status != 200 and len(whom) > 1:
        raise Spoiled
    return by_status(response, whom)


def of_all(*bodies: bytes) -> str:
    lines = "\n".join(hashlib.sha256(body).hexdigest() for body in bodies)
    return hashlib.sha256(lines.encode()).hexdigest()


async def test_a_person_with_two_rows_is_as_good_as_the_worse_one(client: OutboundClient) -> None:
    async with serving(answer(200, b"1"), answer(400, b"2")) as server:
        steps = rows_in([(0, "a"), (2, "b")], 1, lambda rows: post(server.url, rows), by_status)
        steps += rows_in([(0, "c")], 1, lambda rows: post(server.url, rows), by_status)
        attempted = await follow(client, 3, steps, None)
    assert [o.grade for o in attempted.outcomes] == [
        Grade.FAILED_FINAL,
        Grade.GATED,
        Grade.FAILED_FINAL,
    ]
    assert attempted.request_digest == of_all(b'["a"]', b'["b"]', b'["c"]')
    assert attempted.response_digest == of_all(b"1", b"2", b"2")


async def test_the_row_that_spoils_a_request_is_found_and_the_others_go(
    client: OutboundClient,
) -> None:
    no, yes = answer(400), answer(200)
    async with serving(no, yes, no, no, yes) as server:  # abcd, ab, cd, c, d
        attempted = await send_rows(
            client, list("abcd"), str, 10, lambda r: post(server.url, r), spoiling, None
        )
        bodies = [request.rpartition(b"\r\n\r\n")[2] for request in server.requests]
    assert bodies == [b'["a", "b", "c", "d"]', b'["a", "b"]', b'["c", "d"]', b'["c"]', b'["d"]']
    assert [o.grade is Grade.ACCEPTED for o in attempted.outcomes] == [True, True, False, True]


async def test_what_cannot_be_said_is_final_and_the_others_go(client: OutboundClient) -> None:
    def row(text: str) -> str:
        if text == "b":
            raise Unsendable("b: not that")
        return text

    async with serving(answer(200)) as server:
        attempted = await send_rows(
            client, list("abc"), row, 10, lambda r: post(server.url, r), by_status, None
        )
        assert server.requests[0].endswith(b'["a", "c"]')
    assert [o.grade for o in attempted.outcomes] == [
        Grade.ACCEPTED,
        Grade.FAILED_FINAL,
        Grade.ACCEPTED,
    ]
    assert attempted.outcomes[1].detail == "b: not that"


async def test_a_no_before_the_first_byte_sends_nothing(client: OutboundClient) -> None:
    def refuse() -> None:
        raise LastLookRefused

    async with serving(answer(200)) as server:
        with pytest.raises(LastLookRefused):
            await send_rows(client, ["a"], str, 1, lambda r: post(server.url, r), by_status, refuse)
        await server.all_ended()
        assert server.received == b""


async def test_a_no_in_the_middle_leaves_the_rest_to_the_next_attempt(
    client: OutboundClient,
) -> None:
    looks = iter([None, LastLookRefused()])

    def look() -> None:
        if (refusal := next(looks)) is not None:
            raise refusal

    async with serving(answer(200)) as server:
        attempted = await send_rows(
            client, ["a", "b"], str, 1, lambda r: post(server.url, r), by_status, look
        )
        assert len(server.requests) == 1
    assert [o.grade for o in attempted.outcomes] == [Grade.ACCEPTED, Grade.FAILED_RETRY]


async def test_without_an_answer_everything_else_is_sent_all_the_same(
    client: OutboundClient,
) -> None:
    async with serving(reset, answer(200)) as server:
        attempted = await send_rows(
            client, ["a", "b"], str, 1, lambda r: post(server.url, r), by_status, None
        )
    assert [o.grade for o in attempted.outcomes] == [Grade.FAILED_RETRY, Grade.ACCEPTED]


async def test_a_row_that_cannot_be_written_takes_nobody_with_it(client: OutboundClient) -> None:
    def request(rows: Sequence[str]) -> Request:
        if "d" in rows:
            raise Unsendable("not that")
        return post(server.url, rows)

    async with serving(answer(200)) as server:
        rows = list(enumerate("abcde"))
        for steps in (
            rows_in(rows, 10, request, by_status),
            rows_each(rows, 10, request, lambda response, row: by_status(response, (0,))[0]),
        ):
            attempted = await follow(client, 5, steps, None)
            grades = [outcome.grade for outcome in attempted.outcomes]
            assert grades.pop(3) is Grade.FAILED_FINAL
            assert grades == [Grade.ACCEPTED] * 4
