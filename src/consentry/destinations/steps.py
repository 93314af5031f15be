"""Several requests that make up one attempt, and one answer to what they came to.

A person has several addresses, an order several topics, a batch many rows: one attempt may be
many requests. All of them are sent, whatever the first ones came to: where the second list
works, the person is off it, even if the first one has to be tried again. The worst grade
counts, and ways of failing that are tried again come before the one that is not: the next
attempt asks for everything once more, and meets the final failure again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from consentry.core.delivery import Grade, Outcome
from consentry.destinations.http import TransportError, digest_of, outcome_of_error
from consentry.destinations.message import Attempted, LastLook, Request, Response

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
RANK = {grade: rank for rank, grade in enumerate(WORST_LAST)}
STOPPED = Outcome(Grade.FAILED_RETRY, detail="stopped at the last look")


class Spoiled(Exception):
    """The answer refuses a whole request, and one row of it may be the reason."""


Judge = Callable[[Response], Sequence[Outcome]]


def _nothing() -> Sequence[Step | Known]:
    return ()


def _nothing_more(_: Response) -> Step | Known | None:
    return None


@dataclass(frozen=True, slots=True)
class Step:
    """One request. ``whom`` are the places it is about, of what was handed over.

    ``judge`` reads the answer: an outcome for each of ``whom``, in their order. It may raise
    `Spoiled` if ``instead`` gives steps to take instead of this one. ``then`` is the step that
    an answer asks for, if it does; what that one comes to counts instead.
    """

    request: Request
    whom: tuple[int, ...]
    judge: Judge
    instead: Callable[[], Sequence[Step | Known]] = _nothing
    then: Callable[[Response], Step | Known | None] = _nothing_more


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of some places without a request."""

    outcome: Outcome
    whom: tuple[int, ...]


async def follow(
    client: OutboundClient,
    places: int,
    steps: Sequence[Step | Known],
    last_look: LastLook | None,
    *,
    timeout_s: float | None = None,
) -> Attempted:
    """Take every step and say what became of each of ``places``, in their order.

    A place that no step is about is gated: there was nobody to name. If ``last_look`` raises
    before the first byte of the attempt it propagates; later the rest is `failed_retry`, so that
    what was sent stays on record and the next attempt decides anew. Digests are that of the one
    body, or the SHA-256 of the digests of all bodies, one a line. ``timeout_s`` bounds each
    exchange; None takes the client's own bound.
    """
    found: list[list[Outcome]] = [[] for _ in range(places)]
    wire = _Wire(client, _Look(last_look), timeout_s)
    todo = list(reversed(steps))
    while todo:
        step = todo.pop()
        if isinstance(step, Known):
            outcomes: Sequence[Outcome] = (step.outcome,) * len(step.whom)
        else:
            taken = await wire.take(step)
            if isinstance(taken, _Instead):
                todo += reversed(taken.steps)
                continue
            outcomes = taken
        for place, outcome in zip(step.whom, outcomes, strict=True):
            found[place].append(outcome)
    return Attempted(
        tuple(map(worst, found)), digest_of_all(wire.asked), digest_of_all(wire.answered)
    )


@dataclass(frozen=True, slots=True)
class _Instead:
    steps: Sequence[Step | Known]


class _Wire:
    """One attempt's requests, with the digests of what went out and came back."""

    def __init__(self, client: OutboundClient, look: _Look, timeout_s: float | None) -> None:
        self.asked: list[str] = []
        self.answered: list[str] = []
        self._client = client
        self._look = look
        self._timeout_s = timeout_s

    async def take(self, step: Step) -> Sequence[Outcome] | _Instead:
        """What became of each that it is about, or what is to be done instead."""
        try:
            response = await self._client.send(step.request, self._look, timeout_s=self._timeout_s)
        except TransportError as error:
            if error.wrote:
                self.asked.append(digest_of(step.request.body))
            return (outcome_of_error(error),) * len(step.whom)
        except Exception as error:
            if not self.asked or error is not self._look.raised:
                raise
            return (STOPPED,) * len(step.whom)
        self.asked.append(digest_of(step.request.body))
        if response.body:
            self.answered.append(digest_of(response.body))
        following = step.then(response)
        if following is not None:
            return _Instead((following,))
        try:
            return step.judge(response)
        except Spoiled:
            instead = step.instead()
            assert instead, "spoiled, and nothing to send instead"
            return _Instead(instead)


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


def worst(outcomes: Sequence[Outcome]) -> Outcome:
    """The worst of them, with the longest wait, any wish to pause, and every job's name."""
    if not outcomes:
        return Outcome(Grade.GATED, detail="it names nobody whom this destination knows")
    chosen = max(outcomes, key=lambda outcome: RANK[outcome.grade])
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


def digest_of_all(digests: Sequence[str]) -> str | None:
    """One digest for several: of the digests, one a line."""
    if len(digests) < 2:
        return digests[0] if digests else None
    return digest_of("\n".join(digests).encode())
