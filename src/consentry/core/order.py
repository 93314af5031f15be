"""The life of an order: one consent change owed to one destination.

An order is *waiting* until an attempt settles it or a newer one takes its place. Its verb says
what the destination is to do. ``AFTER`` says what each grade does to an order, and it is the
only place that says so. An order is never given up: what failed for good is terminal with that
grade, and a person is told.
"""

from __future__ import annotations

from enum import StrEnum

from consentry.core.delivery import Grade


class Verb(StrEnum):
    """What an order asks for, from ours to theirs."""

    GATE = "gate"  # ours: nothing more is sent; done as it is recorded
    SUPPRESS = "suppress"  # theirs, and can be taken back: stop using this person
    ERASE = "erase"  # theirs, and final: forget this person
    GRANT = "grant"  # theirs: it is allowed again


class OrderState(StrEnum):
    """Where an order stands."""

    WAITING = "waiting"
    SENDING = "sending"
    TERMINAL = "terminal"
    SUPERSEDED = "superseded"


AFTER: dict[Grade, OrderState] = {
    Grade.CONFIRMED: OrderState.TERMINAL,
    Grade.JOB_DONE: OrderState.TERMINAL,
    Grade.ACCEPTED: OrderState.TERMINAL,
    Grade.SENT_UNVERIFIABLE: OrderState.TERMINAL,
    Grade.GATED: OrderState.TERMINAL,
    Grade.NOOP: OrderState.TERMINAL,  # they know no such person: nothing is there to be stopped
    Grade.FAILED_RETRY: OrderState.WAITING,
    Grade.RATE_LIMITED: OrderState.WAITING,
    Grade.AUTH_BLOCKED: OrderState.WAITING,
    Grade.FAILED_FINAL: OrderState.TERMINAL,  # and somebody must look
}
