"""Every row that ships says where it was read, and what was left out is decided by another."""

from __future__ import annotations

import re
from datetime import date

import pytest

from consentry.core.moment import parse
from consentry.core.policy import Purpose, Regime
from consentry.jurisdictions import Place, Row, rows, rule_of
from consentry.jurisdictions.rows import subdivisions

NOW = parse("2026-11-27")
LAWS = [row for row in rows() if row.kind == "law"]
CHOICES = [row for row in rows() if row.kind == "product_default"]
UNREAD = "nobody has confirmed it"
NO_SECTION = "no section is known"
NO_URL = "no page is known"

# place: why its own row does not ship, and which row decides instead
LEFT_OUT = {
    **dict.fromkeys(
        ["EE", "LV", "MT", "PT", "BG", "CY", "LT", "GR", "SI", "LU", "HR", "HU", "PL", "RO"],
        (f"age of consent: {UNREAD}", "eea"),
    ),
    **dict.fromkeys(
        ["JE", "GG", "IM", "FO", "GL", "MC", "AD", "SM", "VA"], (UNREAD, "world-default")
    ),
    "CL": (f"{UNREAD}, {NO_SECTION}", "world-default"),
    "US-VT": (NO_SECTION, "us-default"),
    "US-NY": (f"{UNREAD}, {NO_URL}", "us-default"),
    "US-AR": (f"{UNREAD}, {NO_URL}", "us-default"),
}
# state: an age below which a law asks for consent, by pages without a source: not in its row
AGES_LEFT_OUT = {"us-mn": 17, "us-mt": 16, "us-nh": 16, "us-nj": 17}


@pytest.mark.parametrize("row", LAWS, ids=lambda row: row.id)
def test_a_law_has_section_url_and_review(row: Row) -> None:
    assert row.laws
    for law in row.laws:
        assert law.law.strip()
        assert law.section.strip()
        assert re.fullmatch(r"https://[^\s/]+/\S*|https://[^\s/]+", law.url)
    assert row.certainty in ("verified", "verified_secondary")
    assert date.fromisoformat(row.reviewed_on) < date.fromisoformat(row.review_by)
    for item in (*row.ages, *row.bans, *row.exemptions):
        assert item.url.startswith("https://"), item
    assert row.gpc.duty != "required" or row.gpc.url


@pytest.mark.parametrize("row", CHOICES, ids=lambda row: row.id)
def test_a_choice_of_the_product_makes_no_legal_claim(row: Row) -> None:
    assert row.laws == ()
    place = Place(row.countries[0] if row.countries else "AQ", "PA" if row.id[:2] == "us" else None)
    assert rule_of(place, NOW).laws == ()


def test_ids_are_there_once() -> None:
    ids = [row.id for row in rows()]
    assert len(ids) == len(set(ids))


def test_regions_are_those_that_are_told_apart() -> None:
    for row in rows():
        for country in row.countries if row.regions else ():
            assert set(row.regions) <= subdivisions()[country], row.id


@pytest.mark.parametrize(("code", "said"), LEFT_OUT.items(), ids=lambda v: v[:5])
def test_what_was_left_out_is_decided_by_a_broader_row(code: str, said: tuple[str, str]) -> None:
    country, _, region = code.partition("-")
    why, instead = said
    assert why
    own = [
        r
        for r in rows()
        if r.countries == (country,) and r.regions == ((region,) if region else ())
    ]
    assert [row.id for row in own if row.id not in ("us-default", "ca-unknown")] == []
    rule = rule_of(Place(country, region or None), NOW)
    assert rule.rows == (instead,)
    # The United States have no opt-in by law; everywhere else what is left out is a no.
    if country != "US":
        assert set(rule.regimes.values()) == {Regime.OPT_IN}
    if instead == "eea":
        assert {age.below for age in rule.ages} == {16}


@pytest.mark.parametrize(("row_id", "age"), AGES_LEFT_OUT.items())
def test_an_age_without_a_source_is_in_no_row(row_id: str, age: int) -> None:
    row = next(row for row in rows() if row.id == row_id)
    assert age not in {item.below for item in row.ages}


def test_every_state_with_a_law_in_force_has_a_row_or_is_named() -> None:
    in_force = [
        "CA",
        "CO",
        "CT",
        "DE",
        "FL",
        "IA",
        "IN",
        "KY",
        "MD",
        "MN",
        "MT",
        "NE",
        "NH",
        "NJ",
        "OR",
        "RI",
        "TN",
        "TX",
        "UT",
        "VA",
    ]
    for state in in_force:
        assert rule_of(Place("US", state), NOW).rows[0] == f"us-{state.lower()}"


def test_no_row_is_looser_than_silence_about_a_purpose() -> None:
    for row in rows():
        if row.chosen_by == "visitor" and not row.regions and len(row.countries) == 1:
            rule = rule_of(Place(row.countries[0]), NOW)
            silent = {p for p in Purpose if row.regimes.get(p) is None}
            assert all(rule.regimes[p] is Regime.OPT_IN for p in silent) or row.countries in (
                ("US",),
                ("CA",),
            )


def test_where_a_grant_ages_silence_is_no() -> None:
    """Else a refusal that an aged grant had lifted would have to stand up again."""
    ageing = [row for row in rows() if row.grant_days is not None]
    assert {row.id for row in ageing} == {"eea-fr", "eea-ie"}
    for row in ageing:
        assert set(rule_of(Place(row.countries[0]), NOW).regimes.values()) == {Regime.OPT_IN}
