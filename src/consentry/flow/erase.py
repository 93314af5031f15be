"""The story of an erasure: from one record on a person is suppressed, and other systems are told.

What is ours goes afterwards (docs/decisions/0018). What stays is the tombstone, a suppression
under a keyed hash of each identifier, so that no import or event brings the person back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from consentry.core.order import OrderState, Verb
from consentry.core.record import Node
from consentry.flow.once import Once, answering, kept_reply
from consentry.flow.owed import orders_of, standings_before
from consentry.flow.person import theirs_alone, whole_person
from consentry.flow.records import Origin, erasure_record
from consentry.flow.world import Tellable, World
from consentry.ledger.entry import Record
from consentry.orders import Order
from consentry.ports import Commit, Reply

AWAY = (
    "it is not configured, and is told should it come back; "
    "if it does not, propagation drop ends what it is owed"
)
_STRENGTH = (Verb.GATE, Verb.SUPPRESS, Verb.ERASE)


class NobodyAlone(Exception):
    """All identifiers that were named are also somebody's whose account was not named."""


class Erasing(NamedTuple):
    """The reply to an erasure; without a record when it had been given before.

    ``away`` are the destinations that are owed something and are not configured.
    """

    body: dict[str, Any]
    record: Record | None = None
    away: tuple[str, ...] = ()


async def erase(
    world: World,
    named: tuple[Node, ...],
    origin: Origin,
    reason: str | None = None,
    *,
    once: Once | None = None,
) -> Erasing:
    """Erase who is named: suppressed once this returns, and owed to every destination.

    The reply is ``erasureId``, the ids of the ``orders``, and how many identifiers stay because
    they are ``shared`` with somebody else's account. Raises NobodyAlone, TooManyIdentifiers,
    KeyReused, and StoreUnavailable when nothing was written.
    """
    if once is None:
        return await _erase(world, named, origin, reason, None)
    known = await kept_reply(world, once)
    if known is not None:
        return Erasing(known)
    with answering(world, once):
        return await _erase(world, named, origin, reason, once)


async def _erase(
    world: World, named: tuple[Node, ...], origin: Origin, reason: str | None, once: Once | None
) -> Erasing:
    person = whole_person(world, named)
    theirs = theirs_alone(world, person)
    if theirs.isdisjoint(named):
        raise NobodyAlone
    nodes, shared = tuple(sorted(theirs)), len(person.nodes - theirs)
    evidence: dict[str, Any] = {"action": "erase", "shared": shared}
    if reason:
        evidence["reason"] = reason
    mine = tuple(node for node in named if node in theirs)
    record = erasure_record(world, nodes, mine, origin, evidence)
    missing = away(world, nodes)
    befores = standings_before(world, [record], missing)
    on_its_way = Counter(nodes)
    world.erasing += on_its_way
    try:
        with world.subjects.in_flight([record]):
            asking = world.subjects.asking(world.policy, [record])
            orders = orders_of(world, befores, asking, also=missing)
            body = {
                "erasureId": record.record_id,
                "orders": [order.order_id for order in orders],
                "shared": shared,
            }
            replies = _kept(once, body)
            await world.store.commit(Commit(records=(record,), replies=replies, orders=orders))
    finally:
        world.erasing -= on_its_way
    if orders:
        world.owe()
    world.notify()
    world.followers.tell((record,))
    return Erasing(body, record, tuple(missing))


def away(world: World, nodes: Iterable[Node]) -> dict[str, Tellable]:
    """Destinations that may know a person and are not configured, by what their kind takes.

    Whoever has a place in the log was sent events, or would have been; and somebody may have an
    order of theirs that waits. A refusal is found in the ledger should they come back
    (``flow/lapsed.py``). Of who was erased it says nothing then, so it is owed now.
    """
    names = set(world.store.placed())
    for node in nodes:
        names |= {o.destination for o in world.store.orders.find(node, state=OrderState.WAITING)}
    missing = sorted(names - world.told.keys() - world.policy.mapping.keys())
    if not missing:
        return {}
    kinds = _kinds_of(world, missing)
    return {name: Tellable(world.takes.get(kinds.get(name, ""))) for name in missing}


def _kinds_of(world: World, names: list[str]) -> dict[str, str]:
    """The kind that each had last, by the policies on record."""
    store, last, found = world.store, world.policy_id, dict[str, str]()
    while store.policy(last + 1) is not None:
        last += 1
    while last > 0 and len(found) < len(names):
        policy = store.policy(last)
        known = {} if policy is None else policy.mapping
        found.update((n, known[n].kind) for n in names if n in known and n not in found)
        last -= 1
    return found


def _kept(once: Once | None, body: dict[str, Any]) -> tuple[Reply, ...]:
    if once is None:
        return ()
    return (Reply(once.key, once.digest, 202, msgspec.json.encode(body)),)


class Told(NamedTuple):
    """What an erasure asks of one destination: its strongest order, of those that are open as long
    as any is, and all of them.

    ``cannot`` says in one sentence what it leaves undone or unproven there, None where nothing.
    One that is not configured is told should it come back.
    """

    destination: str
    strongest: Order
    orders: tuple[Order, ...]
    erases: bool
    cannot: str | None


class Status(NamedTuple):
    """How far an erasure has come. ``ours`` is "erasing", "owed" when nothing is left here but whom
    orders still have to name, or "erased"."""

    ours: str
    told: list[Told]


def status_of(world: World, erasure_id: str) -> Status:
    """What came of an erasure, here and at every destination that it owes something."""
    jobs = world.store.erasures.unfinished()
    job = next((one for one in jobs if one.record_id == erasure_id), None)
    ours = "erased" if job is None else "owed" if job.erased else "erasing"
    return Status(ours, told_of(world, erasure_id))


def told_of(world: World, erasure_id: str) -> list[Told]:
    """Every destination that an erasure owes something, in the order of its orders."""
    by_destination: dict[str, list[Order]] = {}
    for order in world.store.orders.of_record(erasure_id):
        by_destination.setdefault(order.destination, []).append(order)
    return [_told(world, name, orders) for name, orders in by_destination.items()]


def _told(world: World, name: str, orders: list[Order]) -> Told:
    shown = max(orders, key=lambda order: (order.open, *_strength(order)))
    strongest = max(orders, key=_strength)
    erases = strongest.verb is Verb.ERASE
    told = world.told.get(name)
    taken = None if told is None else told.orders
    cannot: str | None = None if taken is None else taken.cannot
    if strongest.verb is Verb.SUPPRESS:
        cannot = "it cannot erase: it is told to stop using this person, and keeps what it has"
    elif strongest.verb is Verb.GATE:
        cannot = f"nothing is erased there: {strongest.why or 'our own gate, and no further'}"
    if told is None and any(order.open for order in orders):
        cannot = AWAY
    return Told(name, shown, tuple(orders), erases, cannot)


def _strength(order: Order) -> tuple[int, int]:
    return _STRENGTH.index(order.verb), order.number
