"""What must hold of orders: as each is owed, and at each that is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from consentry.core.order import OrderState, Verb
from consentry.destinations.instruction import Instruction
from consentry.orders import Order
from consentry.ports import Commit
from tests.simulation.destination import TELLS, people_of, scope_of
from tests.simulation.model import Event, Fact, Known
from tests.simulation.obligations import (
    REFUSALS,
    WHOLE,
    Scope,
    carried,
    may_have,
    persons,
    reach,
    refuses,
    taken,
)
from tests.simulation.policies import MESSAGES
from tests.simulation.readings import (
    EVERYBODY,
    may_count,
    policies_between,
    readings,
    subject_of,
    who_is,
)

if TYPE_CHECKING:
    from tests.simulation.world import Request, Simulation


class Word(NamedTuple):
    """What a destination was told of somebody: by which order, and what."""

    order: str
    verb: str


@dataclass
class Orders:
    """What is known of orders in one run. ``last`` is the last word, by destination, person and
    what it was about; ``erased`` when the erasure was asked for of which it was told the most that
    it can be told. ``taken``: since when each policy was surely in force."""

    owed: list[str] = field(default_factory=list)
    told: set[str] = field(default_factory=set)
    last: dict[tuple[str, str, Scope], Word] = field(default_factory=dict)
    retried: set[str] = field(default_factory=set)
    erased: dict[tuple[str, str], int] = field(default_factory=dict)
    of_record: dict[str, Request] = field(default_factory=dict)
    taken: list[tuple[int, dict[str, Any]]] = field(default_factory=list)

    def taken_before(self, at: int) -> list[dict[str, Any]]:
        """The policies that were surely in force at some moment before another."""
        return [policy for since, policy in self.taken if since < at]


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
            about = word.what if word.what in MESSAGES else WHOLE
            sim.orders.last[word.by, word.who, about] = Word("", "suppress")
    for order in commit.orders:
        _is_carried(sim, order, request)
    gated = {(o.destination, scope_of(o)) for o in commit.orders if o.verb is Verb.GATE}
    for word in request.counted:
        for name in TELLS if word.kind in REFUSALS else ():
            policies = policies_between(sim, word.at, sim.now())
            for scope in set().union(*(taken(word, name, policy) for policy in policies)):
                if (name, scope) not in gated and _must_be_gated(sim, name, scope, word, policies):
                    of = f"the refusal of {word.who} ({word.what})"
                    sim.violate(f"{name}: {of} owes it no gate for {scope or 'the person'}")


def _is_carried(sim: Simulation, order: Order, request: Request) -> None:
    """A destination is told of its own topics alone, each by itself."""
    name, scope = order.destination, scope_of(order)
    policies = policies_between(sim, request.at, sim.now())
    if scope is not WHOLE and not any(scope in carried(policy, name) for policy in policies):
        sim.violate(f"{name}: is owed an order about {scope}, which it does not carry")


def _must_be_gated(
    sim: Simulation, name: str, scope: Scope, word: Fact, policies: list[dict[str, Any]]
) -> bool:
    if word.by == name or not refuses(word, name, scope, policies):
        return False
    if any(f.at < word.at < min(f.seen, f.until) for f in may_count(sim)):
        return False  # something was on its way: it may be read with it or without it
    person = Event(*word.whom, 0, 0)
    known = list(readings(sim, word.at, policies))
    if word.by is not None and _was_refused(sim, word, name, scope, policies):
        return False
    return not any(may_have(one, name, scope, person) for one in known)


def _was_refused(
    sim: Simulation, word: Fact, name: str, scope: Scope, policies: list[dict[str, Any]]
) -> bool:
    """Whether all of this that a vendor reports may have been refused before."""
    event = Event(*word.whom, word.at, word.at)
    before = [f for f in may_count(sim) if f.at < word.at]
    known = [
        f for f in before if f.kind in ("no", "gpc", "suppress", "erased") or f.seen <= word.at
    ]
    said = {f.what for f in sim.facts if (f.at, f.by) == (word.at, word.by)}

    def about(policy: dict[str, Any]) -> set[str]:
        return said & set(policy["destinations"][name]["categories"]) if scope is WHOLE else {scope}

    return any(
        all(Known(facts, policy, word.at).refused(c, event) for c in about(policy))
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
        scope = scope_of(one)
        if not people:
            sim.violate(f"{name}: was told {order.order_id}, and of nobody")
        sim.say(f"{name} <= {one.verb} {scope or ''} {' '.join(people)} ({one.order_id})")
        if scope != scope_of(order) or one.verb is not order.verb:
            sim.violate(f"{name}: {order.order_id} was told as {one.verb} of {scope}")
        if order.state is not OrderState.WAITING:
            sim.violate(f"{name}: was told {one.order_id} after it was on record as over")
        _is_so(sim, name, order, people, now)
        _in_its_turn(sim, name, order, people)
        _may_be_named(sim, name, order, people)
        _is_not_forgotten(sim, name, order, people)
        sim.orders.told.add(order.order_id)
        word = Word(order.order_id, one.verb.value)
        about = [scope, *MESSAGES] if _says_all(sim, order) else [scope]
        sim.orders.last.update(((name, who, one), word) for who in people for one in about)


def _says_all(sim: Simulation, order: Order) -> bool:
    """Whether it was said of the whole person: that covers every message."""
    request = sim.orders.of_record.get(order.record_id)
    words = [] if request is None else request.counted
    return order.verb is not Verb.GRANT and any(w.kind in ("suppress", "erased") for w in words)


def of_erasure(sim: Simulation, order: Order) -> bool:
    """Whether an erasure owes it."""
    request = sim.orders.of_record.get(order.record_id)
    return request is not None and any(word.kind == "erased" for word in request.counted)


def _is_not_forgotten(sim: Simulation, name: str, order: Order, people: list[str]) -> None:
    """Who was told to erase somebody is told nothing of them again, unless that is lifted."""
    request, told = sim.orders.of_record.get(order.record_id), sim.orders.erased
    if request is not None and of_erasure(sim, order):
        if order.verb is Verb.ERASE or "erase" not in TELLS[name].verbs:
            told.update(((name, who), max(request.at, told.get((name, who), 0))) for who in people)
        return
    forgotten = [who for who in people if (name, who) in told]
    for who in forgotten:
        if Known(sim.facts, {}, sim.now()).erased(who, told[name, who]):
            sim.violate(f"{name}: was told to {order.verb} {who}, whom it was told to erase")


def _is_so(sim: Simulation, name: str, order: Order, people: list[str], now: int) -> None:
    person, scope = subject_of(sim, order), scope_of(order)
    if order.verb is Verb.GRANT:
        known = sim.known(now)
        if not any(may_have(one, name, scope, person) for one in known):
            sim.violate(f"{name}: was told that it may have {order.subject}, and it may not")
        for who in people:
            pairs = [(one, each) for one in known for each in persons(who, EVERYBODY)]
            if not any(may_have(one, name, scope, each) for one, each in pairs):
                sim.violate(f"{name}: a grant names {who}, whom it may not have")
    elif order.verb is Verb.SUPPRESS:
        known = list(readings(sim, now, sim.possible))
        if all(may_have(one, name, scope, person) for one in known):
            sim.violate(f"{name}: was told to forget {order.subject}, whom it may have")


def _in_its_turn(sim: Simulation, name: str, order: Order, people: list[str]) -> None:
    for other in sim.kept.orders.waiting(name):
        if other.number >= order.number:
            break
        if other.order_id not in sim.orders.retried and not set(
            map(who_is, other.named)
        ).isdisjoint(people):
            sim.violate(f"{name}: {order.order_id} overtook {other.order_id} of its person")


def _may_be_named(sim: Simulation, name: str, order: Order, people: list[str]) -> None:
    request = sim.orders.of_record.get(order.record_id)
    if request is not None:
        # Of a message that comes twice at once the second says the same, and does not count.
        words = [*request.counted, *(f for one in request.messages for f in one.grants)]
    else:  # a right that ended without a word
        words = [f for f in sim.facts if f.who in set(map(who_is, order.subject))]
    allowed = set().union(*(reach(word, sim.facts) for word in words))
    for who in people:
        if who not in allowed:
            sim.violate(f"{name}: was told of {who}, and nobody proved that it is theirs")
        if who[0] not in TELLS[name].knows:
            sim.violate(f"{name}: was told of {who}, and it knows nobody by that")
    if request is not None and any(word.by == name for word in words):
        sim.violate(f"{name}: was told back what it told")
