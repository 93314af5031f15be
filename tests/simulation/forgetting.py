"""What must hold of the jobs that forget people, and of what is said of an erasure.

Nothing of whoever was erased is left once the job says so, but that they were; nobody else loses
anything; and what is said of it never goes back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from consentry.core.delivery import Grade
from consentry.core.record import FactKind, Node, NodeKind
from consentry.flow.erase import Status
from consentry.ledger.entry import Record, RecordType
from consentry.ports import Commit
from consentry.store.naming import nodes_named
from tests.simulation.destination import TELLS
from tests.simulation.model import FOREVER, Fact

if TYPE_CHECKING:
    from tests.simulation.world import Request, Simulation

OURS = ("erasing", "owed", "erased")
EVERYTHING = 1_000_000


@dataclass
class Watch:
    """What is known of erasures in one run. ``records`` as they were written; ``of`` whom each
    erasure takes; ``said`` what was said of it last: how far we are, and which systems are open."""

    records: dict[str, Record] = field(default_factory=dict)
    of: dict[str, list[Fact]] = field(default_factory=dict)
    said: dict[str, tuple[str, dict[str, bool]]] = field(default_factory=dict)

    def gone(self, erasure_id: str) -> frozenset[Node]:
        return frozenset(node_of(fact.who) for fact in self.of.get(erasure_id, ()))


def node_of(who: str) -> Node:
    return Node(NodeKind(who[0]), who[2:])


def landed(sim: Simulation, request: Request | None, commit: Commit) -> None:
    """A commit is durable."""
    for record in commit.records:
        sim.watch.records[record.record_id] = record
        if record.type is RecordType.ERASE and request is not None:
            sim.watch.of[record.record_id] = [f for f in request.counted if f.kind == "erased"]


# -- as a job is done -------------------------------------------------------------------------
def forgot(sim: Simulation, erasure_id: str) -> None:
    """The process was told that nothing is left: from now on nothing is known."""
    facts = sim.watch.of.get(erasure_id)
    if facts is None or all(fact.done < FOREVER for fact in facts):
        return
    sim.say(f"forgot {' '.join(fact.who for fact in facts)}")
    now = sim.now()
    for fact in facts:
        fact.done = now
    for what in _left_of(sim, erasure_id, facts):
        sim.violate(f"{erasure_id} is said to be forgotten, and {what}")


def process_ended(sim: Simulation) -> None:
    """Nothing is remembered any more: a job that was done without anybody's knowing is done."""
    for job in sim.kept.erasures.unfinished():
        if job.erased:
            forgot(sim, job.record_id)


def _left_of(sim: Simulation, erasure_id: str, facts: list[Fact]) -> Iterator[str]:
    """What is left of people that should not be, and what is not that should."""
    kept, gone = sim.kept, sim.watch.gone(erasure_id)
    entry = kept.record(erasure_id)
    assert entry is not None
    asked_at = entry.record.received_at
    old = {
        other.record.record_id: other
        for other in kept.ledger()
        if other.seq <= entry.seq or other.record.received_at <= asked_at
    }
    for other in old.values():
        if not gone.isdisjoint(nodes_named(other.record)):
            yield f"{other.record.type} {other.record.record_id} names them"
    for fact in facts:
        known = kept.facts_of(node_of(fact.who))
        for one in known:
            if one.record_id in old and old[one.record_id].record.type is not RecordType.ERASE:
                yield f"{one.kind} of {fact.who} is known"
        if not _has_tombstone(sim, fact):
            yield f"{fact.who} has no tombstone"
    for one in kept.events_from(0, EVERYTHING):
        accounts = {node for node in one.event.nodes if node.kind is NodeKind.ACCOUNT}
        theirs = not gone.isdisjoint(one.event.nodes) and accounts <= gone
        if theirs and one.event.received_at <= asked_at:
            yield f"the event at {one.position} is there"
    for order in kept.orders.find(limit=EVERYTHING):
        named = (*order.subject, *order.nodes, *order.named)
        if order.record_id in old and not order.erases and not gone.isdisjoint(named):
            yield f"{order.order_id} names them"


def _has_tombstone(sim: Simulation, fact: Fact) -> bool:
    """Whether it is still known that somebody was erased, by this erasure or a later one."""
    found = sim.kept.facts_of(node_of(fact.who))
    return any(one.kind is FactKind.SUPPRESS and one.received_at >= fact.at for one in found)


# -- what is said of it -----------------------------------------------------------------------
def said(sim: Simulation, erasure_id: str, status: Status) -> None:
    """It never goes back, and never says that it is over while a system has still to be told."""
    before, was_open = sim.watch.said.get(erasure_id, ("erasing", {}))
    if OURS.index(status.ours) < OURS.index(before):
        sim.violate(f"{erasure_id} was said to be {before}, and now {status.ours}")
    now_open = {one.destination: one.strongest.open for one in status.told}
    owing = [order for order in sim.kept.orders.of_record(erasure_id) if order.open]
    if missing := was_open.keys() - now_open.keys():
        sim.violate(f"{erasure_id}: nothing is said any more of {sorted(missing)}")
    for name, is_open in now_open.items():
        again = any(o.order_id in sim.orders.retried for o in owing if o.destination == name)
        if is_open and not was_open.get(name, True) and not again:
            sim.violate(f"{erasure_id}: {name} was said to be told, and now it waits")
    for order in owing:
        over = status.ours == "erased" and order.order_id not in sim.orders.retried
        if over or not now_open.get(order.destination, False):
            sim.violate(f"{erasure_id} is said to be over, and {order.order_id} waits")
    sim.watch.said[erasure_id] = status.ours, now_open


# -- when all is quiet ------------------------------------------------------------------------
def at_work(sim: Simulation) -> list[str]:
    """The jobs that have something to do, or should say that they are done."""
    return [
        job.record_id for job in sim.kept.erasures.unfinished() if not _waits(sim, job.record_id)
    ]


def _waits(sim: Simulation, erasure_id: str) -> bool:
    """Whether somebody has still to be told who is not there, or is to be asked again."""
    gone = sim.watch.gone(erasure_id)
    here = sim.possible[0]["destinations"]
    for order in sim.kept.orders.find(limit=EVERYTHING):
        mine = order.record_id == erasure_id or not gone.isdisjoint(order.nodes)
        if mine and order.open and order.destination not in here:
            return True
        if order.record_id == erasure_id and order.named and order.read_at is not None:
            return True
    return False


def quiet(sim: Simulation) -> None:
    """Every job came to its end, whoever was erased still is, and nobody else lost anything."""
    for erasure_id, facts in sim.watch.of.items():
        for fact in facts:
            if not _has_tombstone(sim, fact):
                sim.violate(f"{fact.who} was erased, and has no tombstone")
        assert sim.process is not None
        status = sim.parts.status_of(sim.process.world, erasure_id)
        said(sim, erasure_id, status)
        for one in status.told:
            _was_told(sim, erasure_id, one.destination, erases=one.erases)
    for entry in sim.kept.ledger():
        _is_as_it_was(sim, entry.record)


def _was_told(sim: Simulation, erasure_id: str, name: str, *, erases: bool) -> None:
    """What is said of a system is what it saw."""
    if erases and "erase" not in TELLS[name].verbs:
        sim.violate(f"{erasure_id}: {name} is said to erase, and cannot")
    for order in sim.kept.orders.of_record(erasure_id):
        if order.destination != name or order.open or order.verb.value not in TELLS[name].verbs:
            continue
        failed = order.grade is Grade.FAILED_FINAL or order.superseded_by is not None
        if not failed and not order.why and order.order_id not in sim.orders.told:
            sim.violate(f"{erasure_id}: {name} is said to be told, and never heard of it")


def _is_as_it_was(sim: Simulation, record: Record) -> None:
    """A record says what it said, but for those whom an erasure took."""
    written = sim.watch.records.get(record.record_id)
    if written is None:
        sim.violate(f"{record.record_id} is on the ledger, and nobody wrote it")
        return
    if record.erased_by is None:
        if record != written:
            sim.violate(f"{record.record_id} was changed, and nobody was erased")
        return
    gone = frozenset[Node]().union(*map(sim.watch.gone, sim.watch.of))
    left = set(nodes_named(record))
    lost = set(nodes_named(written)) - left
    facts = tuple(pair for pair in written.facts if pair[0] in left)
    if not lost or not lost <= gone or record.facts != facts:
        sim.violate(f"{record.record_id} lost {lost}, and nobody asked for that")
