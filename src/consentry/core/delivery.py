"""The life of a delivery: one event owed to one destination.

A delivery is *waiting* until an attempt settles it. What an attempt came to is a
:class:`Grade`; ``NEXT`` says what each grade does to the delivery, and it is the only
place that says so.  ``waiting -> delivered | withheld | dead`` and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from consentry.core.moment import Moment


class Grade(StrEnum):
    """How much an attempt proves, from most to least, then the ways of failing."""

    CONFIRMED = "confirmed"  # the state was read back and equals the intent
    JOB_DONE = "job_done"  # the destination's own job reached success
    ACCEPTED = "accepted"  # a synchronous positive answer
    SENT_UNVERIFIABLE = "sent_unverifiable"  # the destination cannot say
    GATED = "gated"  # we stopped sending; the destination has nothing to be asked
    NOOP = "noop"  # a success status, but nothing happened
    FAILED_RETRY = "failed_retry"
    RATE_LIMITED = "rate_limited"
    AUTH_BLOCKED = "auth_blocked"
    FAILED_FINAL = "failed_final"


class State(StrEnum):
    """Where a delivery stands."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    WITHHELD = "withheld"
    DEAD = "dead"


NEXT: dict[Grade, State] = {
    Grade.CONFIRMED: State.DELIVERED,
    Grade.JOB_DONE: State.DELIVERED,
    Grade.ACCEPTED: State.DELIVERED,
    Grade.SENT_UNVERIFIABLE: State.DELIVERED,
    Grade.GATED: State.WITHHELD,
    Grade.NOOP: State.DEAD,  # a 2xx that did nothing is not a delivery; a person must look
    Grade.FAILED_RETRY: State.WAITING,
    Grade.RATE_LIMITED: State.WAITING,
    Grade.AUTH_BLOCKED: State.WAITING,  # the destination is paused, the delivery is not lost
    Grade.FAILED_FINAL: State.DEAD,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one attempt came to.

    ``retry_after_s`` is the destination's own wish in seconds. ``status`` is the HTTP
    status or None where there was none. ``detail`` is one line for a person; it holds
    no personal data and no secret. ``pause`` asks that the whole destination stop. ``ref`` is
    what the destination calls the job that it will do, to ask about it later.
    """

    grade: Grade
    status: int | None = None
    detail: str = ""
    retry_after_s: float | None = None
    pause: bool = False
    ref: str = ""


@dataclass(frozen=True, slots=True)
class Backoff:
    """When to try again, and until when. All times in seconds."""

    first_s: float = 2.0
    factor: float = 2.0
    longest_s: float = 600.0
    give_up_after_s: float = 4 * 3600.0  # Segment retries for four hours

    def delay_s(self, attempts: int, chance: float) -> float:
        """Seconds to wait after ``attempts`` tries; ``chance`` in [0, 1) spreads the herd."""
        exponent = min(max(attempts - 1, 0), 32)
        ceiling = min(self.longest_s, self.first_s * self.factor**exponent)
        return ceiling * (0.5 + 0.5 * chance)


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One try at one delivery or order, or the decision not to try.

    ``grade`` is a Grade's value, or ``withheld`` when the decision asked just before the
    attempt said no; then ``decision`` is that decision as JSON. Times are Moments. ``position`` is
    the event's, or the order's number.
    """

    position: int
    started_at: Moment
    ended_at: Moment
    grade: str
    status: int | None = None
    crossed: bool = False
    request_digest: str | None = None
    response_digest: str | None = None
    detail: str = ""
    decision: bytes | None = None
