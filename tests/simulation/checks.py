"""What must hold: at every send start, after every acknowledgement, and when all is quiet again.

Each check compares what the product did with the model, and calls ``violate`` with a sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from consentry.destinations.message import Message
from consentry.flow.explain import explain_stored
from consentry.ledger.verify import Entry, verify
from consentry.ports import Attempt
from tests.simulation import judging
from tests.simulation.model import FOREVER, Event, Fact, Known, variants
from tests.simulation.policies import MESSAGES
from tests.store.makers import KEY

if TYPE_CHECKING:
    from tests.simulation.world import Owed, Request, Simulation, Told

DEVICES = ("d:a0", "d:a1", "d:a2")
ACCOUNTS = ("u:u0", "u:u1")
DELIVERED = frozenset({"accepted", "confirmed", "job_done", "sent_unverifiable"})
UNSURE = frozenset({"link", "merge", "unsuppress"})
REFUSING = frozenset({"no", "gpc", "gone", "suppress", "erased"})


# -- at every send start ----------------------------------------------------------------------
def send_started(sim: Simulation, name: str, line: int, messages: Sequence[Message]) -> None:
    """Guarantee 1, what is handed over, the order, and nothing twice."""
    assert sim.process is not None
    if not sim.process.disk.well:
        sim.violate(f"{name}: a send started while withdrawals could not be recorded")
    now = sim.now()
    for message in messages:
        position = sim.position.get(message.message_id)
        if position is None:
            sim.violate(f"{name}: {message.message_id} was sent and never accepted")
            continue
        owed = sim.owed[position]
        known = sim.known(now)
        _may_be_sent(sim, name, owed, known)
        _says_no_more_than_holds(sim, name, owed, message, known, now)
        _in_its_turn(sim, name, line, owed, position)


def _may_be_sent(sim: Simulation, name: str, owed: Owed, known: list[Known]) -> None:
    if not any(judging.allows(one, name, owed.event) for one in known):
        sim.violate(f"{name}: {owed.message_id} was sent and is not allowed now")
    policies = [owed.plain] if name in owed.plain["destinations"] else sim.possible
    then = owed.event.at
    known_then = [Known(f, plain, then) for plain in policies for f in variants(sim.facts, then)]
    if not any(judging.allows(one, name, owed.event) for one in known_then):
        sim.violate(f"{name}: {owed.message_id} was sent and was not allowed when accepted")


def _says_no_more_than_holds(
    sim: Simulation, name: str, owed: Owed, message: Message, known: list[Known], now: int
) -> None:
    event = owed.event
    asked = [
        Event(event.device, event.account, now, now, strict=event.strict)
        if event.update and one.policy["destinations"].get(name, {}).get("share")
        else event
        for one in known
    ]
    stated = message.body["context"]["consent"]["categoryPreferences"]
    for said in (message.consent, stated):
        for category, granted in said.items():
            if category not in known[0].policy["categories"]:
                continue
            if granted and not any(
                one.grants(category, question) for one, question in zip(known, asked, strict=True)
            ):
                sim.violate(f"{name}: {owed.message_id} says {category}, which does not hold")


def _in_its_turn(sim: Simulation, name: str, line: int, owed: Owed, position: int) -> None:
    """No event of a subject overtakes an earlier one; what is on record is not sent again.

    A worker that is gone may have withheld what its follower sends, if neither is on record: an
    attempt of the follower that got nowhere puts neither there.
    """
    if (name, position) in sim.delivered:
        sim.violate(f"{name}: {owed.message_id} was sent again after it was on record as delivered")
    sent = sim.sent[name]
    if position not in sent and (name, position) not in sim.revived:
        key = _order_key(owed.event)
        for other, (by, boot) in sent.items():
            known = by == line or (name, other, boot) in sim.tried
            if other > position and known and _order_key(sim.owed[other].event) == key:
                overtook = sim.owed[other].message_id
                sim.violate(f"{name}: {overtook} was sent before {owed.message_id} of its subject")
    sent[position] = (line, sim.boots)


def _order_key(event: Event) -> str | None:
    return event.account or event.device


# -- when something is durable ----------------------------------------------------------------
def stored(sim: Simulation, one: Told) -> None:
    """D1: what is about somebody on the suppression list is not stored."""
    at, event = one.event.at, one.event
    if all(Known(facts, {}, at).suppressed(event) for facts in variants(sim.facts, at)):
        sim.violate(f"{one.message_id} was stored although its subject is suppressed")


# -- after every acknowledgement --------------------------------------------------------------
def acknowledged(sim: Simulation, request: Request, *, again: bool = False) -> None:
    """What was answered is durable, and the decisions about it agree with the model."""
    if not request.landed and not again:
        sim.violate(f"{request.what} was acknowledged and is not durable")
        sim.take(request)
    for one in request.messages:
        _is_kept(sim, one)
    said = [*request.facts, *(fact for one in request.messages for fact in one.grants)]
    about = [message for message in MESSAGES if any(fact.about(message) for fact in said)]
    for device, account in dict.fromkeys(
        (m.event.device, m.event.account) for m in request.messages
    ):
        judging.person(sim, device, account, messages=about)
    for who in dict.fromkeys(fact.who for fact in request.facts):
        pair = (who, None) if who.startswith("d:") else (None, who)
        judging.person(sim, *pair, messages=about)


def _is_kept(sim: Simulation, one: Told) -> None:
    """What was accepted is in the log, unless somebody may have been suppressed."""
    if one.message_id in sim.position or one.event.gone:
        return
    facts = [*sim.facts, *sim.doubts, *(f for other in sim.open for f in other.facts)]
    if not any(f.kind in ("suppress", "erased") and f.at <= one.event.at for f in facts):
        sim.violate(f"{one.message_id} was acknowledged and is not in the log")


# -- when all is quiet again ------------------------------------------------------------------
def quiet(sim: Simulation) -> None:
    """Guarantee 2, explanations, decisions about everybody, and the ledger."""
    assert sim.process is not None
    for position in range(sim.kept.end):
        _came_to_something(sim, position)
    for device, account in product((None, *DEVICES), (None, *ACCOUNTS)):
        if device or account:
            judging.person(sim, device, account)
    ledger(sim)


def _came_to_something(sim: Simulation, position: int) -> None:
    owed = sim.owed.get(position)
    stored = sim.kept.event_at(position)
    assert sim.process is not None
    assert stored is not None
    if owed is None:
        sim.violate(f"position {position} holds an event that nobody sent")
        return
    if stored.erased:  # nothing is left of it, nor of its attempts
        if not {owed.event.device, owed.event.account} & _ever_erased(sim):
            sim.violate(f"{owed.message_id} was forgotten, and nobody whom it names was erased")
        return
    attempts: dict[str, list[Attempt]] = {}
    for name, attempt in sim.kept.attempts_at(position):
        attempts.setdefault(name, []).append(attempt)
    explained = {
        one["destination"]: one
        for one in explain_stored(sim.process.world, position, stored)["deliveries"]
    }
    for name in owed.plain["destinations"]:
        made = attempts.get(name, [])
        if position in sim.sent[name] and not made and _manned(sim, name):
            sim.violate(f"{name}: {owed.message_id} was sent and no attempt is on record")
        _settled(sim, name, position, owed, made, explained.get(name))


def _ever_erased(sim: Simulation) -> set[str | None]:
    return {fact.who for fact in sim.facts if fact.kind == "erased"}


def _settled(
    sim: Simulation,
    name: str,
    position: int,
    owed: Owed,
    made: list[Attempt],
    explained: dict[str, Any] | None,
) -> None:
    if explained is None:
        sim.violate(f"{name}: {owed.message_id} cannot be explained")
        return
    state, decision = explained["state"], explained["decision"]
    if state == "delivered":
        if not any(one.grade in DELIVERED for one in made):
            sim.violate(f"{name}: {owed.message_id} is said to be delivered without an attempt")
    elif state == "dead":
        rows = sim.kept.deliveries(name, "dead", (name, position - 1), 1)
        if not rows or rows[0].position != position or not (rows[0].grade or rows[0].detail):
            sim.violate(f"{name}: {owed.message_id} is dead for no reason")
    elif state == "waiting":
        if _manned(sim, name) and must(sim, name, owed, FOREVER):
            sim.violate(f"{name}: {owed.message_id} waits for ever")
    else:
        ended = made[-1].ended_at if made else owed.event.at
        if must(sim, name, owed, ended):
            sim.violate(f"{name}: {owed.message_id} was withheld, and was allowed all the time")
        told = decision is not None and decision["decision"] == "withhold" and decision["reason"]
        if not told and not (decision is None and made):
            sim.violate(
                f"{name}: {owed.message_id} was withheld, and the reason is not known ({decision})"
            )


def _manned(sim: Simulation, name: str) -> bool:
    spec = sim.possible[0]["destinations"].get(name)
    return spec is not None and spec["enabled"]


def must(sim: Simulation, name: str, owed: Owed, settled: int) -> bool:
    """Whether it was surely allowed from acceptance until it was settled, without a break."""
    event = owed.event
    if event.update:
        return False
    changes = {event.at, settled if settled < FOREVER else sim.now()}
    for fact in sim.facts + sim.doubts:
        changes.update(t for t in (fact.at, fact.seen) if event.at < t <= settled)
    for era in sim.eras:
        changes.update(t for t in (era.began, era.ended) if event.at < t <= settled)
    return all(_surely(sim, name, owed, at) for at in sorted(changes))


def _surely(sim: Simulation, name: str, owed: Owed, at: int) -> bool:
    event = owed.event
    if _grey(sim, at):
        return False
    # A yes on its way grants nothing yet, but an old one may already make a stamp fade (R4).
    readings = [
        left
        for waits in {True, at == event.at}
        for left in variants([*_in_force(sim, at, waits=waits), *sim.doubts], at)
    ]
    if at == event.at:
        policies = [owed.plain]
    else:
        policies = [era.plain for era in sim.eras if era.began <= at <= era.ended]
    return all(
        judging.allows(Known(facts, plain, at), name, event)
        for plain in policies
        for facts in readings
    )


def _in_force(sim: Simulation, at: int, *, waits: bool) -> Iterator[Fact]:
    """What was answered by then; refusals count before, and acceptance waits for the rest."""
    for fact in sim.facts:
        if fact.at <= at and (waits or fact.kind in REFUSING or fact.seen <= at):
            yield fact


def _grey(sim: Simulation, at: int) -> bool:
    """Whether something of the sort was on its way, or a refusal that never came to be."""
    on_its_way = any(f.kind in UNSURE and f.at <= at <= f.seen for f in sim.facts)
    return on_its_way or any(f.at <= at < f.until for f in sim.doubts)


def ledger(sim: Simulation) -> None:
    """It verifies, and holds what became durable and nothing else."""
    entries = [
        Entry(e.seq, e.leaf, e.record, e.record.record_id, e.record.type) for e in sim.kept.ledger()
    ]
    head = sim.kept.checkpoint()
    report = verify(entries, [] if head is None else [head], [KEY.verify_key])
    if not report.sound:
        sim.violate(f"the ledger does not verify: {report.faults[0]}")
    if report.leaves != sim.records:
        sim.violate(f"the ledger has {report.leaves} leaves, and {sim.records} were written")
