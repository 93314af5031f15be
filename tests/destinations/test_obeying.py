"""An order of several requests: all are sent, and the worst grade counts."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.core.delivery import Grade, Outcome
from consentry.destinations.http import outcome_of_status
from consentry.destinations.instruction import Found, Reading
from consentry.destinations.message import Attempted, LastLookRefused, Request, Response
from consentry.destinations.obeying import (
    Part,
    Question,
    Settled,
    check_topics,
    compared,
    gated,
    obey_all,
    outcome_of_answer,
    outcome_of_exactly,
    read_all,
    read_or_unknown,
    topic_ids,
    topics_of,
)
from consentry.destinations.steps import WORST_LAST, worst
from consentry.destinations.transport import OutboundClient
from consentry.ports import StoreError
from tests.destinations.instructions import instruction

from .wire_server import answer, reset, serving


def usual(response: Response) -> Outcome:
    return outcome_of_status(response.status, response.headers)


def part(url: str, body: bytes, whose: tuple[int, ...] | None = None) -> Part:
    return Part(Request("POST", url, (), body), usual, whose)


OUTCOMES = st.builds(
    Outcome,
    st.sampled_from(Grade),
    retry_after_s=st.none() | st.floats(0, 100),
    pause=st.booleans(),
    ref=st.sampled_from(("", "a", "b")),
)


@given(st.lists(OUTCOMES, min_size=1, max_size=6))
def test_the_worst_grade_counts_whatever_the_order(outcomes: list[Outcome]) -> None:
    found = worst(outcomes)
    assert set(WORST_LAST) == set(Grade)
    assert WORST_LAST.index(found.grade) == max(WORST_LAST.index(o.grade) for o in outcomes)
    assert worst(outcomes[::-1]).grade is found.grade
    assert found.pause == any(outcome.pause for outcome in outcomes)
    waits = [o.retry_after_s for o in outcomes if o.retry_after_s is not None]
    assert found.retry_after_s == max(waits, default=None)
    assert found.ref == " ".join(o.ref for o in outcomes if o.ref)


def test_what_is_tried_again_comes_before_what_failed_for_good() -> None:
    """Else the retry that would have worked is never made."""
    final, again = Outcome(Grade.FAILED_FINAL), Outcome(Grade.FAILED_RETRY)
    assert worst([final, again]).grade is Grade.FAILED_RETRY


async def test_every_part_is_sent_and_each_instruction_has_the_worst_of_its_own() -> None:
    client = OutboundClient(allow_private=True)
    async with serving(answer(500), answer(202, b"{}"), answer(404)) as server:
        parts = [
            part(server.url, b"one", (0,)),
            part(server.url, b"two"),
            part(server.url, b"three", (1,)),
            gated("no id", (2,)),
        ]
        attempted = await obey_all(client, lambda: parts, 3, None)
        assert len(server.requests) == 3
    await client.close()
    assert [o.grade for o in attempted.outcomes] == [
        Grade.FAILED_RETRY,
        Grade.FAILED_FINAL,
        Grade.GATED,
    ]
    lines = "\n".join(hashlib.sha256(b).hexdigest() for b in (b"one", b"two", b"three"))
    assert attempted.request_digest == hashlib.sha256(lines.encode()).hexdigest()
    assert attempted.response_digest == hashlib.sha256(b"{}").hexdigest()


async def test_a_part_without_an_answer_does_not_keep_the_others_back() -> None:
    client = OutboundClient(allow_private=True)
    async with serving(reset, answer(200)) as server:
        attempted = await obey_all(
            client, lambda: [part(server.url, b"1"), part(server.url, b"2")], 1, None
        )
    await client.close()
    (outcome,) = attempted.outcomes
    assert outcome.grade is Grade.FAILED_RETRY
    assert outcome.detail.endswith("(1 of 2 parts)")


async def test_an_answer_may_ask_for_another_request_which_then_counts() -> None:
    client = OutboundClient(allow_private=True)
    async with serving(answer(400), answer(200)) as server:
        following = part(server.url, b"two")
        first = Part(
            Request("POST", server.url, (), b"one"),
            usual,
            then=lambda response: following if response.status == 400 else None,
        )
        attempted = await obey_all(client, lambda: [first], 1, None)
        assert [request[-3:] for request in server.requests] == [b"one", b"two"]
    await client.close()
    assert attempted.outcomes[0].grade is Grade.ACCEPTED


async def test_an_order_that_names_nobody_is_gated_and_sends_nothing() -> None:
    client = OutboundClient(allow_private=True)
    attempted = await obey_all(client, lambda: [], 2, None)
    await client.close()
    assert [o.grade for o in attempted.outcomes] == [Grade.GATED] * 2
    assert attempted.request_digest is None


async def looked(refused_at: int, no: Exception) -> tuple[Attempted, int]:
    """Two parts, and a last look that raises before the given one."""
    looks = iter(range(2))

    def look() -> None:
        if next(looks) == refused_at:
            raise no

    client = OutboundClient(allow_private=True)
    async with serving(answer(200)) as server:
        parts = [part(server.url, b"1"), part(server.url, b"2")]
        try:
            return await obey_all(client, lambda: parts, 1, look), len(server.requests)
        finally:
            await client.close()


NOES = {"the decision has changed": LastLookRefused(), "nobody can say": StoreError("unreadable")}


@pytest.mark.parametrize("no", NOES.values(), ids=NOES.keys())
async def test_a_no_before_the_first_request_lets_nothing_out(no: Exception) -> None:
    with pytest.raises(type(no)):
        await looked(0, no)


@pytest.mark.parametrize("no", NOES.values(), ids=NOES.keys())
async def test_a_no_in_the_middle_keeps_what_was_sent_on_record(no: Exception) -> None:
    attempted, sent = await looked(1, no)
    assert sent == 1
    assert attempted.outcomes[0].grade is Grade.FAILED_RETRY
    assert attempted.request_digest == hashlib.sha256(b"1").hexdigest()


READINGS = {
    "one differs": ((Found.EQUAL, Found.DIFFERENT, Found.UNKNOWN), Found.DIFFERENT),
    "one is unknown": ((Found.EQUAL, Found.UNKNOWN, Found.PENDING), Found.UNKNOWN),
    "one is pending": ((Found.PENDING, Found.EQUAL), Found.PENDING),
    "all are equal": ((Found.EQUAL, Found.EQUAL), Found.EQUAL),
    "there are none": ((), Found.UNKNOWN),
}


@pytest.mark.parametrize(("found", "comes_to"), READINGS.values(), ids=list(READINGS))
async def test_of_several_readings_the_one_that_worries_counts(
    found: tuple[Found, ...], comes_to: Found
) -> None:
    client = OutboundClient(allow_private=True)
    async with serving(answer(200, b"{}")) as server:
        asked = [
            Question(Request("GET", server.url, (), b""), lambda _, each=each: Reading(each))
            for each in found
        ]
        reading = await read_all(client, asked)
    await client.close()
    assert reading.found is comes_to
    assert (reading.response_digest is None) == (not found)


async def test_what_cannot_be_asked_is_unknown() -> None:
    client = OutboundClient(allow_private=True)
    async with serving(reset) as server:
        asked = [Question(Request("GET", server.url, (), b""), lambda _: Reading(Found.EQUAL))]
        assert (await read_all(client, asked)).found is Found.UNKNOWN
    await client.close()


def test_an_answer_that_cannot_be_read_proves_nothing() -> None:
    accepted = Outcome(Grade.ACCEPTED, 200)
    for body, status in ((b"\xff<html>", 200), (b"", 200), (b"{}", 299)):
        found = outcome_of_answer(Response(status, {}, body), lambda _: accepted)
        assert found.grade is Grade.FAILED_RETRY
    assert outcome_of_answer(Response(200, {}, b"{}"), lambda _: None).grade is Grade.FAILED_RETRY
    assert outcome_of_answer(Response(200, {}, b"{}"), lambda _: accepted) == accepted
    assert (
        outcome_of_answer(Response(400, {}, b"{}"), lambda _: accepted).grade is Grade.FAILED_FINAL
    )
    assert outcome_of_exactly(Response(200, {}, b""), 202).grade is Grade.FAILED_RETRY
    assert outcome_of_exactly(Response(202, {}, b""), 202).grade is Grade.ACCEPTED


def test_a_reading_is_unknown_unless_it_can_be_read() -> None:
    def equal(_: object) -> Reading:
        return compared(True, "off")

    assert read_or_unknown(Response(200, {}, b"{}"), equal).found is Found.EQUAL
    for response in (Response(200, {}, b"<"), Response(500, {}, b"{}"), Response(404, {}, b"{}")):
        assert read_or_unknown(response, equal).found is Found.UNKNOWN
    gone = Reading(Found.EQUAL, detail="gone")
    assert read_or_unknown(Response(404, {}, b"{}"), equal, absent=gone) == gone


IDS = {"news:email": "L1", "offers:email": "L1", "news:sms": "L2"}


def test_topics_are_found_by_name_and_back() -> None:
    order = instruction(topics=(("news", "email"), ("club", "email")), whole=False)
    named, missing = topic_ids(order, IDS, "lists")
    assert named == [("email", "L1")]
    assert [settled.outcome.grade for settled in missing] == [Grade.GATED]
    assert "lists" in missing[0].outcome.detail
    assert topics_of("L1", IDS) == (("news", "email"), ("offers", "email"))
    assert topics_of("L9", IDS) == ()


@pytest.mark.parametrize(
    "ids", [{"news": "L"}, {":email": "L"}, {"news:fax": "L"}, {"n:email": " "}]
)
def test_a_topic_that_cannot_be_meant_is_refused(ids: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"^lists: "):
        check_topics("lists", ids, frozenset({"email"}))


def test_a_settled_part_is_for_all_unless_it_says_for_whom() -> None:
    assert Settled(Outcome(Grade.NOOP)).whose is None
