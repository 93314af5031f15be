"""The life of an order: one consent change owed to one destination.

An order is *waiting* until an attempt settles it or a newer one takes its place. Its verb says
what the destination is to do. ``AFTER`` says what each grade does to an order, and it is the
only place that says so. An order is never given up: what failed for good is terminal with that
grade, and a person is told. ``owed`` says which orders a change owes (docs/decisions/0016).
"""

from __future__ import annotations

from dataclasses import dataclass
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


Topics = tuple[tuple[str, str], ...]
"""Each a topic with a channel."""


class Word(StrEnum):
    """What was said of the whole person, whatever they answered."""

    SUPPRESSED = "suppressed"
    ERASED = "erased"


_TOLD = {
    None: (Verb.SUPPRESS,),
    Word.SUPPRESSED: (Verb.SUPPRESS,),
    Word.ERASED: (Verb.SUPPRESS, Verb.ERASE),
}


@dataclass(frozen=True, slots=True)
class Change:
    """What one record does to what one destination may do with one person.

    ``denied``: the record refuses a category that the destination is mapped to. ``topics_denied``
    and ``topics_granted`` are those that it carries and that the record changed. ``verbs`` are
    those that its kind takes, and ``reached`` is whether anybody can be named to it: an
    identifier that is proven to be the person's, of a sort by which it knows people.
    """

    allowed_before: bool
    allowed_after: bool
    denied: bool = False
    topics_denied: Topics = ()
    topics_granted: Topics = ()
    word: Word | None = None
    verbs: frozenset[Verb] = frozenset()
    reached: bool = True


@dataclass(frozen=True, slots=True)
class Due:
    """One order that is owed. ``whole``, or else about the one topic in ``topics``."""

    verb: Verb
    topics: Topics = ()

    @property
    def whole(self) -> bool:
        return not self.topics


def owed(change: Change) -> tuple[Due, ...]:
    """The orders of one change, in the order in which they are carried out: ours comes first."""
    told = change.verbs if change.reached else frozenset()
    due: list[Due] = []
    lost = (change.denied or change.allowed_before) and not change.allowed_after
    if lost or change.word is not None:
        due.append(Due(Verb.GATE))
        due += [Due(verb) for verb in _TOLD[change.word] if verb in told]
    elif change.allowed_after and not change.allowed_before and Verb.GRANT in told:
        due.append(Due(Verb.GRANT))
    if change.word is not None:
        return tuple(due)  # what is said of the whole person covers every topic
    # One topic each: an order about two would no longer hold when one of them is answered anew,
    # and the other would be told to nobody.
    for topic in change.topics_denied:
        due.append(Due(Verb.GATE, (topic,)))
        if Verb.SUPPRESS in told:
            due.append(Due(Verb.SUPPRESS, (topic,)))
    if Verb.GRANT in told:
        due += [Due(Verb.GRANT, (topic,)) for topic in change.topics_granted]
    return tuple(due)
