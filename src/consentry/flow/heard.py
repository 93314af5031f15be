"""The story of what a vendor tells us: a refusal is a choice, and the other systems hear of it.

A yes is noted and grants nothing: a synchronisation must not bring back what somebody took back.
What was refused already is recorded again and owes nothing, or two systems that each report what
we told them would keep us telling them for ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from consentry.core.choice import Answer
from consentry.core.policy import topic_key
from consentry.destinations.instruction import Heard
from consentry.flow import describe
from consentry.flow.owed import EVERYBODY
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
    """What a refusal covers: the topics named, every topic carried by the channels named, or else
    all that the destination is for."""
    if one.topics:
        return [topic_key(*pair) for pair in one.topics]
    policy, told = world.policy, world.told.get(destination, Tellable())
    ways = set(one.channels)
    carried = [
        topic_key(topic.id, channel)
        for topic in policy.topics
        if topic.id in told.topics
        for channel in topic.channels
        if not ways or channel in ways
    ]
    if ways and carried:
        return carried
    mapping = policy.mapping.get(destination)
    return [*(() if mapping is None else mapping.categories), *carried]


def _known(world: World, one: Heard, denied: frozenset[str]) -> bool:
    """Whether all of it was refused already, so that nobody need be told again."""
    standing = world.subjects.standing((one.node,), world.policy, world.clock.now())
    return all(state_of(standing.of(key)) == "denied" for key in denied)


def _once(destination: str, one: Heard) -> Once:
    """A vendor repeats a call that it thinks was lost. One event may tell of several things."""
    told = msgspec.json.encode([one.event_id, one.node, one.denied, one.topics, one.channels])
    digest = hashlib.sha256(told).digest()
    return Once(f"inbound/{destination}/{digest.hex()}", digest)
