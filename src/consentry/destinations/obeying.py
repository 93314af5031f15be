"""Orders that take a request for each address and topic, how their answers are read, and how a
vendor is asked again. What several answers come to is said in `steps`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from consentry.core.delivery import Grade, Outcome
from consentry.destinations.http import (
    TransportError,
    Unsendable,
    digest_of,
    outcome_of_status,
    unsent,
)
from consentry.destinations.instruction import Found, Instruction, Person, Reading
from consentry.destinations.message import Attempted, LastLook, Request, Response
from consentry.destinations.steps import RANK, Known, Spoiled, Step, digest_of_all, follow

if TYPE_CHECKING:
    from consentry.destinations.transport import OutboundClient

_WORST_FOUND = (Found.EQUAL, Found.PENDING, Found.UNKNOWN, Found.DIFFERENT)


def _nothing_more(_: Response) -> Part | None:
    return None


@dataclass(frozen=True, slots=True)
class Part:
    """One request of an order and how its answer is read.

    ``whose`` are the positions of the instructions that it is for; None: all of them. ``then`` is
    the request that an answer asks for, if it does; its own answer counts instead. ``halves`` are
    sent instead of a request that is refused for good, where one that it names may be the reason.
    """

    request: Request
    reads: Callable[[Response], Outcome]
    whose: tuple[int, ...] | None = None
    then: Callable[[Response], Part | None] = _nothing_more
    halves: Callable[[], Sequence[Part]] | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """A part of an order that needs no request: what it comes to is known."""

    outcome: Outcome
    whose: tuple[int, ...] | None = None


def gated(detail: str, whose: tuple[int, ...] | None = None) -> Settled:
    """A part that this destination cannot be told. ``detail`` holds no personal data."""
    return Settled(Outcome(Grade.GATED, detail=detail), whose)


def unsendable(detail: str, whose: tuple[int, ...] | None = None) -> Settled:
    """A part that cannot be written as a request, which no retry changes."""
    return Settled(Outcome(Grade.FAILED_FINAL, detail=detail), whose)


async def obey_all(
    client: OutboundClient,
    parts_of: Callable[[], Sequence[Part | Settled]],
    count: int,
    last_look: LastLook | None,
) -> Attempted:
    """Send every part in its order, as `follow` does; one outcome for each of ``count``.

    Where ``parts_of`` raises `Unsendable` nothing is sent.
    """
    try:
        parts = parts_of()
    except Unsendable as reason:
        return unsent(reason, range(count))
    everyone = tuple(range(count))
    return await follow(client, count, [_step(part, everyone) for part in parts], last_look)


def _step(part: Part | Settled, everyone: tuple[int, ...]) -> Step | Known:
    whom = everyone if part.whose is None else part.whose
    if isinstance(part, Settled):
        return Known(part.outcome, whom)

    def then(response: Response) -> Step | Known | None:
        following = part.then(response)
        return None if following is None else _step(following, whom)

    halves = part.halves

    def judge(response: Response) -> tuple[Outcome, ...]:
        outcome = part.reads(response)
        if halves and outcome.grade is Grade.FAILED_FINAL and not outcome.pause:
            raise Spoiled
        return (outcome,) * len(whom)

    def instead() -> list[Step | Known]:
        return [] if halves is None else [_step(half, everyone) for half in halves()]

    return Step(part.request, whom, judge, instead, then)


# Asking again


@dataclass(frozen=True, slots=True)
class Question:
    """One request that changes nothing, and how its answer is read."""

    request: Request
    reads: Callable[[Response], Reading]


async def read_all(client: OutboundClient, questions: Sequence[Question]) -> Reading:
    """Ask everything. A difference outweighs what is unknown, that what is pending, that equality.

    Without a question nobody can say.
    """
    readings = [await _asked(client, question) for question in questions]
    if not readings:
        return Reading(Found.UNKNOWN, detail="there is nothing to ask about")
    chosen = max(readings, key=lambda reading: _WORST_FOUND.index(reading.found))
    grade = max((reading.grade for reading in readings), key=lambda grade: RANK[grade])
    digest = digest_of_all([r.response_digest for r in readings if r.response_digest is not None])
    return replace(chosen, grade=grade, response_digest=digest)


async def _asked(client: OutboundClient, question: Question) -> Reading:
    try:
        response = await client.send(question.request)
    except TransportError as error:
        return Reading(Found.UNKNOWN, detail=str(error))
    digest = digest_of(response.body) if response.body else None
    return replace(question.reads(response), response_digest=digest)


def read_or_unknown(
    response: Response, read: Callable[[Any], Reading | None], *, absent: Reading | None = None
) -> Reading:
    """``read`` of a 200's JSON. Anything else, and None, is unknown; 404 is ``absent``."""
    if response.status == 404 and absent is not None:
        return absent
    if response.status != 200:
        return Reading(Found.UNKNOWN, detail=f"HTTP {response.status}")
    document = json_of(response)
    reading = None if document is None else read(document)
    return reading or Reading(Found.UNKNOWN, detail="the answer is not what is documented")


def word(value: object, *known: str) -> str:
    """The vendor's word, if it is one of the known: nothing else of an answer is ever shown."""
    return value if isinstance(value, str) and value in known else "something else"


def compared(equal: bool, held: str) -> Reading:
    """What is held, beside what was told. ``held`` is a word of ours, or a `word` of theirs."""
    return Reading(Found.EQUAL if equal else Found.DIFFERENT, detail=f"it says: {held}")


# Reading answers


def json_of(response: Response) -> Any:
    """The body as JSON; None when it is none."""
    try:
        return msgspec.json.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


UNDOCUMENTED = "the answer is not what is documented: nobody knows what was done"


def outcome_of_answer(
    response: Response,
    read: Callable[[Any], Outcome | None],
    *,
    expected: Iterable[int] = (200, 201, 202),
) -> Outcome:
    """``read`` of the JSON of a success; every other status as usual.

    A success that cannot be read proves nothing, so it is tried again.
    """
    outcome = outcome_of_status(response.status, response.headers)
    if outcome.grade is not Grade.ACCEPTED:
        return outcome
    document = json_of(response)
    found = read(document) if document is not None and response.status in expected else None
    return found or Outcome(Grade.FAILED_RETRY, response.status, UNDOCUMENTED)


def outcome_of_exactly(response: Response, *statuses: int) -> Outcome:
    """Accepted by these statuses alone, where a body says nothing; other successes are odd."""
    outcome = outcome_of_status(response.status, response.headers)
    if outcome.grade is Grade.ACCEPTED and response.status not in statuses:
        return Outcome(Grade.FAILED_RETRY, response.status, UNDOCUMENTED)
    return outcome


# Topics


def check_topics(option: str, ids: Mapping[str, str], channels: frozenset[str]) -> None:
    """Raise ValueError unless ``ids`` maps "topic:channel" to ids, over ``channels`` alone."""
    for key, identity in ids.items():
        topic, colon, channel = key.rpartition(":")
        if not colon or not topic or channel not in channels:
            known = ", ".join(sorted(channels))
            raise ValueError(
                f'{option}: "{key}" must be "topic:channel", the channel being one of {known}'
            )
        if not identity.strip():
            raise ValueError(f'{option}: "{key}" must not be empty')


def topic_ids(
    instruction: Instruction, ids: Mapping[str, str], option: str
) -> tuple[list[tuple[str, str]], list[Settled]]:
    """(channel, id) of each topic it names, and what is gated for want of an id."""
    named: list[tuple[str, str]] = []
    missing: list[Settled] = []
    for topic, channel in instruction.topics:
        identity = ids.get(f"{topic}:{channel}")
        if identity is None:
            missing.append(gated(f'no id for the topic "{topic}:{channel}": add it to {option}'))
        else:
            named.append((channel, identity))
    return named, missing


def topics_of(identity: str, ids: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Every (topic, channel) that this id of the vendor stands for."""
    found = [key.rpartition(":") for key, known in ids.items() if known == identity]
    return tuple(sorted((topic, channel) for topic, _, channel in found))


Named = tuple[int, str]
"""An identifier, and the position of the instruction whose person it names."""


def named_by(
    instructions: Sequence[Instruction], identifiers: Callable[[Person], Sequence[str]]
) -> list[Named]:
    """Every identifier of one sort, with the position of its instruction."""
    return [
        (place, value)
        for place, instruction in enumerate(instructions)
        for value in identifiers(instruction.person)
    ]


def parts_in(
    named: Sequence[Named],
    most: int,
    request_of: Callable[[list[str]], Request],
    reads: Callable[[Response], Outcome],
) -> list[Part]:
    """A request for at most ``most`` identifiers each, which may be repeated without harm.

    A vendor that cannot read one number refuses the request of all fifty. The halves are sent
    then, until it is alone: nobody's order may fail for somebody else's number.
    """
    parts = []
    for start in range(0, len(named), most):
        piece = named[start : start + most]
        values = list(dict.fromkeys(value for _, value in piece))
        halves = None
        if len(values) > 1:
            halves = partial(parts_in, piece, (len(piece) + 1) // 2, request_of, reads)
        places = tuple(sorted({place for place, _ in piece}))
        parts.append(Part(request_of(values), reads, places, halves=halves))
    return parts
