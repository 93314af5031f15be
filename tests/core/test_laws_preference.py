"""The laws of the fold: what facts can and cannot do, whatever else is recorded."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace as but

from consentry.core.moment import SECOND
from consentry.core.policy import AccountChoices, Category, Devices, Policy, Settings
from consentry.core.preference import FOREVER, Found, Standing, Why, fold_one, narrower, stand
from consentry.core.record import Account, Fact, FactKind, History, Merge

from . import strategies as s
from .clauses import holds

ONE_CATEGORY = (Category("ad"),)
NAMED = ("device", "u1", "u3", "sibling", "contact")  # and not u2, that only a merge joins
END = 2 * s.SPAN_S * SECOND


def blocked(found: Found) -> bool:
    return found.block is not None or found.signal is not None


@given(s.pasts(), s.policies(), s.later_moments, st.randoms(use_true_random=False))
def test_the_order_in_which_facts_are_read_is_irrelevant(past, policy, as_of, random) -> None:
    shuffled = list(past.placed)
    random.shuffle(shuffled)

    assert s.standing(replace(past, placed=tuple(shuffled)), policy, as_of) == s.standing(
        past, policy, as_of
    )


@given(s.pasts(), s.policies(), s.later_moments, st.sampled_from(("device", "account", "contact")))
def test_a_silent_companion_changes_nothing(past, policy, as_of, named) -> None:
    facts = tuple(fact for _, fact in past.placed)
    history = {
        "device": History(device=facts),
        "account": History(account=Account("u", {"u": facts})),
        "contact": History(contact=facts),
    }[named]
    accompanied = replace(history, siblings=((),))

    assert stand(accompanied, policy, as_of) == stand(history, policy, as_of)


@given(s.pasts(), s.policies(), s.later_moments)
def test_a_repeated_fact_changes_nothing(past, policy, as_of) -> None:
    twice = replace(past, placed=(*past.placed, *past.placed))

    assert s.standing(twice, policy, as_of) == s.standing(past, policy, as_of)


@given(s.pasts(), s.policies(), s.later_moments, st.data())
def test_the_standing_does_not_change_by_itself_while_it_is_valid(
    past, policy, as_of, data
) -> None:
    now = s.standing(past, policy, as_of)
    assert now.holds_at(as_of)
    assert now.holds_at(now.valid_from)
    assert now.holds_at(now.valid_until)
    assert not now.holds_at(now.valid_from - 1)
    assert not now.holds_at(now.valid_until + 1)
    other = data.draw(st.integers(now.valid_from, min(now.valid_until, END)))

    then = s.standing(past, policy, other)

    assert (then.found, then.suppressed) == (now.found, now.suppressed)


@holds("R2")
@given(
    s.pasts(s.choices(made_by=20 * SECOND)),
    s.policies(),
    st.sampled_from(NAMED),
    st.integers(20 * SECOND, END),
)
def test_a_grant_made_up_to_the_reception_of_a_denial_lifts_nothing(
    past, policy, slot, as_of
) -> None:
    denial = Fact(FactKind.CHOICE, "", 20 * SECOND, 1, denied=("ad",))

    assert s.standing(past.with_facts((slot, denial)), policy, as_of).of("ad").block is not None


@holds("R2")
@given(st.integers(0, 5), st.integers(0, 5), st.sampled_from(Devices), st.sampled_from(NAMED))
def test_a_clock_that_is_fast_does_not_lift_a_denial_that_came_after_the_grant(
    fast_s, later_s, devices, slot
) -> None:
    grant = Fact(FactKind.CHOICE, "", 10 * SECOND, (10 + fast_s) * SECOND, granted=("ad",))
    denial = Fact(FactKind.CHOICE, "", (10 + later_s) * SECOND, denied=("ad",))
    past = s.Past(()).with_facts(("device", grant), ("u1", grant), (slot, denial))
    policy = Policy("shop", Settings(devices=devices), ONE_CATEGORY)

    assert s.standing(past, policy, END).of("ad").block is not None


@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from(Devices), st.sampled_from(NAMED))
def test_where_nobody_refused_a_further_grant_takes_no_cover_away(
    first_s, then_s, devices, slot
) -> None:
    first = Fact(FactKind.CHOICE, "", first_s * SECOND, first_s * SECOND, granted=("ad",))
    then = Fact(FactKind.CHOICE, "", then_s * SECOND, then_s * SECOND, granted=("ad",))
    past = s.Past(()).with_facts(("device", first), (slot, then))
    policy = Policy("shop", Settings(devices=devices), ONE_CATEGORY)

    assert s.standing(past, policy, END).of("ad").covers_from <= first_s * SECOND


@holds("R9")
@given(s.pasts(merging=False), s.policies(), s.choices(FactKind.IMPORT), st.data())
def test_an_import_never_lifts_a_denial(past, policy, imported, data) -> None:
    slot, as_of = data.draw(st.sampled_from(s.SLOTS)), data.draw(s.later_moments)
    before = s.standing(past, policy, as_of)
    after = s.standing(past.with_facts((slot, imported)), policy, as_of)

    for category in s.KNOWN:
        if blocked(before.of(category)):
            assert blocked(after.of(category)), category


@holds("R8")
@given(s.pasts(s.signals()), s.policies(), s.later_moments)
def test_a_signal_only_denies(past, policy, as_of) -> None:
    for found in s.standing(past, policy, as_of).found.values():
        assert found.grant is None


@holds("R8")
@given(s.pasts(s.quiet_facts), s.policies(), s.signals(present=True), s.later_moments)
def test_a_repeated_signal_is_not_newer(past, policy, signal, as_of) -> None:
    seen = past.with_facts(("device", signal))
    newest = max(fact.received_at for _, fact in seen.placed)
    gone = [f for f in past.of("device") if f.kind is FactKind.SIGNAL and not f.present]
    assume(not gone)
    again = Fact(FactKind.SIGNAL, "", newest + SECOND, denied=signal.denied, signal=signal.signal)

    twice = s.standing(seen.with_facts(("device", again)), policy, END)

    assert twice.found == s.standing(seen, policy, END).found


@holds("R3")
@given(
    s.pasts(),
    s.policies(account_choices=AccountChoices.PROVEN),
    s.choices(denials=False, proven=False),
    st.sampled_from(("u1", "u2", "u3", "contact")),
    s.later_moments,
)
def test_an_unproven_grant_leaves_the_account_as_it_was(past, policy, grant, slot, as_of) -> None:
    before = s.standing(past, policy, as_of)
    after = s.standing(past.with_facts((slot, grant)), policy, as_of)

    assert {c: _heard(f) for c, f in after.found.items()} == {
        c: _heard(f) for c, f in before.found.items()
    }


def _heard(found: Found) -> Found:
    """Without the word that shows an unverified grant."""
    unverified = found.silent is Why.UNVERIFIED
    return but(found, silent=Why.NEVER_COLLECTED) if unverified else found


answers = st.lists(s.choices() | s.choices(FactKind.IMPORT) | s.focused, max_size=4)


@holds("R7")
@given(answers, answers, s.policies(), s.moments)
def test_a_merge_never_grants_what_one_side_denied(left, right, policy, at) -> None:
    sides = s.Past(()).with_facts(*(("u1", f) for f in left), *(("u2", f) for f in right))
    members = {"u1": sides.of("u1"), "u2": sides.of("u2")}
    merged = History(account=Account("u1", members, (Merge("m01", at, "u2", "u1"),)))
    after = stand(merged, policy, at)

    for user_id, facts in members.items():
        alone = stand(History(account=Account(user_id, {user_id: facts})), policy, at)
        for category in s.KNOWN:
            if blocked(alone.of(category)):
                assert blocked(after.of(category)), (user_id, category)


@holds("R5")
@given(st.integers(0, 20), st.integers(1, 10), st.integers(5, 30), st.integers(0, 80))
def test_when_a_grant_expires_the_refusal_that_it_lifted_stands_again(
    denied_s, waited_s, max_age_s, asked_s
) -> None:
    made = (denied_s + waited_s) * SECOND
    facts = (
        Fact(FactKind.CHOICE, "no", denied_s * SECOND, denied=("ad",)),
        Fact(FactKind.CHOICE, "yes", made, made, granted=("ad",)),
    )
    policy = Policy("shop", Settings(max_age_us=max_age_s * SECOND), ONE_CATEGORY)
    as_of = made + asked_s * SECOND

    found = fold_one(facts, policy, as_of)["ad"]

    if asked_s <= max_age_s:
        assert found.block is None
        assert found.grant is not None
    else:
        assert found.grant is None
        assert found.block is not None
        assert found.block.record_id == "no"


@given(s.pasts(), s.pasts(), s.policies(), s.later_moments)
def test_the_narrower_of_two_standings_blocks_what_either_blocks(one, other, policy, as_of) -> None:
    first, second = s.standing(one, policy, as_of), s.standing(other, policy, as_of)
    both = narrower(first, second)

    for category in s.KNOWN:
        sides = (first.of(category), second.of(category))
        found = both.of(category)
        assert blocked(found) == any(map(blocked, sides))
        assert (found.grant is None) == any(side.grant is None for side in sides)
        assert found.covers_from == max(side.covers_from for side in sides)
        assert found.grant is not None or found.covers_from == FOREVER


@holds("S5")
@given(s.pasts(), s.policies(), s.later_moments, s.choices())
def test_a_category_that_the_workspace_lacks_is_not_in_the_standing(
    past, policy, as_of, choice
) -> None:
    found = s.standing(past.with_facts(("device", choice)), policy, as_of).found

    assert set(found) == set(s.KNOWN)


def test_a_grant_of_a_linked_device_takes_no_cover_away() -> None:
    """What was made under a grant stays covered, whoever else grants something later."""

    def grant(record_id: str, second: int) -> tuple[Fact, ...]:
        at = second * SECOND
        return (Fact(FactKind.CHOICE, record_id, at, at, granted=("ad",)),)

    policy = Policy("shop", Settings(), ONE_CATEGORY)
    account = Account("u1", {"u1": grant("r3", 60)})
    alone = History(device=grant("r1", 10), account=account)
    linked = replace(alone, siblings=(grant("r2", 50),))

    covers = [stand(h, policy, 100 * SECOND).of("ad").covers_from for h in (alone, linked)]

    assert covers == [10 * SECOND, 10 * SECOND]


def test_a_grant_that_follows_a_lifted_refusal_takes_no_cover_away() -> None:
    """The device's grant lifted its sibling's refusal; the sibling grants too, later."""

    def choice(record_id: str, second: int, **said: tuple[str, ...]) -> Fact:
        at = second * SECOND
        return Fact(FactKind.CHOICE, record_id, at, at, **said)

    policy = Policy("shop", Settings(), ONE_CATEGORY)
    refused = choice("r1", 5, denied=("ad",))
    before = History(
        device=(choice("r2", 10, granted=("ad",)),), account=Account("u1"), siblings=((refused,),)
    )
    after = replace(before, siblings=((refused, choice("r3", 50, granted=("ad",))),))

    covers = [stand(h, policy, 100 * SECOND).of("ad").covers_from for h in (before, after)]

    assert covers == [10 * SECOND, 10 * SECOND]


TWO = Policy("shop", Settings(), (Category("ad"), Category("analytics")))


@holds("R9")
def test_an_import_grants_what_no_choice_was_made_about_and_only_that() -> None:
    names = ("ad", "analytics")
    imported = Fact(FactKind.IMPORT, "i", 20 * SECOND, 15 * SECOND, granted=names)
    choice = Fact(FactKind.CHOICE, "c", 10 * SECOND, 10 * SECOND, granted=("ad",))

    found = fold_one((imported, choice), TWO, END)

    assert [found[name].grant and found[name].grant.record_id for name in names] == ["c", "i"]


@holds("S5")
def test_a_grant_of_something_unheard_of_hides_none_beside_it() -> None:
    grant = Fact(FactKind.CHOICE, "c", SECOND, SECOND, granted=("aa_unheard_of", "ad"))

    assert fold_one((grant,), TWO, END)["ad"].grant is not None


@holds("D1", "R5", "C10")
@pytest.mark.parametrize(
    ("kind", "made_s", "received_s", "holds_"),
    [
        (FactKind.CHOICE, 9, 9, False),
        (FactKind.CHOICE, 10, 10, False),
        (FactKind.CHOICE, 11, 11, True),
        (FactKind.CHOICE, 10, 12, False),  # held up on its way
        (FactKind.CHOICE, 11, 12, True),
        (FactKind.CHOICE, 12, 10, False),  # by a fast clock
        (FactKind.IMPORT, 5, 12, True),  # vouched for on the day it is imported
        (FactKind.IMPORT, 5, 10, False),
    ],
)
def test_what_was_granted_up_to_when_a_suppression_ended_was_never_collected(
    kind, made_s, received_s, holds_
) -> None:
    ended = Fact(FactKind.UNSUPPRESS, "u", 10 * SECOND)
    grant = Fact(kind, "c", received_s * SECOND, made_s * SECOND, granted=("ad",))

    found = fold_one((ended, grant), TWO, END)["ad"]

    assert (found.grant is not None) is holds_
    assert found.silent is Why.NEVER_COLLECTED


@holds("R5")
def test_a_standing_says_to_the_microsecond_until_when_a_grant_is_fresh() -> None:
    policy = replace(TWO, settings=Settings(max_age_us=30 * SECOND))
    history = History(device=(Fact(FactKind.CHOICE, "c", SECOND, SECOND, granted=("ad",)),))
    last = 31 * SECOND

    fresh, faded = stand(history, policy, last), stand(history, policy, last + 1)

    assert fresh.of("ad").grant is not None
    assert (fresh.valid_from, fresh.valid_until) == (SECOND, last)
    assert faded.of("ad").grant is None
    assert (faded.valid_from, faded.valid_until) == (last + 1, FOREVER)


@holds("R3", "R9")
@pytest.mark.parametrize("choices", AccountChoices)
def test_an_unproven_import_grants_nothing_whatever_is_taken_as_it_comes(choices) -> None:
    policy = replace(TWO, settings=Settings(account_choices=choices))
    told = Fact(FactKind.IMPORT, "i", SECOND, SECOND, granted=("ad",), proven=False)

    found = stand(History(account=Account("u1", {"u1": (told,)})), policy, END).of("ad")

    assert (found.grant, found.silent) == (None, Why.UNVERIFIED)


@holds("R8")
@pytest.mark.parametrize(
    ("seen", "dated_s"),
    [
        ("+", 1),
        ("++", 1),
        ("+-", 1),
        ("+-+", 3),
        ("+-++", 3),
        ("+--++-", 4),
        ("+-+-+", 5),
        ("-+", 2),
    ],
)
def test_a_signal_is_dated_when_it_appeared_or_came_back(seen, dated_s) -> None:
    facts = tuple(
        Fact(FactKind.SIGNAL, f"{n}", n * SECOND, signal="gpc", present=mark == "+")
        for n, mark in enumerate(seen, 1)
    )

    signal = fold_one(facts, TWO, END)["ad"].signal

    assert signal is not None
    assert (signal.at, signal.record_id) == (dated_s * SECOND, str(dated_s))


@holds("R5")
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_why_no_grant_holds_is_the_same_in_whichever_order_they_are_read(order) -> None:
    category = Category("ad", requires_consent_since=5 * SECOND)
    policy = Policy("shop", Settings(), (category,))
    stale = Fact(FactKind.CHOICE, "c1", SECOND, SECOND, granted=("ad",))
    unproven = Fact(FactKind.CHOICE, "c2", 9 * SECOND, 9 * SECOND, granted=("ad",), proven=False)
    facts = (stale, unproven)

    found = fold_one(tuple(facts[n] for n in order), policy, END)["ad"]

    assert found.silent is min(Why.STALE, Why.UNVERIFIED)


@holds("R12")
@pytest.mark.parametrize(
    ("kind", "made_s", "received_s", "counts"),
    [
        (FactKind.CHOICE, 4, 4, False),
        (FactKind.CHOICE, 4, 9, False),
        (FactKind.CHOICE, 5, 5, True),
        (FactKind.IMPORT, 1, 4, False),
        (FactKind.IMPORT, 1, 5, True),
    ],
)
def test_a_grant_is_stale_where_its_category_meant_less_when_it_was_given(
    kind, made_s, received_s, counts
) -> None:
    policy = Policy("shop", Settings(), (Category("ad", since=5 * SECOND),))
    fact = Fact(kind, "c", received_s * SECOND, made_s * SECOND, granted=("ad",))

    found = fold_one((fact,), policy, END)["ad"]

    assert bool(found.grant) is counts
    assert (found.silent is Why.STALE) is not counts


@holds("D1", "R5")
def test_a_suppression_begins_and_ends_in_the_microsecond_it_is_received() -> None:
    grant = Fact(FactKind.CHOICE, "c", SECOND, SECOND, granted=("ad",))
    suppressed = Fact(FactKind.SUPPRESS, "s", 5 * SECOND)
    ended = Fact(FactKind.UNSUPPRESS, "u", 9 * SECOND)
    history = History(device=(grant, suppressed, ended))

    before, during, after = (
        stand(history, TWO, at) for at in (5 * SECOND - 1, 5 * SECOND, 9 * SECOND)
    )

    assert (before.suppressed, during.suppressed, after.suppressed) == (False, True, False)
    assert before.of("ad").grant is not None
    assert after.of("ad").grant is None


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_silences_the_same_one_is_named(order) -> None:
    unknown = [Standing(END, found={"ad": Found(silent=why)}) for why in (Why.EXPIRED, Why.STALE)]

    one, two = (unknown[n] for n in order)

    assert narrower(one, two).of("ad").silent is Why.EXPIRED


@holds("M2")
@pytest.mark.parametrize("wholes", [(True, True), (True, False), (False, True), (False, False)])
def test_of_two_readings_the_narrower_is_whole_if_both_are(wholes) -> None:
    one, two = (Standing(END, whole=whole) for whole in wholes)

    assert narrower(one, two).whole is all(wholes)
