"""Builds the core's values out of spec/enforcement-cases.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from consentry.core import moment
from consentry.core.choice import Asker, answer_of_update, facts_of, subject_of
from consentry.core.decision import Decision, decide, question_of
from consentry.core.event import Envelope, Event, parse_event
from consentry.core.policy import (
    SEGMENT,
    STRICT,
    Category,
    Devices,
    Mapping,
    Match,
    Policy,
    Regime,
    days,
)
from consentry.core.preference import stand
from consentry.core.record import Account, Fact, FactKind, History, Node, NodeKind

SPEC = Path(__file__).parents[2] / "spec" / "enforcement-cases.json"
DOCUMENT = json.loads(SPEC.read_text())
CASES: list[dict[str, Any]] = DOCUMENT["cases"]
MORE: list[dict[str, Any]] = json.loads(SPEC.with_name("enforcement-more.json").read_text())[
    "cases"
]
SIBLING = Node(NodeKind.DEVICE, "another device")
ADDRESS = Node(NodeKind.EMAIL, "ann@shop.example")
NOW = moment.parse(DOCUMENT["now"])
Facts = dict[Node, list[Fact]]


def policy_of(case: dict[str, Any]) -> Policy:
    """The workspace that a case describes."""
    regimes = case.get("regime", "opt_in")
    named = {c for categories in case["mapping"].values() for c in categories}
    for setting in ("essential", "turned_off", "prohibited"):
        named.update(case.get(setting, ()))
    named.update(case.get("requires_consent_since", {}))
    named.update(regimes if isinstance(regimes, dict) else ())
    since = case.get("requires_consent_since", {})
    covered = {c for signal in case.get("signals", {}).values() for c in signal["covers"]}
    categories = tuple(
        Category(
            id=name,
            essential=name in case.get("essential", ()),
            enabled=name not in case.get("turned_off", ()),
            regime=Regime(regimes[name]) if isinstance(regimes, dict) and name in regimes else None,
            requires_consent_since=moment.parse(since[name]) if name in since else None,
            gpc=name in covered,
        )
        for name in sorted(named)
    )
    mappings = tuple(
        Mapping(
            name=name,
            kind="webhook",
            categories=tuple(case["mapping"][name]),
            match=Match(case.get("match", {}).get(name, "all")),
            enabled=name not in case.get("disabled", ()),
            exempt=case.get("exempt", {}).get(name),
            share_consent=name in case.get("share_consent", ()),
        )
        for name in DOCUMENT["destinations"]
    )
    profile = STRICT if case["profile"] == "strict" else SEGMENT
    settings = {
        "regime": Regime(regimes) if isinstance(regimes, str) else Regime.OPT_IN,
        "max_age_us": days(case.get("max_age_days")),
        "devices": Devices(case.get("devices", "latest")),
    }
    from dataclasses import replace

    return Policy("Acme", replace(profile, **settings), categories, mappings)


def decide_case(case: dict[str, Any]) -> dict[str, Decision]:
    """Decide a case as the product does: as of acceptance and as of now, both must allow."""
    policy = policy_of(case)
    received = moment.parse(case["received_at"]) if "received_at" in case else NOW
    facts: Facts = {}
    for message in case.get("before", ()):
        at = moment.parse(message["received_at"])
        _record(facts, _event(message["event"], at), message["source_trust"], policy, "before")
    event = _event(case["event"], received)
    _recorded(facts, case, event)
    _record(facts, event, case.get("source_trust", "public"), policy, "own")
    history = _history(facts, event)
    question = question_of(event)
    question = msgspec.structs.replace(question, prohibited=frozenset(case.get("prohibited", ())))
    then = decide(policy, question, stand(history, policy, received))
    now = decide(policy, question, stand(history, policy, NOW))
    return {
        one.destination: other if one.allow else one for one, other in zip(then, now, strict=True)
    }


def _event(raw: dict[str, Any], received: moment.Moment) -> Event:
    event = parse_event(dict(raw), Envelope(received), fallback_id="generated")
    assert isinstance(event, Event), event
    return event


def _record(facts: Facts, event: Event, trust: str, policy: Policy, record_id: str) -> None:
    if not event.is_preference_update:
        return
    made = facts_of(
        answer_of_update(event, policy),
        subject_of(event),
        Asker(trusted=trust == "server"),
        policy,
        record_id=record_id,
        received_at=event.received_at,
        made_at=event.made_at,
    )
    for node, fact in made.items():
        facts.setdefault(node, []).append(fact)


def _recorded(facts: Facts, case: dict[str, Any], event: Event) -> None:
    device = Node(NodeKind.DEVICE, event.anonymous_id or "")
    account = Node(NodeKind.ACCOUNT, event.user_id or "linked")
    for node, key in (
        (device, "recorded"),
        (account, "recorded_account"),
        (SIBLING, "recorded_sibling"),
        (ADDRESS, "recorded_address"),
    ):
        for category, entries in case.get(key, {}).items():
            for n, entry in enumerate(entries if isinstance(entries, list) else [entries]):
                facts.setdefault(node, []).append(_fact(f"{key}-{category}-{n}", category, entry))
    for name, signal in case.get("signals", {}).items():
        for n, time in enumerate([signal["at"], signal.get("last_seen")]):
            if time is not None:
                at = moment.parse(time)
                fact = Fact(
                    FactKind.SIGNAL, f"{name}-{n}", at, denied=tuple(signal["covers"]), signal=name
                )
                facts.setdefault(device, []).append(fact)
    if case.get("suppressed"):
        fact = Fact(FactKind.SUPPRESS, "suppress", moment.parse("2026-10-01T00:00:00Z"))
        facts.setdefault(device, []).append(fact)


def _fact(record_id: str, category: str, entry: dict[str, Any]) -> Fact:
    at = moment.parse(entry["at"])
    if entry.get("conflict"):
        return Fact(FactKind.CHOICE, record_id, at, denied=(category,), signal="conflict")
    made = entry.get("made", entry["at"])
    made_at = None if made is None else moment.parse(made)
    kind = FactKind.IMPORT if entry.get("imported") else FactKind.CHOICE
    if entry["granted"]:
        proven = entry.get("proven", True)
        return Fact(kind, record_id, at, made_at, granted=(category,), proven=proven)
    return Fact(kind, record_id, at, made_at, denied=(category,))


def _history(facts: Facts, event: Event) -> History:
    device = tuple(facts.get(Node(NodeKind.DEVICE, event.anonymous_id or ""), ()))
    named = event.user_id
    node = Node(NodeKind.ACCOUNT, named or "linked")
    account = Account(node.value, {node.value: tuple(facts.get(node, ()))})
    linked = {
        "siblings": (tuple(facts[SIBLING]),) if SIBLING in facts else (),
        "contacts": (tuple(facts[ADDRESS]),) if ADDRESS in facts else (),
    }
    if named is not None:
        return History(device=device, account=account, **linked)
    others = (account,) if facts.get(node) else ()
    return History(device=device, others=others, **linked)
