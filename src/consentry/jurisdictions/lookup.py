"""The rule of a place at a moment: the most specific row in force, and the strictest of several.

A row of a state is more specific than one of a country, one of a country than one of a group.
Where a part of a place is not known, everything it could be is asked and the strictest answer
of each kind is taken, so that not knowing never lets more through than knowing.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache, reduce

from consentry.core.moment import Moment
from consentry.core.policy import Policy, Purpose, Regime, strictest
from consentry.core.rule import (
    Age,
    Ban,
    Duty,
    Exemption,
    Gpc,
    How,
    Law,
    Needs,
    Place,
    Rule,
    place_of_code,
)
from consentry.jurisdictions.rows import Row, begins_at, in_force, rows, subdivisions

NOT_A_COUNTRY = frozenset({"XX", "T1", "ZZ", "A1", "A2", "O1", "EU", "AP"})
"""What senders write where they do not know: nowhere, Tor, proxies, a continent."""

LONGEST_REGION = 3  # characters of the part in ISO 3166-2
MOST_RECENT = 4096
"""How many codes are remembered: what stands in a region header is not ours to choose."""
_FAR: Moment = 2**62
_RECENT: dict[str, tuple[Moment, Moment, Rule]] = {}

ELSEWHERE = "--"  # a country of which no row speaks
_DUTIES = tuple(Duty)


class Table:
    """Rows, and the rules that follow from them. A rule that was made once is kept."""

    def __init__(self, found: Iterable[Row], parts: Mapping[str, frozenset[str]]) -> None:
        self.rows = tuple(found)
        self._parts = parts
        self._countries = {country for row in self.rows for country in row.countries}
        dates = {date for row in self.rows for date in row.dates}
        self.starts = tuple(sorted(begins_at(date) for date in dates))
        self._rules: dict[tuple[str | None, str | None, int], Rule] = {}

    def known(self, place: Place) -> tuple[str | None, str | None]:
        """What of a place this table can tell apart; None is a part that is not known."""
        country, region = place.country, place.region
        if country is None or not is_country(country):
            return None, None
        parts = self._parts.get(country)
        if parts is not None:
            return country, region if region in parts else None
        return (country if country in self._countries else ELSEWHERE), None

    def rule_of(self, place: Place, at: Moment) -> Rule:
        """What holds there at that moment."""
        if place.how is How.NOBODY_LOOKED:
            return NO_RULE
        rule = self._rule(*self.known(place), bisect_right(self.starts, at))
        return rule.claimed if place.how is How.CLAIMED else rule

    def _rule(self, country: str | None, region: str | None, since: int) -> Rule:
        key = (country, region, since)
        rule = self._rules.get(key)
        if rule is None:
            rule = self._rules[key] = self._made(country, region, since)
        return rule

    def _made(self, country: str | None, region: str | None, since: int) -> Rule:
        if country is None:
            each = [self._rule(c, None, since) for c in (*sorted(self._countries), ELSEWHERE)]
            return _strictest_of("place unknown", each)
        parts = self._parts.get(country)
        if parts is not None and region is None:
            each = [self._rule(country, part, since) for part in sorted(parts)]
            each.append(self._of_rows(country, None, since))
            return _strictest_of(f"{country}, part unknown", each)
        return self._of_rows(country, region, since)

    def _of_rows(self, country: str, region: str | None, since: int) -> Rule:
        at = self.starts[since - 1] if since else -_FAR
        about = [row for row in self.rows if _speaks_of(row, country, region)]
        later = sorted(m for m in self.starts[since:] if any(m in _starts(row) for row in about))
        holding = sorted((row for row in about if row.holds(at)), key=_breadth)
        made = _of_row(holding[0], at) if holding else SILENCE
        for row in holding[1:]:
            if _breadth(row) == _breadth(holding[0]):
                made = _stricter(made, _of_row(row, at))
            elif row.countries and _speaks_for(row, holding[0]):
                made = _completed(made, holding[0], row, at)
        return replace(made, until=later[0] if later else None)


def rule_of(place: Place, at: Moment) -> Rule:
    """The most specific rule in force at a place. An unknown place has the strictest of all.

    An unknown part of a country whose parts differ has the strictest of that country. Where
    nobody looks for places the rule does not decide (``Rule.decides``).
    """
    return _table().rule_of(place, at)


def rule_at(code: str, at: Moment) -> Rule:
    """``rule_of`` for the code that an event keeps. Nearly every event is of a place and a time
    that the one before it was of, so what was found is remembered with how long it holds."""
    recent = _RECENT.get(code)
    if recent is not None and recent[0] <= at < recent[1]:
        return recent[2]
    rule, dates = rule_of(place_of_code(code), at), starts()
    n = bisect_right(dates, at)
    first, end = dates[n - 1] if n else -_FAR, dates[n] if n < len(dates) else _FAR
    if len(_RECENT) >= MOST_RECENT:
        _RECENT.clear()
    _RECENT[code] = first, end, rule
    return rule


def known_place(place: Place) -> tuple[str | None, str | None]:
    """The country and region that the rows tell apart, for a place as it was said."""
    return _table().known(place)


def starts() -> tuple[Moment, ...]:
    """The moments at which some rule begins, changes or ends, in order."""
    return _table().starts


def regimes_of(policy: Policy, rule: Rule, source: Regime | None) -> dict[str, Regime]:
    """What silence means for each category of a workspace, at a place, for a source.

    ``source`` is the regime that the source states. What the workspace states can only tighten
    what the rule says; where the rule does not decide, it is all there is.
    """
    return {c.id: policy.regime(c, source, rule) for c in policy.categories}


@cache
def _table() -> Table:
    return Table(rows(), subdivisions())


def is_country(code: str) -> bool:
    """Whether this looks like ISO 3166-1 alpha-2, and is not a word for not knowing."""
    return (
        len(code) == 2
        and code.isascii()
        and code.isalpha()
        and code.isupper()
        and code not in NOT_A_COUNTRY
    )


def _speaks_of(row: Row, country: str, region: str | None) -> bool:
    """Whether a visitor's place can choose it. A law of the business never is, by an address."""
    if row.chosen_by == "business" or (row.countries and country not in row.countries):
        return False
    return not row.regions or region in row.regions


def _breadth(row: Row) -> tuple[bool, int]:
    """The most specific sorts first: parts of a country, one country, a group, anywhere."""
    return not row.regions, len(row.countries) or 1000


def _starts(row: Row) -> set[Moment]:
    return {begins_at(date) for date in row.dates}


def _of_row(row: Row, at: Moment) -> Rule:
    begun = sorted(date for date in row.dates if begins_at(date) <= at)
    gpc = row.gpc
    due = in_force(gpc.begins, None, at)
    return Rule(
        rows=(row.id,),
        name=row.name,
        version=_digest(row.version, *begun),
        regimes={p: row.regimes.get(p) or Regime.OPT_IN for p in Purpose},
        laws=tuple(
            Law(one.law, one.section, one.url, _moment(one.begins), _moment(one.until))
            for one in row.laws
            if in_force(one.begins, one.until, at)
        ),
        gpc=Gpc(Duty(gpc.duty) if due else Duty.NONE, _moment(gpc.begins), gpc.covers, gpc.url),
        shows=row.shows,
        reject_as_easy=bool(row.reject_as_easy),
        grant_days=row.grant_days,
        refusal_days=row.refusal_days,
        ask_again_after_days=row.ask_again_after_days,
        never_ask_again=row.never_ask_again,
        ages=tuple(
            Age(one.below, Needs(one.needs), one.purposes, one.url)
            for one in row.ages
            if in_force(one.begins, None, at)
        ),
        bans=tuple(
            Ban(one.data, one.purposes, one.url)
            for one in row.bans
            if in_force(one.begins, None, at)
        ),
        exemptions=tuple(
            Exemption(one.purpose, one.regime, one.conditions, one.url) for one in row.exemptions
        ),
        certainty=row.certainty if row.kind == "law" else row.kind,
        reviewed_on=row.reviewed_on,
        review_by=row.review_by,
    )


def _moment(date: str | None) -> Moment | None:
    return None if date is None else begins_at(date)


def _speaks_for(broader: Row, row: Row) -> bool:
    """Whether it has a word on a purpose that the other is silent about."""
    return any(row.regimes.get(p) is None and broader.regimes.get(p) for p in Purpose)


def _completed(made: Rule, row: Row, broader: Row, at: Moment) -> Rule:
    """A row that is silent about a purpose: a broader one of the country speaks, and asks too."""
    other = _of_row(broader, at)
    silent = {p for p in Purpose if row.regimes.get(p) is None and broader.regimes.get(p)}
    filled = {p: other.regimes[p] if p in silent else made.regimes[p] for p in Purpose}
    both = _stricter(made, other)
    return replace(both, laws=made.laws, regimes=filled, exemptions=made.exemptions)


def _strictest_of(name: str, each: list[Rule]) -> Rule:
    """Of each kind of thing that rules say, the strictest. No law says all of it."""
    merged = reduce(_stricter, each)
    return replace(merged, name=name, laws=(), exemptions=(), certainty="strictest of several")


def _stricter(one: Rule, other: Rule) -> Rule:
    if one is other:
        return one
    ends = [end for end in (one.until, other.until) if end is not None]
    return Rule(
        rows=tuple(dict.fromkeys((*one.rows, *other.rows))),
        name=one.name,
        version=_digest(one.version, other.version),
        regimes={p: strictest(one.regimes[p], other.regimes[p]) or Regime.OPT_IN for p in Purpose},
        laws=tuple(dict.fromkeys((*one.laws, *other.laws))),
        gpc=_stricter_gpc(one.gpc, other.gpc),
        shows=tuple(dict.fromkeys((*one.shows, *other.shows))),
        reject_as_easy=one.reject_as_easy or other.reject_as_easy,
        grant_days=_least(one.grant_days, other.grant_days),
        # Without a number a no does not end, which is longer than any.
        refusal_days=(one.refusal_days and other.refusal_days)
        and max(one.refusal_days, other.refusal_days),
        ask_again_after_days=_most(one.ask_again_after_days, other.ask_again_after_days),
        never_ask_again=one.never_ask_again or other.never_ask_again,
        ages=tuple(dict.fromkeys((*one.ages, *other.ages))),
        bans=tuple(dict.fromkeys((*one.bans, *other.bans))),
        certainty=one.certainty,
        reviewed_on=min(one.reviewed_on, other.reviewed_on),
        review_by=min(one.review_by, other.review_by),
        until=min(ends) if ends else None,
    )


def _stricter_gpc(one: Gpc, other: Gpc) -> Gpc:
    duty = min(one.duty, other.duty, key=_DUTIES.index)
    first = one if one.duty is duty else other
    covers = tuple(
        dict.fromkeys(c for gpc in (one, other) if gpc.duty is not Duty.NONE for c in gpc.covers)
    )
    return Gpc(duty, first.since, covers, first.url)


def _least(one: int | None, other: int | None) -> int | None:
    stated = [days for days in (one, other) if days is not None]
    return min(stated) if stated else None


def _most(one: int | None, other: int | None) -> int | None:
    stated = [days for days in (one, other) if days is not None]
    return max(stated) if stated else None


def _digest(*parts: str) -> str:
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]


SILENCE = Rule(
    rows=(),
    name="no row",
    version=_digest("no row"),
    regimes=dict.fromkeys(Purpose, Regime.OPT_IN),
)
"""Where not even a row about everywhere holds: no is the default."""

NO_RULE = Rule(
    rows=(),
    name="nobody looks for places",
    version=_digest("none"),
    regimes=dict.fromkeys(Purpose, Regime.OPT_IN),
    decides=False,
)
"""Where a server is not told of places: what the workspace states holds, and no law is named."""
