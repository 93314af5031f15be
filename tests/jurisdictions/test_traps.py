"""The seven ways in which others sent what a law withheld, each shut."""

from __future__ import annotations

import pytest

from consentry.core.moment import DAY, parse
from consentry.core.policy import Category, Mapping, Policy, Purpose, Regime, Settings, strictest
from consentry.jurisdictions import Place, known_place, regimes_of, rows, rule_of
from consentry.jurisdictions.rows import subdivisions

NOW = parse("2026-11-27")


@pytest.mark.parametrize("code", ["AX", "GF", "GP", "MQ", "MF", "RE", "YT"])
def test_a_territory_of_the_union_with_a_code_of_its_own_is_in_the_union(code: str) -> None:
    rule = rule_of(Place(code), NOW)
    assert set(rule.regimes.values()) == {Regime.OPT_IN}
    assert rule.laws
    assert rule.rows[0] in ("eea-fi", "eea-fr")


@pytest.mark.parametrize("country", sorted(subdivisions()))
def test_a_country_whose_state_is_not_known_has_the_strictest_of_its_states(country: str) -> None:
    unknown = rule_of(Place(country), NOW)
    each = [rule_of(Place(country, part), NOW) for part in subdivisions()[country]]
    for purpose in Purpose:
        assert unknown.regimes[purpose] is strictest(*(rule.regimes[purpose] for rule in each))
    waits = [r.ask_again_after_days for r in each if r.ask_again_after_days is not None]
    assert unknown.ask_again_after_days == max(waits, default=None)
    assert unknown.gpc.required == any(rule.gpc.required for rule in each)
    assert {age for rule in each for age in rule.ages} <= set(unknown.ages)


def test_what_rows_are_named_by_is_what_places_are_known_by() -> None:
    """Lists that name states one way and a lookup that names them another honour nobody."""
    for row in rows():
        if row.chosen_by == "business":
            continue
        for country in row.countries:
            for region in row.regions or (None,):
                assert known_place(Place(country, region)) == (country, region), row.id
    required = {r.regions[0] for r in rows() if r.gpc.duty == "required"}
    assert required == {"CA", "CO", "CT", "DE", "MN", "MT", "NH", "NJ", "OR"}
    for state in required:
        assert rule_of(Place("US", state), NOW).gpc.required


@pytest.mark.parametrize("region", [None, "", "ZZ", "California", "ca", "6"])
def test_a_region_that_is_missing_or_odd_is_an_unknown_one(region: str | None) -> None:
    assert rule_of(Place("US", region), NOW) is rule_of(Place("US"), NOW)
    assert rule_of(Place("CA", region), NOW).regime(Purpose.ADVERTISING) is Regime.OPT_IN


def test_a_refusal_in_california_is_not_asked_again_for_a_year_whatever_the_text() -> None:
    rule = rule_of(Place("US", "CA"), NOW)
    assert rule.ask_again_after_days is not None
    assert rule.ask_again_after_days >= 366
    assert rule_of(Place("CN"), NOW).never_ask_again


def test_one_place_has_several_models() -> None:
    policy = Policy(
        "shop",
        Settings(),
        (
            Category("advertising"),
            Category("analytics"),
            Category("odd"),
            Category("need", essential=True),
        ),
        (Mapping("one", "webhook", ("odd",)),),
    )
    swiss = regimes_of(policy, rule_of(Place("CH"), NOW), None)
    assert swiss["advertising"] is Regime.OPT_IN
    assert swiss["analytics"] is Regime.OPT_OUT
    assert swiss["odd"] is Regime.OPT_IN, "a purpose that nobody named has the strictest"


def test_a_law_starts_by_its_date_and_not_by_a_note_to_look_again() -> None:
    india = Place("IN")
    row = next(row for row in rows() if row.id == "in-before-dpdp")
    assert row.review_by < "2027-05-13"
    assert rule_of(india, parse("2027-05-12")).regime(Purpose.ANALYTICS) is Regime.NOTICE
    assert rule_of(india, parse("2027-05-13")).regime(Purpose.ANALYTICS) is Regime.OPT_IN
    assert rule_of(india, parse("2036-01-01") + DAY).rows == ("in",)
