"""The laws of the decision: which changes of the world may open a door, and which may not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from consentry.core.decision import Question, Reason, decide, verdict
from consentry.core.moment import SECOND
from consentry.core.policy import (
    SEGMENT,
    STRICT,
    AccountChoices,
    Category,
    Devices,
    Mapping,
    Match,
    Policy,
    Regime,
    Settings,
    StampRule,
    Topic,
    Unmapped,
    Unstamped,
    topic_key,
)
from consentry.core.preference import Standing, Why
from consentry.core.record import Fact, FactKind
from consentry.core.stamp import Stamp

from . import strategies as s
from .clauses import holds

END = 2 * s.SPAN_S * SECOND


@holds("R1", "R6")
@given(s.policies(), s.questions(), s.pasts(), s.denials, st.sampled_from(s.SLOTS))
def test_a_denial_never_opens_a_door(policy, question, past, denial, slot) -> None:
    denied = past.with_facts((slot, denial))

    assert s.allowed(policy, question, denied, END) <= s.allowed(policy, question, past, END)


@holds("R8")
@given(s.policies(), s.questions(), s.pasts(), s.signals(present=True), st.sampled_from(s.SLOTS))
def test_a_new_signal_never_opens_a_door(policy, question, past, signal, slot) -> None:
    new = Fact(FactKind.SIGNAL, "", signal.received_at, denied=signal.denied, signal="new")

    after = s.allowed(policy, question, past.with_facts((slot, new)), END)

    assert after <= s.allowed(policy, question, past, END)


@given(s.policies(), s.questions(), s.pasts(), st.sampled_from(s.NAMES))
def test_under_all_a_further_category_never_allows_more(policy, question, past, further) -> None:
    enabled = {c.id for c in policy.categories if c.enabled} | {s.UNKNOWN}
    asked = tuple(
        replace(m, match=Match.ALL) for m in policy.mappings if enabled & set(m.categories)
    )
    more = tuple(replace(m, categories=(*m.categories, further)) for m in asked)

    after = s.allowed(replace(policy, mappings=more), question, past, END)

    assert after <= s.allowed(replace(policy, mappings=asked), question, past, END)


@holds("S5")
@given(s.policies(), s.questions(), s.pasts())
def test_a_category_that_the_workspace_lacks_never_widens_a_mapping(policy, question, past) -> None:
    more = tuple(replace(m, categories=(*m.categories, s.UNKNOWN)) for m in policy.mappings)

    after = s.allowed(replace(policy, mappings=more), question, past, END)

    assert after <= s.allowed(policy, question, past, END)


@holds("D4")
@given(s.policies(), s.questions(integrations=None), s.pasts(), s.integrations)
def test_the_integrations_object_only_narrows(policy, question, past, integrations) -> None:
    narrowed = structs.replace(question, integrations=integrations)

    assert s.allowed(policy, narrowed, past, END) <= s.allowed(policy, question, past, END)


@holds("R5", "D7")
@given(s.policies(unstamped=Unstamped.RECORDED), s.questions(stamp=None, regime=Regime.OPT_IN))
def test_silence_never_grants_where_the_regime_denies(policy, question) -> None:
    for category in s.KNOWN:
        judged = verdict(policy, question, Standing(END), category)
        assert judged.granted == (category == "necessary" and not question.prohibited & {category})


@holds("R4")
@given(s.policies(), s.questions(), s.pasts(), s.stamps)
def test_a_stamp_lifts_nothing_recorded(policy, question, past, stamp) -> None:
    both = replace(policy, settings=replace(policy.settings, stamp=StampRule.BOTH))
    stamped = structs.replace(question, stamp=stamp)
    standing = s.standing(past, both, END)

    for decision in decide(both, stamped, standing):
        if decision.reason is not Reason.CONSENTED:
            continue
        for judged in decision.verdicts:
            found = standing.of(judged.id)
            assert judged.id == "necessary" or (found.block is None and found.signal is None)


@holds("S2", "D7")
@given(s.policies(), s.questions(), s.pasts(), s.stamps, st.sampled_from(s.NAMES))
def test_a_denial_in_the_stamp_never_opens_a_door(policy, question, past, stamp, name) -> None:
    before = structs.replace(question, stamp=stamp)
    after = structs.replace(question, stamp=Stamp(stamp.granted - {name}, stamp.stated | {name}))

    assert s.allowed(policy, after, past, END) <= s.allowed(policy, before, past, END)


@holds("S5")
@given(s.policies(), s.questions(), s.pasts(), s.stamps, st.booleans())
def test_an_unknown_category_has_no_effect(policy, question, past, stamp, granted) -> None:
    stated = stamp.stated - {s.UNKNOWN}
    plain = Stamp(stamp.granted - {s.UNKNOWN}, stated)
    heard = Stamp(plain.granted | ({s.UNKNOWN} if granted else frozenset()), stated | {s.UNKNOWN})
    known = replace(
        policy,
        mappings=tuple(
            replace(m, categories=tuple(c for c in m.categories if c != s.UNKNOWN))
            for m in policy.mappings
        ),
    )

    with_it = s.allowed(known, structs.replace(question, stamp=heard), past, END)

    assert with_it == s.allowed(known, structs.replace(question, stamp=plain), past, END)


STEPS = {
    "unstamped": Unstamped.RECORDED,
    "unmapped": Unmapped.WITHHOLD,
    "stamp": StampRule.BOTH,
}


@given(s.policies(), s.questions(), s.pasts(), st.permutations(sorted(STEPS)))
def test_tightening_a_row_of_the_profile_never_allows_more(policy, question, past, order) -> None:
    loose = replace(policy.settings, **{row: getattr(SEGMENT, row) for row in STEPS})
    before = s.allowed(replace(policy, settings=loose), question, past, END)
    for row in order:
        loose = replace(loose, **{row: STEPS[row]})
        after = s.allowed(replace(policy, settings=loose), question, past, END)
        assert after <= before, row
        before = after


@holds("R3")
@given(s.policies(max_age_us=None), s.questions(), s.pasts(s.choices(), merging=False))
def test_asking_for_proof_never_allows_more(policy, question, past) -> None:
    # Without ages and merges: there, a grant that is believed can itself withhold.
    ageless = tuple(replace(c, requires_consent_since=None, since=None) for c in policy.categories)
    given_ = replace(policy.settings, account_choices=AccountChoices.AS_GIVEN)
    proven = replace(policy.settings, account_choices=AccountChoices.PROVEN)

    after = s.allowed(replace(policy, categories=ageless, settings=proven), question, past, END)

    assert after <= s.allowed(
        replace(policy, categories=ageless, settings=given_), question, past, END
    )


@holds("R6")
@given(s.policies(devices=Devices.STRICTEST), s.questions(), s.pasts(s.quiet_facts))
def test_under_strictest_a_link_only_narrows(policy, question, past) -> None:
    alone = past.without(*s.LINKED)

    assert s.allowed(policy, question, past, END) <= s.allowed(policy, question, alone, END)


@holds("R6")
@given(s.policies(), s.questions(), s.pasts(s.quiet_facts), st.sampled_from(s.LINKED))
def test_a_link_to_whom_the_person_refused_only_narrows(policy, question, past, slot) -> None:
    refusals = tuple((w, f) for w, f in past.placed if w not in s.LINKED or not f.granted)
    linked = replace(past, placed=refusals)

    assert s.allowed(policy, question, linked, END) <= s.allowed(
        policy, question, linked.without(slot), END
    )


@holds("R6", "R2")
@pytest.mark.parametrize(
    ("devices", "lifted"),
    [
        (Devices.LATEST, True),
        (Devices.ACCOUNT, True),
        (Devices.ASK, True),
        (Devices.STRICTEST, False),
    ],
)
@pytest.mark.parametrize("slot", ["device", "sibling", "contact"])
@pytest.mark.parametrize(("made_s", "older"), [(19, False), (20, False), (21, True)])
def test_a_verified_account_grant_lifts_older_denials_but_not_under_strictest(
    devices: Devices, lifted: bool, slot: str, made_s: int, older: bool
) -> None:
    past = s.Past(()).with_facts(
        (slot, Fact(FactKind.CHOICE, "", 20 * SECOND, denied=("ad",))),
        ("u1", Fact(FactKind.CHOICE, "", 30 * SECOND, made_s * SECOND, granted=("ad",))),
    )
    policy = Policy("shop", Settings(devices=devices), (Category("ad"),))

    found = s.standing(past, policy, END).of("ad")

    assert (found.block is None) == (lifted and older)


@holds("R9")
@pytest.mark.parametrize("devices", Devices)
def test_an_import_on_the_account_lifts_no_denial_of_its_devices(devices: Devices) -> None:
    past = s.Past(()).with_facts(
        ("device", Fact(FactKind.CHOICE, "", 20 * SECOND, denied=("ad",))),
        ("u1", Fact(FactKind.IMPORT, "", 40 * SECOND, 30 * SECOND, granted=("ad",))),
    )
    policy = Policy("shop", Settings(devices=devices), (Category("ad"),))

    assert s.standing(past, policy, END).of("ad").block is not None


@holds("D1")
@given(s.policies(), s.questions(), s.pasts(), st.sampled_from(s.SLOTS), s.moments)
def test_suppression_withholds_everything(policy, question, past, slot, at) -> None:
    listed = past.with_facts((slot, Fact(FactKind.SUPPRESS, "", END)))

    for decision in decide(policy, question, s.standing(listed, policy, END)):
        assert not decision.allow
        assert decision.reason is Reason.SUPPRESSED


@holds("D7")
@given(s.policies(), s.questions(prohibited=frozenset()), s.pasts())
def test_essential_is_granted_whatever_a_stamp_or_a_record_says(policy, question, past) -> None:
    only = replace(
        policy,
        categories=tuple(replace(c, enabled=True) for c in policy.categories),
        mappings=(Mapping("one", "webhook", ("necessary",)),),
    )
    (decision,) = decide(
        only, structs.replace(question, integrations=None), s.standing(past, only, END)
    )

    assert decision.allow or decision.reason is Reason.SUPPRESSED


@holds("D8")
@given(s.policies(), s.questions(), s.pasts(), s.names)
def test_any_is_not_met_by_essentials_alone(policy, question, past, wanted) -> None:
    categories = tuple(sorted(wanted | {"necessary", "ad"}))
    mapping = Mapping("one", "webhook", categories, match=Match.ANY)
    on = tuple(replace(c, enabled=True) for c in policy.categories)
    (decision,) = decide(
        replace(policy, categories=on, mappings=(mapping,)),
        question,
        s.standing(past, policy, END),
    )

    if decision.allow:
        assert {judged.id for judged in decision.verdicts} - {"necessary"}


@holds("D8")
@given(s.policies(), s.questions(), s.pasts())
def test_what_is_withheld_names_a_category_that_failed(policy, question, past) -> None:
    for decision in decide(policy, question, s.standing(past, policy, END)):
        if decision.reason is Reason.FILTERED:
            assert decision.verdicts
            assert not any(judged.granted for judged in decision.verdicts)
        if decision.reason is Reason.CONSENTED:
            assert decision.verdicts
            assert all(judged.granted for judged in decision.verdicts)


@holds("T1")
@pytest.mark.parametrize(
    ("then", "now", "fact"),
    [
        (True, False, Fact(FactKind.CHOICE, "", 20 * SECOND, denied=("ad",))),
        (False, True, Fact(FactKind.CHOICE, "", 20 * SECOND, 5 * SECOND, granted=("ad",))),
    ],
    ids=["refused since", "granted since"],
)
def test_acceptance_and_now_are_both_asked(then: bool, now: bool, fact: Fact) -> None:
    regime = Regime.OPT_OUT if then else Regime.OPT_IN
    policy = Policy(
        "shop", Settings(regime=regime), (Category("ad"),), (Mapping("one", "webhook", ("ad",)),)
    )
    question = Question(10 * SECOND, 9 * SECOND)
    past = s.Past(()).with_facts(("device", fact))

    (first,) = decide(policy, question, s.standing(past, policy, question.accepted_at))
    (second,) = decide(policy, question, s.standing(past, policy, END))

    assert (first.allow, second.allow) == (then, now)
    assert s.allowed(policy, question, past, END) == set()


@holds("T3")
def test_an_event_from_before_a_regrant_is_not_covered_by_an_older_grant_elsewhere() -> None:
    past = s.Past(()).with_facts(
        ("device", Fact(FactKind.CHOICE, "", 5 * SECOND, 5 * SECOND, granted=("ad",))),
        ("u1", Fact(FactKind.CHOICE, "", 10 * SECOND, denied=("ad",))),
        ("u1", Fact(FactKind.CHOICE, "", 20 * SECOND, 20 * SECOND, granted=("ad",))),
    )
    policy = Policy("shop", STRICT, (Category("ad"),), (Mapping("one", "webhook", ("ad",)),))

    assert s.allowed(policy, Question(30 * SECOND, 15 * SECOND), past, END) == set()
    assert s.allowed(policy, Question(30 * SECOND, 25 * SECOND), past, END) == {"one"}


@holds("R4", "C4")
def test_a_grant_without_a_time_on_the_device_does_not_let_a_stamp_renew_the_accounts() -> None:
    past = s.Past(()).with_facts(
        ("u1", Fact(FactKind.CHOICE, "", 1 * SECOND, 1 * SECOND, granted=("ad",))),
        ("device", Fact(FactKind.CHOICE, "", 20 * SECOND, None, granted=("ad",))),
    )
    policy = Policy(
        "shop",
        Settings(max_age_us=10 * SECOND),
        (Category("ad"),),
        (Mapping("one", "webhook", ("ad",)),),
    )
    stamped = Question(30 * SECOND, 30 * SECOND, Stamp(frozenset({"ad"}), frozenset({"ad"})))

    assert s.allowed(policy, stamped, past, END) == set()


@holds("R3")
def test_an_unproven_grant_for_an_address_lifts_no_denial_of_it() -> None:
    refused = Fact(FactKind.CHOICE, "", 10 * SECOND, denied=("ad",))
    again = Fact(FactKind.CHOICE, "", 20 * SECOND, 20 * SECOND, granted=("ad",), proven=False)
    past = s.Past(()).with_facts(("contact", refused), ("contact", again))
    policy = Policy("shop", SEGMENT, (Category("ad"),))

    assert s.standing(past, policy, END).of("ad").block is not None


@pytest.mark.parametrize("profile", [STRICT, SEGMENT], ids=["strict", "segment"])
def test_a_topic_is_opt_in_and_a_recorded_refusal_is_shown_in_either_profile(
    profile: Settings,
) -> None:
    key = topic_key("news", "email")
    policy = Policy(
        "shop", replace(profile, regime=Regime.NOTICE), (Category("ad"),), (), (Topic("news"),)
    )
    refused = s.Past(()).with_facts(
        ("device", Fact(FactKind.CHOICE, "", 10 * SECOND, denied=("ad", key)))
    )
    question = Question(END, END)

    assert not verdict(policy, question, Standing(END), key).granted
    for name in ("ad", key):
        judged = verdict(policy, question, s.standing(refused, policy, END), name)
        assert judged.why is Why.DENIED
