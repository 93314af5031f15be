"""Records: how a choice, a signal or a link becomes an entry of the ledger."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import msgspec

from consentry.core.choice import Answer, Asker, facts_of
from consentry.core.event import Event
from consentry.core.leak import shape_of
from consentry.core.moment import Moment
from consentry.core.policy import AccountChoices, Policy, Regime, strictest
from consentry.core.preference import Found, Standing, Why
from consentry.core.record import Fact, FactKind, Merge, Node, NodeKind
from consentry.core.rule import NOBODY_LOOKED, Place
from consentry.flow.overtaken import not_overtaken
from consentry.flow.subjects import Asking
from consentry.flow.world import World
from consentry.jurisdictions import rule_of
from consentry.ledger.entry import Record, RecordType

GPC = "gpc"
_AFTER_THE_PATH = re.compile(r"[?#]")
# A browser reads a backslash like a slash, and any number of them (WHATWG URL, 4.4).
_AUTHORITY = re.compile(r"((?:[A-Za-z][A-Za-z0-9+.-]*:[/\\]*)|[/\\]{2,})([^/\\]*)")
_KINDS = {RecordType.CHOICE: FactKind.CHOICE, RecordType.IMPORT: FactKind.IMPORT}


class Origin(msgspec.Struct, frozen=True):
    """By which door something came in. ``trust`` is public, server or admin.

    ``place`` is where the visitor is; of a server source nobody knows it.
    """

    source: str
    trust: str
    proven_user: str | None = None
    place: Place = NOBODY_LOOKED

    @property
    def asker(self) -> Asker:
        return Asker(trusted=self.trust != "public", proven_user=self.proven_user)


@dataclass(frozen=True, slots=True)
class Said:
    """A choice as it was given: by whom, what, when it is claimed and counted to be made."""

    subject: tuple[Node, ...]
    answer: Answer
    received_at: Moment
    made_at: Moment | None
    claimed_at: Moment | None = None
    evidence: dict[str, Any] = field(default_factory=dict)


def choice_record(
    world: World, said: Said, origin: Origin, type_: RecordType = RecordType.CHOICE
) -> Record:
    """The record of one answer, with the preferences before and after it."""
    return choice_made(world, said, origin, type_).record


def as_shown(world: World, said: Said) -> Said:
    """A choice without each yes to what had grown since the notice that the person was shown.

    A tab may lie open, and an answer wait in it. What was said so stands in the evidence.
    """
    history = world.telling or world.notices.history
    until = world.notices.covers_until(said.evidence, said.received_at, history)
    if until is None:
        return said
    grown = {c: at for c in said.answer.granted if (at := history.grown(c)) is not None}
    outgrown = frozenset(category for category, at in grown.items() if at > until)
    if not outgrown:
        return said
    answer = replace(said.answer, granted=said.answer.granted - outgrown)
    evidence = {**said.evidence, "outgrown": sorted(outgrown)}
    return replace(said, answer=answer, evidence=evidence)


class Made(NamedTuple):
    """A record with what its subject's preferences come to with it.

    ``alone``: nobody but the identifiers it names was looked at. ``asking`` knows the record.
    """

    record: Record
    standing: Standing
    alone: bool
    asking: Asking


def choice_made(
    world: World,
    said: Said,
    origin: Origin,
    type_: RecordType = RecordType.CHOICE,
    beside: tuple[Record, ...] = (),
) -> Made:
    """As ``choice_record``, with the standing that it leads to, and ``beside`` it too."""
    if type_ is RecordType.CHOICE:
        said = not_overtaken(world, said, origin.source)
    record_id = world.new_id("rec")
    facts = facts_of(
        said.answer,
        said.subject,
        origin.asker,
        world.policy,
        record_id=record_id,
        received_at=said.received_at,
        made_at=said.made_at,
        kind=_KINDS[type_],
    )
    record = _record(
        world,
        record_id,
        type_,
        origin,
        said.subject,
        said.received_at,
        made_at=said.made_at,
        claimed_at=said.claimed_at,
        facts=tuple(facts.items()),
        evidence=said.evidence,
        unverified=_unverified(facts, world.policy, said.made_at),
    )
    named = sorted({*said.answer.granted, *world.policy.reached(said.answer.denied)})
    before = world.subjects.standing(said.subject, world.policy, said.received_at)
    asking = world.subjects.asking(world.policy, [*beside, record])
    after = asking.standing(said.subject, said.received_at)
    told = msgspec.structs.replace(record, before=states(before, named), after=states(after, named))
    return Made(told, after, set(asking.looked_at) <= set(said.subject), asking)


def signal_record(
    world: World,
    name: str,
    present: bool,
    node: Node,
    origin: Origin,
    received_at: Moment,
    seen_at: Moment | None = None,
) -> Record:
    """A signal that appeared, or is seen to be gone. What it covers is kept with it.

    It counts from ``seen_at``, else from when it was received.
    """
    record_id = world.new_id("rec")
    covers = tuple(c.id for c in world.policy.categories if c.gpc and not c.essential)
    fact = Fact(
        FactKind.SIGNAL,
        record_id,
        received_at if seen_at is None else seen_at,
        denied=covers if present else (),
        signal=name,
        present=present,
    )
    return _record(
        world,
        record_id,
        RecordType.SIGNAL,
        origin,
        (node,),
        received_at,
        facts=((node, fact),),
        evidence={"action": name, "present": present, "covers": list(covers)},
    )


def link_record(
    world: World, links: Sequence[tuple[Node, Node]], origin: Origin, received_at: Moment
) -> Record:
    """Identifiers of one subject, as an identify call names them."""
    nodes = tuple(dict.fromkeys(node for link in links for node in link))
    record_id = world.new_id("rec")
    return _record(
        world, record_id, RecordType.IDENTIFY, origin, nodes, received_at, links=tuple(links)
    )


def merge_record(
    world: World, left: str, right: str, origin: Origin, received_at: Moment
) -> Record:
    """Two accounts become one."""
    record_id = world.new_id("rec")
    nodes = (Node(NodeKind.ACCOUNT, left), Node(NodeKind.ACCOUNT, right))
    return _record(
        world,
        record_id,
        RecordType.ALIAS,
        origin,
        nodes,
        received_at,
        merge=Merge(record_id, received_at, left, right),
    )


def suppression_record(
    world: World, type_: RecordType, subject: tuple[Node, ...], origin: Origin, reason: str | None
) -> Record:
    """Onto the suppression list, or off it."""
    record_id, received_at = world.new_id("rec"), world.clock.now()
    kind = FactKind.SUPPRESS if type_ is RecordType.SUPPRESS else FactKind.UNSUPPRESS
    facts = tuple((node, Fact(kind, record_id, received_at)) for node in subject)
    evidence = {"reason": reason} if reason else {}
    return _record(
        world, record_id, type_, origin, subject, received_at, facts=facts, evidence=evidence
    )


def erasure_record(
    world: World,
    person: tuple[Node, ...],
    named: tuple[Node, ...],
    origin: Origin,
    evidence: dict[str, Any],
) -> Record:
    """That a person is erased: a suppression of each of their identifiers, which outlives them.

    Its subject are those that were named by whoever asked for it.
    """
    record_id, received_at = world.new_id("rec"), world.clock.now()
    facts = tuple((node, Fact(FactKind.SUPPRESS, record_id, received_at)) for node in person)
    return _record(
        world,
        record_id,
        RecordType.ERASE,
        origin,
        named,
        received_at,
        facts=facts,
        evidence=evidence,
    )


def request_record(
    world: World,
    type_: RecordType,
    node: Node,
    origin: Origin,
    received_at: Moment,
    evidence: dict[str, Any],
) -> Record:
    """That a sign-up was asked for, or has lapsed. It has no facts, so it changes no preference."""
    record_id = world.new_id("rec")
    return _record(world, record_id, type_, origin, (node,), received_at, evidence=evidence)


def outcome_record(world: World, at: Moment, evidence: dict[str, Any]) -> Record:
    """What an order came to. It has no facts and names nobody, so that it outlives an erasure."""
    return Record(
        record_id=world.new_id("rec"),
        type=RecordType.OUTCOME,
        received_at=at,
        salt=world.new_salt(),
        evidence=evidence,
    )


def expired_record(world: World, of: Record, subject: tuple[Node, ...], at: Moment) -> Record:
    """That what a record allowed holds no longer. It has no facts: what holds is asked anew.

    Source and place are those of the record: which law counts hangs on them.
    """
    return Record(
        record_id=world.new_id("rec"),
        type=RecordType.EXPIRED,
        received_at=at,
        salt=world.new_salt(),
        subject=subject,
        source=of.source,
        trust=of.trust,
        evidence={"recordId": of.record_id},
        place=of.place,
    )


def config_record(world: World, evidence: dict[str, Any], at: Moment) -> Record:
    """A change of configuration: which policy holds from ``at`` on, and what it changed."""
    return _record(
        world,
        world.new_id("rec"),
        RecordType.CONFIG,
        Origin("", "admin"),
        (workspace_node(world.policy),),
        at,
        evidence=evidence,
    )


def workspace_node(policy: Policy) -> Node:
    """Under which the configuration's own records are found."""
    return Node(NodeKind.WORKSPACE, policy.workspace)


def links_of(event: Event, origin: Origin) -> list[tuple[Node, Node]]:
    """What an event says about which identifiers belong together (identify and alias only)."""
    if event.type not in ("identify", "alias"):
        return []
    account = Node(NodeKind.ACCOUNT, event.user_id) if event.user_id is not None else None
    device = Node(NodeKind.DEVICE, event.anonymous_id) if event.anonymous_id is not None else None
    links = [(device, account)] if device and account else []
    if event.type == "alias" and account and event.previous_id is not None:
        links.append((Node(NodeKind.DEVICE, event.previous_id), account))
    owner = account or device
    if event.type == "identify" and owner is not None:
        links += [(owner, contact) for contact in contacts_of(event)]
    return links


def page_alone(address: str) -> str:
    """A page's address without what may hold personal data: query, fragment, user and password,
    and of its path whatever may name somebody (``core.leak.shape_of``)."""
    plain = _AFTER_THE_PATH.split(address, maxsplit=1)[0]
    # What is left after one was cut off may read like another.
    while (found := _AUTHORITY.match(plain)) is not None and "@" in found[2]:
        plain = found[1] + found[2].rpartition("@")[2] + plain[found.end() :]
    site = "" if found is None else found[0]
    return site + shape_of(plain[len(site) :])


def contacts_of(event: Event) -> list[Node]:
    """E-mail and phone that an event names."""
    found = []
    if event.email is not None:
        found.append(Node(NodeKind.EMAIL, event.email))
    if event.phone is not None:
        found.append(Node(NodeKind.PHONE, event.phone))
    return found


def states(standing: Standing, categories: Iterable[str]) -> dict[str, str]:
    """The state of each category, in the ledger's four words."""
    return {category: state_of(standing.of(category)) for category in categories}


def state_of(found: Found) -> str:
    """granted, denied, conflict or never_collected."""
    if found.block is not None:
        return "conflict" if found.block.why is Why.CONFLICT else "denied"
    return "granted" if found.grant is not None else "never_collected"


def _unverified(facts: dict[Node, Fact], policy: Policy, made_at: Moment | None) -> tuple[str, ...]:
    """Categories whose grant has no effect on an identifier that it names.

    Because the asker may not speak for it, where that matters, or because the claimed time
    cannot be true.
    """
    as_given = policy.settings.account_choices is AccountChoices.AS_GIVEN
    idle = [f for f in facts.values() if made_at is None or not (f.proven or as_given)]
    return tuple(sorted({category for fact in idle for category in fact.granted}))


def _record(
    world: World,
    record_id: str,
    type_: RecordType,
    origin: Origin,
    subject: tuple[Node, ...],
    received_at: Moment,
    **more: Any,
) -> Record:
    return Record(
        record_id=record_id,
        type=type_,
        received_at=received_at,
        salt=world.new_salt(),
        subject=subject,
        source=origin.source,
        trust=origin.trust,
        place=_place(world, origin, received_at),
        **more,
    )


def _place(world: World, origin: Origin, at: Moment) -> dict[str, Any]:
    """Where it was said, what silence means there, and by which version of which rule."""
    policy, source = world.policy, world.regimes.get(origin.source)
    rule = rule_of(origin.place, at)
    if not rule.decides:
        regime = source or policy.settings.regime or Regime.OPT_IN
        return {"jurisdiction": None, "regime": regime.value}
    asked = (policy.regime(c, source, rule) for c in policy.categories if not c.essential)
    return {
        "jurisdiction": origin.place.code,
        "regime": (strictest(*asked) or Regime.OPT_IN).value,
        "rule": rule.id,
        "ruleVersion": rule.version,
    }
