"""The story of what a vendor tells us: a refusal is a choice, and the other systems hear of it.

A yes is noted and grants nothing: a synchronisation must not bring back what somebody took back.
What was refused already is recorded again and owes only what nobody was told yet, or two systems
that each report what we told them would keep us telling them for ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial

import msgspec

from consentry.core.choice import Answer
from consentry.core.order import OrderState, Verb
from consentry.core.policy import channel_key, topic_key
from consentry.core.preference import Standing
from consentry.core.record import Fact, Node
from consentry.destinations.instruction import Heard
from consentry.flow import describe
from consentry.flow.once import Once
from consentry.flow.owed import carried
from consentry.flow.person import is_erased
from consentry.flow.record_choice import Answered, record_choice
from consentry.flow.records import Origin, Said, state_of
from consentry.flow.world import Tellable, World
from consentry.orders import Order

MOST_ORDERS = 100
"""How many of somebody's orders are looked through for the last that names them."""


async def take(world: World, destination: str, heard: Sequence[Heard]) -> list[Answered | None]:
    """Record each, once. Raises StoreUnavailable; then the vendor tries the same again.

    None for what names somebody who was erased: they are suppressed, and stay forgotten.
    """
    return [
        None if is_erased(world, (one.node,)) else await _take_one(world, destination, one)
        for one in heard
    ]


async def _take_one(world: World, destination: str, one: Heard) -> Answered:
    now = world.clock.now()
    denied = frozenset(keys_of(world, destination, one)) if one.denied else frozenset()
    said = Said(
        subject=(one.node,),
        answer=Answer(frozenset(), denied),
        received_at=now,
        made_at=now,
        claimed_at=one.at,
        evidence={
            "action": "inbound",
            "surface": "api",
            "destination": destination,
            "said": one.said,
            "denied": one.denied,
            "eventId": one.event_id,
            "claimedAt": describe.time(one.at),
        },
    )
    origin, once = Origin(source_of(destination), "server"), _once(destination, one)
    standing = world.subjects.standing((one.node,), world.policy, now)
    owing = partial(_untold, world, standing, denied)
    return await record_choice(world, said, origin, once=once, but=destination, owing=owing)


def source_of(destination: str) -> str:
    """By which door a vendor's own reports come in."""
    return f"inbound:{destination}"


def keys_of(world: World, destination: str, one: Heard) -> list[str]:
    """What a refusal covers: the topics named, the channels named as a whole, with every topic
    that it carries by them, or else all that the destination is for."""
    if one.topics:
        return [topic_key(*pair) for pair in one.topics]
    told, ways = world.told.get(destination, Tellable()), set(one.channels)
    pairs = [pair for pair in carried(world.policy, told) if not ways or pair[1] in ways]
    keys = [topic_key(*pair) for pair in pairs]
    if ways and keys:
        return [*keys, *map(channel_key, sorted(ways))]
    mapping = world.policy.mapping.get(destination)
    return [*(() if mapping is None else mapping.categories), *keys]


def _untold(
    world: World, before: Standing, denied: frozenset[str], orders: tuple[Order, ...]
) -> tuple[Order, ...]:
    """Of what a refusal owes: all of what was not refused before, and of the rest what a
    destination was not told yet; each with our own gate.

    One vendor says a topic and another the whole channel, so a report may repeat a part alone.
    That it was refused before does not mean that all were told: one may have had another reason
    to keep the person, or have been told of another identifier. A refusal that nobody proved
    closed our own gate and was told to nobody.
    """
    repeats = [order for order in orders if _was_refused(world, before, denied, order)]
    old = {(o.destination, o.topics) for o in repeats}
    old -= {(o.destination, o.topics) for o in repeats if not _was_told(world, o)}
    return tuple(order for order in orders if (order.destination, order.topics) not in old)


def _was_refused(world: World, before: Standing, denied: frozenset[str], order: Order) -> bool:
    """Whether all that this order is about was refused already."""
    about = _about(world, order)
    if order.whole:
        about &= denied
    return bool(about) and all(state_of(before.of(key)) == "denied" for key in about)


def _about(world: World, order: Order) -> set[str]:
    """Its topics, or the categories that its destination is mapped to."""
    if order.topics:
        return {topic_key(*pair) for pair in order.topics}
    mapping = world.policy.mapping.get(order.destination)
    return set() if mapping is None else set(mapping.categories)


def _was_told(world: World, order: Order) -> bool:
    """Whether the last word between us and a destination, on each whom the order names, is the
    same. Of a gate there is nothing to tell."""
    return order.verb is Verb.GATE or all(_agrees(world, order, node) for node in order.named)


def _agrees(world: World, order: Order, node: Node) -> bool:
    told = _last_told(world, order, node)
    if told is not None and told.verb is not Verb.GRANT:
        return True
    since = -1 if told is None else told.acknowledged_at
    return any(
        fact.received_at > since and _said_by(world, fact, order)
        for fact in world.store.facts_of(node)
    )


def _last_told(world: World, order: Order, node: Node) -> Order | None:
    """The latest order of its destination that names somebody and says something of the same.

    A grant that was left out counts: it may have been heard before we died in between.
    """
    for known in world.store.orders.find(node, order.destination, limit=MOST_ORDERS):
        left_out = known.state is OrderState.SUPERSEDED and known.verb is not Verb.GRANT
        says = known.verb is not Verb.GATE and not left_out
        same = known.topics == order.topics or known.verb is Verb.ERASE
        if says and same and node in known.named:
            return known
    return None


def _said_by(world: World, fact: Fact, order: Order) -> bool:
    """Whether the destination of an order has itself reported this refusal."""
    if _about(world, order).isdisjoint(fact.denied):
        return False
    entry = world.store.record(fact.record_id)
    return entry is not None and entry.record.source == source_of(order.destination)


def _once(destination: str, one: Heard) -> Once | None:
    """A vendor repeats a call that it thinks was lost. One event may tell of several things.

    None where the vendor names no event: a refusal that is recorded twice does no harm, and one
    that is taken for an earlier one would be lost.
    """
    if not one.event_id:
        return None
    told = msgspec.json.encode([one.event_id, one.node, one.denied, one.topics, one.channels])
    digest = hashlib.sha256(told).digest()
    return Once(f"inbound/{destination}/{digest.hex()}", digest)
