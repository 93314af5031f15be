"""The story of asking a system again whether it did what it was told.

It is asked a minute after the order, then daily for a week, then weekly, for as long as no later
order for the same person says something else. What is found raises the grade, or is drift: it is
shown, counted, and the order is owed again. A yes is not: what a system holds instead may be a no
that the person gave there, of which nobody told us.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from consentry.core.delivery import Grade
from consentry.core.moment import DAY, SECOND, Moment
from consentry.core.order import OrderState, Verb
from consentry.destinations.instruction import Found, Reading
from consentry.destinations.registry import Connected
from consentry.flow.propagate import holds, instruction_of, record_of_end, without_person
from consentry.flow.world import World
from consentry.ledger.entry import Record
from consentry.orders import Order, Tried
from consentry.ports import Commit

DAILY = 7  # readings, after the first
SOONEST_S, LATEST_S = 60, 3600  # seconds, while a job is not done yet
MOST_AGAINS = 3
"""So often in a row an order is owed again for drift; then it waits for the next reading."""

_RANK = {grade: n for n, grade in enumerate(Grade)}


class Read(NamedTuple):
    """An order after it was asked about, what is owed again, and the record of what changed."""

    order: Order
    again: Order | None = None
    record: Record | None = None
    cleared: Order | None = None
    found: Found | None = None

    @property
    def commit(self) -> Commit:
        """All of it, in one transaction."""
        changed = [order for order in (self.order, self.cleared) if order is not None]
        return Commit(
            records=() if self.record is None else (self.record,),
            orders=() if self.again is None else (self.again,),
            tried=tuple(map(Tried, changed)),
        )


async def read_back(world: World, connected: Connected, order: Order) -> Read:
    """Ask once. Raises StoreError where the consent state cannot be read; then nothing changed."""
    if _overtaken(world, order):
        return _history(world, order)
    reading = await connected.read_back(instruction_of(world, order), order.ref)
    if _overtaken(world, order):  # while it was asked
        return _history(world, order)
    now = world.clock.now()
    if reading.found is Found.EQUAL:
        return _equal(world, order, reading, now)
    if reading.found is Found.DIFFERENT:
        return _different(world, order, reading, now)
    if reading.found is Found.PENDING:
        age_s = (now - (order.terminal_at or now)) // SECOND
        wait_s = min(max(age_s // 2, SOONEST_S), LATEST_S)
        waits = msgspec.structs.replace(order, read_at=now + wait_s * SECOND)
        return Read(waits, found=reading.found)
    later = _later(order, now)
    if order.erases and later.reads >= DAILY:
        return Read(let_be(later), found=reading.found)
    return Read(later, found=reading.found)


def let_be(order: Order) -> Order:
    """Not asked about any more: whom an erasure names is kept for no question without an answer."""
    return without_person(msgspec.structs.replace(order, read_at=None, drift=False))


def _history(world: World, order: Order) -> Read:
    over = msgspec.structs.replace(order, read_at=None, drift=False)
    return Read(without_person(over), cleared=_cleared(world, order))


def _overtaken(world: World, order: Order) -> bool:
    """Whether a later order for this person says something of the same, so this one is history.

    Each identifier is asked about: a later order may name another part of the same person.
    """
    for node in order.named:
        for later in world.store.orders.find(node, order.destination, limit=50):
            if later.number <= order.number:
                break
            if later.verb is Verb.GATE or later.again_of == order.order_id:
                continue
            erased = later.erases and not order.erases  # where nothing is erased, it suppresses all
            same = later.whole and order.whole
            if erased or same or set(later.topics) & set(order.topics):
                return True
    return False


def _equal(world: World, order: Order, reading: Reading, now: Moment) -> Read:
    done = order.erases  # what is gone need not be looked for again
    read = msgspec.structs.replace(
        order if done else _later(order, now), drift=False, agains=0, read_at=None
    )
    if not done:
        read = msgspec.structs.replace(read, read_at=_next(order.reads, now))
    record = None
    if order.grade is None or _RANK[reading.grade] < _RANK[order.grade]:
        read = msgspec.structs.replace(read, grade=reading.grade, detail=reading.detail)
        record = _record(world, read, reading)
    return Read(without_person(read), None, record, _cleared(world, order), reading.found)


def _cleared(world: World, order: Order) -> Order | None:
    """The order that this one repeats: whether it drifts, this one says from here on."""
    if order.again_of is None or not (drifted := world.store.orders.order(order.again_of)):
        return None
    if not drifted.drift:
        return None
    return without_person(msgspec.structs.replace(drifted, drift=False))


def _different(world: World, order: Order, reading: Reading, now: Moment) -> Read:
    drifts = msgspec.structs.replace(_later(order, now), drift=True)
    record = _record(world, drifts, reading, drift=True)
    again = None
    repeats = order.verb is not Verb.GRANT and order.agains < MOST_AGAINS
    if repeats and holds(world, order):
        again = Order(
            order_id=world.new_id("ord"),
            record_id=order.record_id,
            destination=order.destination,
            verb=order.verb,
            acknowledged_at=now,
            state=OrderState.WAITING,
            subject=order.subject,
            nodes=order.nodes,
            named=order.named,
            topics=order.topics,
            next_at=now,
            seq=order.seq,
            again_of=order.order_id,
            agains=order.agains + 1,
            erasure=order.erasure,
        )
        drifts = msgspec.structs.replace(drifts, read_at=None)
    else:
        drifts = msgspec.structs.replace(drifts, agains=0)
    return Read(drifts, again, record, _cleared(world, order), reading.found)


def _later(order: Order, now: Moment) -> Order:
    return msgspec.structs.replace(order, reads=order.reads + 1, read_at=_next(order.reads, now))


def _next(reads: int, now: Moment) -> Moment:
    return now + (DAY if reads < DAILY else 7 * DAY)


def _record(world: World, order: Order, reading: Reading, *, drift: bool = False) -> Record:
    more = {"readBack": True, "drift": drift, "readDigest": reading.response_digest}
    return record_of_end(world, order, None, **more, found=reading.found.value)
