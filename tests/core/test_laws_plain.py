"""What decides by bits agrees with a plain reading of the specification, on everything."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as but

from consentry.core.decision import (
    Ground,
    Question,
    Reason,
    Verdict,
    decide,
    granted,
    verdict,
    verdicts,
)
from consentry.core.moment import SECOND
from consentry.core.policy import (
    SEGMENT,
    STRICT,
    Category,
    Mapping,
    Match,
    Policy,
    Regime,
    StampRule,
    Topic,
    Unstamped,
    topic_key,
)
from consentry.core.preference import Block, Found, Grant, Standing, Why
from consentry.core.stamp import Stamp

from . import plain
from . import strategies as s
from .clauses import holds

KEY = topic_key("news", "email")
MANY = settings(max_examples=6 * settings().max_examples)
END = 2 * s.SPAN_S * SECOND


def decided(policy: Policy, question: Question, standing: Standing) -> dict[str, plain.Said]:
    """What the product decides, in the words of the plain reading."""
    return {
        one.destination: plain.Said(
            one.allow,
            one.reason.value,
            tuple(
                (v.id, v.why and v.why.value, (v.ground.kind, v.ground.value)) for v in one.verdicts
            ),
        )
        for one in decide(policy, question, standing)
    }


@holds("D1", "D2", "D3", "D4", "D5", "D6", "D7", "D8", "S4", "S5", "R4", "T3")
@MANY
@given(s.policies(), s.questions(preference_update=False), s.standings())
def test_a_decision_is_what_the_specification_read_plainly_says(policy, question, standing) -> None:
    assert decided(policy, question, standing) == plain.read(policy, question, standing)


@holds("D1", "D2", "D3", "D4")
@given(s.policies(), s.questions(preference_update=True), s.standings(), st.booleans())
def test_so_is_a_decision_about_a_choice(policy, question, standing, superseded) -> None:
    asked = s.with_(question, superseded=superseded)

    assert decided(policy, asked, standing) == plain.read(policy, asked, standing)


@holds("D7", "D8")
@given(s.policies(), s.questions(), s.pasts(), s.later_moments)
def test_so_is_a_decision_about_a_subject_whose_records_are_folded(
    policy, question, past, as_of
) -> None:
    standing = s.standing(past, policy, as_of)

    assert decided(policy, question, standing) == plain.read(policy, question, standing)


@holds("D7", "S5")
@MANY
@given(s.policies(), s.questions(), s.standings())
def test_the_verdict_on_each_category_is_the_plain_one_and_agrees_with_the_set_of_those_granted(
    policy, question, standing
) -> None:
    policy = replace(policy, topics=(Topic("news"),))
    names = (*s.NAMES, KEY)
    found = granted(policy, question, standing)

    several = verdicts(policy, question, standing, names)
    for name, judged in zip(names, several, strict=True):
        assert judged == verdict(policy, question, standing, name)
        why, ground = plain.category(policy, question, standing, name, every_denial=True)
        assert (judged.id, judged.granted) == (name, why is None)
        assert (judged.why and judged.why.value) == why
        assert (judged.ground.kind, judged.ground.value) == ground
        in_set = bool(policy.bits.get(name, 0) & found)
        assert in_set == (judged.granted and not standing.suppressed), name


ADS = Stamp(frozenset({"ad"}), frozenset({"ad"}))
SINCE, BEFORE = 20 * SECOND, 10 * SECOND
REFUSED = Block("no", BEFORE, Why.DENIED)
LATER = Block("no", SINCE, Why.DENIED)
BLOCKED = [
    (STRICT, ADS, REFUSED, False),
    (STRICT, ADS, LATER, False),
    (STRICT, None, REFUSED, False),
    (SEGMENT, ADS, REFUSED, True),
    (SEGMENT, None, REFUSED, True),
    (SEGMENT, ADS, LATER, False),
    (SEGMENT, None, LATER, False),
    (replace(STRICT, stamp=StampRule.ALONE), ADS, REFUSED, True),
    (replace(STRICT, stamp=StampRule.ALONE), None, REFUSED, False),
    (replace(STRICT, unstamped=Unstamped.ALLOW), ADS, REFUSED, False),
    (replace(STRICT, unstamped=Unstamped.ALLOW), None, REFUSED, True),
]


@holds("D7")
@pytest.mark.parametrize(("profile", "stamp", "block", "allow"), BLOCKED)
def test_a_stamp_that_decides_alone_is_asked_beside_denials_received_since_acceptance(
    profile, stamp, block, allow
) -> None:
    policy = Policy("shop", profile, (Category("ad"),), (Mapping("one", "webhook", ("ad",)),))
    standing = Standing(END, found={"ad": Found(block=block)})

    (decision,) = decide(policy, Question(BEFORE, BEFORE, stamp), standing)

    assert decision.allow is allow
    assert not verdict(policy, Question(BEFORE, BEFORE, stamp), standing, "ad").granted
    assert granted(policy, Question(BEFORE, BEFORE, stamp), standing) == 0


@holds("T3")
@pytest.mark.parametrize(
    ("made_at", "allow"), [(BEFORE - 1, False), (BEFORE, True), (SINCE, True), (None, False)]
)
@pytest.mark.parametrize("further", [{}, {"analytics": 1}, {"analytics": 2 * SINCE}])
def test_a_recorded_grant_covers_from_when_it_was_made_whatever_others_cover(
    made_at, allow, further
) -> None:
    grants = {"ad": BEFORE} | further
    found = {name: Found(grant=Grant("yes", at, at), covers_from=at) for name, at in grants.items()}
    policy = Policy(
        "shop",
        STRICT,
        (Category("ad"), Category("analytics")),
        (Mapping("one", "webhook", ("ad",)),),
    )

    (decision,) = decide(policy, Question(END, made_at), Standing(END, found=found))

    assert decision.allow is allow


@holds("D8")
@pytest.mark.parametrize(
    ("mapped", "match", "agreed", "allow"),
    [
        ("necessary", Match.ANY, "", True),
        ("necessary", Match.ALL, "", True),
        ("ad necessary", Match.ANY, "", False),
        ("ad necessary", Match.ANY, "ad", True),
        ("ad necessary", Match.ALL, "", False),
        ("ad necessary", Match.ALL, "ad", True),
        ("ad analytics", Match.ANY, "ad", True),
        ("ad analytics", Match.ALL, "ad", False),
    ],
)
def test_a_match_of_any_needs_one_that_was_agreed_to_and_all_needs_each(
    mapped, match, agreed, allow
) -> None:
    categories = (Category("ad"), Category("analytics"), Category("necessary", essential=True))
    mapping = Mapping("one", "webhook", tuple(mapped.split()), match)
    stamp = Stamp(frozenset(agreed.split()), frozenset({"ad", "analytics"}))

    (decision,) = decide(
        Policy("shop", STRICT, categories, (mapping,)), Question(END, END, stamp), Standing(END)
    )

    assert decision.allow is allow


@holds("D7")
@pytest.mark.parametrize("own", [None, *Regime])
@pytest.mark.parametrize("source", [None, *Regime])
@pytest.mark.parametrize("workspace", Regime)
def test_silence_is_what_the_strictest_regime_that_is_named_says(own, source, workspace) -> None:
    policy = Policy(
        "shop",
        replace(STRICT, regime=workspace),
        (Category("ad", regime=own),),
        (Mapping("one", "webhook", ("ad",)),),
    )
    named = {own, source} - {None} if own else {source or workspace}

    (decision,) = decide(policy, Question(END, END, regime=source), Standing(END))

    assert decision.allow is (Regime.OPT_IN not in named)


def wire(granted: str = "", stated: str = "") -> Stamp:
    return Stamp(frozenset(granted.split()), frozenset(f"{granted} {stated}".split()))


HOLDS = Found(grant=Grant("yes", BEFORE, BEFORE), covers_from=BEFORE)
SIGNALLED = Found(signal=Block("sig", BEFORE, Why.SIGNAL, "gpc"))
EXPIRED = Found(silent=Why.EXPIRED)
OUT = replace(STRICT, regime=Regime.OPT_OUT)
BLANKET = ("setting", "unstamped=allow")


@holds("D7", "S5", "R4", "R5")
@pytest.mark.parametrize(
    ("profile", "found", "stamp", "granted_", "why", "ground"),
    [
        (STRICT, Found(block=REFUSED), None, False, "denied", ("recordId", "no")),
        (STRICT, but(HOLDS, block=REFUSED), ADS, False, "denied", ("recordId", "no")),
        (STRICT, SIGNALLED, ADS, False, "signal", ("signal", "gpc")),
        (SEGMENT, SIGNALLED, None, False, "signal", ("signal", "gpc")),
        (STRICT, Found(), ADS, True, None, ("stamp", True)),
        (STRICT, HOLDS, ADS, True, None, ("stamp", True)),
        (STRICT, HOLDS, wire(stated="ad"), False, "denied", ("stamp", True)),
        (STRICT, HOLDS, wire("analytics"), False, "missing", ("stamp", True)),
        (STRICT, HOLDS, wire(), False, "denied", ("stamp", True)),
        (SEGMENT, HOLDS, None, True, None, BLANKET),
        (SEGMENT, Found(), None, True, None, BLANKET),
        (STRICT, HOLDS, None, True, None, ("recordId", "yes")),
        (OUT, HOLDS, None, True, None, ("recordId", "yes")),
        (STRICT, EXPIRED, ADS, False, "expired", ("regime", "opt_in")),
        (OUT, EXPIRED, ADS, True, None, ("regime", "opt_out")),
        (OUT, EXPIRED, wire(stated="ad"), False, "denied", ("stamp", True)),
        (OUT, EXPIRED, wire("analytics"), False, "missing", ("stamp", True)),
        (OUT, but(EXPIRED, block=REFUSED), ADS, False, "denied", ("recordId", "no")),
        (OUT, but(EXPIRED, signal=SIGNALLED.signal), ADS, False, "signal", ("signal", "gpc")),
        (SEGMENT, EXPIRED, ADS, True, None, ("stamp", True)),
        (STRICT, Found(silent=Why.STALE), ADS, False, "stale", ("regime", "opt_in")),
        (STRICT, Found(silent=Why.UNVERIFIED), ADS, True, None, ("stamp", True)),
        (STRICT, Found(silent=Why.UNVERIFIED), None, False, "unverified", ("regime", "opt_in")),
        (STRICT, Found(), None, False, "never_collected", ("regime", "opt_in")),
        (OUT, Found(), None, True, None, ("regime", "opt_out")),
    ],
)
def test_the_first_that_speaks_gives_the_verdict_and_its_ground(
    profile, found, stamp, granted_, why, ground
) -> None:
    policy = Policy("shop", profile, (Category("ad"),), (Mapping("one", "webhook", ("ad",)),))
    question, standing = Question(SINCE, SINCE, stamp), Standing(END, found={"ad": found})

    judged = verdict(policy, question, standing, "ad")

    assert (judged.id, judged.granted) == ("ad", granted_)
    assert judged.granted is granted_
    assert (judged.why and judged.why.value) == why
    assert (judged.ground.kind, judged.ground.value) == ground
    assert judged.ground.as_json() == {ground[0]: ground[1]}
    assert granted(policy, question, standing) == (policy.bits["ad"] if granted_ else 0)


@holds("D6", "D7", "S5")
def test_what_is_prohibited_essential_or_unheard_of_depends_on_nothing_that_was_said() -> None:
    categories = (Category("ad"), Category("necessary", essential=True))
    mapping = Mapping("one", "webhook", ("unheard_of", "ad", "necessary"))
    policy = Policy("shop", STRICT, categories, (mapping,))
    standing = Standing(END, found={"ad": HOLDS, "necessary": Found(block=REFUSED)})
    banned = Question(SINCE, SINCE, ADS, prohibited=frozenset({"ad", "necessary"}))
    stamp = wire("unheard_of", "necessary")

    found = {
        "ad": verdict(policy, banned, standing, "ad"),
        "banned": verdict(policy, banned, standing, "necessary"),
        "necessary": verdict(policy, Question(SINCE, SINCE, stamp), standing, "necessary"),
        "unheard_of": verdict(policy, Question(SINCE, SINCE, stamp), standing, "unheard_of"),
        "elsewhere": verdict(policy, Question(SINCE, SINCE, stamp), standing, "elsewhere"),
    }

    regime = Ground("regime", "prohibited")
    opt_in = Ground("regime", "opt_in")
    assert found == {
        "ad": Verdict("ad", False, Why.PROHIBITED, regime),
        "banned": Verdict("necessary", False, Why.PROHIBITED, regime),
        "necessary": Verdict("necessary", True, None, Ground("setting", "essential")),
        "unheard_of": Verdict("unheard_of", False, Why.NEVER_COLLECTED, opt_in),
        "elsewhere": Verdict("elsewhere", False, Why.NEVER_COLLECTED, opt_in),
    }
    (decision,) = decide(policy, banned, standing)
    assert (decision.allow, decision.reason) == (False, Reason.PROHIBITED)
    assert [judged.id for judged in decision.verdicts] == ["ad", "necessary"]


@holds("D7")
@pytest.mark.parametrize("profile", [STRICT, SEGMENT])
def test_a_topic_needs_an_answer_of_its_own_in_every_profile(profile) -> None:
    policy = Policy("shop", replace(profile, regime=Regime.NOTICE), topics=(Topic("news"),))
    question = Question(SINCE, SINCE, regime=Regime.NOTICE)

    silent = verdict(policy, question, Standing(END), KEY)
    agreed = verdict(policy, question, Standing(END, found={KEY: HOLDS}), KEY)

    assert silent == Verdict(KEY, False, Why.NEVER_COLLECTED, Ground("regime", "opt_in"))
    assert agreed == Verdict(KEY, True, None, Ground("recordId", "yes"))
