"""Values as the JSON of the API: one place that says how each of them is written."""

from __future__ import annotations

from typing import Any

import msgspec

from consentry.core.decision import Decision, Question, Verdict, granted, verdicts
from consentry.core.moment import Moment, format_exact
from consentry.core.policy import Policy, Regime, channel_key, topic_key
from consentry.core.preference import Found, Standing, Why
from consentry.core.record import Node, NodeKind
from consentry.core.rule import Rule
from consentry.core.verdict import Judged
from consentry.flow.records import state_of
from consentry.ledger.entry import LedgerRecord
from consentry.ports import Attempt

SUBJECT_MEMBERS = {
    NodeKind.DEVICE: "anonymousId",
    NodeKind.ACCOUNT: "userId",
    NodeKind.EMAIL: "email",
    NodeKind.PHONE: "phone",
}


def time(moment: Moment | None) -> str | None:
    """RFC 3339, or null."""
    return None if moment is None else format_exact(moment)


def subject(nodes: tuple[Node, ...]) -> dict[str, str]:
    """Identifiers by their names in the API."""
    return {
        SUBJECT_MEMBERS[NodeKind(node.kind)]: node.value
        for node in nodes
        if node.kind != NodeKind.WORKSPACE
    }


def effective(
    policy: Policy,
    standing: Standing,
    now: Moment,
    regime: Regime | None = None,
    rule: Rule | None = None,
) -> dict[str, bool]:
    """For each category of the workspace, whether it is granted for something done now."""
    question = _question_of_now(now, regime, rule)
    return policy.bits.read(granted(policy, question, standing), policy.enabled)


def preferences(
    policy: Policy,
    standing: Standing,
    now: Moment,
    regime: Regime | None = None,
    rule: Rule | None = None,
) -> dict[str, Any]:
    """PREFS: per category its recorded state, what it comes to now, and why."""
    question = _question_of_now(now, regime, rule)
    judged = verdicts(policy, question, standing, policy.enabled)
    return {v.id: _preference(standing, v) for v in judged}


def _question_of_now(now: Moment, regime: Regime | None, rule: Rule | None) -> Question:
    since = None if rule is None else rule.grants_since(now)
    return Question(accepted_at=now, made_at=now, regime=regime, rule=rule, grants_since=since)


def topics(policy: Policy, standing: Standing, now: Moment) -> dict[str, Any]:
    """PREFS again, per topic and channel; with why it needs no consent, where it needs none."""
    if not policy.topics:
        return {}
    judged = Judged(policy, Question(now, now), standing, every_denial=True)
    return {
        topic.id: {
            channel: {
                **_preference(standing, judged.verdict(topic_key(topic.id, channel))),
                **({} if topic.transactional is None else {"transactional": topic.transactional}),
            }
            for channel in topic.channels
        }
        for topic in policy.topics
    }


def channels(policy: Policy, standing: Standing) -> dict[str, Any]:
    """Per channel of a topic, whether it was ever refused as a whole, when, and by which record.

    A topic that was agreed to later is granted all the same, so this decides nothing by itself.
    """
    names = dict.fromkeys(channel for topic in policy.topics for channel in topic.channels)
    described = {}
    for channel in names:
        found = standing.of(channel_key(channel))
        record_id, at = _evidence(found)
        described[channel] = {"state": state_of(found), "at": time(at), "recordId": record_id}
    return described


def _preference(standing: Standing, judged: Verdict) -> dict[str, Any]:
    found = standing.of(judged.id)
    record_id, at = _evidence(found)
    return {
        "state": state_of(found),
        "effective": "granted" if judged.granted and not standing.suppressed else "denied",
        "why": judged.why or (Why.DENIED if standing.suppressed else None),
        "at": time(at),
        "recordId": record_id,
    }


def _evidence(found: Found) -> tuple[str | None, Moment | None]:
    if found.block is not None:
        return found.block.record_id, found.block.at
    if found.signal is not None:
        return found.signal.record_id, found.signal.at
    if found.grant is not None:
        return found.grant.record_id, found.grant.made_at
    return None, None


def decision(decided: Decision) -> dict[str, Any]:
    """One decision, with the categories that decided and their grounds."""
    return {
        "destination": decided.destination,
        "decision": "allow" if decided.allow else "withhold",
        "reason": decided.reason,
        "categories": [
            {"id": v.id, "effective": "granted" if v.granted else "denied", "why": v.why}
            for v in decided.verdicts
        ],
        "grounds": [ground.as_json() for ground in decided.grounds],
    }


def rule(made: Rule) -> dict[str, Any]:
    """The rule of a place: its rows, its version, and the laws it was read in."""
    return {
        "id": made.id,
        "version": made.version,
        "name": made.name,
        "rows": list(made.rows),
        "laws": [{"law": one.law, "section": one.section, "url": one.url} for one in made.laws],
    }


def attempt(made: Attempt) -> dict[str, Any]:
    """One attempt, or the decision not to make it."""
    described: dict[str, Any] = {
        "startedAt": time(made.started_at),
        "endedAt": time(made.ended_at),
        "grade": made.grade,
        "status": made.status,
        "crossed": made.crossed,
        "requestDigest": made.request_digest,
        "responseDigest": made.response_digest,
    }
    if made.detail:
        described["detail"] = made.detail
    if made.decision is not None:
        described["decision"] = msgspec.json.decode(made.decision)
    return described


def record(entry: LedgerRecord) -> dict[str, Any]:
    """One entry of a subject's history."""
    made = entry.record
    return {
        "recordId": made.record_id,
        "seq": entry.seq,
        "type": made.type,
        "claimedAt": time(made.claimed_at),
        "madeAt": time(made.made_at),
        "receivedAt": time(made.received_at),
        "source": made.source,
        "trust": made.trust,
        "before": made.before,
        "after": made.after,
        "unverified": list(made.unverified),
        "evidence": made.evidence,
        "place": made.place,
        "leafIndex": entry.seq,
        **({} if made.erased_by is None else {"erasedBy": made.erased_by}),
    }
