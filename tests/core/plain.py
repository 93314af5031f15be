"""The order of tests, read plainly out of spec/enforcement.md: slow, and without a bit in it.

It shares nothing with ``consentry.core.decision`` and ``consentry.core.verdict`` but the values
that go in. ``test_laws_plain.py`` holds the two against each other.
"""

from __future__ import annotations

from typing import NamedTuple

from consentry.core.decision import Question
from consentry.core.policy import Mapping, Policy
from consentry.core.preference import Standing

Why = str | None  # None where the category is granted
Ground = tuple[str, str | bool]


class Said(NamedTuple):
    """Of one destination: allowed or not, why, and each category that decided with its why."""

    allow: bool
    reason: str
    deciding: tuple[tuple[str, Why, Ground], ...] = ()


def read(policy: Policy, question: Question, standing: Standing) -> dict[str, Said]:
    return {m.name: _destination(policy, question, standing, m) for m in policy.mappings}


def _destination(policy: Policy, asked: Question, standing: Standing, mapping: Mapping) -> Said:
    if standing.suppressed:  # D1
        return Said(False, "suppressed")
    if not mapping.enabled:  # D2
        return Said(False, "destination_disabled")
    if asked.preference_update and mapping.share_consent:  # D3
        return Said(not asked.superseded, "preference_update")
    word = (asked.integrations or {}).get(mapping.name)
    everyone = (asked.integrations or {}).get("All")
    if word is False or (everyone is False and not (word is True or isinstance(word, dict))):  # D4
        return Said(False, "integrations_object")
    off = {c.id for c in policy.categories if not c.enabled}
    mapped = [name for name in mapping.categories if name not in off]
    if not mapped:  # D5
        lax = policy.settings.unmapped == "allow"
        return Said(True, "exempt") if mapping.exempt else Said(lax, "unmapped")
    forbidden = [name for name in mapped if name in asked.prohibited]
    if forbidden:  # D6
        return Said(False, "prohibited", _heard(policy, asked, standing, forbidden))
    heard = _heard(policy, asked, standing, mapped)  # D7
    granted = tuple(one for one in heard if one[1] is None)
    denied = tuple(one for one in heard if one[1] is not None)
    essential = {c.id for c in policy.categories if c.essential}
    if mapping.match == "any" and set(mapped) - essential:  # D8
        granted = tuple(one for one in granted if one[0] not in essential)
        met = len(granted) > 0
    else:
        met = len(denied) == 0
    return Said(True, "consented", granted) if met else _filtered(denied)


def _filtered(denied: tuple[tuple[str, Why, Ground], ...]) -> Said:
    return Said(False, "filtered_by_end_user_consent", denied)


def _heard(
    policy: Policy, asked: Question, standing: Standing, names: list[str]
) -> tuple[tuple[str, Why, Ground], ...]:
    return tuple((name, *category(policy, asked, standing, name)) for name in names)


def category(
    policy: Policy, asked: Question, standing: Standing, name: str, *, every_denial: bool = False
) -> tuple[Why, Ground]:
    """One category. ``every_denial`` asks also those that the profile leaves out for an event."""
    found, stamp, rows = standing.found.get(name), asked.stamp, policy.settings
    own = next((c for c in policy.categories if c.id == name), None)
    topic = any(name == f"topic:{t.id}:{channel}" for t in policy.topics for channel in t.channels)
    if own is None and not topic:  # S5: nobody can have granted what the workspace does not have
        return "never_collected", ("regime", "opt_in")
    if name in asked.prohibited:
        return "prohibited", ("regime", "prohibited")
    transactional = [t.id for t in policy.topics if t.transactional is not None]
    if (own is not None and own.essential) or (topic and name.split(":")[1] in transactional):
        return None, ("setting", "essential")
    # In Segment's profile a record is asked only for what was refused after acceptance.
    alone = rows.stamp == "alone" if stamp is not None else rows.unstamped == "allow"
    if found is not None and found.block is not None:
        since = found.block.at > asked.accepted_at
        if since or every_denial or not alone:
            return found.block.why.value, ("recordId", found.block.record_id)
    if found is not None and found.signal is not None:
        return "signal", ("signal", found.signal.signal)
    silence = "never_collected" if found is None else found.silent.value
    granted = found is not None and found.grant is not None
    if stamp is not None:
        if name not in stamp.granted:
            left_out = len(stamp.stated) > 0 and name not in stamp.stated
            return "missing" if left_out else "denied", ("stamp", True)
        if alone or granted or silence not in ("stale", "expired"):  # R4: it renews nothing
            return None, ("stamp", True)
    elif alone and not topic:
        return None, ("setting", "unstamped=allow")
    elif granted and asked.made_at is not None and asked.made_at >= found.covers_from:  # T3
        return None, ("recordId", found.grant.record_id)
    regime = asked.regime or rows.regime
    if topic:
        regime = "opt_in"
    elif own is not None and own.regime is not None:
        order = ["opt_in", "opt_out", "notice"]
        regime = min([own.regime, asked.regime or own.regime], key=order.index)
    return (silence if regime == "opt_in" else None), ("regime", str(regime))
