"""What may hold at a moment, however what overlaps it is read: for the checks of orders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from consentry.core.record import Node
from consentry.orders import Order
from tests.simulation.model import FOREVER, Event, Fact, Known, variants
from tests.simulation.obligations import CHANGING, persons

if TYPE_CHECKING:
    from tests.simulation.world import Simulation

EVERYBODY = ("d:a0", "d:a1", "d:a2", "d:u0", "d:u1", "u:u0", "u:u1")
"""An alias may name an account where a device would stand."""
LATE = frozenset({"merge", "unsuppress"})


def pairs_of(who: str) -> Iterator[tuple[str | None, str | None]]:
    for person in persons(who, EVERYBODY):
        yield person.device, person.account


def subject_of(sim: Simulation, order: Order) -> Event:
    entry = sim.kept.record(order.record_id)
    assert entry is not None
    strict = entry.record.place.get("jurisdiction") is not None
    names = {node.kind.value: who_is(node) for node in order.subject}
    return Event(names.get("d"), names.get("u"), 0, 0, strict=strict)


def who_is(node: Node) -> str:
    return f"{node.kind.value}:{node.value}"


def policies_between(sim: Simulation, since: int, until: int) -> list[dict[str, Any]]:
    """Those that may have been in force at some moment in between."""
    found = {id(e.plain): e.plain for e in sim.eras if e.began <= until and e.ended >= since}
    return list(found.values())


def may_count(sim: Simulation) -> list[Fact]:
    """All that may count, whether it came to be or not."""
    return [*sim.facts, *sim.doubts, *(f for request in sim.open for f in request.facts)]


def readings(sim: Simulation, at: int, policies: list[dict[str, Any]]) -> Iterator[Known]:
    """What may hold at a moment: with and without what was on its way, or its refusals alone."""
    durable = [f for f in sim.facts if f.at <= at]
    firm = [f for f in durable if f.kind not in LATE or f.seen <= at]
    everything = [f for f in may_count(sim) if f.at <= at]
    several = [durable]
    if len(everything) > len(durable):
        landed = set(map(id, durable))
        on_its_way = [f for f in everything if id(f) not in landed and f.kind in CHANGING]
        several += [everything, [*durable, *on_its_way]]
    if len(firm) < len(durable):
        several.append(firm)
    for policy in policies:
        for facts in several:
            for left in variants(facts, at):
                yield Known(left, policy, at)


def moments_of_change(sim: Simulation, since: int) -> list[int]:
    """The moments from then on at which something may have changed."""
    found = {since, sim.now()}
    for fact in sim.facts + sim.doubts:
        found.update(
            t
            for t in (fact.at, fact.seen, fact.until, fact.made)
            if t is not None and since < t < FOREVER
        )
    for era in sim.eras:
        found.update(t for t in (era.began, era.ended) if since < t < FOREVER)
    return sorted(found, reverse=True)
