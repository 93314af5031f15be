"""Requests that carry many events or many people's orders, with an outcome for each.

A `Step` is one request and the places it is about, of what was handed over; `follow` sends all
steps. What counts of several outcomes for one place is said in `obeying`.

Where a vendor refuses a whole request because of one row, `judge` raises `Spoiled` and the
halves are sent instead, until the row is alone. That is for requests that may be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from consentry.core.delivery import Grade, Outcome
from consentry.core.order import Verb
from consentry.destinations.http import (
    TransportError,
    Unsendable,
    digest_of,
    outcome_of_error,
)
from consentry.destinations.instruction import Instruction
from consentry.destinations.message import Attempted, LastLook, Request, Response
from consentry.destinations.obeying import UNDOCUMENTED, json_of, worst

if TYPE_CHECKING:
    from consentry.destinations.transport import OutboundClient

T = TypeVar("T")


class Spoiled(Exception):
    """The answer refuses a whole request, and one row of it may be the reason."""


Judge = Callable[[Response], Sequence[Outcome]]


def _nothing() -> Sequence[Step]:
    return ()


@dataclass(frozen=True, slots=True)
class Step:
    """One request. ``whom`` are the places it is about, of what was handed over.

    ``judge`` reads the answer: an outcome for each of ``whom``, in their order. It may raise
    `Spoiled` if ``instead`` gives steps to take instead of this one.
    """

    request: Request
    whom: tuple[int, ...]
    judge: Judge
    instead: Callable[[], Sequence[Step]] = _nothing


async def follow(
    client: OutboundClient,
    places: int,
    steps: Sequence[Step],
    last_look: LastLook | None,
    *,
    settled: Mapping[int, Outcome] | None = None,
    timeout_s: float | None = None,
) -> Attempted:
    """Send every step and say what became of each of ``places``, in their order.

    ``settled`` holds what is known without asking. A place that neither a step nor ``settled``
    is about is gated: there was nobody to name. If ``last_look`` raises before the first byte of
    the attempt it propagates; later the rest is `failed_retry`, and the next attempt decides
    anew. Digests are those of the one body, or of all bodies one after the other.
    ``timeout_s`` bounds each exchange; None takes the client's own bound.
    """
    found: dict[int, list[Outcome]] = {place: [o] for place, o in (settled or {}).items()}
    asked: list[bytes] = []
    answered: list[bytes] = []
    todo = list(reversed(steps))
    look = _Look(last_look)
    while todo:
        step = todo.pop()
        try:
            response = await client.send(step.request, look, timeout_s=timeout_s)
        except TransportError as error:
            if error.wrote:
                asked.append(step.request.body)
            outcomes: Sequence[Outcome] = (outcome_of_error(error),) * len(step.whom)
        except Exception as error:
            if not asked or error is not look.raised:
                raise
            outcomes = (STOPPED,) * len(step.whom)
        else:
            asked.append(step.request.body)
            answered.append(response.body)
            try:
                outcomes = step.judge(response)
            except Spoiled:
                instead = step.instead()
                assert instead, "spoiled, and nothing to send instead"
                todo += reversed(instead)
                continue
        assert len(outcomes) == len(step.whom), "one outcome for each place"
        for place, outcome in zip(step.whom, outcomes, strict=True):
            found.setdefault(place, []).append(outcome)
    return Attempted(
        tuple(worst(found.get(place, ())) for place in range(places)),
        digest_of(b"".join(asked)) if asked else None,
        digest_of(b"".join(answered)) if any(answered) else None,
    )


class _Look:
    """The last look, which remembers what it raised: nothing else stands for a no."""

    def __init__(self, last_look: LastLook | None) -> None:
        self._last_look = last_look
        self.raised: Exception | None = None

    def __call__(self) -> None:
        if self._last_look is None:
            return
        try:
            self._last_look()
        except Exception as error:
            self.raised = error
            raise


STOPPED = Outcome(Grade.FAILED_RETRY, detail="stopped at the last look")


def rows_in(
    rows: Sequence[tuple[int, T]],
    most: int,
    request_of: Callable[[Sequence[T]], Request],
    judge: Callable[[Response, tuple[int, ...]], Sequence[Outcome]],
) -> tuple[list[Step], dict[int, Outcome]]:
    """Steps that carry at most ``most`` rows each; a row is (place, what is said of it).

    ``judge(response, whom)`` may raise `Spoiled` while ``whom`` are several: then the rows of
    half of them are sent at a time. ``request_of`` may raise `Unsendable`; the rows that it
    raises for are left out, and the second of what is returned says so for their places.
    """
    steps: list[Step] = []
    settled: dict[int, Outcome] = {}
    for part, request in _parts(rows, most, request_of):
        whom = tuple(dict.fromkeys(place for place, _ in part))
        if isinstance(request, Unsendable):
            settled |= dict.fromkeys(whom, Outcome(Grade.FAILED_FINAL, detail=str(request)))
        else:
            steps.append(_step(part, whom, request, most, request_of, judge))
    return steps, settled


def rows_each(
    rows: Sequence[tuple[int, T]],
    most: int,
    request_of: Callable[[Sequence[T]], Request],
    outcome_of: Callable[[Response, T], Outcome],
) -> tuple[list[Step], dict[int, Outcome]]:
    """As `rows_in`, where the answer says of each row what became of it."""
    steps: list[Step] = []
    settled: dict[int, Outcome] = {}
    for part, request in _parts(rows, most, request_of):
        whom = tuple(place for place, _ in part)
        if isinstance(request, Unsendable):
            settled |= dict.fromkeys(whom, Outcome(Grade.FAILED_FINAL, detail=str(request)))
            continue

        def judge(response: Response, part: Sequence[tuple[int, T]] = part) -> list[Outcome]:
            return [outcome_of(response, row) for _, row in part]

        steps.append(Step(request, whom, judge))
    return steps, settled


def _parts(
    rows: Sequence[tuple[int, T]], most: int, request_of: Callable[[Sequence[T]], Request]
) -> Iterator[tuple[Sequence[tuple[int, T]], Request | Unsendable]]:
    """Rows and their request; a row that cannot be written is alone with the reason."""
    for start in range(0, len(rows), most):
        part = rows[start : start + most]
        try:
            yield part, request_of([row for _, row in part])
        except Unsendable as reason:
            if len(part) == 1:
                yield part, reason
            else:
                yield from _parts(part, (len(part) + 1) // 2, request_of)


def _step(
    part: Sequence[tuple[int, T]],
    whom: tuple[int, ...],
    request: Request,
    most: int,
    request_of: Callable[[Sequence[T]], Request],
    judge: Callable[[Response, tuple[int, ...]], Sequence[Outcome]],
) -> Step:
    def instead() -> list[Step]:
        half = len(whom) // 2
        steps: list[Step] = []
        for some in (frozenset(whom[:half]), frozenset(whom[half:])):
            # What was written once can be written in parts.
            steps += rows_in([row for row in part if row[0] in some], most, request_of, judge)[0]
        return steps

    return Step(request, whom, lambda response: judge(response, whom), instead)


async def send_rows(
    client: OutboundClient,
    things: Sequence[T],
    row_of: Callable[[T], Any],
    most: int,
    request_of: Callable[[Sequence[Any]], Request],
    judge: Callable[[Response, tuple[int, ...]], Sequence[Outcome]],
    last_look: LastLook | None,
) -> Attempted:
    """One attempt for events of which each is a row. ``row_of`` may raise `Unsendable` for one:
    that one is final, and the others go without it."""
    rows: list[tuple[int, Any]] = []
    settled: dict[int, Outcome] = {}
    for place, thing in zip(count(), things, strict=False):
        try:
            rows.append((place, row_of(thing)))
        except Unsendable as reason:
            settled[place] = Outcome(Grade.FAILED_FINAL, detail=str(reason))
    steps, unsendable = rows_in(rows, most, request_of, judge)
    return await follow(client, len(things), steps, last_look, settled=settled | unsendable)


def unconfigured(instructions: Sequence[Instruction], option: str) -> Attempted:
    """The attempt at a system whose orders nobody has configured: ``option`` is missing.

    A withdrawal is gated, for we send nothing more. An erasure stays open and is said aloud:
    the data is there, and is erased as soon as there is a key.
    """
    grade = Grade.AUTH_BLOCKED if instructions[0].verb is Verb.ERASE else Grade.GATED
    outcome = Outcome(grade, detail=f"{option} is not configured: it was not told")
    return Attempted((outcome,) * len(instructions))


def untaken(instructions: Sequence[Instruction]) -> Attempted:
    """The attempt of a verb that a kind does not take: our own gate is all there is."""
    outcome = Outcome(Grade.GATED, detail=f"it cannot be told to {instructions[0].verb}")
    return Attempted((outcome,) * len(instructions))


def same_for(outcome: Outcome, whom: Sequence[object]) -> tuple[Outcome, ...]:
    """One outcome for all places of a step."""
    return (outcome,) * len(whom)


def unreadable(response: Response) -> Outcome:
    """A success without the vendor's own words proves nothing, so it is tried again."""
    return Outcome(Grade.FAILED_RETRY, response.status, UNDOCUMENTED)


def object_of(response: Response) -> dict[str, Any]:
    """The answer's body as a JSON object; empty if it is none."""
    body = json_of(response)
    return body if isinstance(body, dict) else {}
