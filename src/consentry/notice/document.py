"""The policy document: all that a page needs in order to ask, and to do what was answered.

Its members are fixed in docs/decisions/0012-capture-in-parts.md and ``sdk/js/src/types.ts``.
Pure: the place, the moment and the language were found before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from consentry.core.moment import DAY, format_rfc3339
from consentry.core.policy import Category, Policy, Regime, strictest
from consentry.jurisdictions import Place, Rule, regimes_of
from consentry.notice.edition import Edition
from consentry.notice.rendered import Rendered, ShownCategory, controller_of, topic_name
from consentry.notice.values import Notice, PageTag

NEVER_AGAIN_DAYS = 36_500
"""Where the law forbids to ask again after a refusal at all."""


class Visit(NamedTuple):
    """Who asks for the document. ``gpc`` is whether the request came with the signal."""

    place: Place
    rule: Rule
    regime: Regime | None  # what the source states
    gpc: bool


def document(
    policy: Policy,
    notice: Notice,
    tags: Sequence[PageTag],
    shown: Rendered,
    edition: Edition,
    languages: Sequence[str],
    visit: Visit,
) -> dict[str, Any]:
    """The document for one visit, as JSON values."""
    regimes = regimes_of(policy, visit.rule, visit.regime)
    categories = [
        _category(policy.category[one.id], one, regimes[one.id], edition, visit)
        for one in shown.categories
    ]
    asked = [one for one in categories if not one["essential"] and not one["prohibited"]]
    return {
        "regime": strictest(*(regimes[one["id"]] for one in asked)) or Regime.NOTICE,
        "jurisdiction": visit.place.code or None,
        "ruleVersion": visit.rule.version,
        "rule": _rule(visit.rule),
        "notice": {
            "id": notice.id,
            "version": edition.version,
            "hash": shown.digest,
            "layout": notice.layout,
            "theme": notice.theme,
            "privacyUrl": notice.privacy_url,
            "controller": controller_of(notice, policy),
            "changed": list(edition.changed),
        },
        "language": shown.language,
        "direction": shown.direction,
        "languages": list(languages),
        "texts": shown.texts,
        "ask": _ask(policy, notice, visit.rule, asked),
        "categories": categories,
        "topics": [
            {"id": one.id, "name": one.name, "channels": list(one.channels)} for one in shown.topics
        ],
        "transactional": _transactional(policy, notice, shown.language),
        "gpc": _gpc(policy, visit),
        "tags": [_tag(tag) for tag in tags],
        "cookie": {"domain": notice.cookie_domain, "days": notice.cookie_days},
        "pagePolicy": notice.page_policy,
    }


def _category(
    category: Category, shown: ShownCategory, regime: Regime, edition: Edition, visit: Visit
) -> dict[str, Any]:
    since = edition.since.get(category.id)
    prohibited = not category.essential and visit.rule.prohibits(category.is_for)
    refused = visit.gpc and category.gpc
    silence = regime.silence_grants and not refused and not prohibited
    return {
        "id": category.id,
        "name": shown.name,
        "description": shown.description,
        "essential": category.essential,
        "regime": regime,
        "default": category.essential or silence,
        "prohibited": prohibited,
        "gpc": category.gpc and not category.essential,
        "destinations": list(shown.destinations),
        "tags": list(shown.tags),
        "since": None if since is None else format_rfc3339(since),
    }


def _rule(rule: Rule) -> dict[str, Any] | None:
    """The law, where one was read. Nothing else may be named to anybody."""
    if not rule.laws:
        return None
    law = rule.laws[0]
    named = {"law": law.law, "section": law.section, "url": law.url}
    return named if rule.until is None else {**named, "until": format_rfc3339(rule.until)}


def _ask(
    policy: Policy, notice: Notice, rule: Rule, asked: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Whether to ask, and how long answers hold, in whole days; None is without end."""
    ages = [policy.max_age_us(policy.category[one["id"]]) for one in asked]
    grant = _least(notice.grant_days, rule.grant_days, *(age and age / DAY for age in ages))
    again = max(notice.ask_again_days, rule.ask_again_after_days or 0)
    if rule.never_ask_again:
        again = NEVER_AGAIN_DAYS
    refusal = _least(notice.refusal_days, rule.refusal_days)
    if refusal is not None:
        # A no is forgotten neither before a yes nor before it may be asked about again.
        refusal = None if grant is None else max(refusal, grant, math.ceil(again))
    return {
        "required": any(not one["regime"].silence_grants for one in asked),
        "grantDays": grant,
        "refusalDays": refusal,
        "againAfterDays": math.ceil(again),
    }


def _least(*days: float | None) -> int | None:
    """The shortest, rounded down: nothing counts longer than it may."""
    stated = [one for one in days if one is not None]
    return math.floor(min(stated)) if stated else None


def _transactional(policy: Policy, notice: Notice, language: str) -> list[dict[str, Any]]:
    """What may be sent without consent, and why: nobody can switch it, so it is no topic there."""
    return [
        {
            "id": one.id,
            "name": topic_name(notice, one.id, one.name, language),
            "channels": list(one.channels),
            "why": one.transactional,
        }
        for one in policy.topics
        if one.transactional is not None
    ]


def _gpc(policy: Policy, visit: Visit) -> dict[str, Any]:
    """A signal is honoured everywhere, and said to be (11 CCR 7025(c)(6) asks for that)."""
    covers = [c.id for c in policy.categories if c.gpc and c.enabled and not c.essential]
    return {"covers": covers, "honoured": visit.gpc and bool(covers), "show": bool(covers)}


def _tag(tag: PageTag) -> dict[str, Any]:
    return {
        "name": tag.name,
        "categories": list(tag.categories),
        "hosts": list(tag.hosts),
        # Without paths: a script tries all of those that it can reach.
        "cookies": [entry.partition(" /")[0] for entry in tag.cookies],
        "revoke": tag.revoke is not None,
        "stop": tag.revoke,
        "mode": tag.mode,
    }
