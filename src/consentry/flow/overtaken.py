"""A yes that was overtaken: said before a no by the same clock, and received after it.

Requests overtake each other, and what waits is sent again later. Of such a yes the claimed time
says when it was made, unless the clock that claims it is fast: then it seems to be made when it
was received, which is after the no, and would lift it. But the no claims its time by the same clock.
However wrong that clock is, its two times say which of the two came first.

A clock is that of one device, as one source tells it: two browsers of one account have two, and are
never compared. A no that claims no time says nothing of its clock. One that claims to be made later
than ``LONGEST_FAST`` after it was received is not believed: a write key is public, and whoever has
it could take a device's yes away for ever by a single no. (docs/decisions/0019-one-clock.md)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from consentry.core.moment import DAY, Moment
from consentry.core.record import Fact, FactKind, Node, NodeKind
from consentry.flow.reading import first
from consentry.flow.world import World

if TYPE_CHECKING:
    from consentry.flow.records import Said

LONGEST_FAST = 2 * DAY
"""Microseconds. A day that is wrong by one, in a wrong time zone, is less."""


def not_overtaken(world: World, said: Said, source: str) -> Said:
    """A choice without each yes that its own device took back before it came.

    What was said so stands in the evidence, as ``overtaken``. Raises StoreError.
    """
    device, claimed = first(said.subject, NodeKind.DEVICE), said.claimed_at
    if device is None or claimed is None or said.made_at is None or not said.answer.granted:
        return said
    lost: set[str] = set()
    for fact in _would_be_lifted(world, device, min(said.made_at, said.received_at), claimed):
        refused = said.answer.granted.intersection(world.policy.reached(fact.denied))
        if refused - lost and _claims_to_be_later(world, fact, source, claimed):
            lost |= refused
    if not lost:
        return said
    answer = replace(said.answer, granted=said.answer.granted - lost)
    return replace(said, answer=answer, evidence={**said.evidence, "overtaken": sorted(lost)})


def _would_be_lifted(
    world: World, device: Node, made_at: Moment, claimed: Moment
) -> Iterator[Fact]:
    """The device's refusals that a yes of this time lifts, and that can claim a later one."""
    for fact in world.subjects.facts(device):
        recent = claimed - LONGEST_FAST <= fact.received_at < made_at
        if recent and fact.denied and fact.kind is FactKind.CHOICE:
            yield fact


def _claims_to_be_later(world: World, fact: Fact, source: str, claimed: Moment) -> bool:
    """Whether this no was said by the same clock, and not before the yes. Unreadable: it was."""
    record = world.subjects.record(fact.record_id)
    if record is None:
        return True
    if record.source != source or record.claimed_at is None:
        return False
    return claimed <= record.claimed_at <= record.received_at + LONGEST_FAST
