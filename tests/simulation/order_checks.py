"""What must hold of orders: as each is owed, at each that is told, and when all is quiet again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from consentry.core.delivery import Grade
from consentry.core.order import OrderState, Verb
from consentry.core.record import Node
from consentry.destinations.instruction import Instruction
from consentry.ledger.entry import RecordType
from consentry.orders import Order
from consentry.ports import Commit
from tests.simulation.destination import TELLS, people_of
from tests.simulation.model import FOREVER, Event, Fact, Known
from tests.simulation.obligations import (
    CHANGING,
    REFUSALS,
    may_have,
    persons,
    reach,
    refuses,
    tied,
)

if TYPE_CHECKING:
    from tests.simulation.world import Request, Simulation

EVERYBODY = ("d:a0", "d:a1", "d:a2", "d:u0", "d:u1", "u:u0", "u:u1")
"""An alias may name an account where a device would stand."""
LATE = frozenset({"merge", "unsuppress"})


class Word(NamedTuple):
    """What a destination was told of somebody: by which order, and what."""

    order: str
    verb: str


@dataclass
class Orders:
    """What is known of orders in one run. ``last`` is the last word, by destination and person."""

    owed: list[str] = field(default_factory=list)
    told: set[str] = field(default_factory=set)
    last: dict[tuple[str, str], Word] = field(default_factory=dict)
    retried: set[str] = field(default_factory=set)
    of_record: dict[str, Request] = field(default_factory=dict)


# -- as they are owed -------------------------------------------------------------------------
def landed(sim: Simulation, request: Request | None, commit: Commit) -> None:
    """A commit is durable: each refusal in it is our own gate at once, and nobody is told back."""
    sim.orders.owed += [order.order_id for order in commit.orders]
    sim.counts.orders += len(commit.orders)
    if request is None:
        return
    sim.orders.of_record.update((record.record_id, request) for record in commit.records)
    for word in request.counted:
        if word.by is not None:  # what it told us need not be told to it
            sim.orders.last[word.by, word.who] = Word("", "suppress")
    gated = {order.destination for order in commit.orders if order.verb is Verb.GATE}
    for word in request.counted:
        if word.kind not in REFUSALS:
            continue
        for name in TELLS:
            if name not in gated and _must_be_gated(sim, name, word):
                sim.violate(f"{name}: the refusal of {word.who} ({word.what}) owes it no gate")


def _must_be_gated(sim: Simulation, name: str, word: Fact) -> bool:
    policies = _policies(sim, word.at, sim.now())
    if word.by == name or not refuses(word, name, policies):
        return False
    if any(f.at < word.at < min(f.seen, f.until) for f in _all_facts(sim)):
        return False  # something was on its way: it may be read with it or without it
    person = Event(*word.whom, 0, 0)
    known = list(_readings(sim, word.at, policies))
    if word.by is not None and _was_refused(sim, word, policies):
        return False
    return not any(may_have(one, name, person) for one in known)


def _was_refused(sim: Simulation, word: Fact, policies: list[dict[str, Any]]) -> bool:
    """Whether all that a vendor reports may have been refused before."""
    event = Event(*word.whom, word.at, word.at)
    before = [f for f in _all_facts(sim) if f.at < word.at]
    known = [f for f in before if f.kind in ("no", "gpc", "suppress") or f.seen <= word.at]
    said = {f.what for f in sim.facts if (f.at, f.by) == (word.at, word.by)}
    return any(
        all(Known(facts, policy, word.at).refused(c, event) for c in said)
        for policy in policies
        for facts in (before, known)
    )


# -- at each that is told -----------------------------------------------------------------------
def told(sim: Simulation, name: str, instructions: Sequence[Instruction]) -> None:
    """The first byte of an attempt at orders is about to be sent."""
    assert sim.process is not None
    if not sim.process.disk.well:
        sim.violate(f"{name}: was told something while what comes of it could not be recorded")
    now = sim.now()
    for one in instructions:
        order = sim.kept.orders.order(one.order_id)
        if order is None or order.destination != name:
            sim.violate(f"{name}: was told {one.order_id}, which nobody owes it")
            continue
        people = people_of(one.person)
        sim.say(f"{name} <= {one.verb} {' '.join(people)} ({one.order_id})")
        if order.state is not OrderState.WAITING:
            sim.violate(f"{name}: was told {one.order_id} after it was on record as over")
        _is_so(sim, name, order, people, now)
        _in_its_turn(sim, name, order, people)
        _may_be_named(sim, name, order, people)
        sim.orders.told.add(order.order_id)
        word = Word(order.order_id, one.verb.value)
        sim.orders.last.update(((name, who), word) for who in people)


def _is_so(sim: Simulation, name: str, order: Order, people: list[str], now: int) -> None:
    person = _person(sim, order)
    if order.verb is Verb.GRANT:
        known = sim.known(now)
        if not any(may_have(one, name, person) for one in known):
            sim.violate(f"{name}: was told that it may have {order.subject}, and it may not")
        for who in people:
            if not any(may_have(k, name, p) for k in known for p in persons(who, EVERYBODY)):
                sim.violate(f"{name}: a grant names {who}, whom it may not have")
    elif order.verb is Verb.SUPPRESS:
        known = list(_readings(sim, now, sim.possible))
        if all(may_have(one, name, person) for one in known):
            sim.violate(f"{name}: was told to forget {order.subject}, whom it may have")


def _in_its_turn(sim: Simulation, name: str, order: Order, people: list[str]) -> None:
    for other in sim.kept.orders.waiting(name):
        if other.number >= order.number:
            break
        if other.order_id not in sim.orders.retried and not set(map(_who, other.named)).isdisjoint(
            people
        ):
            sim.violate(f"{name}: {order.order_id} overtook {other.order_id} of its person")


def _may_be_named(sim: Simulation, name: str, order: Order, people: list[str]) -> None:
    request = sim.orders.of_record.get(order.record_id)
    if request is not None:
        # Of a message that comes twice at once the second says the same, and does not count.
        words = [*request.counted, *(f for one in request.messages for f in one.grants)]
    else:  # a right that ended without a word
        words = [f for f in sim.facts if f.who in set(map(_who, order.subject))]
    allowed = set().union(*(reach(word, sim.facts) for word in words))
    for who in people:
        if who not in allowed:
            sim.violate(f"{name}: was told of {who}, and nobody proved that it is theirs")
        if who[0] not in TELLS[name].knows:
            sim.violate(f"{name}: was told of {who}, and it knows nobody by that")
    if request is not None and any(word.by == name for word in words):
        sim.violate(f"{name}: was told back what it told")


# -- when all is quiet again --------------------------------------------------------------------
def quiet(sim: Simulation) -> None:
    """No order is lost, each end is on the ledger, and the last word is the one that holds."""
    ends = _ends(sim)
    for order_id in sim.orders.owed:
        order = sim.kept.orders.order(order_id)
        if order is None:
            sim.violate(f"{order_id} was owed and is nowhere")
        elif order.verb is not Verb.GATE:
            _came_to_its_end(sim, order, ends)
    for name, tells in TELLS.items():
        if tells.verbs and name in sim.possible[0]["destinations"]:
            for who in EVERYBODY:
                if who[0] in tells.knows:
                    _last_word(sim, name, who)


def _came_to_its_end(sim: Simulation, order: Order, ends: dict[str, str]) -> None:
    name, state = order.destination, order.state
    if order.open:
        if name in sim.possible[0]["destinations"]:
            sim.violate(f"{name}: {order.order_id} waits for ever")
        return
    if state is OrderState.TERMINAL and order.order_id not in sim.orders.told:
        sim.violate(f"{name}: {order.order_id} is said to be done, and nothing was told")
    if state is OrderState.SUPERSEDED:
        by = None if order.superseded_by is None else sim.kept.orders.order(order.superseded_by)
        if order.superseded_by is None:
            if not order.why:
                sim.violate(f"{name}: {order.order_id} was left out for no reason")
        elif by is None or by.destination != name or by.number <= order.number:
            sim.violate(f"{name}: {order.order_id} gave way to no later order")
    if order.order_id not in ends:
        sim.violate(f"{name}: what {order.order_id} came to is not on the ledger")
    elif ends[order.order_id] != (state if state is OrderState.SUPERSEDED else order.grade):
        sim.violate(f"{name}: of {order.order_id} the ledger says {ends[order.order_id]}")


def _ends(sim: Simulation) -> dict[str, str]:
    """The last grade that the ledger has of each order."""
    records = (entry.record for entry in sim.kept.ledger())
    found = (r.evidence for r in records if r.type is RecordType.OUTCOME)
    return {each["orderId"]: each["grade"] for each in found}


def _last_word(sim: Simulation, name: str, who: str) -> None:
    last = sim.orders.last.get((name, who))
    verb = None if last is None else last.verb
    if verb != "suppress" and (word := _refusal(sim, name, who)) is not None:
        sim.violate(f"{name}: {who} refused ({word.what} of {word.who}), and it was told {verb}")
    tells_yes = "grant" in TELLS[name].verbs and not _lapsed(sim, last)
    if verb != "grant" and tells_yes and _was_let_in(sim, name, who):
        sim.violate(f"{name}: {who} said yes again, and it was told {verb}")
    if last is None:
        return
    order = sim.kept.orders.order(last.order)
    held = sim.hostiles[name].held.get(who)
    if order is not None and order.grade is Grade.CONFIRMED and held != verb:
        sim.violate(f"{name}: {last.order} is said to be confirmed, and {who} is held as {held}")


def _lapsed(sim: Simulation, last: Word | None) -> bool:
    """Whether the last word came of nothing that was said: a right of somebody near has ended."""
    order = None if last is None else sim.kept.orders.order(last.order)
    return order is not None and order.record_id not in sim.orders.of_record


def _refusal(sim: Simulation, name: str, who: str) -> Fact | None:
    """The last proven refusal by which it must have been told to stop, if one still stands:
    since then nobody might be had whom this identifier may stand for."""
    words = [
        f
        for f in sim.facts
        if f.kind in REFUSALS and f.seen < FOREVER and f.by != name
        if who in reach(f, [other for other in sim.facts if other.seen <= f.at])
        if refuses(f, name, _policies(sim, f.at, f.seen))
    ]
    for word in sorted(words, key=lambda f: f.at, reverse=True)[:1]:
        concerned = {p: None for w in {who, word.who} for p in _each(w)}
        for at in _changes(sim, word.at):
            known = list(_readings(sim, at, _policies(sim, at, at)))
            if any(may_have(one, name, Event(*p, 0, 0)) for one in known for p in concerned):
                return None
        return word
    return None


def _was_let_in(sim: Simulation, name: str, who: str) -> bool:
    """Whether a proven yes let it have somebody whom it might not have before, and still does."""
    near = tied(who, sim.facts)
    changes = [f for f in sim.facts + sim.doubts if f.kind in CHANGING and f.who in near]
    for word in sim.facts:
        if (word.kind, word.who) != ("yes", who) or word.seen == FOREVER:
            continue
        if not word.entitled or word.imported or word.made is None:
            continue
        # What overlaps it may come after it in the ledger, and be told last.
        if any(f.at != word.at and min(f.seen, f.until) > word.at for f in changes):
            continue
        person = Event(*word.whom, 0, 0, strict=True)
        before = [f for f in _all_facts(sim) if f.at < word.at]
        policies = _policies(sim, word.at, word.at)
        lenient = Event(*word.whom, 0, 0)
        if any(may_have(Known(before, p, word.at), name, lenient) for p in policies):
            continue
        if all(_surely(sim, name, person, at, word) for at in _changes(sim, word.at)):
            return True
    return False


def _surely(sim: Simulation, name: str, person: Event, at: int, word: Fact) -> bool:
    """Whether it may have somebody at a moment, however what overlaps it is read."""
    if any(f.kind in {"link", *LATE} and f.at <= at <= f.seen for f in sim.facts):
        return False
    facts = [
        f
        for f in sim.facts
        if f.at <= at
        and (f.kind in CHANGING or f.seen <= at or (f.at, f.whom) == (word.at, word.whom))
    ]
    return all(
        may_have(Known([*facts, *sim.doubts], p, at), name, person) for p in _policies(sim, at, at)
    )


# -- what all share -----------------------------------------------------------------------------
def _each(who: str) -> Iterator[tuple[str | None, str | None]]:
    for person in persons(who, EVERYBODY):
        yield person.device, person.account


def _person(sim: Simulation, order: Order) -> Event:
    entry = sim.kept.record(order.record_id)
    assert entry is not None
    strict = entry.record.place.get("jurisdiction") is not None
    names = {node.kind.value: _who(node) for node in order.subject}
    return Event(names.get("d"), names.get("u"), 0, 0, strict=strict)


def _who(node: Node) -> str:
    return f"{node.kind.value}:{node.value}"


def _policies(sim: Simulation, since: int, until: int) -> list[dict[str, Any]]:
    """Those that may have been in force at some moment in between."""
    found = {id(e.plain): e.plain for e in sim.eras if e.began <= until and e.ended >= since}
    return list(found.values())


def _all_facts(sim: Simulation) -> list[Fact]:
    """All that may count, whether it came to be or not."""
    return [*sim.facts, *sim.doubts, *(f for request in sim.open for f in request.facts)]


def _readings(sim: Simulation, at: int, policies: list[dict[str, Any]]) -> Iterator[Known]:
    """What may hold at a moment: with and without what was on its way, or its refusals alone."""
    durable = [f for f in sim.facts if f.at <= at]
    firm = [f for f in durable if f.kind not in LATE or f.seen <= at]
    everything = [f for f in _all_facts(sim) if f.at <= at]
    several = [durable]
    if len(everything) > len(durable):
        landed = set(map(id, durable))
        on_its_way = [f for f in everything if id(f) not in landed and f.kind in CHANGING]
        several += [everything, [*durable, *on_its_way]]
    if len(firm) < len(durable):
        several.append(firm)
    for policy in policies:
        for facts in several:
            yield Known(facts, policy, at)


def _changes(sim: Simulation, since: int) -> list[int]:
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
