"""The fold of records agrees with a plain reading of the rules, on every history without a merge."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.core.decision import Question
from consentry.core.moment import SECOND
from consentry.core.policy import STRICT, Category, Mapping, Policy, Topic
from consentry.core.preference import Block, Found, Standing, stand
from consentry.core.record import Account, Fact, FactKind, History

from . import plain_records as plain
from . import strategies as s
from .clauses import holds

MANY = settings(max_examples=8 * settings().max_examples)


def found(standing: Standing) -> dict[str, plain.Read]:
    """What the fold found, in the words of the plain reading."""
    return {name: _plainly(one) for name, one in standing.found.items()}


def _plainly(one: Found) -> plain.Read:
    return plain.Read(
        _told(one.block),
        _told(one.signal),
        one.grant and one.grant.record_id,
        one.covers_from,
        one.silent.value,
    )


def _told(block: Block | None) -> tuple[int, str, str] | None:
    return None if block is None else (block.at, block.record_id, block.signal or block.why.value)


def agree(history: History, policy: Policy, as_of: int) -> None:
    standing = stand(history, policy, as_of)
    assert standing.suppressed == plain.suppressed(history, as_of)
    assert found(standing) == plain.read(history, policy, as_of)


@holds("R1", "R2", "R3", "R5", "R6", "R8", "R9", "T3", "D1")
@MANY
@given(s.pasts(merging=False), s.policies(), s.later_moments)
def test_what_is_found_of_a_subject_is_what_the_rules_read_plainly_say(past, policy, as_of) -> None:
    history = past.history
    if history.account is not None:  # without a merge the other account is nobody's
        history = replace(history, account=Account("u1", {"u1": past.of("u1")}))
    else:
        first = Account("u1", {"u1": past.of("u1")})
        history = replace(history, others=(first, *history.others[1:]))
    agree(history, replace(policy, topics=(Topic("news"),)), as_of)


@holds("R6")
@MANY
@given(
    s.pasts(s.focused, slots=("device", "u1", "u3", "sibling", "contact"), merging=False, most=5),
    s.policies(),
    st.just(s.END),
)
def test_so_is_what_linked_identifiers_make_of_one_category(past, policy, as_of) -> None:
    first = Account("u1", {"u1": past.of("u1")})
    third = Account("u3", {"u3": past.of("u3")})
    history = replace(
        past.history,
        account=first if past.named else None,
        others=(third,) if past.named else (first, third),
    )
    agree(history, policy, as_of)


@holds("R3", "C4")
@given(st.lists(s.facts, max_size=4), s.policies(), s.later_moments)
def test_so_is_an_address_that_speaks_for_itself(facts, policy, as_of) -> None:
    past = s.Past(()).with_facts(*(("contact", fact) for fact in facts))

    agree(History(contact=past.of("contact")), policy, as_of)


@holds("R6")
@given(
    s.policies(),
    s.questions(),
    s.pasts(),
    s.choices(denials=False, proven=True),
    st.sampled_from(s.LINKED),
)
def test_a_grant_by_somebody_who_is_linked_never_closes_a_door(
    policy, question, past, grant, slot
) -> None:
    after = s.allowed(policy, question, past.with_facts((slot, grant)), s.END)

    assert s.allowed(policy, question, past, s.END) <= after


def test_a_linked_device_that_never_refused_does_not_shorten_what_a_grant_covers() -> None:
    grant = Fact(FactKind.CHOICE, "", 5 * SECOND, 5 * SECOND, granted=("ad",))
    elsewhere = Fact(FactKind.CHOICE, "", 20 * SECOND, 20 * SECOND, granted=("ad",))
    past = s.Past(()).with_facts(("device", grant), ("sibling", elsewhere))
    policy = Policy("shop", STRICT, (Category("ad"),), (Mapping("one", "webhook", ("ad",)),))

    assert s.allowed(policy, Question(30 * SECOND, 10 * SECOND), past, s.END) == {"one"}
