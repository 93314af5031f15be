"""Laws of decisions at a place."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from consentry.core.decision import Reason, decide
from consentry.core.moment import SECOND, parse
from consentry.core.policy import (
    USUAL_IDS,
    Category,
    Mapping,
    Policy,
    Purpose,
    Regime,
    Settings,
    strictest,
)
from consentry.core.preference import Found, Grant, Standing, Why
from consentry.core.rule import Age, Ban, Needs, Rule
from consentry.core.stamp import Stamp
from consentry.core.verdict import Question, verdict
from consentry.jurisdictions import NOBODY_LOOKED, Place, regimes_of, rule_of
from tests.core.clauses import holds
from tests.core.strategies import END, policies, questions, standings, with_

AT = parse("2026-11-27")
regimes = st.sampled_from(Regime)
rules = st.builds(
    lambda each: Rule(("made-up",), "made up", "v", each),
    st.fixed_dictionaries(dict.fromkeys(Purpose, regimes)),
)
purposes = st.sampled_from((*Purpose, None))


@st.composite
def purposeful(draw: st.DrawFn) -> Policy:
    policy = draw(policies())
    stated = draw(st.none() | regimes)
    return replace(
        policy,
        settings=replace(policy.settings, regime=stated),
        categories=tuple(replace(c, purpose=draw(purposes)) for c in policy.categories),
    )


@holds("P1")
@given(purposeful(), rules, st.none() | regimes)
def test_what_is_stated_can_only_tighten_the_rule(
    policy: Policy, rule: Rule, source: Regime | None
) -> None:
    for category in policy.categories:
        stated = [r for r in (category.regime, source, policy.settings.regime) if r is not None]
        held = policy.regime(category, source, rule)
        assert held is strictest(rule.regime(category.is_for), *stated)
    assert regimes_of(policy, rule, source) == {
        c.id: policy.regime(c, source, rule) for c in policy.categories
    }


@holds("P1")
@given(purposeful(), rules)
def test_a_workspace_that_states_nothing_leaves_it_to_the_rule(policy: Policy, rule: Rule) -> None:
    silent = replace(
        policy,
        settings=replace(policy.settings, regime=None),
        categories=tuple(replace(c, regime=None) for c in policy.categories),
    )
    for category in silent.categories:
        assert silent.regime(category, None, rule) is rule.regime(category.is_for)


@holds("P1")
@given(rules, st.none() | regimes, st.sampled_from(Purpose))
def test_silence_is_what_the_rule_of_the_place_makes_of_it(
    rule: Rule, source: Regime | None, purpose: Purpose
) -> None:
    category = Category("ad", purpose=purpose)
    policy = Policy("shop", Settings(), (category,), (Mapping("hook", "webhook", ("ad",)),))
    question = Question(accepted_at=END, made_at=END, regime=source, rule=rule)
    decision = decide(policy, question, Standing(END))
    assert bool(decision.allowed) is (policy.regime(category, source, rule) is not Regime.OPT_IN)


@holds("P2")
@given(purposeful(), st.none() | regimes)
def test_where_nobody_looks_what_is_stated_holds(policy: Policy, source: Regime | None) -> None:
    rule = rule_of(NOBODY_LOOKED, AT)
    for category in policy.categories:
        assert policy.regime(category, source, rule) is policy.regime(category, source)
    assert policy.silent_grants(source, rule) == policy.silent_grants(source)


@holds("P2")
@given(purposeful(), st.none() | regimes)
def test_where_a_place_is_not_found_silence_is_no(policy: Policy, source: Regime | None) -> None:
    rule = rule_of(Place(), AT)
    assert policy.silent_grants(source, rule) == 0


@holds("P4")
@given(purposeful(), rules, st.none() | regimes)
def test_a_claimed_place_loosens_nothing(policy: Policy, rule: Rule, source: Regime | None) -> None:
    for category in policy.categories:
        claimed = policy.regime(category, source, rule.claimed)
        assert claimed is strictest(rule.regime(category.is_for), policy.regime(category, source))
    without = policy.silent_grants(source)
    assert policy.silent_grants(source, rule.claimed) & ~without == 0


@holds("P1")
@given(purposeful(), questions(), standings(), rules, st.sampled_from(Purpose))
def test_a_stricter_rule_allows_nothing_more(
    policy: Policy, question: Question, standing: Standing, rule: Rule, purpose: Purpose
) -> None:
    stricter = replace(rule, regimes={**rule.regimes, purpose: Regime.OPT_IN})
    more = decide(policy, with_(question, rule=rule), standing)
    fewer = decide(policy, with_(question, rule=stricter), standing)
    assert fewer.allowed & ~more.allowed == 0


@holds("P6", "D6")
@given(standings(), st.sampled_from(Needs), st.integers(0, 30), st.integers(1, 30), st.booleans())
def test_a_known_age_counts_and_an_unknown_one_does_not(
    standing: Standing, needs: Needs, age: int, below: int, essential: bool
) -> None:
    policy = Policy("shop", Settings(), (Category("advertising", essential=essential),))
    item = Age(below, needs, ("advertising",), "https://law.example/")
    rule = Rule(("r",), "r", "v", dict.fromkeys(Purpose, Regime.NOTICE), ages=(item,))
    touched = age < below and not essential
    prohibited = policy.prohibited(rule, age, frozenset())
    assert prohibited == ({"advertising"} if touched and needs is not Needs.OWN_CONSENT else set())
    assert policy.prohibited(rule, None, frozenset()) == frozenset()
    if not essential:
        held = policy.regime(policy.categories[0], None, rule.for_age(age))
        own = touched and needs is Needs.OWN_CONSENT
        assert held is (Regime.OPT_IN if own else Regime.NOTICE)


@holds("P6")
@given(st.sampled_from(Purpose), st.booleans())
def test_a_ban_is_of_the_data_that_an_event_holds(purpose: Purpose, holds_it: bool) -> None:
    policy = Policy("shop", Settings(), (Category("c", purpose=purpose),))
    ban = Ban("precise_location", ("sale_or_share",), "https://law.example/")
    rule = Rule(("r",), "r", "v", dict.fromkeys(Purpose, Regime.NOTICE), bans=(ban,))
    data = frozenset({"precise_location"} if holds_it else ())
    banned = holds_it and purpose is Purpose.SALE_OR_SHARE
    assert policy.prohibited(rule, None, data) == ({"c"} if banned else set())


@holds("P7")
@given(purposeful(), questions(), standings(), st.integers(-20, 20))
def test_a_grant_that_is_too_old_for_the_place_has_expired_there(
    policy: Policy, question: Question, standing: Standing, seconds: int
) -> None:
    since = END + seconds * SECOND
    now = Question(END, END, rule=rule_of(Place("FR"), AT), grants_since=since)
    for category in policy.categories:
        grant = standing.of(category.id).grant
        told = verdict(policy, now, standing, category.id)
        if grant is not None and grant.made_at < since and not told.granted:
            assert told.why in (Why.EXPIRED, Why.DENIED, Why.MISSING, Why.CONFLICT, Why.SIGNAL)
        if grant is None or grant.made_at >= since:
            assert told == verdict(policy, with_(now, grants_since=None), standing, category.id)
        elif told.granted:
            assert told.ground.kind == "setting", "an essential one, or unstamped = allow"
    fewer = decide(policy, with_(question, grants_since=since), standing)
    assert fewer.allowed & ~decide(policy, question, standing).allowed == 0


@holds("P7")
@given(st.sampled_from((True, False)), st.integers(-3, 3))
def test_a_stamp_renews_no_grant_that_is_too_old(stamped: bool, off: int) -> None:
    mapping = Mapping("m", "webhook", ("advertising",))
    policy = Policy("shop", Settings(), (Category("advertising"),), (mapping,))
    found = Found(grant=Grant("r", END, END), covers_from=END)
    standing = Standing(END, found={"advertising": found})
    yes = Stamp(frozenset({"advertising"}), frozenset({"advertising"})) if stamped else None
    asked = Question(END, END, yes, rule=rule_of(Place("FR"), AT), grants_since=END + off)
    decision = decide(policy, asked, standing)[0]
    assert decision.allow is (off <= 0)
    assert decision.verdicts[0].why is (None if off <= 0 else Why.EXPIRED)


def test_grounds_name_the_rule_that_decided() -> None:
    policy = Policy("shop", Settings(), (Category("advertising"),))
    for place, regime, name in (
        (Place("DE"), "opt_in", "eea-de"),
        (Place("US", "CA"), "opt_out", "us-ca"),
        (Place("US"), "opt_out", "US, part unknown"),
        (Place(), "opt_in", "place unknown"),
    ):
        question = Question(END, END, rule=rule_of(place, AT))
        ground = verdict(policy, question, Standing(END), "advertising").ground
        assert ground.as_json() == {"regime": regime, "rule": name}
    ground = verdict(policy, Question(END, END), Standing(END), "advertising").ground
    assert ground.as_json() == {"regime": "opt_in"}


def test_the_reason_of_a_prohibition_is_that() -> None:
    assert Reason.PROHIBITED == "prohibited"
    assert USUAL_IDS["statistics"] is Purpose.ANALYTICS
    assert Category("Marketing").is_for is Purpose.ADVERTISING
    assert Category("preferences").is_for is None
