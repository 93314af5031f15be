"""What is remembered for speed is what would be worked out afresh, whoever asked before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.core.bits import Bits
from consentry.core.decision import MOST_RULINGS, Decision, Question, decide
from consentry.core.moment import SECOND
from consentry.core.policy import Category, Mapping, Policy, Settings, policy_from_canonical
from consentry.core.preference import FOREVER, Found, Grant, Masks, Standing, Why
from consentry.core.stamp import (
    LONGEST_REMEMBERED,
    Invalid,
    Stamp,
    category_preferences,
    stamp_of_written,
)
from consentry.flow.asked import stamp_of_stored
from consentry.ports import StoredEvent
from tests.store.makers import device, event

from . import strategies as s
from .clauses import holds

FEW = settings(max_examples=max(10, settings().max_examples // 2))
asked = st.tuples(
    st.builds(s.with_, s.questions(), preference_update=st.booleans(), superseded=st.booleans()),
    s.standings(),
)


def fresh(policy: Policy) -> Policy:
    """The same policy, of which nobody has asked anything."""
    return policy_from_canonical(policy.canonical)


def each(policy: Policy, question: Question, standing: Standing) -> list[Decision]:
    return list(decide(policy, question, standing))


# -- rulings --------------------------------------------------------------------------------
@holds("D7")
@FEW
@given(s.policies(), st.lists(asked, min_size=2, max_size=12))
def test_a_ruling_never_depends_on_who_was_asked_about_before(policy, asked) -> None:
    alone = [each(fresh(policy), question, standing) for question, standing in asked]

    assert [each(policy, question, standing) for question, standing in asked] == alone
    again = [each(policy, question, standing) for question, standing in reversed(asked)]
    assert again[::-1] == alone


KEPT = 4096
CROWD = 13  # 2**13 sets of granted categories, twice as many as are kept


def crowded() -> Policy:
    names = [f"c{n}" for n in range(CROWD)]
    mappings = [Mapping(name, "webhook", (name,)) for name in names]
    return Policy("shop", Settings(), tuple(map(Category, names)), tuple(mappings))


def stamped(choice: int) -> Question:
    """A question with a stamp that grants the categories in this set, and denies the others."""
    names = [f"c{n}" for n in range(CROWD)]
    granted = frozenset(name for n, name in enumerate(names) if choice >> n & 1)
    return Question(SECOND, SECOND, Stamp(granted, frozenset(names)))


def test_what_is_forgotten_is_worked_out_again_and_no_more_is_kept_than_may_be() -> None:
    policy, nobody = crowded(), Standing(SECOND)
    for choice in range(2**CROWD):
        assert decide(policy, stamped(choice), nobody).allowed == choice
        assert 0 < len(policy.rulings) <= KEPT
    for choice in (0, 1, 2**CROWD - 1, 4097, 4096, 4095):
        assert decide(policy, stamped(choice), nobody).allowed == choice


def test_as_many_rulings_are_kept_as_may_be_and_a_known_one_makes_none_forgotten() -> None:
    assert MOST_RULINGS == KEPT
    policy, nobody = crowded(), Standing(SECOND)
    for choice in range(KEPT):
        decide(policy, stamped(choice), nobody)
    assert len(policy.rulings) == KEPT

    first = decide(policy, stamped(0), nobody)
    assert len(policy.rulings) == KEPT
    assert decide(policy, stamped(0), nobody).ruling is first.ruling

    decide(policy, stamped(KEPT), nobody)
    assert len(policy.rulings) == 1


@pytest.mark.parametrize("suppressed", [False, True])
@pytest.mark.parametrize(
    "more", [{}, {"integrations": {"c1": False}}, {"prohibited": frozenset({"c2"})}]
)
def test_the_same_question_gets_the_same_ruling(more, suppressed) -> None:
    policy = crowded()
    question = s.with_(stamped(5), **more)
    one, other = Standing(SECOND, suppressed=suppressed), Standing(2, suppressed=suppressed)

    assert decide(policy, question, one).ruling is decide(policy, question, other).ruling


@pytest.mark.parametrize("elsewhere", [{"elsewhere": False}, {"All": True, "elsewhere": False}])
def test_what_an_event_says_of_others_makes_no_ruling_of_its_own(elsewhere) -> None:
    policy = crowded()
    first = Question(SECOND, SECOND, integrations={"All": True})
    decide(policy, first, Standing(SECOND))
    decide(policy, Question(SECOND, SECOND, integrations=elsewhere), Standing(SECOND))

    assert len(policy.rulings) == 1


@given(s.policies(), asked)
def test_the_destinations_that_are_allowed_are_those_whose_decision_says_so(policy, asked) -> None:
    decisions = decide(policy, *asked)

    one_by_one = list(decisions)
    assert len(decisions) == len(one_by_one) == len(policy.mappings)
    for n, (mapping, one) in enumerate(zip(policy.mappings, one_by_one, strict=True)):
        assert one.destination == mapping.name
        assert bool(decisions.allowed >> n & 1) == one.allow
        assert decisions.allows(mapping.name) is one.allow
        assert decisions.of(mapping.name) == decisions[n] == decisions[n : n + 1][0] == one
        assert one.grounds == tuple(dict.fromkeys(v.ground for v in one.verdicts))
    assert decisions[-1] == one_by_one[-1]
    assert decisions.of("nowhere") is None
    assert not decisions.allows("nowhere")
    assert decisions.allowed >> len(one_by_one) == 0


# -- sets of categories -----------------------------------------------------------------------
@holds("S5")
@given(s.standings(), s.stamps, st.permutations(s.NAMES), st.permutations(s.NAMES), s.moments)
def test_sets_asked_for_two_policies_do_not_mix(standing, stamp, one, other, at) -> None:
    first, second = Bits(one), Bits(other[:3])
    for bits in (first, second, first, second, second):
        masks = standing.masks(bits)
        named = {name: standing.of(name) for name in bits}
        assert bits.read(masks.blocked, bits) == {n: f.block is not None for n, f in named.items()}
        assert bits.read(masks.signalled, bits) == {
            n: f.signal is not None for n, f in named.items()
        }
        assert bits.read(masks.granted, bits) == {n: f.grant is not None for n, f in named.items()}
        assert bits.read(masks.faded, bits) == {
            n: f.grant is None and f.silent in (Why.STALE, Why.EXPIRED) for n, f in named.items()
        }
        assert bits.read(standing.covering(at, bits), bits) == {
            n: f.grant is not None and f.covers_from <= at for n, f in named.items()
        }
        assert bits.read(standing.blocked_after(at, bits), bits) == {
            n: f.block is not None and f.block.at > at for n, f in named.items()
        }
        assert standing.covering(None, bits) == 0
        said = stamp.granted_bits(bits)
        assert bits.read(said, bits) == {name: name in stamp.granted for name in bits}


@given(s.policies(), s.policies(), asked)
def test_a_standing_that_was_asked_by_another_policy_decides_the_same(one, other, asked) -> None:
    question, standing = asked
    other = replace(other, categories=other.categories[::-1])
    decide(other, question, standing)
    unasked = Standing(standing.as_of, suppressed=standing.suppressed, found=standing.found)
    stamp = question.stamp and Stamp(question.stamp.granted, question.stamp.stated)

    assert each(one, question, standing) == each(one, s.with_(question, stamp=stamp), unasked)


def test_the_sets_of_a_standing_are_worked_out_once_for_a_policy() -> None:
    bits = Bits(["ad"])
    standing = Standing(0, found={"ad": Found(grant=Grant("g", 1, 1), covers_from=1)})

    assert standing.masks(bits) is standing.masks(bits)
    assert standing.masks(bits) == Masks(0, 0, 0, 1, 1)
    assert Standing(0).masks(bits) == Masks(0, 0, 0, 0, FOREVER)
    faded = Standing(0, found={"ad": Found(silent=Why.STALE)})
    assert faded.masks(bits) == Masks(0, 0, 1, 0, FOREVER)


# -- stamps -----------------------------------------------------------------------------------
NO_ANSWERS = [1, 0, 1.0, 0.0, -0.0, "true", "false", "", None, [], {}, [True], {"a": True}]


@holds("S3")
@given(
    st.lists(
        st.dictionaries(st.sampled_from(s.KNOWN), st.sampled_from([True, False, *NO_ANSWERS])),
        min_size=2,
        max_size=8,
    )
)
def test_what_only_looks_like_an_answer_is_none_whatever_was_read_before(written) -> None:
    for preferences in [*written, *written]:
        if all(type(answer) is bool for answer in preferences.values()):
            stamp = category_preferences(preferences, "f")
            assert stamp.granted == {c for c, yes in preferences.items() if yes}
            assert stamp.stated == set(preferences)
        else:
            with pytest.raises(Invalid, match="must be true or false"):
                category_preferences(preferences, "f")


@holds("S3")
@pytest.mark.parametrize("no_answer", NO_ANSWERS, ids=repr)
@pytest.mark.parametrize("answer", [True, False])
def test_an_answer_that_is_remembered_answers_for_no_other(answer: bool, no_answer: Any) -> None:
    category_preferences({"ad": answer}, "f")

    with pytest.raises(Invalid, match=r"f\.ad must be true or false"):
        category_preferences({"ad": no_answer}, "f")
    assert category_preferences({"ad": answer}, "f").granted == ({"ad"} if answer else set())


@given(st.dictionaries(st.text(max_size=6), st.booleans(), max_size=6))
def test_a_stamp_is_read_the_same_when_it_is_too_long_to_be_remembered(preferences) -> None:
    long = preferences | {"x" * LONGEST_REMEMBERED: True}

    short = category_preferences(preferences, "f")

    assert short == category_preferences(dict(reversed(preferences.items())), "f")
    assert category_preferences(long, "f") == Stamp(
        short.granted | {"x" * LONGEST_REMEMBERED}, short.stated | {"x" * LONGEST_REMEMBERED}
    )


@holds("S2", "S5")
@given(
    st.lists(st.tuples(st.frozensets(st.text(max_size=4)), st.frozensets(st.text(max_size=4)))),
    st.sampled_from((0, LONGEST_REMEMBERED)),
)
def test_a_stamp_that_was_written_is_read_as_it_was(drawn, padding) -> None:
    further = frozenset({"y" * padding}) if padding else frozenset()
    for granted, denied in [*drawn, *drawn]:
        stamp = Stamp(granted, granted | denied | further)

        assert stamp_of_written(*stamp.written) == stamp

        stored = event(nodes=(device("d1"),))
        written, stated = stamp.written
        stored = msgspec.structs.replace(stored, granted=written, stated=stated)
        back = msgspec.msgpack.decode(msgspec.msgpack.encode(stored), type=StoredEvent)
        assert stamp_of_stored(back) == stamp


def test_an_event_that_said_nothing_comes_back_saying_nothing() -> None:
    stored = event(nodes=(device("d1"),))
    silent = msgspec.structs.replace(stored, granted=None, stated=None)
    empty = msgspec.structs.replace(stored, granted=(), stated=())

    assert stamp_of_stored(silent) is None
    assert stamp_of_stored(empty) == Stamp(frozenset(), frozenset())
