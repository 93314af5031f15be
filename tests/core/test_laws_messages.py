"""The laws of messages: topics by channels, channels refused as a whole, what is transactional."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from consentry.core.decision import Decision, Question, Reason, decide_message
from consentry.core.moment import SECOND
from consentry.core.policy import Category, Policy, Regime, Settings, Topic, channel_key, topic_key
from consentry.core.preference import FOREVER, Block, Found, Standing, Why, stand
from consentry.core.record import Account, Fact, FactKind, History, Merge
from consentry.core.verdict import Ground, Verdict
from consentry.flow.subjects import nothing_granted

from . import plain, plain_records
from . import strategies as s
from .clauses import holds

END = s.END
WHY = "Confirms what was bought: performance of the contract"
TOPICS = (
    Topic("news", "News", ("email", "sms")),
    Topic("offers", "Offers", ("sms",)),
    Topic("orders", "Orders", ("email", "sms"), WHY),
)
PAIRS = tuple((topic.id, channel) for topic in TOPICS for channel in topic.channels)
KEYS = tuple(topic_key(*pair) for pair in PAIRS)
WHOLE = tuple(map(channel_key, ("email", "sms")))

policies = s.policies().map(lambda policy: replace(policy, topics=TOPICS))
granted_keys = st.frozensets(st.sampled_from((*KEYS, *WHOLE)), max_size=3)
denied_keys = st.frozensets(st.sampled_from((*KEYS, *WHOLE)), max_size=2)


@st.composite
def answers(draw: st.DrawFn) -> Fact:
    """Something said of topics and channels; a grant of a channel among it, which is nothing."""
    received = draw(s.moments)
    made = received - draw(st.sampled_from((0, 0, 0, 1, 9, -3))) * SECOND
    kind = draw(st.sampled_from((FactKind.CHOICE, FactKind.CHOICE, FactKind.IMPORT)))
    granted, denied = draw(granted_keys), draw(denied_keys)
    return Fact(
        kind,
        "",
        received,
        max(made, 0),
        tuple(sorted(granted - denied)),
        tuple(sorted(denied)),
        proven=draw(st.integers(0, 4)) > 0,
    )


suppressions = st.builds(lambda at: Fact(FactKind.SUPPRESS, "", at), s.moments)
words = st.one_of(answers(), answers(), answers(), answers(), suppressions)
pasts = s.pasts(of=words)
unmerged = s.pasts(of=words, merging=False)  # any answer makes a merge speak of every category
calm_pasts = s.pasts(of=answers())
refusals = st.builds(
    lambda at, key: Fact(FactKind.CHOICE, "", at, at, denied=(key,)),
    s.moments,
    st.sampled_from((*KEYS, *WHOLE)),
)
whole_refusals = st.builds(
    lambda at, key: Fact(FactKind.CHOICE, "", at, at, denied=(key,)),
    s.moments,
    st.sampled_from(WHOLE),
)


def asked(policy: Policy, standing: Standing) -> dict[tuple[str, str], Decision]:
    question = Question(END, END)
    return {pair: decide_message(policy, question, standing, *pair) for pair in PAIRS}


def sendable(policy: Policy, past: s.Past) -> set[tuple[str, str]]:
    decided = asked(policy, s.standing(past, policy, END))
    return {pair for pair, one in decided.items() if one.allow}


@holds("M4")
@given(policies, pasts, refusals, st.sampled_from(s.SLOTS))
def test_a_refusal_never_lets_a_message_through(policy, past, refusal, slot) -> None:
    after = sendable(policy, past.with_facts((slot, refusal)))

    assert after <= sendable(policy, past)


@holds("M4")
@given(policies, pasts, s.later_moments)
def test_a_channel_refused_is_each_of_its_topics_refused(policy, past, as_of) -> None:
    def spelled(fact: Fact) -> Fact:
        by = {channel_key(c): [topic_key(t, x) for t, x in PAIRS if x == c] for _, c in PAIRS}
        each = [key for name in fact.denied for key in by.get(name, [name])]
        return structs.replace(fact, denied=tuple(sorted(set(each))))

    one_by_one = replace(past, placed=tuple((slot, spelled(f)) for slot, f in past.placed))
    whole, single = (s.standing(p, policy, as_of) for p in (past, one_by_one))

    for key in KEYS:
        assert whole.of(key) == single.of(key)


@holds("M4", "M5")
@given(unmerged, policies, s.later_moments)
def test_what_is_found_of_topics_is_what_the_rules_read_plainly_say(past, policy, as_of) -> None:
    history = past.without("u2").history
    standing = stand(history, policy, as_of)
    read = plain_records.read(history, policy, as_of)

    assert standing.found.keys() == read.keys()
    for key in (*KEYS, *WHOLE):
        found, told = standing.of(key), read[key]
        block = None if found.block is None else (found.block.at, found.block.record_id)
        assert block == (None if told.block is None else told.block[:2])
        assert (found.grant and found.grant.record_id, found.covers_from) == (
            told.grant,
            told.covers_from,
        )


@holds("M5")
@given(policies, pasts, s.moments, st.sampled_from(WHOLE), st.sampled_from(s.SLOTS))
def test_a_channel_granted_as_a_whole_is_nothing(policy, past, at, key, slot) -> None:
    kinds = (FactKind.CHOICE, FactKind.IMPORT)
    grants = [(slot, Fact(kind, "", at, at, granted=(key,))) for kind in kinds]
    before = asked(policy, s.standing(past, policy, END))
    after = asked(policy, s.standing(past.with_facts(*grants), policy, END))

    assert after == before


@holds("M4")
@given(policies, unmerged, whole_refusals, st.sampled_from(s.SLOTS))
def test_a_channel_refused_leaves_the_other_channels_alone(policy, past, refusal, slot) -> None:
    refused = refusal.denied[0].rpartition(":")[2]
    before = asked(policy, s.standing(past, policy, END))
    after = asked(policy, s.standing(past.with_facts((slot, refusal)), policy, END))

    for pair in PAIRS:
        if pair[1] != refused:
            assert after[pair] == before[pair]


@holds("M5")
@given(policies, calm_pasts, st.sampled_from(WHOLE), st.sampled_from(["news", "offers"]))
def test_a_later_yes_to_one_topic_lifts_the_refusal_for_it_alone(policy, past, key, topic) -> None:
    channel = key.rpartition(":")[2]
    at = (s.SPAN_S + 20) * SECOND
    refused = past.with_facts(*((slot, refusal(key, at)) for slot in s.SLOTS))
    yes = Fact(FactKind.CHOICE, "", at + SECOND, at + SECOND, (topic_key(topic, channel),))
    lifted = refused.with_facts(*((slot, yes) for slot in s.SLOTS))
    consented = {pair for pair in PAIRS if pair[0] != "orders"}
    fresh = replace(policy, settings=replace(policy.settings, max_age_us=None))

    assert {p for p in sendable(fresh, refused) & consented if p[1] == channel} == set()
    assert {p for p in sendable(fresh, lifted) & consented if p[1] == channel} == (
        {(topic, channel)} & consented & set(PAIRS)
    )


def refusal(key: str, at: int) -> Fact:
    return Fact(FactKind.CHOICE, "", at, at, denied=(key,))


@holds("M4")
@given(policies, calm_pasts, st.sampled_from(s.SLOTS), st.sampled_from(["email", "sms"]))
def test_a_topic_that_comes_later_is_refused_too(policy, past, slot, channel) -> None:
    at = (s.SPAN_S + 1) * SECOND
    imported = Fact(FactKind.IMPORT, "", at + SECOND, at, granted=(topic_key("later", channel),))
    refused = past.with_facts((slot, refusal(channel_key(channel), at)), (slot, imported))
    grown = replace(policy, topics=(*TOPICS, Topic("later", "Later", ("email", "sms"))))

    standing = s.standing(refused, grown, END)
    decided = decide_message(grown, Question(END, END), standing, "later", channel)

    assert (decided.allow, decided.reason) == (False, Reason.FILTERED)


@holds("M2")
@given(policies, pasts, st.sampled_from(s.SLOTS))
def test_nothing_is_sent_to_somebody_who_is_suppressed(policy, past, slot) -> None:
    at = (s.SPAN_S + 1) * SECOND
    suppressed = past.with_facts((slot, Fact(FactKind.SUPPRESS, "", at)))

    for decided in asked(policy, s.standing(suppressed, policy, END)).values():
        assert (decided.allow, decided.reason) == (False, Reason.SUPPRESSED)


@holds("M2")
@given(policies)
def test_nothing_is_sent_to_somebody_whose_records_cannot_be_read_whole(policy) -> None:
    for decided in asked(policy, nothing_granted(policy, END)).values():
        assert (decided.allow, decided.reason) == (False, Reason.FILTERED)
        assert [v.why for v in decided.verdicts] == [Why.CONFLICT]
        assert [g.as_json() for g in decided.grounds] == [{"recordId": "too_many_identifiers"}]


@holds("M3")
@given(policies, pasts)
def test_a_transactional_topic_needs_no_consent_and_nothing_else_is_exempt(policy, past) -> None:
    standing = s.standing(past, policy, END)

    for (topic, _), decided in asked(policy, standing).items():
        exempt = topic == "orders" and not standing.suppressed
        assert (decided.reason is Reason.EXEMPT) == exempt
        if exempt:
            assert decided.allow
            assert [g.as_json() for g in decided.grounds] == [{"transactional": WHY}]


@holds("M1")
@given(policies, st.sampled_from(Regime), pasts)
def test_a_message_is_sent_for_a_recorded_yes_or_a_reason_in_writing(policy, regime, past) -> None:
    loose = replace(policy, settings=replace(policy.settings, regime=regime))
    standing = s.standing(past, loose, END)

    for pair, decided in asked(loose, standing).items():
        if decided.reason is Reason.CONSENTED:
            found = standing.of(topic_key(*pair))
            assert found.block is None
            assert found.grant is not None
            assert decided.grounds[0].as_json() == {"recordId": found.grant.record_id}
    stranger = decide_message(loose, Question(END, END), standing, "news", "fax")
    assert not stranger.allow


@holds("M1")
@given(policies, s.founds(), s.founds(), st.booleans())
def test_a_message_is_decided_as_the_rules_read_plainly_say(policy, one, whole, suppressed) -> None:
    found = {KEYS[0]: one, WHOLE[0]: whole, topic_key("orders", "sms"): one}
    standing = Standing(END, found=found, suppressed=suppressed)

    for pair, decided in asked(policy, standing).items():
        key = topic_key(*pair)
        why, _ = plain.category(policy, Question(END, END), standing, key, every_denial=True)
        assert decided.allow == (why is None and not suppressed)


def test_what_is_found_of_a_whole_channel_decides_nothing_by_itself() -> None:
    policy = Policy("shop", categories=(Category("ad"),), topics=TOPICS)
    block = Block("rec", FOREVER, Why.DENIED)
    standing = Standing(END, found={WHOLE[1]: Found(block=block)})

    assert policy.bits.get(WHOLE[1]) is None
    assert decide_message(policy, Question(END, END), standing, "*", "sms").allow is False


ORDERS = topic_key("orders", "sms")
REFUSED = {ORDERS: Found(block=Block("no", END, Why.DENIED))}


@holds("M2", "M3")
@pytest.mark.parametrize(
    ("standing", "decision"),
    [
        (Standing(END, suppressed=True), Decision(ORDERS, False, Reason.SUPPRESSED)),
        (
            Standing(END, found=REFUSED),
            Decision(
                ORDERS,
                True,
                Reason.EXEMPT,
                (Verdict(ORDERS, True, None, Ground("transactional", WHY)),),
            ),
        ),
        (
            Standing(END, found=REFUSED, whole=False),
            Decision(
                ORDERS,
                False,
                Reason.FILTERED,
                (Verdict(ORDERS, False, Why.CONFLICT, Ground("recordId", "no")),),
            ),
        ),
        (
            Standing(END, whole=False),
            Decision(
                ORDERS,
                False,
                Reason.FILTERED,
                (Verdict(ORDERS, False, Why.CONFLICT, Ground("recordId", "")),),
            ),
        ),
    ],
)
def test_of_a_transactional_message_the_ground_is_said(
    standing: Standing, decision: Decision
) -> None:
    policy = Policy("shop", Settings(), (Category("ad"),), topics=TOPICS)
    assert decide_message(policy, Question(END, END), standing, "orders", "sms") == decision


@holds("M5", "R7")
def test_a_merge_keeps_a_topic_that_both_granted_after_they_had_refused_its_channel() -> None:
    def of(granted_s: int) -> tuple[Fact, ...]:
        at = granted_s * SECOND
        return (
            Fact(FactKind.CHOICE, "no", SECOND, SECOND, denied=(channel_key("sms"),)),
            Fact(FactKind.CHOICE, "yes", at, at, (topic_key("news", "sms"),), proven=True),
        )

    merge = Merge("m", 10 * SECOND, "u2", "u1")
    account = Account("u1", {"u1": of(5), "u2": of(6)}, (merge,))
    policy = Policy("shop", Settings(), (Category("ad"),), topics=TOPICS)

    standing = stand(History(account=account), policy, END)

    assert standing.of(topic_key("news", "sms")).block is None
    assert standing.of(topic_key("news", "sms")).grant is not None
    assert standing.of(topic_key("offers", "sms")).block is not None
