"""Laws of the lookup, over the rows that ship and over any others."""

from __future__ import annotations

from dataclasses import fields

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from consentry.core.moment import parse
from consentry.core.policy import Purpose, Regime, strictest
from consentry.core.rule import Duty, How, Place, Rule
from consentry.jurisdictions import rows, rule_at, rule_of, starts
from consentry.jurisdictions.lookup import Table
from consentry.jurisdictions.rows import Row, subdivisions
from tests.core.clauses import holds

COUNTRIES = sorted({c for row in rows() for c in row.countries} | {"AR", "NG", "AQ"})
MOMENTS = st.sampled_from((parse("2020-01-01"), parse("2026-11-27"), *starts()))
MADE_UP = {"AA": frozenset("XY"), "BB": frozenset("X")}
DATES = st.none() | st.sampled_from(("2026-01-01", "2027-01-01", "2028-01-01"))
AGES = st.integers(5, 20)


@st.composite
def places(draw: st.DrawFn) -> Place:
    country = draw(st.sampled_from(COUNTRIES))
    parts = sorted(subdivisions().get(country, ()))
    return Place(country, draw(st.sampled_from(parts)) if parts else None, How.HEADER)


@st.composite
def made_rows(draw: st.DrawFn) -> Row:
    """A row of an invented law; rows() supplies the parts that no law here is about."""
    country = draw(st.sampled_from(("AA", "BB", "CC", "DD")))
    parts = sorted(MADE_UP.get(country, ()))
    regions = draw(st.just(()) | st.sampled_from([(p,) for p in parts])) if parts else ()
    begins = draw(DATES)
    regimes = {p: draw(st.none() | st.sampled_from(Regime)) for p in Purpose}
    return msgspec.structs.replace(
        rows()[0],
        id=draw(st.uuids().map(str)),
        countries=(country,),
        regions=regions,
        begins=begins,
        until=draw(DATES.filter(lambda date: date is None or begins is None or date > begins)),
        regimes=regimes,
        gpc=msgspec.structs.replace(rows()[0].gpc, duty=draw(st.sampled_from(Duty)).value),
        grant_days=draw(st.none() | st.integers(1, 400)),
        ask_again_after_days=draw(st.none() | st.integers(1, 400)),
        never_ask_again=draw(st.booleans()),
    )


tables = st.lists(made_rows(), max_size=8)


def as_strict(one: Rule, other: Rule) -> bool:
    """Whether nothing that the first lets through is kept back by the other."""
    looser = [
        p for p in Purpose if strictest(one.regimes[p], other.regimes[p]) is not one.regimes[p]
    ]
    return (
        not looser
        and (one.gpc.required or not other.gpc.required)
        and (one.never_ask_again or not other.never_ask_again)
        and (one.grant_days or 10**6) <= (other.grant_days or 10**6)
        and (one.ask_again_after_days or 0) >= (other.ask_again_after_days or 0)
        and set(other.ages) <= set(one.ages)
        and set(other.bans) <= set(one.bans)
        and set(other.shows) <= set(one.shows)
    )


def plain(rule: Rule) -> dict[str, object]:
    return {field.name: getattr(rule, field.name) for field in fields(rule)}


@holds("P3")
@given(places(), MOMENTS)
def test_not_knowing_a_part_of_a_place_is_never_looser(place: Place, at: int) -> None:
    known = rule_of(place, at)
    country = rule_of(Place(place.country, None, How.HEADER), at)
    assert as_strict(country, known)
    assert as_strict(rule_of(Place(), at), country)


@holds("P3")
@given(tables, MOMENTS, st.sampled_from(("AA", "BB", "CC", "DD", "EE")), st.sampled_from("XYZ"))
def test_nor_with_any_rows(made: list[Row], at: int, country: str, part: str) -> None:
    table = Table(made, MADE_UP)
    known = table.rule_of(Place(country, part), at)
    assert as_strict(table.rule_of(Place(country), at), known)
    assert as_strict(table.rule_of(Place(), at), known)


@given(
    tables,
    made_rows(),
    MOMENTS,
    st.sampled_from(("AA", "BB", "CC", "DD", "EE")),
    st.sampled_from("XYZ"),
)
def test_only_a_row_of_the_place_itself_changes_its_rule(
    made: list[Row], added: Row, at: int, country: str, part: str
) -> None:
    place = Place(country, part)
    before = plain(Table(made, MADE_UP).rule_of(place, at))
    after = plain(Table([*made, added], MADE_UP).rule_of(place, at))
    if country not in added.countries:
        assert before == after


@given(places(), MOMENTS, st.sampled_from((How.HEADER, How.ADDRESS, How.TOLD)))
def test_how_a_place_was_found_changes_nothing(place: Place, at: int, how: How) -> None:
    assert rule_of(Place(place.country, place.region, how), at) is rule_of(place, at)


@given(st.lists(st.tuples(places(), MOMENTS, st.booleans()), max_size=6))
def test_what_is_remembered_of_a_code_is_what_holds(asked: list[tuple[Place, int, bool]]) -> None:
    for place, at, before in asked:
        for found in (place, Place(place.country, None), Place(), Place("US", "CA", How.CLAIMED)):
            assert found.code is not None
            moment = at - before
            assert rule_at(found.code, moment) is rule_of(found, moment)


@given(places(), MOMENTS, st.sampled_from(Purpose), AGES, AGES)
def test_younger_is_never_looser(
    place: Place, at: int, purpose: Purpose, one: int, other: int
) -> None:
    rule = rule_of(place, at)
    young, old = min(one, other), max(one, other)
    assert rule.prohibits(purpose, young) or not rule.prohibits(purpose, old)
    regimes = [rule.for_age(age).regime(purpose) for age in (young, old, None)]
    assert [strictest(*regimes[n:]) for n in range(3)] == regimes


@holds("P6")
@given(places(), MOMENTS, st.sampled_from((*Purpose, None)))
def test_what_is_not_known_prohibits_nothing(
    place: Place, at: int, purpose: Purpose | None
) -> None:
    rule = rule_of(place, at)
    assert not rule.prohibits(purpose)
    assert rule.for_age(None) is rule


@given(places(), MOMENTS, st.sampled_from(Purpose), st.none() | AGES)
def test_a_purpose_that_nobody_named_has_the_strictest(
    place: Place, at: int, purpose: Purpose, age: int | None
) -> None:
    rule = rule_of(place, at).for_age(age)
    assert strictest(rule.regime(None), rule.regime(purpose)) is rule.regime(None)
    assert rule.prohibits(None, age) or not rule.prohibits(purpose, age)


@given(MOMENTS)
def test_no_address_chooses_the_law_of_a_registration(at: int) -> None:
    of_business = {row.id for row in rows() if row.chosen_by == "business"}
    assert of_business == {"ae-difc", "ae-adgm"}
    for place in (Place("AE"), Place()):
        assert not of_business & set(rule_of(place, at).rows)
