"""The fold of records agrees with a plain reading of the rules, on every history without a merge."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from consentry.core.decision import Question
from consentry.core.moment import SECOND
from consentry.core.policy import STRICT, Category, Devices, Mapping, Policy, Topic
from consentry.core.preference import Block, Found, Standing, narrower, stand
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


@holds("R1", "R2", "R3", "R5", "R6", "R8", "R9", "T3", "D1", "C4", "C7")
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


@holds("R6", "C5", "C6")
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


@holds("R3")
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


def yes(at_s: int) -> Fact:
    return Fact(FactKind.CHOICE, "", at_s * SECOND, at_s * SECOND, granted=("ad",))


def no(at_s: int) -> Fact:
    return Fact(FactKind.CHOICE, "", at_s * SECOND, denied=("ad",))


@holds("C5")
@pytest.mark.parametrize(
    ("first", "third", "lifted"),
    [
        ((yes(11),), (yes(12),), True),
        ((yes(11),), (), False),
        ((yes(11),), (yes(9),), False),
        ((yes(9), yes(11)), (yes(9), yes(12)), True),
    ],
)
def test_without_a_named_account_every_one_that_is_linked_must_have_granted(
    first, third, lifted
) -> None:
    past = s.Past((), named=False).with_facts(
        ("device", no(10)), *(("u1", f) for f in first), *(("u3", f) for f in third)
    )
    others = (Account("u1", {"u1": past.of("u1")}), Account("u3", {"u3": past.of("u3")}))
    policy = Policy("shop", STRICT, (Category("ad"),))

    history = History(device=past.of("device"), others=others)

    assert (stand(history, policy, s.END).of("ad").block is None) is lifted


@holds("C6")
@pytest.mark.parametrize("named", [False, True])
def test_a_devices_grant_lifts_a_linked_accounts_denial_only_beside_another_account(named) -> None:
    refused = (Account("u3", {"u3": (no(10),)}),)
    account = Account("u1", {"u1": ()}) if named else None
    policy = Policy("shop", STRICT, (Category("ad"),))

    history = History(device=(yes(11),), account=account, others=refused)

    assert (stand(history, policy, s.END).of("ad").block is None) is named


@given(
    st.tuples(s.standings(), s.moments, s.later_moments, st.booleans()),
    st.tuples(s.standings(), s.moments, s.later_moments, st.booleans()),
)
def test_the_narrower_of_two_standings_keeps_the_worse_of_each(one, two) -> None:
    (one, first, until, listed), (two, second, other, listed_too) = one, two
    one = replace(one, as_of=first, valid_from=first, valid_until=until, suppressed=listed)
    two = replace(two, as_of=second, valid_from=second, valid_until=other, suppressed=listed_too)

    both = narrower(one, two)

    assert both.as_of == max(first, second)
    assert both.suppressed == (one.suppressed or two.suppressed)
    for at in (first, second, until, other, until + 1, other + 1, first - 1, second - 1):
        assert both.holds_at(at) == (one.holds_at(at) and two.holds_at(at))
    assert both.found.keys() == one.found.keys() | two.found.keys()
    for name, found in both.found.items():
        sides = (one.of(name), two.of(name))
        assert found.block == last(side.block for side in sides)
        assert found.signal == last(side.signal for side in sides)
        assert found.covers_from == max(side.covers_from for side in sides)
        assert found.grant in [
            side.grant for side in sides if side.covers_from == found.covers_from
        ]
        assert found.silent == min((side.silent for side in sides), key=WORST_FIRST.index)


WORST_FIRST = ["expired", "stale", "unverified", "never_collected"]


def last(blocks: Iterable[Block | None]) -> Block | None:
    return max((b for b in blocks if b), key=lambda b: (b.at, b.record_id), default=None)


@holds("R6", "R9")
@pytest.mark.parametrize(
    ("device", "sibling", "why"),
    [
        ((), (no(10),), "denied"),
        ((yes(5),), (no(10),), "conflict"),
        ((yes(5), yes(15)), (no(10),), None),
        ((yes(15),), (no(10),), "conflict"),  # it was given before it could be asked
        ((yes(15), yes(16)), (no(10),), None),
        ((Fact(FactKind.IMPORT, "", 15 * SECOND, 15 * SECOND, ("ad",)),), (no(10),), "conflict"),
        ((yes(5),), (no(10), yes(11)), None),
    ],
)
def test_devices_that_disagree_are_asked_until_somebody_answers(device, sibling, why) -> None:
    past = s.Past(()).with_facts(
        *(("device", f) for f in device), *(("sibling", f) for f in sibling)
    )
    policy = Policy("shop", replace(STRICT, devices=Devices.ASK), (Category("ad"),))

    block = s.standing(past, policy, s.END).of("ad").block

    assert (block and block.why) == why
    assert block is None or (block.at, block.record_id) == (10 * SECOND, f"s{len(device):02d}")


@holds("R6")
@pytest.mark.parametrize("devices", Devices)
@pytest.mark.parametrize("slot", ["sibling", "u3", "contact"])
@pytest.mark.parametrize("granting", ["device", "u1"])
def test_a_grant_that_follows_a_refusal_that_was_lifted_takes_no_cover_away(
    devices, slot, granting
) -> None:
    past = s.Past(()).with_facts((slot, no(5)), (granting, yes(10)))
    policy = Policy("shop", replace(STRICT, devices=devices), (Category("ad"),))
    before = s.standing(past, policy, s.END).of("ad")

    after = s.standing(past.with_facts((slot, yes(50))), policy, s.END).of("ad")

    assert before.block is not None or after.covers_from == before.covers_from == 10 * SECOND


@holds("R2")
@pytest.mark.parametrize("of", ["device", "account", "contact"])
@pytest.mark.parametrize(
    ("facts", "grant", "covers_s"),
    [
        ((no(10), yes(9)), None, None),
        ((no(10), yes(10)), None, None),
        ((no(10), yes(11)), "yes", 11),
        ((yes(9), no(10), yes(12), yes(11)), "yes", 11),
        ((yes(9),), "yes", 9),
        ((), None, None),
    ],
)
def test_of_one_identifier_by_itself_the_grants_made_after_the_last_denial_hold(
    of, facts, grant, covers_s
) -> None:
    told: Any = Account("u1", {"u1": facts}) if of == "account" else facts
    history = History(**{of: told})

    found = stand(history, Policy("shop", STRICT, (Category("ad"),)), s.END).of("ad")

    assert (found.grant is None) == (grant is None) == (found.covers_from > s.END)
    assert grant is None or found.covers_from == covers_s * SECOND
    assert grant is None or found.grant.made_at == max(f.made_at or 0 for f in facts)


@holds("C8", "R2", "T3")
@pytest.mark.parametrize("of", ["device", "account"])
@pytest.mark.parametrize(("made", "counts_from"), [(14, 10), (11, 10), (10, 10), (9, 9)])
def test_a_fast_clock_makes_no_grant_that_is_later_than_its_reception(
    of, made, counts_from
) -> None:
    fast = structs.replace(yes(10), made_at=made * SECOND)
    told: Any = Account("u1", {"u1": (fast,)}) if of == "account" else (fast,)
    policy = Policy("shop", STRICT, (Category("ad"),))

    found = stand(History(**{of: told}), policy, s.END).of("ad")

    assert found.covers_from == found.grant.made_at == counts_from * SECOND


@holds("R1", "R2", "R5", "R8")
@MANY
@given(st.lists(s.focused | s.signals() | s.choices(), max_size=5), s.policies(), s.moments)
def test_what_one_identifier_says_by_itself_is_what_the_rules_say(facts, policy, as_of) -> None:
    past = s.Past(()).with_facts(*(("device", fact) for fact in facts))

    agree(History(device=past.of("device")), policy, as_of)
    agree(History(account=Account("u1", {"u1": past.of("device")})), policy, s.END)


@holds("R6", "T3")
@pytest.mark.parametrize(
    ("facts", "devices", "covers_s"),
    [
        ([("device", 0, True), ("u1", 3, True)], Devices.LATEST, 0),
        ([("device", 5, True), ("sibling", 0, False), ("sibling", 10, True)], "strictest", 10),
        ([("device", 5, True), ("sibling", 0, False), ("sibling", 10, True)], "latest", 5),
        ([("device", 10, True), ("u1", 11, True), ("sibling", 10, False)], Devices.LATEST, 11),
        ([("device", 11, True), ("u1", 12, True), ("sibling", 10, False)], Devices.ACCOUNT, 11),
    ],
)
def test_what_a_grant_covers_begins_where_nobody_refuses_any_more(facts, devices, covers_s) -> None:
    past = s.Past(()).with_facts(
        *((who, yes(at) if granted else no(at)) for who, at, granted in facts)
    )
    policy = Policy("shop", replace(STRICT, devices=Devices(devices)), (Category("ad"),))

    found = s.standing(past, policy, s.END).of("ad")

    assert found.block is None
    assert found.covers_from == covers_s * SECOND
