"""The laws of a lane's order: what may start, what waits behind what, and when all is ill."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.core.delivery import State
from consentry.core.moment import SECOND
from consentry.flow.lane import BEHIND, FAILURES_UNTIL_ILL, Lane
from tests.core.clauses import holds
from tests.flow.lanes import FAILED, event_of, new_lane, read_on, retried, row, started, with_events


# -- order ------------------------------------------------------------------------------------
@holds("L5")
def test_what_is_held_behind_an_earlier_one_says_so_and_is_due_at_once() -> None:
    lane = with_events("aab")
    started(lane)
    lane.settle(0, State.WAITING, FAILED, 0, 0.0)

    assert started(lane, now=3) == [2]

    put = {one.position: one for one in lane.changes()[0]}
    assert put[1] == row(1, attempts=0, first_at=3, next_at=3, detail=BEHIND)
    assert lane.held == 2
    assert lane.position == 2


@holds("L5")
@given(st.lists(st.integers(0, 20), min_size=2, max_size=8, unique=True), st.integers(0, 3))
def test_rows_of_a_subject_are_tried_in_order_however_they_came(positions, at_once) -> None:
    lane = new_lane()
    lane.read = 100
    lane.hold(row(position) for position in positions[: at_once + 1])
    for position in positions[at_once + 1 :]:
        lane.hold([row(position)])
    lane.hold([row(positions[0], attempts=5)])  # again
    assert lane.held == len(positions)

    order = []
    while lane.held:
        order.append(retried(lane, "a", 0))
        assert lane.take_retry(0) is None
        assert lane.next_due() is None
        lane.settle(order[-1], State.DELIVERED, None, 0, 0.0)
    assert order == sorted(positions)


def test_a_row_that_is_being_tried_is_not_held_a_second_time() -> None:
    lane = new_lane()
    lane.hold([row(0), row(1)])
    retried(lane, "a", 0)

    lane.hold([row(0), row(2, "b")])
    lane.revive([row(0)], 5)

    assert (lane.held, lane.in_memory, lane.changed) == (2, 1, 0)


@holds("L8")
def test_a_dead_letter_is_revived_as_if_for_the_first_time() -> None:
    lane = new_lane()
    dead = row(4, state="dead", attempts=9, first_at=1, next_at=2, grade="failed_final")
    lane.revive([dead], 50)

    fresh = msgspec.structs.replace(dead, state="waiting", attempts=0, first_at=50, next_at=50)
    assert lane.changes() == ((fresh,), ())
    assert lane.next_due() == 50
    assert lane.take_retry(50) == fresh


def test_a_row_that_somebody_wants_tried_now_is_due_and_others_are_as_they_were() -> None:
    lane = new_lane()
    late = [row(n, subject, next_at=90, attempts=3) for n, subject in enumerate("aab")]
    lane.hold(late)

    lane.hasten({1}, 5)
    fresh = msgspec.structs.replace(late[1], attempts=0, first_at=5, next_at=5)
    assert lane.changes() == ((fresh,), ())
    assert lane.held == 3
    assert lane.next_due() == 90  # it waits behind the one before it
    lane.hasten({2, 7}, 6)
    assert lane.next_due() == 6


def test_a_row_whose_event_is_gone_is_forgotten_and_removed() -> None:
    lane = new_lane()
    lane.hold([row(0), row(1)])
    lane.hasten({0}, 0)
    first = lane.take_retry(0)
    assert first is not None

    lane.forget(first)

    assert lane.changes() == ((), (0,))
    assert lane.held == 1
    assert retried(lane, "a", 0) == 1


@holds("L5")
def test_what_comes_back_untried_is_as_it_was() -> None:
    lane = with_events("ab", batch_max=9)
    lane.hold([row(9, "c", next_at=3)])
    assert started(lane) == [0, 1]
    assert retried(lane, "c", 3) == 9
    assert (lane.held, lane.in_memory) == (0, 3)
    assert not lane.startable

    lane.put_back([1, 9, 0])

    assert (lane.held, lane.in_memory, lane.position, lane.changed) == (1, 2, 0, 0)
    assert lane.startable
    assert started(lane) == [0, 1]
    assert retried(lane, "c", 3) == 9


# -- a destination that is ill ------------------------------------------------------------------
def ill_lane(failing: int) -> Lane:
    lane = with_events("abcdefgh", batch_max=1)
    for position in range(failing):
        assert started(lane) == [position]
        lane.settle(position, State.WAITING, FAILED, 0, 0.0)
    return lane


@holds("L7")
@pytest.mark.parametrize(
    ("failing", "ill"), [(FAILURES_UNTIL_ILL - 1, False), (FAILURES_UNTIL_ILL, True)]
)
def test_a_destination_that_fails_five_is_ill_and_is_tried_one_at_a_time(failing, ill) -> None:
    lane = ill_lane(failing)
    assert FAILURES_UNTIL_ILL == 5
    assert (lane.failing, lane.ill) == (failing, ill)

    assert retried(lane, "a", 60 * SECOND) == 0
    second = lane.take_retry(60 * SECOND)
    assert (second is None) is ill
    assert (lane.next_due() is None) is ill

    lane.put_back([0])
    assert lane.next_due() == SECOND


@holds("L7")
def test_one_subject_that_fails_often_makes_no_destination_ill_and_one_success_makes_it_well() -> (
    None
):
    lane = with_events("a")
    started(lane)
    for _ in range(3):
        lane.settle(0, State.WAITING, FAILED, 0, 0.0)
        retried(lane, "a", 60 * SECOND)
    assert lane.failing == 1

    lane = ill_lane(FAILURES_UNTIL_ILL)
    retried(lane, "a", 60 * SECOND)
    lane.settle(0, State.WITHHELD, None, 60 * SECOND, 0.0)
    assert lane.ill
    retried(lane, "b", 60 * SECOND)
    lane.settle(1, State.DELIVERED, None, 60 * SECOND, 0.0)
    assert (lane.ill, lane.failing) == (False, 0)

    lane = ill_lane(FAILURES_UNTIL_ILL)
    lane.forgive()
    assert (lane.ill, lane.failing) == (False, 0)


# -- requests -----------------------------------------------------------------------------------
@holds("L9")
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 300)), min_size=1, max_size=12),
    st.integers(1, 4),
    st.integers(1, 800),
)
def test_a_request_is_as_full_as_it_may_be_and_no_fuller(log, most, most_bytes) -> None:
    lane = new_lane(most, most_bytes)
    for position, (subject, size) in enumerate(log):
        lane.admit(event_of(position, subject, b"x" * size))
        lane.read = position + 1
    cost = [size + 64 for _, size in log]

    sent: list[int] = []
    while lane.startable:
        batch = started(lane)
        size = sum(cost[position] for position in batch)
        assert 1 <= len(batch) <= most
        assert len(batch) == 1 or size <= most_bytes
        following = len(sent) + len(batch)
        if len(batch) < most and following < len(log):
            assert size + cost[following] > most_bytes
        sent += batch
        for position in batch:
            lane.settle(position, State.DELIVERED, None, 0, 0.0)
        assert lane.position == len(sent)

    assert sent == list(range(len(log)))


@holds("L5")
def test_what_is_of_a_subject_on_the_wire_waits_and_what_is_of_another_does_not() -> None:
    lane = with_events("aba", batch_max=2)
    assert started(lane) == [0, 1]
    assert not lane.startable
    assert started(lane) == []

    lane.settle(1, State.DELIVERED, None, 0, 0.0)
    assert not lane.startable
    lane.settle(0, State.DELIVERED, None, 0, 0.0)
    assert lane.startable
    assert lane.position == 2
    assert started(lane) == [2]


def test_of_several_on_the_wire_the_last_to_come_back_frees_the_subject() -> None:
    lane = with_events("aaa", batch_max=2)
    assert started(lane) == [0, 1]
    lane.settle(0, State.DELIVERED, None, 0, 0.0)
    assert not lane.startable
    lane.settle(1, State.DELIVERED, None, 0, 0.0)
    assert started(lane) == [2]


@holds("L6")
def test_a_row_at_the_very_position_is_not_read_again() -> None:
    lane = new_lane()
    lane.restore(2, [row(2)], [])
    read_on(lane, 2, "a")
    read_on(lane, 3, "b")

    assert (lane.held, lane.in_memory, lane.position) == (1, 1, 3)


@holds("L5", "L6")
def test_what_is_read_behind_a_held_row_gets_a_row_itself_however_late_it_is_read() -> None:
    lane = with_events("aa")
    started(lane)
    lane.settle(0, State.WAITING, FAILED, 0, 0.0)
    assert (started(lane), lane.held, lane.position) == ([], 2, 2)

    read_on(lane, 2, "a")

    assert (started(lane), lane.held, lane.position) == ([], 3, 3)


@holds("L5", "L6")
def test_what_was_read_before_its_subject_was_held_gets_a_row_itself() -> None:
    lane = new_lane()
    read_on(lane, 5, "a")
    lane.hold([row(3)])

    assert (started(lane), lane.held, lane.position) == ([], 2, 6)


@holds("L9")
@pytest.mark.parametrize(("over", "together"), [(0, True), (1, False)])
def test_a_request_is_full_at_its_last_byte(over: int, together: bool) -> None:
    lane = new_lane(batch_max=9, batch_bytes=2 * (100 + 64))
    lane.admit(event_of(0, "a", b"x" * 100))
    lane.admit(event_of(1, "b", b"x" * (100 + over)))

    assert started(lane) == ([0, 1] if together else [0])


def test_a_row_that_is_forgotten_twice_takes_no_other_with_it() -> None:
    lane = new_lane()
    lane.hold([row(0), row(1)])
    first = lane.take_retry(0)
    assert first is not None

    lane.forget(first)
    lane.forget(first)

    assert lane.held == 1
    assert retried(lane, "a", 0) == 1
    lane.forget(first)
    assert (lane.held, lane.in_memory) == (0, 1)
