"""The laws of a merge: what two accounts become that a server source joined."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.core.moment import SECOND
from consentry.core.policy import AccountChoices, Category, Policy, Settings
from consentry.core.preference import Found, Standing, Why, stand
from consentry.core.record import Account, Fact, FactKind, Facts, History, Merge

from . import strategies as s
from .clauses import holds

MANY = settings(max_examples=4 * settings().max_examples)
AT = 20 * SECOND
MERGE = Merge("m01", AT, "u2", "u1")
POLICY = Policy("shop", Settings(), (Category("ad"),))


answers = s.focused | s.choices() | s.choices(FactKind.IMPORT)
sides = st.lists(answers, max_size=3)


def merged(members: dict[str, Facts], *merges: Merge, as_of: int, policy: Policy) -> Standing:
    return stand(History(account=Account("u1", members, merges)), policy, as_of)


def alone(facts: Facts, as_of: int, policy: Policy) -> Standing:
    return stand(History(account=Account("u", {"u": facts})), policy, as_of)


def answered(facts: Facts, policy: Policy, at: int) -> bool:
    """Whether anything was answered for this account by then."""
    believed = policy.settings.account_choices is AccountChoices.AS_GIVEN
    return any(
        f.received_at <= at
        and f.kind in (FactKind.CHOICE, FactKind.IMPORT)
        and (f.denied or (f.granted and (f.proven or believed)))
        for f in facts
    )


def heard(found: Found) -> bool:
    return bool(found.block or found.grant) or found.silent in (Why.STALE, Why.EXPIRED)


@holds("R7")
@MANY
@given(sides, sides, s.policies())
def test_a_merge_grants_what_both_granted_denies_what_neither_did_and_else_conflicts(
    left, right, policy
) -> None:
    both = s.Past(()).with_facts(*(("u1", f) for f in left), *(("u2", f) for f in right))
    members = {"u1": both.of("u1"), "u2": both.of("u2")}
    after = merged(members, MERGE, as_of=AT, policy=policy)
    one, two = (alone(facts, AT, policy) for facts in members.values())

    agree = all(answered(facts, policy, AT) for facts in members.values())
    for name in s.KNOWN if agree else ():
        found, sides_ = after.of(name), (one.of(name), two.of(name))
        block = found.block
        if not any(map(heard, sides_)):
            assert (block, found.grant) == (None, None), name
        elif any(side.signal for side in sides_):
            assert found.signal is not None or block is not None, name
        elif all(side.grant and not side.block for side in sides_):
            assert block is None, name
            assert found.grant is not None, name
            assert found.grant.record_id in {side.grant.record_id for side in sides_}, name
            older = min(s_.grant.made_at for s_ in sides_)
            assert found.grant.made_at == older, name
        else:
            assert block is not None, name
            some = any(side.grant and not side.block for side in sides_)
            assert (block.record_id, block.at) == ("m01", AT), name
            assert block.why is (Why.CONFLICT if some else Why.DENIED), name
            assert found.grant is None, name


@holds("R7")
@given(sides, s.policies(), st.booleans(), st.integers(0, s.SPAN_S))
def test_a_subject_without_records_does_not_disagree(facts, policy, swapped, at_s) -> None:
    said = s.Past(()).with_facts(*(("u1", f) for f in facts)).of("u1")
    silent, spoken = ((), said) if swapped else (said, ())
    merge = replace_at(MERGE, at_s * SECOND)

    joined = merged({"u1": silent, "u2": spoken}, merge, as_of=s.END, policy=policy)

    assert joined.found == alone(said, s.END, policy).found


def replace_at(merge: Merge, at: int) -> Merge:
    return Merge(merge.record_id, at, merge.left, merge.right)


@holds("R7")
@MANY
@given(sides, sides, s.policies(), st.booleans())
def test_the_two_ways_to_write_a_merge_are_one_and_each_account_finds_the_same(
    left, right, policy, turned
) -> None:
    both = s.Past(()).with_facts(*(("u1", f) for f in left), *(("u2", f) for f in right))
    members = {"u1": both.of("u1"), "u2": both.of("u2")}
    other = Merge("m01", AT, "u1", "u2") if turned else MERGE
    one = History(account=Account("u1", members, (MERGE,)))
    two = History(account=Account("u2", members, (other,)))

    assert stand(one, policy, s.END) == stand(two, policy, s.END)


@holds("R7")
@given(sides, sides, s.policies(), st.integers(0, 10))
def test_a_merge_counts_from_when_it_was_made_and_only_once(left, right, policy, ago) -> None:
    both = s.Past(()).with_facts(*(("u1", f) for f in left), *(("u2", f) for f in right))
    members = {"u1": both.of("u1"), "u2": both.of("u2")}
    before = AT - 1 - ago * SECOND
    unmerged = merged(members, MERGE, as_of=before, policy=policy)
    assert unmerged.found == alone(members["u1"], before, policy).found

    again = (
        Merge("m02", AT + SECOND, "u1", "u2"),
        MERGE,
        Merge("m03", AT + 2 * SECOND, "u2", "u1"),
    )
    once = merged(members, MERGE, as_of=s.END, policy=policy)
    assert merged(members, *again, as_of=s.END, policy=policy).found == once.found


def yes(record_id: str, at_s: int, **fields: object) -> Fact:
    return Fact(FactKind.CHOICE, record_id, at_s * SECOND, at_s * SECOND, ("ad",), **fields)


def no(record_id: str, at_s: int) -> Fact:
    return Fact(FactKind.CHOICE, record_id, at_s * SECOND, denied=("ad",))


def imported(record_id: str, at_s: int) -> Fact:
    return Fact(FactKind.IMPORT, record_id, at_s * SECOND, at_s * SECOND, ("ad",))


@holds("R7")
@pytest.mark.parametrize(
    ("left", "right", "after", "why", "grant"),
    [
        ((yes("a", 1),), (yes("b", 2),), (), None, "a"),
        ((yes("a", 1),), (no("b", 2),), (), Why.CONFLICT, None),
        ((no("a", 1),), (no("b", 2),), (), Why.DENIED, None),
        ((no("a", 1), yes("b", 2)), (no("c", 3), yes("d", 4)), (), None, "b"),
        ((no("a", 1), yes("b", 4)), (no("c", 2), yes("d", 3)), (), None, "d"),
        ((yes("a", 1),), (no("b", 2),), (yes("c", 30),), None, "c"),
        ((yes("a", 1),), (yes("b", 2),), (no("c", 30),), Why.DENIED, None),
        ((yes("a", 1),), (), (no("c", 30),), Why.DENIED, None),
        ((imported("a", 1),), (imported("b", 2),), (), None, "a"),
        ((imported("a", 1),), (yes("b", 2),), (), None, "a"),
        ((yes("a", 1), yes("b", 5)), (yes("c", 3),), (), None, "c"),
        ((yes("a", 1),), (yes("b", 20),), (), None, "a"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_two_accounts_that_are_joined(left, right, after, why, grant, turned) -> None:
    members = {"u1": right, "u2": left} if turned else {"u1": left, "u2": right}
    members = {"u1": (*members["u1"], *after), "u2": members["u2"]}

    found = merged(members, MERGE, as_of=s.END, policy=POLICY).of("ad")

    assert (found.block and found.block.why) == why
    assert (found.grant and found.grant.record_id) == grant


@holds("R7", "R9")
def test_two_imports_that_are_joined_still_lift_nothing_and_a_choice_among_them_does() -> None:
    device = (no("no", 10),)
    imports = {"u1": (imported("a", 12),), "u2": (imported("b", 13),)}
    chosen = {"u1": (imported("a", 12),), "u2": (yes("b", 13),)}

    def block(members: dict[str, Facts]) -> object:
        history = History(device=device, account=Account("u1", members, (MERGE,)))
        return stand(history, POLICY, s.END).of("ad").block

    assert block(imports) is not None
    assert block(chosen) is None


@holds("R7")
def test_three_accounts_are_joined_in_the_order_in_which_it_was_said() -> None:
    members = {"u1": (yes("a", 1),), "u2": (yes("b", 2),), "u3": (no("c", 3),)}
    first = Merge("m02", AT, "u2", "u1")
    second = Merge("m01", AT + SECOND, "u3", "u2")

    for merges in ((first, second), (second, first)):
        for user in members:
            account = Account(user, members, merges)
            found = stand(History(account=account), POLICY, s.END).of("ad")
            assert found.block is not None, user
            assert (found.block.why, found.block.record_id) == (Why.CONFLICT, "m01"), user
            half = stand(History(account=account), POLICY, AT).of("ad")
            assert (half.block is None) == (user != "u3"), user


@holds("R7")
@given(sides, sides, s.policies(), s.later_moments, s.moments)
def test_what_is_no_choice_is_kept_through_a_merge(left, right, policy, as_of, at) -> None:
    both = s.Past(()).with_facts(*(("u1", f) for f in left), *(("u2", f) for f in right))
    signal = Fact(FactKind.SIGNAL, "sig", at, denied=("ad",), signal="gpc")
    quiet = replace(policy, categories=tuple(replace(c, gpc=False) for c in policy.categories))
    members = {"u1": both.of("u1"), "u2": (*both.of("u2"), signal)}
    none = {"u1": both.of("u1"), "u2": both.of("u2")}

    with_it = merged(members, MERGE, as_of=as_of, policy=quiet).of("ad")
    without = merged(none, MERGE, as_of=as_of, policy=quiet).of("ad")

    if as_of >= AT and as_of >= at and without.grant is None and not without.signal:
        grants = [f for f in both.of("u1") + both.of("u2") if "ad" in f.granted]
        assert with_it.signal is not None or grants


@holds("R7", "R9")
@pytest.mark.parametrize(
    "refused",
    [
        Fact(FactKind.IMPORT, "no", 1 * SECOND, denied=("ad",)),
        Fact(FactKind.SIGNAL, "no", 1 * SECOND, denied=("ad",), signal="gpc"),
    ],
    ids=["an import's refusal", "a signal"],
)
def test_an_import_does_not_lift_by_a_merge_what_it_did_not_lift_before(refused) -> None:
    members = {"u1": (refused, imported("a", 2)), "u2": (yes("b", 3),)}

    found = merged(members, MERGE, as_of=AT, policy=POLICY).of("ad")

    assert found.block is not None
    assert found.block.why is Why.CONFLICT


MORTAL = Policy("shop", Settings(max_age_us=30 * SECOND), (Category("ad"),))


def sides_of(left: Facts, right: Facts, turned: bool) -> dict[str, Facts]:
    return {"u1": right, "u2": left} if turned else {"u1": left, "u2": right}


@holds("R7", "R5")
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("left", "right", "block"),
    [
        # What was refused last stands again, and as late as it can beside the grant that was kept.
        ((no("a", 1), yes("b", 5)), (yes("d", 6),), ("a", 1)),
        ((yes("b", 5),), (no("c", 8), yes("d", 9)), ("c", 5 - 1e-6)),
        ((no("a", 1), yes("b", 5)), (no("c", 2), yes("d", 6)), ("c", 2)),
    ],
)
def test_when_what_a_merge_granted_fades_the_refusals_before_it_stand_again(
    left, right, block, turned
) -> None:
    members = sides_of(left, right, turned)
    assert merged(members, MERGE, as_of=AT, policy=MORTAL).of("ad").block is None

    found = merged(members, MERGE, as_of=s.END, policy=MORTAL).of("ad")

    assert found.grant is None
    assert found.block is not None
    assert (found.block.record_id, found.block.at) == (block[0], round(block[1] * SECOND))
    assert found.block.why is Why.DENIED


@holds("R7")
@pytest.mark.parametrize("turned", [False, True])
def test_a_merge_is_judged_as_of_when_it_was_made(turned) -> None:
    members = sides_of((yes("a", 1),), (no("b", 2),), turned)

    found = merged(members, MERGE, as_of=s.END, policy=MORTAL).of("ad")

    assert found.block is not None
    assert found.block.why is Why.CONFLICT  # the grant has expired since


@holds("R7")
@pytest.mark.parametrize("turned", [False, True])
def test_what_came_with_the_merge_came_before_it(turned) -> None:
    members = sides_of((yes("a", 1),), (no("b", 20),), turned)

    found = merged(members, MERGE, as_of=s.END, policy=POLICY).of("ad")

    assert found.block is not None
    assert (found.block.record_id, found.block.why) == ("m01", Why.CONFLICT)


@holds("R3", "R7")
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("choices", AccountChoices)
def test_an_unproven_grant_is_one_in_a_merge_where_it_is_one_elsewhere(choices, turned) -> None:
    policy = Policy("shop", Settings(account_choices=choices), (Category("ad"),))
    members = sides_of((yes("a", 1, proven=False),), (no("b", 2), yes("c", 3)), turned)

    found = merged(members, MERGE, as_of=s.END, policy=policy).of("ad")

    given = choices is AccountChoices.AS_GIVEN
    assert found.block is None
    assert (found.grant and found.grant.record_id) == ("a" if given else "c")


@holds("R7")
@pytest.mark.parametrize("turned", [False, True])
def test_a_merge_with_somebody_who_has_no_facts_changes_nothing(turned) -> None:
    merge = Merge("m01", AT, "u1", "u2") if turned else MERGE

    joined = merged({"u1": (yes("a", 1),)}, merge, as_of=s.END, policy=POLICY)

    assert joined.found == alone((yes("a", 1),), s.END, POLICY).found


@holds("R7")
def test_a_merge_that_is_said_again_hides_none_that_comes_after_it() -> None:
    members = {"u1": (yes("a", 1),), "u2": (yes("b", 2),), "u3": (no("c", 3),)}
    merges = (MERGE, Merge("m02", AT + 1, "u1", "u2"), Merge("m03", AT + 2, "u3", "u1"))

    found = merged(members, *merges, as_of=s.END, policy=POLICY).of("ad")

    assert found.block is not None
    assert (found.block.record_id, found.block.why) == ("m03", Why.CONFLICT)
