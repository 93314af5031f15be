"""What must hold of orders when all is quiet again: their ends, and the last word to each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consentry.core.delivery import Grade
from consentry.core.order import OrderState, Verb
from consentry.ledger.entry import RecordType
from consentry.orders import Order
from tests.simulation.destination import TELLS, scope_of
from tests.simulation.model import FOREVER, Event, Fact, Known, variants
from tests.simulation.obligations import (
    CHANGING,
    REFUSALS,
    WHOLE,
    Scope,
    carried,
    may_have,
    reach,
    refuses,
    tied,
)
from tests.simulation.order_checks import Word, of_erasure
from tests.simulation.readings import (
    EVERYBODY,
    LATE,
    may_count,
    moments_of_change,
    pairs_of,
    policies_between,
    readings,
    who_is,
)

if TYPE_CHECKING:
    from tests.simulation.world import Simulation

Said = tuple[Fact, set[str]]


def quiet(sim: Simulation) -> None:
    """No order is lost, each end is on the ledger, and the last word is the one that holds."""
    ends = _ends(sim)
    for order_id in sim.orders.owed:
        order = sim.kept.orders.order(order_id)
        if order is None:
            sim.violate(f"{order_id} was owed and is nowhere")
        elif order.verb is not Verb.GATE:
            _came_to_its_end(sim, order, ends)
    plain, words = sim.possible[0], _heard(sim)
    for name, tells in TELLS.items():
        if tells.verbs and name in plain["destinations"]:
            for who in EVERYBODY:
                for scope in (WHOLE, *sorted(carried(plain, name))):
                    if who[0] in tells.knows:
                        _last_word(sim, name, who, scope, words)
            _erased_for_good(sim, name)


def _erased_for_good(sim: Simulation, name: str) -> None:
    """Who was erased, and was not let back in: it was told so, as far as it can be told, if it
    was there then or surely had been: then it hears of it as it comes back."""
    now = Known(sim.facts, {}, sim.now())
    for word in sim.facts:
        if word.kind != "erased" or not word.entitled or not now.erased(word.who):
            continue
        there = all(name in p["destinations"] for p in policies_between(sim, word.at, word.seen))
        there = there or _was_placed(sim, name, word.at)
        told = sim.orders.erased.get((name, word.who), -1)
        if there and word.who[0] in TELLS[name].knows and word.seen < FOREVER and told < word.at:
            last = sim.orders.last.get((name, word.who, WHOLE))
            sim.violate(f"{name}: {word.who} was erased, and the last it was told is {last}")


def _was_placed(sim: Simulation, name: str, at: int) -> bool:
    """Whether it was to be sent events before: then it may know anybody."""
    before = (p["destinations"].get(name) for p in sim.orders.taken_before(at))
    return any(spec is not None and spec["enabled"] for spec in before)


def _heard(sim: Simulation) -> list[Said]:
    """Each refusal with all whom others had to be told of for its sake, the last one first."""
    found = [f for f in sim.facts if f.kind in REFUSALS and f.seen < FOREVER]
    found.sort(key=lambda f: f.at, reverse=True)
    left = variants(sim.facts, sim.now())[-1]  # whom one was tied to may be forgotten
    return [(f, reach(f, [other for other in left if other.seen <= f.at])) for f in found]


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
        elif scope_of(by) != scope_of(order) and not of_erasure(sim, by):
            sim.violate(f"{name}: {order.order_id} gave way to an order about something else")
    if order.order_id not in ends:
        sim.violate(f"{name}: what {order.order_id} came to is not on the ledger")
    elif ends[order.order_id] != (state if state is OrderState.SUPERSEDED else order.grade):
        sim.violate(f"{name}: of {order.order_id} the ledger says {ends[order.order_id]}")


def _ends(sim: Simulation) -> dict[str, str]:
    """The last grade that the ledger has of each order."""
    records = (entry.record for entry in sim.kept.ledger())
    found = (r.evidence for r in records if r.type is RecordType.OUTCOME)
    return {each["orderId"]: each["grade"] for each in found}


def _last_word(sim: Simulation, name: str, who: str, scope: Scope, words: list[Said]) -> None:
    last = sim.orders.last.get((name, who, scope))
    verb, about = None if last is None else last.verb, scope or "the person"
    if (
        verb not in ("suppress", "erase")
        and (word := _refusal(sim, name, who, scope, words)) is not None
    ):
        said = f"{word.what} of {word.who}"
        sim.violate(f"{name}: {who} refused ({said}), and it was told {verb} of {about}")
    tells_yes = "grant" in TELLS[name].verbs and not _lapsed(sim, last)
    if verb != "grant" and tells_yes and _was_let_in(sim, name, who, scope):
        sim.violate(f"{name}: {who} said yes again, and it was told {verb} of {about}")
    if last is None:
        return
    order = sim.kept.orders.order(last.order)
    held = sim.hostiles[name].held.get((who, scope))
    if order is None or scope_of(order) != scope:
        return  # of a word about everything it keeps no more than that
    if order.named and who not in map(who_is, order.named):
        return  # whom an erasure took out of it, it says nothing of
    if order.grade is Grade.CONFIRMED and held != verb:
        sim.violate(f"{name}: {last.order} is said to be confirmed, and {who} is held as {held}")


def _lapsed(sim: Simulation, last: Word | None) -> bool:
    """Whether the last word came of nothing that was said: a right of somebody near has ended."""
    order = None if last is None else sim.kept.orders.order(last.order)
    return order is not None and order.record_id not in sim.orders.of_record


def _refusal(sim: Simulation, name: str, who: str, scope: Scope, words: list[Said]) -> Fact | None:
    """The last proven refusal by which it must have been told to stop, if one still stands:
    since then nobody might be had whom this identifier may stand for."""
    for word, named in words:
        if who not in named or word.by == name or _was_gone(sim, word, who):
            continue
        if not refuses(word, name, scope, policies_between(sim, word.at, word.seen)):
            continue
        concerned = {p: None for w in {who, word.who} for p in pairs_of(w)}
        for at in moments_of_change(sim, word.at):
            known = list(readings(sim, at, policies_between(sim, at, at)))
            asked = [(one, Event(*p, 0, 0)) for one in known for p in concerned]
            if any(may_have(one, name, scope, event) for one, event in asked):
                return None
        return word
    return None


def _was_gone(sim: Simulation, word: Fact, who: str) -> bool:
    """Whether somebody near may have been erased when this was said: then nobody is told of it."""
    near = {who, word.who, *word.whom}
    return word.kind != "erased" and any(
        f.kind == "erased" and f.who in near and f.at <= min(word.seen, sim.now())
        for f in sim.facts + sim.doubts
    )


def _was_let_in(sim: Simulation, name: str, who: str, scope: Scope) -> bool:
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
        before = [f for f in may_count(sim) if f.at < word.at]
        policies = policies_between(sim, word.at, word.at)
        if scope is not WHOLE and not all(scope in carried(p, name) for p in policies):
            continue
        lenient = Event(*word.whom, 0, 0)
        had = [Known(f, p, word.at) for p in policies for f in variants(before, word.at)]
        if any(may_have(one, name, scope, lenient) for one in had):
            continue
        moments = moments_of_change(sim, word.at)
        if all(_surely(sim, name, scope, person, at, word) for at in moments):
            return True
    return False


def _surely(sim: Simulation, name: str, scope: Scope, person: Event, at: int, word: Fact) -> bool:
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
        may_have(Known(left, p, at), name, scope, person)
        for p in policies_between(sim, at, at)
        for left in variants([*facts, *sim.doubts], at)
    )
