"""Answers of one device whose clock may be wrong, and whose letters may overtake each other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.client import Gate
from consentry.clock import Clock
from consentry.config import Source
from consentry.core.event import made_at
from consentry.core.moment import HOUR, SECOND, format_exact
from consentry.core.policy import Mapping, Policy
from consentry.core.record import Node, NodeKind
from consentry.flow.overtaken import LONGEST_FAST
from consentry.flow.record_choice import answer_of, record_choice
from consentry.flow.records import Origin, Said
from consentry.flow.world import World
from tests.core.clauses import holds
from tests.flow.stage import CATEGORIES, PUBLIC, SERVER, send, update, world
from tests.flow.test_laws_world import runs
from tests.flow.test_races import Gated

ADS = Mapping("ads", "kept", ("advertising",))
DEVICE, TABLET = Node(NodeKind.DEVICE, "d1"), Node(NodeKind.DEVICE, "d2")
ACCOUNT = Node(NodeKind.ACCOUNT, "u1")
MINUTE = 60 * SECOND
TEN = 1_900_000_000 * SECOND  # ten o'clock
OTHER = Origin("app", "public")


class Letter(NamedTuple):
    """An answer to one category. Times in microseconds: received since ten o'clock, claimed as the
    device's clock says it, by which it also says that it sent it; None claims none."""

    yes: bool
    received: int
    claimed: int | None
    whom: tuple[Node, ...] = (DEVICE,)
    by: Origin = PUBLIC
    category: str = "advertising"


def said_in(letter: Letter) -> Said:
    at = TEN + letter.received
    claimed = None if letter.claimed is None else TEN + letter.claimed
    answer = answer_of({letter.category: letter.yes}, None)
    return Said(letter.whom, answer, at, made_at(claimed, claimed, at), claimed)


async def told(made: World, *letters: Letter) -> Any:
    """They are received one after the other; returns the reply to the last."""
    for letter in letters:
        answered = await record_choice(made, said_in(letter), letter.by)
    return answered.body


def granted(made: World, at: int, *whom: Node) -> bool:
    standing = made.subjects.standing(whom or (DEVICE,), made.policy, TEN + at)
    found = standing.of("advertising")
    return found.block is None and found.grant is not None


FAST = HOUR  # the clock's
NO = Letter(False, 5 * MINUTE, FAST + 5 * MINUTE)  # said at 10:05, received at once
LATE = Letter(True, 6 * MINUTE, FAST)  # said at ten, received at 10:06
CASES: dict[str, tuple[Sequence[Letter], bool]] = {
    # letters in the order of their reception; whether the category is granted afterwards
    "a yes that was said before the no": ([NO, LATE], False),
    "later than the clock is fast": ([NO, LATE._replace(received=3 * FAST)], False),
    "said in the same instant as the no": ([NO, LATE._replace(claimed=NO.claimed)], False),
    "a yes that was said after the no": (
        [NO, LATE._replace(claimed=FAST + 6 * MINUTE)],
        True,
    ),
    "no other yes, so the one before stands no more": (
        [LATE._replace(received=SECOND), NO, LATE],
        False,
    ),
    "a further no, which claims no time": (
        [NO, Letter(False, 5 * MINUTE + 1, None), LATE],
        False,
    ),
    "a no to something else": ([NO._replace(category="analytics"), LATE], True),
    "a no of another device, which has another clock": (
        [NO._replace(whom=(TABLET,)), LATE],
        True,
    ),
    "a no by another source": ([NO._replace(by=OTHER), LATE], True),
    "a no that says nothing of its clock": ([NO._replace(claimed=None), LATE], True),
    "a server that tells of a device": (
        [NO._replace(by=SERVER), LATE._replace(by=SERVER)],
        False,
    ),
    "faster than is believed: anybody may say such a no": (
        [NO._replace(claimed=NO.received + LONGEST_FAST + 1), LATE._replace(received=2 * FAST)],
        True,
    ),
    "as fast as is believed": (
        [NO._replace(claimed=NO.received + LONGEST_FAST), LATE._replace(received=2 * FAST)],
        False,
    ),
}


@holds("C9")
@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    async def run() -> None:
        letters, expected = CASES[name]
        made = await world(ADS)
        await told(made, *letters)
        assert granted(made, letters[-1].received + 1) is expected

    asyncio.run(run())


# -- laws -------------------------------------------------------------------------------------------
class Spoken(NamedTuple):
    """What a person said, in seconds since the one before, and for how long its letter was on its
    way, the last time too."""

    yes: bool
    after_s: int
    on_its_way_s: int


SPOKEN = st.lists(
    st.builds(Spoken, st.booleans(), st.integers(1, 400), st.integers(0, 4000)),
    min_size=1,
    max_size=6,
)
FASTNESS_S = st.integers(-4000, 4000) | st.sampled_from([86_400, 170_000])


def letters_of(spoken: list[Spoken], fast_s: int) -> list[tuple[int, Letter]]:
    """When each was said, and its letter, in the order in which they are received."""
    found, at = [], 0
    for n, one in enumerate(spoken):
        at += one.after_s * SECOND
        received = at + one.on_its_way_s * SECOND + n  # nothing is received in one instant
        found.append((at, Letter(one.yes, received, at + fast_s * SECOND)))
    return sorted(found, key=lambda pair: pair[1].received)


@holds("C9", "R2")
@given(SPOKEN, FASTNESS_S)
@settings(max_examples=max(40, settings().max_examples))
@runs
async def test_whose_last_word_is_no_has_refused(spoken: list[Spoken], fast_s: int) -> None:
    letters = letters_of([*spoken, Spoken(False, 1, spoken[0].on_its_way_s)], fast_s)
    made = await world(ADS)
    await told(made, *(letter for _, letter in letters))
    assert not granted(made, letters[-1][1].received + 1)


@holds("C9")
@given(SPOKEN, st.integers(0, 170_000))
@settings(max_examples=max(40, settings().max_examples))
@runs
async def test_no_yes_is_lost_that_was_said_once_every_no_was_received(
    spoken: list[Spoken], fast_s: int
) -> None:
    letters = letters_of(spoken, fast_s)
    made = await world(ADS)
    await told(made, *(letter for _, letter in letters))
    refused = max((one.received for _, one in letters if not one.yes), default=-1)
    if any(one.yes and at > refused for at, one in letters):
        assert granted(made, letters[-1][1].received + 1)


# -- everywhere -------------------------------------------------------------------------------------
def test_what_was_said_stands_on_record_and_owes_nothing() -> None:
    async def run() -> None:
        made = await world(ADS)
        reply = await told(made, NO, LATE)
        record = made.store.record(reply["recordId"])
        assert record is not None
        assert record.record.evidence["overtaken"] == ["advertising"]
        assert record.record.claimed_at == TEN + FAST
        assert record.record.after == {}
        assert reply["preferences"]["advertising"]["effective"] == "denied"

    asyncio.run(run())


def test_the_rest_of_the_same_answer_counts_for_device_and_account() -> None:
    async def run() -> None:
        made = await world(ADS)
        both = answer_of({"advertising": True, "analytics": True}, None)
        said = said_in(LATE._replace(whom=(DEVICE, ACCOUNT)))
        await told(made, NO)
        proven = Origin(PUBLIC.source, "public", ACCOUNT.value)
        body = (await record_choice(made, Said(**{**_fields(said), "answer": both}), proven)).body
        assert body["preferences"]["advertising"]["effective"] == "denied"
        assert body["preferences"]["analytics"]["effective"] == "granted"
        assert not granted(made, LATE.received + 1, ACCOUNT)

    asyncio.run(run())


def _fields(said: Said) -> dict[str, Any]:
    return {name: getattr(said, name) for name in said.__slots__}


@pytest.mark.parametrize(("by", "expected"), [(PUBLIC, False), (OTHER, True)])
def test_a_no_that_is_still_being_written_is_compared_too(by: Origin, expected: bool) -> None:
    async def run() -> None:
        store = Gated()
        made = await world(ADS, store=store)
        store.gated = True
        no = asyncio.create_task(told(made, NO._replace(by=by)))
        await asyncio.sleep(0)
        yes = asyncio.create_task(told(made, LATE))
        while len(store.waiting) < 2:
            await asyncio.sleep(0)
        store.passes()
        store.passes()
        await asyncio.gather(no, yes)
        assert granted(made, LATE.received + 1) is expected

    asyncio.run(run())


def fast_update(message_id: str, claimed: int, **answers: bool) -> dict[str, Any]:
    when = format_exact(claimed)
    return {**update(message_id, "d1", **answers), "timestamp": when, "sentAt": when}


@pytest.mark.parametrize(("first", "effective"), [(FAST, "denied"), (FAST + MINUTE, "granted")])
def test_a_preference_update_is_an_answer_as_any(first: int, effective: str) -> None:
    async def run() -> None:
        made = await world(ADS)
        now = made.clock.now()
        no = fast_update("no", now + FAST + SECOND, advertising=False)
        await send(made, no)
        await send(made, fast_update("yes", now + first, advertising=True))
        standing = made.subjects.standing((DEVICE,), made.policy, made.clock.now())
        assert (standing.of("advertising").block is None) is (effective == "granted")

    asyncio.run(run())


@pytest.mark.parametrize(("first", "allowed"), [(FAST, False), (FAST + MINUTE, True)])
def test_a_gate_in_a_process_compares_them_too(first: int, allowed: bool) -> None:
    policy, clock = Policy("shop", categories=CATEGORIES, mappings=(ADS,)), Clock()
    gate = Gate(policy, source=Source("website"), clock=clock)
    gate.add("ads", lambda _: None)
    now = clock.now()
    gate.push(fast_update("no", now + FAST + SECOND, advertising=False))
    gate.push(fast_update("yes", now + first, advertising=True))
    event = {"type": "track", "event": "Seen", "messageId": "m", "anonymousId": "d1"}
    assert (gate.push(event).delivered == ("ads",)) is allowed
