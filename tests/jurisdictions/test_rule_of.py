"""What holds where, as cases: place, date, and what silence means there."""

from __future__ import annotations

import pytest

from consentry.core.moment import parse
from consentry.core.policy import Purpose, Regime
from consentry.jurisdictions import NOBODY_LOOKED, UNKNOWN, Duty, Place, rule_of

NOW = parse("2026-11-27")
IN, OUT, NOTICE = Regime.OPT_IN, Regime.OPT_OUT, Regime.NOTICE

# place: rows that decide, advertising, analytics, personalization, functional, sale_or_share
CASES = {
    ("DE", None): ("eea-de", IN, IN, IN, IN, IN),
    ("RE", None): ("eea-fr", IN, IN, IN, IN, IN),
    ("YT", None): ("eea-fr", IN, IN, IN, IN, IN),
    ("AX", None): ("eea-fi", IN, IN, IN, IN, IN),
    ("PL", None): ("eea", IN, IN, IN, IN, IN),
    ("GB", None): ("gb", IN, IN, IN, IN, IN),
    ("CH", None): ("ch", IN, OUT, OUT, OUT, IN),
    ("US", "CA"): ("us-ca", OUT, OUT, OUT, NOTICE, OUT),
    ("US", "NJ"): ("us-nj", OUT, OUT, OUT, NOTICE, OUT),
    ("US", "WA"): ("us-wa", OUT, OUT, OUT, NOTICE, OUT),
    ("US", "PA"): ("us-default", OUT, OUT, OUT, NOTICE, OUT),
    ("CA", "QC"): ("ca-qc", IN, IN, IN, NOTICE, IN),
    ("CA", "ON"): ("ca-default", OUT, OUT, OUT, NOTICE, IN),
    ("BR", None): ("br", IN, IN, IN, IN, IN),
    ("AE", None): ("ae", IN, IN, IN, IN, IN),
    ("JP", None): ("jp", OUT, NOTICE, OUT, NOTICE, IN),
    ("AR", None): ("world-default", IN, IN, IN, IN, IN),
}


@pytest.mark.parametrize(("where", "says"), CASES.items(), ids=lambda v: str(v[:2]))
def test_the_most_specific_row_decides(where: tuple[str, str | None], says: tuple) -> None:
    rule = rule_of(Place(*where), NOW)
    assert rule.rows[0] == says[0]
    assert tuple(rule.regimes[p] for p in Purpose) == says[1:]
    assert rule.decides


def test_an_unknown_place_has_the_strictest_of_everything() -> None:
    rule = rule_of(UNKNOWN, NOW)
    assert set(rule.regimes.values()) == {IN}
    assert rule.gpc.duty is Duty.REQUIRED
    assert (rule.grant_days, rule.ask_again_after_days, rule.never_ask_again) == (181, 366, True)
    assert rule.laws == ()


def test_where_nobody_looks_no_rule_decides() -> None:
    assert not rule_of(NOBODY_LOOKED, NOW).decides
