"""Requests that carry many events or many people's orders, with an outcome for each.

Where a vendor refuses a whole request because of one row, `judge` raises `Spoiled` and the
halves are sent instead, until the row is alone. That is for requests that may be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from consentry.core.delivery import Grade, Outcome
from consentry.core.order import Verb
from consentry.destinations.http import Unsendable
from consentry.destinations.instruction import Instruction
from consentry.destinations.message import Attempted, LastLook, Request, Response
from consentry.destinations.obeying import UNDOCUMENTED, json_of
from consentry.destinations.steps import Known, Step, follow

if TYPE_CHECKING:
    from consentry.destinations.transport import OutboundClient

T = TypeVar("T")
Steps = list[Step | Known]
Judge = Callable[[Response, tuple[int, ...], int], Sequence[Outcome]]
"""Reads an answer: whom it is about, and how many rows were sent of them."""


def rows_in(
    rows: Sequence[tuple[int, T]],
    most: int,
    request_of: Callable[[Sequence[T]], Request],
    judge: Callable[[Response, tuple[int, ...]], Sequence[Outcome]],
) -> Steps:
    """Steps that carry at most ``most`` rows each; a row is (place, what is said of it).

    ``judge(response, whom)`` may raise `Spoiled` while ``whom`` are several: then the rows of
    half of them are sent at a time. ``request_of`` may raise `Unsendable`: the rows that it
    raises for are final, and the others go without them.
    """
    return rows_counted(rows, most, request_of, lambda response, whom, _: judge(response, whom))


def rows_counted(
    rows: Sequence[tuple[int, T]],
    most: int,
    request_of: Callable[[Sequence[T]], Request],
    judge: Judge,
) -> Steps:
    """As `rows_in`, where the answer counts rows: several may be one person's."""
    steps: Steps = []
    for part, request in _parts(rows, most, request_of):
        whom = tuple(dict.fromkeys(place for place, _ in part))
        if isinstance(request, Unsendable):
            steps.append(_final(request, whom))
        else:
            steps.append(_step(part, whom, request, most, request_of, judge))
    return steps


def rows_each(
    rows: Sequence[tuple[int, T]],
    most: int,
    request_of: Callable[[Sequence[T]], Request],
    outcome_of: Callable[[Response, T], Outcome],
) -> Steps:
    """As `rows_in`, where the answer says of each row what became of it."""
    steps: Steps = []
    for part, request in _parts(rows, most, request_of):
        whom = tuple(place for place, _ in part)
        if isinstance(request, Unsendable):
            steps.append(_final(request, whom))
            continue

        def judge(response: Response, part: Sequence[tuple[int, T]] = part) -> list[Outcome]:
            return [outcome_of(response, row) for _, row in part]

        steps.append(Step(request, whom, judge))
    return steps


def _final(reason: Unsendable, whom: tuple[int, ...]) -> Known:
    return Known(Outcome(Grade.FAILED_FINAL, detail=str(reason)), whom)


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
    judge: Judge,
) -> Step:
    def instead() -> Steps:
        half = len(whom) // 2
        steps: Steps = []
        for some in (frozenset(whom[:half]), frozenset(whom[half:])):
            steps += rows_counted([row for row in part if row[0] in some], most, request_of, judge)
        return steps

    return Step(request, whom, lambda response: judge(response, whom, len(part)), instead)


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
    known: list[Known] = []
    for place, thing in enumerate(things):
        try:
            rows.append((place, row_of(thing)))
        except Unsendable as reason:
            known.append(_final(reason, (place,)))
    steps = rows_in(rows, most, request_of, judge)
    return await follow(client, len(things), [*known, *steps], last_look)


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
