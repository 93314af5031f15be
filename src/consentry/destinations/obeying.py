"""An order that takes several requests, and one answer to what they came to.

A person has several addresses and an order several topics, so one order may be many requests.
All of them are sent, whatever the first ones came to: where the second list works, the person
is off it, even if the first one has to be tried again. The worst grade counts, and ways of
failing that are tried again come before the one that is not: the next attempt asks for
everything once more, and meets the final failure again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

from consentry.core.delivery import Grade, Outcome
from consentry.destinations.http import (
    TransportError,
    Unsendable,
    digest_of,
    outcome_of_error,
    outcome_of_status,
    unsent,
)
from consentry.destinations.instruction import Found, Instruction, Person, Reading
from consentry.destinations.message import Attempted, LastLook, LastLookRefused, Request, Response

if TYPE_CHECKING:
    from consentry.destinations.transport import OutboundClient

WORST_LAST = (
    Grade.CONFIRMED,
    Grade.JOB_DONE,
    Grade.ACCEPTED,
    Grade.SENT_UNVERIFIABLE,
    Grade.GATED,
    Grade.NOOP,
    Grade.FAILED_FINAL,
    Grade.FAILED_RETRY,
    Grade.RATE_LIMITED,
    Grade.AUTH_BLOCKED,
)
_RANK = {grade: rank for rank, grade in enumerate(WORST_LAST)}
_WORST_FOUND = (Found.EQUAL, Found.PENDING, Found.UNKNOWN, Found.DIFFERENT)


def _nothing_more(_: Response) -> Part | None:
    return None


@dataclass(frozen=True, slots=True)
class Part:
    """One request of an order and how its answer is read.

    ``whose`` are the positions of the instructions that it is for; None: all of them. ``then`` is
    the request that an answer asks for, if it does; its own answer counts instead.
    """

    request: Request
    reads: Callable[[Response], Outcome]
    whose: tuple[int, ...] | None = None
    then: Callable[[Response], Part | None] = _nothing_more


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
    """Send every part in its order; one outcome for each of ``count`` instructions.

    Where ``parts_of`` raises `Unsendable` nothing is sent. An instruction without a part names nobody, and is gated. The digest is that of the one
    body, or the SHA-256 of the digests of all bodies, one a line. Raises what ``last_look``
    raises, as long as nothing was written. Later what is left is not sent, and the order is
    tried again, so that what was sent stays on record and the next attempt decides anew.
    """
    try:
        parts = parts_of()
    except Unsendable as reason:
        return unsent(reason, range(count))
    found: list[list[Outcome]] = [[] for _ in range(count)]
    sent: list[str] = []
    answered: list[str] = []
    for part in parts:
        if isinstance(part, Settled):
            outcome = part.outcome
        else:
            try:
                outcome = await _exchanged(client, part, last_look, sent, answered)
            except LastLookRefused:
                if not sent:
                    raise
                outcome = Outcome(Grade.FAILED_RETRY, detail="stopped: the decision has changed")
        for place in range(count) if part.whose is None else part.whose:
            found[place].append(outcome)
    return Attempted(tuple(map(worst, found)), _digest(sent), _digest(answered))


async def _exchanged(
    client: OutboundClient,
    part: Part,
    last_look: LastLook | None,
    sent: list[str],
    answered: list[str],
) -> Outcome:
    while True:
        try:
            response = await client.send(part.request, last_look)
        except TransportError as error:
            if error.wrote:
                sent.append(digest_of(part.request.body))
            return outcome_of_error(error)
        sent.append(digest_of(part.request.body))
        if response.body:
            answered.append(digest_of(response.body))
        following = part.then(response)
        if following is None:
            return part.reads(response)
        part = following


def worst(outcomes: Sequence[Outcome]) -> Outcome:
    """The worst of them, with the longest wait, any wish to pause, and every job's name."""
    if not outcomes:
        return Outcome(Grade.GATED, detail="it names nobody whom this destination knows")
    chosen = max(outcomes, key=lambda outcome: _RANK[outcome.grade])
    if len(outcomes) == 1:
        return chosen
    waits = [o.retry_after_s for o in outcomes if o.retry_after_s is not None]
    same = sum(outcome.grade is chosen.grade for outcome in outcomes)
    return replace(
        chosen,
        detail=f"{chosen.detail} ({same} of {len(outcomes)} parts)",
        retry_after_s=max(waits, default=None),
        pause=any(outcome.pause for outcome in outcomes),
        ref=" ".join(outcome.ref for outcome in outcomes if outcome.ref),
    )


def _digest(digests: Sequence[str]) -> str | None:
    if len(digests) < 2:
        return digests[0] if digests else None
    return digest_of("\n".join(digests).encode())


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
    grade = max((reading.grade for reading in readings), key=lambda grade: _RANK[grade])
    digest = _digest([r.response_digest for r in readings if r.response_digest is not None])
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


def chunks(named: Sequence[Named], most: int) -> Iterator[tuple[tuple[int, ...], list[str]]]:
    """Whose they are, and the identifiers, in pieces of at most ``most``."""
    for start in range(0, len(named), most):
        piece = named[start : start + most]
        places = tuple(sorted({place for place, _ in piece}))
        yield places, list(dict.fromkeys(value for _, value in piece))
