"""A lane with much in it: what it costs, when it gives up, and what comes first again."""

from __future__ import annotations

import time

from consentry.core.delivery import Backoff, Grade, Outcome, State
from consentry.core.moment import SECOND
from consentry.flow.lane import Lane
from consentry.ports import Delivery, Positioned
from tests.core.clauses import holds
from tests.store.makers import device, event

BACKOFF = Backoff(first_s=1.0, longest_s=8.0, give_up_after_s=20.0)
FAILED = Outcome(Grade.FAILED_RETRY)
MANY = 20_000


def new_lane(batch_max: int = 1) -> Lane:
    return Lane("shop", BACKOFF, batch_max=batch_max, batch_bytes=10_000)


def event_of(position: int, subject: str) -> Positioned:
    return Positioned(position, event(nodes=(device(subject),)))


def admit(lane: Lane, subjects: list[str]) -> None:
    for position, subject in enumerate(subjects):
        lane.admit(event_of(position, subject))
        lane.read = position + 1


def waiting(position: int, subject: str, next_at: int = 0) -> Delivery:
    return Delivery("shop", position, f"d:{subject}", "waiting", 1, 0, next_at)


def retry(lane: Lane, now: int, subject: str) -> int | None:
    row = lane.take_retry(now)
    if row is None:
        return None
    lane.fly(event_of(row.position, subject), row)
    return row.position


@holds("L4")
def test_a_row_that_was_held_gives_up_in_time_from_when_it_was_held() -> None:
    lane = new_lane()
    admit(lane, ["a", "a"])
    lane.take_new(0)
    lane.settle(0, State.WAITING, FAILED, 0, 0.0)
    assert lane.take_new(0) == []  # 1 is held behind 0, from now on

    assert retry(lane, 19 * SECOND, "a") == 0
    lane.settle(0, State.DELIVERED, None, 19 * SECOND, 0.0)
    assert retry(lane, 25 * SECOND, "a") == 1
    assert lane.settle(1, State.WAITING, FAILED, 25 * SECOND, 0.0) is State.DEAD


@holds("L5")
def test_what_comes_back_untried_before_what_is_held_is_tried_first() -> None:
    lane = new_lane(batch_max=2)
    admit(lane, ["a", "a"])
    lane.take_new(0)
    lane.settle(1, State.WAITING, FAILED, 0, 0.0)
    lane.put_back([0])

    assert lane.take_retry(60 * SECOND) is None  # 1 may not go before 0
    assert lane.take_new(0) == []
    assert retry(lane, 60 * SECOND, "a") == 0
    lane.settle(0, State.DELIVERED, None, 60 * SECOND, 0.0)
    assert retry(lane, 60 * SECOND, "a") == 1


def test_a_hastened_row_is_due_at_once_and_only_once() -> None:
    lane = new_lane()
    lane.hold([waiting(0, "a", 100 * SECOND), waiting(1, "b", 50 * SECOND)])
    assert lane.next_due() == 50 * SECOND

    lane.hasten({0}, 5 * SECOND)

    assert lane.next_due() == 5 * SECOND
    assert retry(lane, 5 * SECOND, "a") == 0
    lane.settle(0, State.DELIVERED, None, 5 * SECOND, 0.0)
    assert lane.take_retry(6 * SECOND) is None
    assert lane.next_due() == 50 * SECOND
    assert lane.held == 1


def test_a_row_whose_event_is_gone_makes_way_for_the_next_of_its_subject() -> None:
    lane = new_lane()
    lane.hold([waiting(0, "a"), waiting(1, "a")])
    row = lane.take_retry(0)
    assert row is not None
    lane.forget(row)
    assert retry(lane, 0, "a") == 1


@holds("L7")
def test_a_busy_subject_lets_the_next_one_start() -> None:
    lane = new_lane()
    admit(lane, ["hot"] * MANY + ["other"])
    started = time.perf_counter()
    assert [one.position for one in lane.take_new(0)] == [0]
    assert [one.position for one in lane.take_new(0)] == [MANY]
    assert not lane.startable
    for position in range(MANY - 1):
        lane.settle(position, State.DELIVERED, None, 0, 0.0)
        assert lane.position == position + 1
        assert [one.position for one in lane.take_new(0)] == [position + 1]
    # Looking through the others at each step would take minutes.
    assert time.perf_counter() - started < 5.0


def test_many_rows_cost_a_look_no_more_than_few() -> None:
    lane = new_lane()
    started = time.perf_counter()
    lane.hold(waiting(n, "hot", 10**18) for n in range(MANY))
    lane.hold(waiting(n, f"s{n}", 10**18) for n in range(MANY, 2 * MANY))
    for _ in range(MANY):
        assert lane.take_retry(5) is None
        assert lane.next_due() == 10**18
        assert lane.held == 2 * MANY
    assert time.perf_counter() - started < 5.0
