"""Laws that start on a date start by themselves: every date, the day before and the day itself."""

from __future__ import annotations

from itertools import pairwise

import pytest

from consentry.core.moment import DAY, HOUR, SECOND, parse
from consentry.core.policy import Purpose, Regime, strictest
from consentry.jurisdictions import Duty, Place, Row, Rule, rows, rule_of, starts
from consentry.jurisdictions.rows import begins_at

OF_VISITORS = [row for row in rows() if row.chosen_by != "business"]
BEGINNING = [row for row in OF_VISITORS if row.begins]
ENDING = [row for row in OF_VISITORS if row.until]
DATED_LAWS = [(r, law) for r in OF_VISITORS for law in r.laws if law.begins]
DATED_GPC = [row for row in OF_VISITORS if row.gpc.begins]
DATED_AGES = [(row, age) for row in OF_VISITORS for age in row.ages if age.begins]
DATED_BANS = [(row, ban) for row in OF_VISITORS for ban in row.bans if ban.begins]


def at(row: Row, date: str, days: int = 0) -> Rule:
    """The rule of a row's place, some days after a date."""
    place = Place(row.countries[0], row.regions[0] if row.regions else None)
    return rule_of(place, parse(date) + days * DAY)


@pytest.mark.parametrize("row", BEGINNING, ids=lambda row: f"{row.id} {row.begins}")
def test_a_row_holds_from_its_day(row: Row) -> None:
    assert row.begins is not None
    assert row.id not in at(row, row.begins, -1).rows
    assert at(row, row.begins).rows[0] == row.id


@pytest.mark.parametrize("row", ENDING, ids=lambda row: f"{row.id} {row.until}")
def test_a_row_holds_to_the_day_before_its_end(row: Row) -> None:
    assert row.until is not None
    assert at(row, row.until, -1).rows[0] == row.id
    assert row.id not in at(row, row.until).rows


@pytest.mark.parametrize(("row", "law"), DATED_LAWS, ids=lambda v: getattr(v, "id", "") or v.begins)
def test_a_law_is_named_from_its_day(row: Row, law: object) -> None:
    begins, url = law.begins, law.url
    assert url not in {
        one.url for one in at(row, begins, -1).laws if one.begins == begins_at(begins)
    }
    assert url in {one.url for one in at(row, begins).laws}


@pytest.mark.parametrize("row", DATED_GPC, ids=lambda row: f"{row.id} {row.gpc.begins}")
def test_the_duty_to_honour_a_signal_begins_on_its_day(row: Row) -> None:
    assert row.gpc.begins is not None
    before, day = at(row, row.gpc.begins, -1), at(row, row.gpc.begins)
    assert row.id not in before.rows or before.gpc.duty is Duty.NONE
    assert day.gpc.duty is Duty(row.gpc.duty)
    assert day.gpc.required


@pytest.mark.parametrize(("row", "age"), DATED_AGES, ids=lambda v: getattr(v, "id", "") or v.begins)
def test_an_age_counts_from_its_day(row: Row, age: object) -> None:
    def said(rule: Rule) -> bool:
        return any(
            (one.below, one.needs, one.purposes) == (age.below, age.needs, age.purposes)
            for one in rule.ages
        )

    assert not said(at(row, age.begins, -1)) or row.id not in at(row, age.begins, -1).rows
    assert said(at(row, age.begins))


@pytest.mark.parametrize(("row", "ban"), DATED_BANS, ids=lambda v: getattr(v, "id", "") or v.begins)
def test_a_ban_counts_from_its_day(row: Row, ban: object) -> None:
    data = frozenset({ban.data})
    assert not at(row, ban.begins, -1).prohibits(Purpose.SALE_OR_SHARE, data=data)
    assert at(row, ban.begins).prohibits(Purpose.SALE_OR_SHARE, data=data)


@pytest.mark.parametrize(
    ("where", "date", "before", "after"),
    [
        (("IN", None), "2027-05-13", Regime.NOTICE, Regime.OPT_IN),
        (("US", "LA"), "2027-01-01", Regime.OPT_OUT, Regime.OPT_OUT),
        (("US", "OK"), "2027-01-01", Regime.OPT_OUT, Regime.OPT_OUT),
        (("US", "AL"), "2027-05-01", Regime.OPT_OUT, Regime.OPT_OUT),
        (("VN", None), "2026-01-01", Regime.OPT_IN, Regime.OPT_IN),
    ],
)
def test_what_silence_means_for_advertising_around_a_date(
    where: tuple[str, str | None], date: str, before: Regime, after: Regime
) -> None:
    place = Place(*where)
    assert rule_of(place, parse(date) - DAY).regime(Purpose.ADVERTISING) is before
    assert rule_of(place, parse(date)).regime(Purpose.ADVERTISING) is after


def test_a_law_begins_when_its_day_begins_anywhere() -> None:
    begins = parse("2027-05-13") - 14 * HOUR
    assert rule_of(Place("IN"), begins - SECOND).rows == ("in-before-dpdp",)
    assert rule_of(Place("IN"), begins).rows == ("in",)


def test_a_rule_says_until_when_it_holds() -> None:
    for row in OF_VISITORS:
        place = Place(
            row.countries[0] if row.countries else "AQ", row.regions[0] if row.regions else None
        )
        for moment in (*starts(), parse("2026-11-27")):
            rule = rule_of(place, moment)
            if rule.until is not None:
                assert moment < rule.until
                assert rule_of(place, rule.until - 1).version == rule.version
                assert rule_of(place, rule.until).version != rule.version


def test_no_row_that_starts_on_a_date_is_looser_than_what_it_replaces() -> None:
    """Else it would have to start when its day has begun everywhere."""
    today = parse("2026-11-27")
    moments = [today, *(moment for moment in starts() if moment > today)]
    places = {
        (c, r) for row in OF_VISITORS for c in row.countries for r in (row.regions or (None,))
    }
    assert len(moments) > 3
    for country, region in sorted(places, key=str):
        for earlier, later in pairwise(moments):
            before = rule_of(Place(country, region), earlier).regimes
            after = rule_of(Place(country, region), later).regimes
            for purpose in Purpose:
                assert strictest(before[purpose], after[purpose]) is after[purpose]
