"""The story of what a vendor tells us: a refusal is a choice, and the other systems hear of it.

A yes is noted and grants nothing: a synchronisation must not bring back what somebody took back.
What was refused already is recorded again and owes nothing, or two systems that each report what
we told them would keep us telling them for ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from operator import itemgetter

import msgspec

from consentry.core.choice import Answer
from consentry.core.policy import channel_key, topic_key
from consentry.core.record import Fact, FactKind
from consentry.destinations.instruction import Heard
from consentry.flow import describe
from consentry.flow.owed import EVERYBODY, carried, proven_with
from consentry.flow.record_choice import Answered, Once, record_choice
from consentry.flow.records import Origin, Said, state_of
from consentry.flow.world import Tellable, World


async def take(world: World, destination: str, heard: Sequence[Heard]) -> list[Answered]:
    """Record each, once. Raises StoreUnavailable; then the vendor tries the same again."""
    return [await _take_one(world, destination, one) for one in heard]


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
    but = EVERYBODY if _known(world, one, denied) else destination
    origin = Origin(f"inbound:{destination}", "server")
    return await record_choice(world, said, origin, once=_once(destination, one), but=but)


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


def _known(world: World, one: Heard, denied: frozenset[str]) -> bool:
    """Whether the others were told all of it already, so that nobody need be told again.

    A refusal that nobody proved closed our own gate and went no further: it was told to nobody.
    """
    standing = world.subjects.standing((one.node,), world.policy, world.clock.now())
    if not all(state_of(standing.of(key)) == "denied" for key in denied):
        return False
    nodes = proven_with(world, {one.node}, trusted=True)
    facts = [fact for node in nodes for fact in world.store.facts_of(node)]
    return all(_told(facts, key) for key in denied)


def _told(facts: Sequence[Fact], key: str) -> bool:
    """Whether the latest proven word on it was a refusal."""
    words = [
        (fact.received_at, key in fact.denied)
        for fact in facts
        if fact.kind is FactKind.CHOICE
        and fact.proven
        and (key in fact.denied or key in fact.granted)
    ]
    return bool(words) and max(words, key=itemgetter(0))[1]


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
