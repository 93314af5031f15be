"""Explanations: what was or would be decided, and what became of each delivery. Writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from consentry.core.decision import (
    Decision,
    Decisions,
    Question,
    decide,
    decide_message,
    question_of,
)
from consentry.core.delivery import NEXT, Grade, State
from consentry.core.event import Envelope, Event
from consentry.core.record import Node
from consentry.core.rule import NOBODY_LOOKED, Place
from consentry.flow import describe
from consentry.flow.accept import Incoming, nodes_of, of_all_named, records_of
from consentry.flow.asked import (
    allowed_at_acceptance,
    decide_now,
    decide_then,
    withheld_then,
)
from consentry.flow.records import Origin
from consentry.flow.where import Known, known_of, known_of_stored, rule_for, there
from consentry.flow.world import World
from consentry.ports import Attempt, Delivery, StoredEvent

_GRADES = frozenset(grade.value for grade in Grade)


def explain_event(world: World, event: Event, origin: Origin) -> Decisions:
    """What would be decided if this event came now, by this door.

    The choice, the links and the merge in it are taken into account as acceptance would.
    """
    nodes = nodes_of(event)
    incoming = Incoming(origin, (), Envelope(event.received_at))
    records, _ = records_of(world, incoming, [event])
    standing = world.subjects.standing_with(nodes, world.policy, event.received_at, records)
    standing = of_all_named(world, event, standing)
    question = question_of(event, world.regimes.get(origin.source))
    known = known_of(world, origin, event)
    return decide(world.policy, there(world.policy, question, known, event.received_at), standing)


def explain_subject(
    world: World,
    nodes: tuple[Node, ...],
    destinations: Sequence[str] | None,
    place: Place = NOBODY_LOOKED,
) -> tuple[Decision, ...]:
    """What would be decided for something this subject did now, at a place.

    Nothing else is known of it.
    """
    now = world.clock.now()
    standing = world.subjects.standing(nodes, world.policy, now)
    question = there(world.policy, Question(now, now), Known(place.code), now)
    decisions = decide(world.policy, question, standing)
    if destinations is None:
        return tuple(decisions)
    return tuple(one for name in destinations if (one := decisions.of(name)) is not None)


def explain_topic(
    world: World, nodes: tuple[Node, ...], topic: str, channel: str
) -> dict[str, Any]:
    """Whether this subject may get a topic by a channel. An unknown one nobody agreed to."""
    now = world.clock.now()
    standing = world.subjects.standing(nodes, world.policy, now)
    decided = decide_message(world.policy, Question(now, now), standing, topic, channel)
    described = describe.decision(decided)
    del described["destination"]
    return {"topic": topic, "channel": channel, **described}


def explain_stored(world: World, position: int, event: StoredEvent) -> dict[str, Any]:
    """What became of an accepted event, per destination."""
    attempts: dict[str, list[Attempt]] = {}
    for destination, made in world.store.attempts_at(position):
        attempts.setdefault(destination, []).append(made)
    names = dict.fromkeys(_destinations_then(world, event))
    names.update(dict.fromkeys(attempts))
    rule = rule_for(known_of_stored(event), event.received_at)
    return {
        "messageId": event.message_id,
        "receivedAt": describe.time(event.received_at),
        "place": event.place,
        "rule": None if rule is None else describe.rule(rule),
        "type": event.type,
        "event": event.name,
        "source": event.source,
        "deliveries": [
            _delivery(world, position, event, name, attempts.get(name, [])) for name in names
        ],
    }


def _destinations_then(world: World, event: StoredEvent) -> list[str]:
    policy = world.store.policy(event.policy_id) or world.policy
    return [mapping.name for mapping in policy.mappings]


def _delivery(
    world: World, position: int, event: StoredEvent, name: str, attempts: list[Attempt]
) -> dict[str, Any]:
    row = _row(world, name, position)
    state = _state(world, event, name, attempts, row)
    if state is State.WAITING:
        decided = decide_now(world, event, name) or decide_then(world, event, name)
    else:
        decided = decide_then(world, event, name)
    if state is State.WITHHELD and not attempts and decided is not None and decided.allow:
        decided = withheld_then(name)
    described: dict[str, Any] | None = None if decided is None else describe.decision(decided)
    last = describe.attempt(attempts[-1]) if attempts else {}
    if state is State.WITHHELD and "decision" in last:
        described = last["decision"]
    return {
        "destination": name,
        "state": state,
        "decision": described,
        "attempts": [describe.attempt(made) for made in attempts],
    }


def _row(world: World, name: str, position: int) -> Delivery | None:
    rows = world.store.deliveries(name, None, (name, position - 1), 1)
    return rows[0] if rows and rows[0].position == position else None


def _state(
    world: World, event: StoredEvent, name: str, attempts: list[Attempt], row: Delivery | None
) -> State:
    if row is not None:
        return State(row.state)
    if attempts:
        grade = attempts[-1].grade
        return NEXT[Grade(grade)] if grade in _GRADES else State.WITHHELD
    return State.WAITING if allowed_at_acceptance(world, event, name) else State.WITHHELD
