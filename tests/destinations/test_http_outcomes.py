"""What a status, a header or a failed exchange means for a delivery."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.core.delivery import Grade, Outcome
from consentry.destinations.http import (
    Kind,
    TransportError,
    exchange,
    outcome_of_error,
    outcome_of_status,
    retry_after_s,
)
from consentry.destinations.message import LastLookRefused, Message, Request, Response
from consentry.destinations.transport import OutboundClient

from .wire_server import OK, message, reset, serving

DATE = "Sun, 22 Nov 2026 10:00:00 GMT"
LATER = "Sun, 22 Nov 2026 10:01:30 GMT"

BY_STATUS = {
    Grade.ACCEPTED: [200, 201, 202, 204, 299],
    Grade.FAILED_RETRY: [408, 460, 500, 502, 503, 504, 507, 520, 599],
    Grade.RATE_LIMITED: [429],
    Grade.AUTH_BLOCKED: [401, 403],
    Grade.FAILED_FINAL: [
        *(300, 301, 302, 303, 304, 307, 308),
        *(400, 402, 404, 405, 409, 410, 411, 413, 415, 422, 451, 501, 505, 511, 600, 999),
    ],
}


@pytest.mark.parametrize(
    ("status", "grade"), [(s, grade) for grade, many in BY_STATUS.items() for s in many]
)
def test_status(status: int, grade: Grade) -> None:
    outcome = outcome_of_status(status, {})
    assert (outcome.grade, outcome.status) == (grade, status)
    assert outcome.pause == (grade is Grade.AUTH_BLOCKED)


@given(st.integers(100, 999))
def test_only_a_2xx_is_a_success(status: int) -> None:
    success = outcome_of_status(status, {}).grade is Grade.ACCEPTED
    assert success == (200 <= status <= 299)


RETRY_AFTER: list[tuple[dict[str, str], float | None]] = [
    ({}, None),
    ({"retry-after": "120"}, 120),
    ({"retry-after": " 0 "}, 0),
    ({"retry-after": "86401"}, 86_400),
    ({"retry-after": "9" * 5000}, 86_400),
    ({"retry-after": "-1"}, None),
    ({"retry-after": "1.5"}, None),
    ({"retry-after": "soon"}, None),
    ({"retry-after": "\u0663"}, None),
    ({"retry-after": LATER, "date": DATE}, 90),
    ({"retry-after": DATE, "date": LATER}, 0),
    ({"retry-after": LATER}, None),
    ({"retry-after": LATER, "date": "yesterday"}, None),
    ({"retry-after": "Sun, 22 Nov 9999 10:00:00 GMT", "date": DATE}, 86_400),
    ({"retry-after": "Sun, 99 Nov 2026 10:00:00 GMT", "date": DATE}, None),
    ({"retry-after": "Sun, 22 Nov 2026 10:01:30 -0000", "date": DATE}, None),
]


@pytest.mark.parametrize(("headers", "wait_s"), RETRY_AFTER)
def test_retry_after(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after_s(headers) == wait_s
    assert outcome_of_status(429, headers) == Outcome(
        Grade.RATE_LIMITED, 429, "HTTP 429", retry_after_s=wait_s
    )
    busy = outcome_of_status(503, headers)
    assert busy.retry_after_s == wait_s
    assert busy.grade is (Grade.FAILED_RETRY if wait_s is None else Grade.RATE_LIMITED)


@given(st.text(), st.text())
def test_no_header_breaks_the_reading(later: str, date: str) -> None:
    wait_s = retry_after_s({"retry-after": later, "date": date})
    assert wait_s is None or 0 <= wait_s <= 86_400


@pytest.mark.parametrize("kind", Kind)
def test_an_error_is_tried_again_unless_we_refused(kind: Kind) -> None:
    outcome = outcome_of_error(TransportError(kind, "shop.example"))
    blocked = kind is Kind.BLOCKED
    assert outcome.grade is (Grade.FAILED_FINAL if blocked else Grade.FAILED_RETRY)
    assert outcome.pause == blocked
    assert outcome.detail == f"{kind} (shop.example)"


def by_status(response: Response, messages: Sequence[Message]) -> tuple[Outcome, ...]:
    return (outcome_of_status(response.status, response.headers),) * len(messages)


async def test_an_exchange_keeps_the_digests_of_what_went_and_came() -> None:
    client = OutboundClient(allow_private=True)
    async with serving(OK) as server:
        request = Request("POST", server.url, (), b"{}")
        attempted = await exchange(client, lambda: request, [message(), message()], by_status, None)
    await client.close()

    assert [outcome.grade for outcome in attempted.outcomes] == [Grade.ACCEPTED] * 2
    assert attempted.request_digest == hashlib.sha256(b"{}").hexdigest()
    assert attempted.response_digest == hashlib.sha256(b'{"success":true}').hexdigest()


async def test_an_exchange_without_an_answer_says_whether_it_was_written() -> None:
    client = OutboundClient(allow_private=True)
    async with serving(reset) as server:
        cut = Request("POST", server.url, (), b"{}")
        attempted = await exchange(client, lambda: cut, [message()], by_status, None)
    assert attempted.outcomes[0].grade is Grade.FAILED_RETRY
    assert attempted.request_digest == hashlib.sha256(b"{}").hexdigest()
    assert attempted.response_digest is None

    never = Request("POST", "http://169.254.169.254/", (), b"{}")
    attempted = await exchange(client, lambda: never, [message()], by_status, None)
    assert attempted.outcomes[0].grade is Grade.FAILED_FINAL
    assert attempted.request_digest is None
    await client.close()


async def test_an_exchange_lets_the_refusal_through() -> None:
    def refuse() -> None:
        raise LastLookRefused

    client = OutboundClient(allow_private=True)
    async with serving(OK) as server:
        request = Request("POST", server.url, (), b"{}")
        with pytest.raises(LastLookRefused):
            await exchange(client, lambda: request, [message()], by_status, refuse)
    await client.close()
