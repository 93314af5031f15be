"""Which orders a change owes: the table of decision 0016 as cases, then laws over every change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.core.delivery import NEXT, Grade
from consentry.core.order import AFTER, Change, OrderState, Verb, Word, owed

GATE, SUPPRESS, ERASE, GRANT = Verb.GATE, Verb.SUPPRESS, Verb.ERASE, Verb.GRANT
ALL = frozenset({SUPPRESS, ERASE, GRANT})
NEWS, SALES = ("news", "email"), ("sales", "sms")

CASES: dict[str, tuple[Change, list[tuple[Verb, tuple[tuple[str, str], ...]]]]] = {
    "withdrawn": (Change(True, False, True, verbs=ALL), [(GATE, ()), (SUPPRESS, ())]),
    "refused at once": (Change(False, False, True, verbs=ALL), [(GATE, ()), (SUPPRESS, ())]),
    "refused again": (Change(False, False, True, verbs=ALL), [(GATE, ()), (SUPPRESS, ())]),
    "one of two that would do was refused": (Change(True, True, True, verbs=ALL), []),
    "lost by a link": (Change(True, False, verbs=ALL), [(GATE, ()), (SUPPRESS, ())]),
    "refused without proof": (Change(True, False, True, verbs=ALL, reached=False), [(GATE, ())]),
    "refused, and it takes no orders": (Change(True, False, True), [(GATE, ())]),
    "granted": (Change(False, True, verbs=ALL), [(GRANT, ())]),
    "granted, and it takes no grants": (Change(False, True, verbs=frozenset({SUPPRESS})), []),
    "granted without proof": (Change(False, True, verbs=ALL, reached=False), []),
    "granted again": (Change(True, True, verbs=ALL), []),
    "nothing changed": (Change(False, False, verbs=ALL), []),
    "suppressed": (
        Change(False, False, word=Word.SUPPRESSED, verbs=ALL),
        [(GATE, ()), (SUPPRESS, ())],
    ),
    "erased": (
        Change(True, False, word=Word.ERASED, verbs=ALL),
        [(GATE, ()), (SUPPRESS, ()), (ERASE, ())],
    ),
    "erased where only that is taken": (
        Change(True, False, word=Word.ERASED, verbs=frozenset({ERASE})),
        [(GATE, ()), (ERASE, ())],
    ),
    "a topic was refused": (
        Change(True, True, topics_denied=(NEWS,), verbs=ALL),
        [(GATE, (NEWS,)), (SUPPRESS, (NEWS,))],
    ),
    "a topic was refused and it takes none": (
        Change(True, True, topics_denied=(NEWS,)),
        [(GATE, (NEWS,))],
    ),
    "a topic was granted": (
        Change(True, True, topics_granted=(NEWS, SALES), verbs=ALL),
        [(GRANT, (NEWS,)), (GRANT, (SALES,))],
    ),
    "one topic for another": (
        Change(True, True, topics_denied=(NEWS,), topics_granted=(SALES,), verbs=ALL),
        [(GATE, (NEWS,)), (SUPPRESS, (NEWS,)), (GRANT, (SALES,))],
    ),
    "everything was refused": (
        Change(True, False, True, topics_denied=(NEWS,), verbs=ALL),
        [(GATE, ()), (SUPPRESS, ()), (GATE, (NEWS,)), (SUPPRESS, (NEWS,))],
    ),
    "suppressed covers the topics": (
        Change(True, False, topics_denied=(NEWS,), word=Word.SUPPRESSED, verbs=ALL),
        [(GATE, ()), (SUPPRESS, ())],
    ),
}


@pytest.mark.parametrize(("change", "orders"), CASES.values(), ids=list(CASES))
def test_a_change_owes(
    change: Change, orders: list[tuple[Verb, tuple[tuple[str, str], ...]]]
) -> None:
    assert [(due.verb, due.topics) for due in owed(change)] == orders


topics = st.lists(st.sampled_from([NEWS, SALES]), unique=True).map(tuple)
changes = st.builds(
    Change,
    allowed_before=st.booleans(),
    allowed_after=st.booleans(),
    denied=st.booleans(),
    topics_denied=topics,
    topics_granted=topics,
    word=st.none() | st.sampled_from(Word),
    verbs=st.frozensets(st.sampled_from([SUPPRESS, ERASE, GRANT])),
    reached=st.booleans(),
)


def whole(change: Change) -> list[Verb]:
    return [due.verb for due in owed(change) if due.whole]


@given(changes)
def test_whoever_may_no_longer_have_somebody_is_gated_first(change: Change) -> None:
    if change.allowed_before and not change.allowed_after:
        assert owed(change)[0].verb is GATE
        assert owed(change)[0].whole


@given(changes)
def test_nobody_is_told_yes_who_may_not_have_somebody(change: Change) -> None:
    assert GRANT not in whole(change) or (change.allowed_after and GATE not in whole(change))


@given(changes)
def test_a_destination_is_told_only_what_it_takes_of_whom_it_knows(change: Change) -> None:
    told = {due.verb for due in owed(change)} - {GATE}
    assert told <= (change.verbs if change.reached else frozenset())


@given(changes)
def test_every_no_closes_our_own_gate_before_it_goes_further(change: Change) -> None:
    closed: set[object] = set()
    for due in owed(change):
        if due.verb is GATE:
            closed.add(due.topics)
        elif due.verb in (SUPPRESS, ERASE):
            assert due.topics in closed


@given(changes)
def test_only_an_erasure_erases(change: Change) -> None:
    erases = ERASE in whole(change)
    assert not erases or change.word is Word.ERASED
    if change.word is Word.ERASED and change.reached and ERASE in change.verbs:
        assert erases
        assert owed(change)[-1].verb is ERASE


@given(changes)
def test_no_order_is_owed_twice(change: Change) -> None:
    assert len(set(owed(change))) == len(owed(change))


def test_every_grade_has_its_end_and_no_order_is_given_up_while_a_retry_may_help() -> None:
    assert set(AFTER) == set(Grade)
    again = {grade for grade, state in AFTER.items() if state is OrderState.WAITING}
    assert again == {Grade.FAILED_RETRY, Grade.RATE_LIMITED, Grade.AUTH_BLOCKED}
    assert again == {grade for grade, state in NEXT.items() if state.value == "waiting"}
