"""The story of a right that ends without a word of its person: other systems are told.

A yes grows too old; a category, a mapping or a notice changes. Our own gate closes by itself, for
it asks anew each time. What a destination holds is another matter. So the ledger is walked once a
day: whoever gave a destination its right, and may not be had by it any more, and of whom it was
told nothing since, has a record of that ("expired") and the orders that it owes.

A changed configuration counts once it has stood for a day: a slip of the pen has nobody
unsubscribed. Nothing but the ledger and the orders is asked, so a walk that broke off begins anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from consentry.core.moment import DAY, SECOND, Moment
from consentry.core.order import Change, Topics, Verb, owed
from consentry.core.policy import Policy
from consentry.core.preference import FOREVER
from consentry.core.record import Node
from consentry.flow.configure import policies_in
from consentry.flow.owed import Rights, carried, order_of, people_of
from consentry.flow.person import is_erased
from consentry.flow.reading import Key
from consentry.flow.records import expired_record
from consentry.flow.whom import Whom
from consentry.flow.world import World
from consentry.ledger.entry import Record
from consentry.orders import Order
from consentry.ports import Commit, StoreError

STANDS_FOR = DAY
"""So long a configuration is in force before it takes a right away from others."""

EVERY = DAY
FIRST_AFTER = 60 * SECOND
RECORDS_AT_ONCE = 250
_TURN = 10
"""After so many records others have their turn."""

_REFUSALS = frozenset({Verb.GATE, Verb.SUPPRESS, Verb.ERASE})


class Era(NamedTuple):
    """A policy, from when until when it was in force."""

    policy: Policy
    since: Moment
    until: Moment


def eras_of(world: World) -> list[Era]:
    """Every policy that was in force, the first one first."""
    starts = policies_in(world.store, world.policy)
    ends = [since for since, _ in starts[1:]] + [FOREVER]
    return [Era(policy, since, until) for (since, policy), until in zip(starts, ends, strict=True)]


class Lapse(NamedTuple):
    """That a right ended, for the ledger, and what it owes."""

    record: Record
    orders: tuple[Order, ...]


def lapses_of(world: World, record: Record, eras: Sequence[Era], now: Moment) -> list[Lapse]:
    """What a record once gave and gives no more, as far as nobody was told. Mostly nothing."""
    if not any(fact.granted for _, fact in record.facts):
        return []
    found = (_lapse_of(world, record, subject, eras, now) for subject in people_of(record))
    return [lapse for lapse in found if lapse is not None]


class _Lost(NamedTuple):
    """What a destination has not: the person as a whole, and topics."""

    whole: bool
    topics: Topics


def _lapse_of(
    world: World, record: Record, subject: Key, eras: Sequence[Era], now: Moment
) -> Lapse | None:
    at = record.received_at
    recent = (era for era in eras if era.until > now - STANDS_FOR)
    today = [_rights(world, record, subject, era.policy, now) for era in recent]
    lost = {name: _not_had(world, name, today) for name in world.told}
    if any(map(any, lost.values())):
        refused = _refused_since(world, subject[0], at)
        lost = {name: _not_told(one, refused.get(name, set())) for name, one in lost.items()}
    if not any(map(any, lost.values())) or is_erased(world, subject):
        return None
    once = (era for era in eras if era.until > at)
    then = [_rights(world, record, subject, era.policy, max(at, era.since)) for era in once]
    made, told = expired_record(world, record, subject, now), Whom(world, record, subject)
    orders: list[Order] = []
    for name, one in lost.items():
        orders += _owed(world, made, told, name, one, then)
    return Lapse(made, tuple(orders)) if orders else None


def _rights(world: World, record: Record, subject: Key, policy: Policy, at: Moment) -> Rights:
    standing = world.subjects.standing_as_of(subject, policy, at)
    return Rights(world, record, standing, at, policy)


def _not_had(world: World, name: str, rights: Sequence[Rights]) -> _Lost:
    """What none of these lets a destination have."""
    topics = carried(world.policy, world.told[name])
    if any(one.suppressed for one in rights):
        topics = []  # that was said of the whole person, and covers them
    return _Lost(
        not any(one.may_have(name) for one in rights),
        tuple(pair for pair in topics if not any(one.has(*pair) for one in rights)),
    )


def _refused_since(world: World, node: Node, since: Moment) -> dict[str, set[Topics]]:
    """What each destination was owed a refusal of: of topics, and () of the whole."""
    found: dict[str, set[Topics]] = {}
    before = None
    while page := world.store.orders.find(node, before=before):
        for order in page:
            if order.acknowledged_at < since:
                return found
            if order.verb in _REFUSALS:
                about = ((pair,) for pair in order.topics)
                found.setdefault(order.destination, set()).update(about if order.topics else [()])
        before = page[-1].number
    return found


def _not_told(lost: _Lost, refused: set[Topics]) -> _Lost:
    topics = tuple(pair for pair in lost.topics if (pair,) not in refused)
    return _Lost(lost.whole and () not in refused, topics)


def _owed(
    world: World, made: Record, told: Whom, name: str, lost: _Lost, then: Sequence[Rights]
) -> Iterator[Order]:
    """What one destination is owed, of what it once had."""
    orders = world.told[name].orders
    change = Change(
        allowed_before=lost.whole and any(one.may_have(name) for one in then),
        allowed_after=False,
        topics_denied=tuple(p for p in lost.topics if any(one.has(*p) for one in then)),
        verbs=frozenset() if orders is None else frozenset(orders.verbs),
        reached=told.reached_by(orders),
    )
    due = owed(change)
    for one in due:
        yield order_of(world, made, name, one, told, orders, due)


class Part(NamedTuple):
    """What one step of a walk found. ``unread`` records could not be judged; the next walk tries."""

    lapses: tuple[Lapse, ...] = ()
    unread: int = 0


class Walk:
    """Goes through the ledger, a part at each step, once a day."""

    def __init__(self, world: World, at_once: int = RECORDS_AT_ONCE) -> None:
        self._world = world
        self._at_once = at_once
        self._seq = 0
        self._next: Moment | None = None

    async def step(self) -> Part:
        """The next part, if it is time; what was recorded and owed, durably.

        Raises StoreError where nothing can be read or written; then it goes on from there.
        """
        world, now = self._world, self._world.clock.now()
        if self._next is None:
            self._next = now + FIRST_AFTER
        if world.shadow or not world.told or now < self._next:
            return Part()
        eras = eras_of(world)
        page = list(islice(world.store.ledger(self._seq), self._at_once))
        if not page:
            self._seq, self._next = 0, now + EVERY
        found: list[Lapse] = []
        unread = 0
        try:
            for entry in page:
                try:
                    found += await self._look_at(entry.record, eras, now)
                except StoreError:
                    if not world.store.available:
                        raise
                    unread += 1  # one that is damaged may not keep the others from being found
                self._seq = entry.seq + 1
                if self._seq % _TURN == 0:
                    await asyncio.sleep(0)
        finally:
            if found:
                world.owe()
        return Part(tuple(found), unread)

    async def _look_at(self, record: Record, eras: Sequence[Era], now: Moment) -> list[Lapse]:
        lapses = lapses_of(self._world, record, eras, now)
        for lapse in lapses:
            commit = Commit(records=(lapse.record,), orders=lapse.orders)
            await self._world.store.commit(commit)
        return lapses
