"""The laws of a lane's rows: when a delivery is tried again, when no more, and what is written."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.core.delivery import Backoff, Grade, Outcome, State
from consentry.core.moment import SECOND
from consentry.flow.lane import BEHIND, FAILURES_UNTIL_ILL, Lane
from consentry.ports import Delivery, Positioned
from tests.core.clauses import holds
from tests.store.makers import device, event

BACKOFF = Backoff(first_s=2.0, factor=2.0, longest_s=8.0, give_up_after_s=20.0)
FAILED = Outcome(Grade.FAILED_RETRY, 503, "busy")
BUSY = Outcome(Grade.RATE_LIMITED, 429, "slow down", retry_after_s=7.0)


def new_lane(batch_max: int = 1, batch_bytes: int = 10_000) -> Lane:
    return Lane("shop", BACKOFF, batch_max=batch_max, batch_bytes=batch_bytes)


def event_of(position: int, subject: str, body: bytes = b"{}") -> Positioned:
    return Positioned(position, event(nodes=(device(subject),), body=body))


def with_events(subjects: str, batch_max: int = 1) -> Lane:
    lane = new_lane(batch_max)
    for position, subject in enumerate(subjects):
        lane.admit(event_of(position, subject))
        lane.read = position + 1
    return lane


def row(position: int, subject: str = "a", **fields: object) -> Delivery:
    given = {"state": "waiting", "attempts": 1, "first_at": 0, "next_at": 0} | fields
    return Delivery("shop", position, f"d:{subject}", **given)


def started(lane: Lane, now: int = 0) -> list[int]:
    return [one.position for one in lane.take_new(now)]


def retried(lane: Lane, subject: str, now: int) -> int:
    found = lane.take_retry(now)
    assert found is not None
    lane.fly(event_of(found.position, subject), found)
    return found.position


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

    lane.hold([row(0)])
    lane.revive([row(0)], 5)

    assert (lane.held, lane.in_memory, lane.changed) == (1, 1, 0)


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
