"""The laws of a lane's rows: when a delivery is tried again, when no more, what is written."""

from __future__ import annotations

import msgspec
import pytest

from consentry.core.delivery import Backoff, Grade, Outcome, State
from consentry.core.moment import SECOND
from consentry.flow.lane import Lane
from consentry.ports import Delivery
from tests.core.clauses import holds
from tests.flow.lanes import (
    BUSY,
    FAILED,
    event_of,
    new_lane,
    read_on,
    retried,
    row,
    started,
    with_events,
)


# -- when it is tried again -------------------------------------------------------------------
@holds("L3")
@pytest.mark.parametrize(
    ("outcome", "chance", "wait_s"),
    [(FAILED, 0.0, 1.0), (FAILED, 0.5, 1.5), (BUSY, 0.5, 7.0), (None, 0.5, 1.5)],
)
def test_a_retry_is_due_after_the_longer_of_our_wait_and_theirs(outcome, chance, wait_s) -> None:
    lane = with_events("a")
    started(lane)

    assert lane.settle(0, State.WAITING, outcome, 100 * SECOND, chance) is State.WAITING

    due = int((100 + wait_s) * SECOND)
    assert lane.next_due() == due
    assert lane.take_retry(due - 1) is None
    assert lane.take_retry(due) == Delivery(
        destination="shop",
        position=0,
        subject_key="d:a",
        state="waiting",
        attempts=1,
        first_at=100 * SECOND,
        next_at=due,
        grade="failed_retry" if outcome is None else outcome.grade,
        detail="nothing is known of the attempt" if outcome is None else outcome.detail,
    )


@holds("L3")
def test_each_try_is_counted_and_waits_longer() -> None:
    lane = with_events("a")
    started(lane)
    now, waits = 0, []
    for attempt in range(1, 5):
        lane.settle(0, State.WAITING, FAILED, now, 0.0)
        found = lane.changes()[0][0]
        assert (found.attempts, found.first_at) == (attempt, 0)
        waits.append((found.next_at - now) // SECOND)
        now = found.next_at
        retried(lane, "a", now)

    assert waits == [1, 2, 4, 4]


@holds("L4", "L1")
@pytest.mark.parametrize(
    ("wish_s", "pause", "state"),
    [(20.0, False, State.WAITING), (20.1, False, State.DEAD), (20.1, True, State.WAITING)],
)
def test_it_is_given_up_when_its_next_try_would_come_too_late_unless_all_pauses(
    wish_s, pause, state
) -> None:
    lane = with_events("a")
    started(lane)
    outcome = Outcome(Grade.AUTH_BLOCKED, retry_after_s=wish_s, pause=pause)
    due = 5 * SECOND + int(wish_s * SECOND)

    assert lane.settle(0, State.WAITING, outcome, 5 * SECOND, 0.0) is state

    (written,), gone = lane.changes()
    assert gone == ()
    assert (written.state, written.first_at) == (state, 5 * SECOND)
    assert written.next_at == (5 * SECOND if state is State.DEAD else due)
    assert lane.held == (state is State.WAITING)
    assert lane.position == 1
    assert lane.in_memory == 0


@holds("L4")
def test_the_time_to_give_up_counts_from_the_first_try() -> None:
    lane = new_lane()
    lane.hold([row(0, first_at=10 * SECOND, attempts=3, next_at=25 * SECOND)])
    retried(lane, "a", 25 * SECOND)

    assert lane.settle(0, State.WAITING, FAILED, 26 * SECOND, 0.0) is State.WAITING
    retried(lane, "a", 30 * SECOND)
    assert lane.settle(0, State.WAITING, FAILED, 26 * SECOND + 1, 0.0) is State.DEAD

    ((dead,), _) = lane.changes()
    assert (dead.attempts, dead.first_at) == (5, 10 * SECOND)


# -- what is written --------------------------------------------------------------------------
@holds("L1", "L8")
@pytest.mark.parametrize("had_row", [False, True])
@pytest.mark.parametrize("state", [State.DELIVERED, State.WITHHELD, State.DEAD])
def test_what_is_settled_leaves_no_row_but_a_dead_letter(state, had_row) -> None:
    lane = new_lane()
    if had_row:
        lane.hold([row(0, attempts=3, first_at=7)])
        retried(lane, "a", 0)
    else:
        lane.admit(event_of(0, "a"))
        lane.read = 1
        started(lane)
    outcome = Outcome(Grade.FAILED_FINAL, 400, "no")

    assert lane.settle(0, state, outcome, 9, 0.0) is state

    put, gone = lane.changes()
    if state is State.DEAD:
        first_at = 7 if had_row else 9
        dead = row(0, state="dead", attempts=4 if had_row else 1, first_at=first_at, next_at=9)
        assert put == (msgspec.structs.replace(dead, grade="failed_final", detail="no"),)
        assert gone == ()
    else:
        assert put == ()
        assert gone == ((0,) if had_row else ())
    assert (lane.held, lane.in_memory, lane.changed) == (0, 0, 0)


def test_a_dead_letter_of_which_nothing_is_known_says_nothing() -> None:
    lane = with_events("a")
    started(lane)
    lane.settle(0, State.DEAD, None, 9, 0.0)

    ((dead,), _) = lane.changes()
    assert (dead.grade, dead.detail) == ("", "")


def test_a_row_that_is_settled_before_it_was_written_is_removed_all_the_same() -> None:
    lane = with_events("a")
    started(lane)
    lane.settle(0, State.WAITING, FAILED, 0, 0.0)
    retried(lane, "a", 9 * SECOND)
    assert lane.changed == 1
    lane.settle(0, State.DELIVERED, None, 9 * SECOND, 0.0)

    assert lane.changed == 1
    assert lane.changes() == ((), (0,))
    assert lane.changes() == ((), ())


@holds("L6")
def test_what_could_not_be_written_is_written_next_time_unless_it_has_changed_since() -> None:
    lane = new_lane()
    old, other, new = row(0, attempts=1), row(1, "b", attempts=1), row(0, attempts=2)
    lane.unwritten([old, other], [7, 8])
    assert lane.changed == 4
    put, gone = lane.changes()
    assert (put, sorted(gone)) == ((old, other), [7, 8])

    lane.unwritten([new], [2])
    lane.unwritten([old, msgspec.structs.replace(other, position=2)], [0, 3])

    put, gone = lane.changes()
    assert put == (new,)
    assert sorted(gone) == [2, 3]


@holds("L6")
def test_after_a_restart_what_is_settled_or_held_is_not_read_again() -> None:
    lane = new_lane(batch_max=9)
    lane.restore(2, [row(1, "b"), row(3, "a")], [4])
    assert lane.read == 2
    for position, subject in enumerate("aaa", 2):
        lane.admit(event_of(position, subject))
        lane.read = position + 1

    assert (lane.held, lane.in_memory) == (2, 1)
    assert lane.position == 2
    assert started(lane) == []  # 2 came before 3, which is held: it is held too
    assert lane.held == 3
    assert [retried(lane, subject, SECOND) for subject in "ba"] == [1, 2]


@holds("L3")
def test_who_asks_for_no_wait_gets_no_longer_one_than_ours() -> None:
    lane = Lane("shop", Backoff(first_s=0.5), batch_max=1, batch_bytes=10_000)
    read_on(lane, 0, "a")
    started(lane)

    lane.settle(0, State.WAITING, FAILED, 0, 0.0)

    assert lane.next_due() == SECOND // 4
