"""The laws of a lane, over any sequence of reading, sending, failing, writing and dying."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from consentry.core.delivery import Backoff, Grade, Outcome, State
from consentry.core.moment import SECOND
from consentry.flow.lane import FAILURES_UNTIL_ILL, Lane
from consentry.ports import Delivery, Positioned
from tests.core.clauses import holds
from tests.store.makers import device, event

SUBJECTS = ("a", "a", "a", "b", "b", "c", "d", "e", "f")
BACKOFF = Backoff(first_s=1.0, longest_s=8.0, give_up_after_s=20.0)
FINAL = (State.DELIVERED, State.WITHHELD, State.DEAD)
OUTCOMES = {
    State.DELIVERED: Outcome(Grade.ACCEPTED),
    State.WITHHELD: None,
    State.WAITING: Outcome(Grade.FAILED_RETRY),
    State.DEAD: Outcome(Grade.FAILED_FINAL),
}


def new_lane() -> Lane:
    return Lane("shop", BACKOFF, batch_max=3, batch_bytes=10_000)


def event_of(position: int, subject: str) -> Positioned:
    return Positioned(position, event(nodes=(device(subject),)))


@dataclass
class Disk:
    """What a store would hold: all that is left after a crash."""

    position: int = 0
    rows: dict[int, Delivery] = field(default_factory=dict)
    settled: set[int] = field(default_factory=set)

    def write(self, writing: Writing) -> None:
        self.position = writing.position
        for position in writing.settle:
            self.rows.pop(position, None)
        self.rows.update((row.position, row) for row in writing.put)
        self.settled |= set(writing.attempts)

    def waiting(self) -> list[Delivery]:
        return [row for row in self.rows.values() if row.state == State.WAITING]

    def ahead(self) -> list[int]:
        dead = {p for p, row in self.rows.items() if row.state == State.DEAD}
        return sorted(p for p in self.settled | dead if p >= self.position)

    def is_settled(self, position: int) -> bool:
        row = self.rows.get(position)
        if row is not None:
            return row.state == State.DEAD
        return position < self.position or position in self.settled


@dataclass
class Writing:
    """One write that is under way. ``attempts`` are positions that need not be tried again."""

    position: int
    put: tuple[Delivery, ...]
    settle: tuple[int, ...]
    attempts: list[int]


class LaneMachine(RuleBasedStateMachine):
    """A worker's calls, with a log, a disk and a crash."""

    @initialize()
    def begin(self) -> None:
        self.lane = new_lane()
        self.disk = Disk()
        self.log: list[str] = []
        self.now = 1_000 * SECOND
        self.flying: list[list[int]] = []
        self.final: dict[int, State] = {}  # as far as this process knows
        self.attempts: list[int] = []
        self.writing: Writing | None = None

    # -- the log ------------------------------------------------------------------------
    @rule(subjects=st.lists(st.sampled_from(SUBJECTS), min_size=1, max_size=6))
    def events_come(self, subjects: list[str]) -> None:
        self.log += subjects
        self.read(6)

    def read(self, count: int) -> None:
        for position in range(self.lane.read, min(self.lane.read + count, len(self.log))):
            self.lane.admit(event_of(position, self.log[position]))
            self.lane.read = position + 1

    # -- sending ------------------------------------------------------------------------
    @rule()
    def start_new(self) -> None:
        batch = [one.position for one in self.lane.take_new(self.now)]
        if batch:
            self.started(batch)

    @rule(seconds=st.integers(0, 10))
    def start_retry(self, seconds: int) -> None:
        self.now += seconds * SECOND
        row = self.lane.take_retry(self.now)
        if row is not None:
            assert row.next_at <= self.now
            self.lane.fly(event_of(row.position, self.log[row.position]), row)
            self.started([row.position])

    @precondition(lambda self: self.lane.held)
    @rule()
    def a_retry_whose_event_cannot_be_read_stays_held(self) -> None:
        before = self.lane.held
        self.lane.take_retry(self.now)
        assert self.lane.held == before

    def started(self, batch: list[int]) -> None:
        """No event starts twice, or while an earlier one of its subject is unsettled."""
        assert batch == sorted(batch)
        in_the_air = {p for other in self.flying for p in other}
        for n, position in enumerate(batch):
            assert position not in self.final
            assert position not in in_the_air
            earlier = {p for p in range(position) if self.log[p] == self.log[position]}
            assert earlier - self.final.keys() <= set(batch[:n]), (position, batch)
        self.flying.append(batch)

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), states=st.lists(st.sampled_from(tuple(OUTCOMES)), min_size=3))
    def an_attempt_ends(self, data: st.DataObject, states: list[State]) -> None:
        """Some of a batch are judged; the rest was not tried."""
        batch = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        judged = data.draw(st.integers(0, len(batch)))
        for position, state in zip(batch[:judged], states, strict=False):
            self.settle(position, state)
        self.lane.put_back(batch[judged:])

    def settle(self, position: int, state: State) -> None:
        ended = self.lane.settle(position, state, OUTCOMES[state], self.now, 0.5)
        assert ended in (state, State.DEAD)
        if ended in FINAL:
            self.final[position] = ended
        if state in FINAL:
            self.attempts.append(position)

    @precondition(lambda self: any(r.state == State.DEAD for r in self.disk.rows.values()))
    @rule(data=st.data())
    def somebody_replays(self, data: st.DataObject) -> None:
        dead = sorted(p for p, r in self.disk.rows.items() if r.state == State.DEAD)
        position = data.draw(st.sampled_from(dead))
        if self.writing is not None or position not in self.final:
            return
        row = msgspec.structs.replace(
            self.disk.rows[position], state=State.WAITING, attempts=0, next_at=self.now
        )
        self.disk.rows[position] = row
        del self.final[position]
        self.lane.hold([row])

    # -- the disk -----------------------------------------------------------------------
    @precondition(lambda self: self.writing is None)
    @rule(written=st.booleans())
    def write(self, written: bool) -> None:
        self.begin_to_write()
        self.end_to_write(written)

    @precondition(lambda self: self.writing is None)
    @rule()
    def begin_to_write(self) -> None:
        position = self.lane.position
        put, settled = self.lane.changes()
        self.writing = Writing(position, put, settled, self.attempts)
        self.attempts = []

    @precondition(lambda self: self.writing is not None)
    @rule(written=st.booleans())
    def end_to_write(self, written: bool) -> None:
        writing, self.writing = self.writing, None
        assert writing is not None
        if written:
            self.disk.write(writing)
        else:
            self.attempts = writing.attempts + self.attempts
            self.lane.unwritten(writing.put, writing.settle)

    @rule(written=st.booleans())
    def crash(self, written: bool) -> None:
        """What the disk takes for settled was settled; all else is tried again."""
        if self.writing is not None and written:
            self.disk.write(self.writing)
        settled = {p for p in range(len(self.log)) if self.disk.is_settled(p)}
        assert settled <= self.final.keys()
        self.final = {p: self.final[p] for p in settled}
        self.no_dead_letter_is_lost()
        self.flying, self.attempts, self.writing = [], [], None
        self.lane = new_lane()
        self.lane.restore(self.disk.position, self.disk.waiting(), self.disk.ahead())

    # -- always -------------------------------------------------------------------------
    @invariant()
    def everything_read_is_somewhere(self) -> None:
        ahead = [row.position for row in self.disk.waiting() if row.position >= self.lane.read]
        beyond = len(set(ahead) - self.final.keys())  # settled since, but not on disk yet
        owed = sum(1 for p in range(self.lane.read) if p not in self.final)
        assert self.lane.held + self.lane.in_memory == owed + beyond

    @invariant()
    def the_position_passes_nothing_that_is_in_the_air_for_the_first_time(self) -> None:
        oldest = self.lane.oldest()
        expected = self.lane.read if oldest is None else oldest.position
        assert self.lane.position == expected

    def teardown(self) -> None:
        """With a destination that answers, everything that was ever logged is settled."""
        if not hasattr(self, "lane"):
            return
        if self.writing is not None:
            self.end_to_write(written=False)
        for batch in self.flying:
            self.lane.put_back(batch)
        self.flying = []
        self.lane.forgive()
        for _ in range(4 * len(self.log) + 4):
            self.read(6)
            self.now += 60 * SECOND
            self.start_retry(0)
            self.start_new()
            for batch in self.flying:
                for position in batch:
                    self.settle(position, State.DELIVERED)
            self.flying = []
        assert self.final.keys() == set(range(len(self.log)))
        assert (self.lane.held, self.lane.in_memory) == (0, 0)
        self.begin_to_write()
        self.end_to_write(written=True)
        assert self.disk.position == len(self.log)
        assert not self.disk.waiting()
        self.no_dead_letter_is_lost()

    def no_dead_letter_is_lost(self) -> None:
        dead = {p for p, state in self.final.items() if state is State.DEAD}
        assert dead == {p for p, row in self.disk.rows.items() if row.state == State.DEAD}


TestLane = holds("L1", "L5", "L6", "L8", "L9")(LaneMachine.TestCase)
TestLane.settings = settings(max_examples=8 * settings().max_examples, stateful_step_count=40)


@holds("L7")
def test_one_failing_subject_does_not_hold_up_the_others() -> None:
    lane = new_lane()
    log = ["a", "b", "a", "c", "a", "b", "a", "d", "a", "a", "a", "a", "b"]
    for position, subject in enumerate(log):
        lane.admit(event_of(position, subject))
        lane.read = position + 1
    delivered = []
    now = 0
    for _ in range(3 * FAILURES_UNTIL_ILL):
        now += 10 * SECOND
        batch = [one.position for one in lane.take_new(now)]
        row = lane.take_retry(now)
        if row is not None:
            lane.fly(event_of(row.position, log[row.position]), row)
            batch.append(row.position)
        for position in batch:
            state = State.WAITING if log[position] == "a" else State.DELIVERED
            lane.settle(position, state, OUTCOMES[state], now, 0.0)
            delivered += [position] if state is State.DELIVERED else []
        if lane.position == len(log):
            break

    assert sorted(delivered) == [p for p, subject in enumerate(log) if subject != "a"]


@holds("L5")
def test_a_batch_that_fails_is_retried_in_its_order() -> None:
    lane = new_lane()
    for position in range(3):
        lane.admit(event_of(position, "a"))
        lane.read = position + 1
    assert [one.position for one in lane.take_new(0)] == [0, 1, 2]
    for position in range(3):
        lane.settle(position, State.WAITING, OUTCOMES[State.WAITING], 0, 0.0)

    retried = []
    for second in range(1, 10):
        row = lane.take_retry(second * SECOND)
        if row is not None:
            lane.fly(event_of(row.position, "a"), row)
            lane.settle(row.position, State.DELIVERED, None, second * SECOND, 0.0)
            retried.append(row.position)

    assert retried == [0, 1, 2]


@holds("L5")
def test_what_comes_back_untried_waits_between_what_is_held_already() -> None:
    lane = Lane("shop", BACKOFF, batch_max=2, batch_bytes=10_000)
    for position in range(3):
        lane.admit(event_of(position, "a"))
        lane.read = position + 1
    assert [one.position for one in lane.take_new(0)] == [0, 1]
    lane.settle(0, State.WAITING, OUTCOMES[State.WAITING], 0, 0.0)
    assert lane.take_new(0) == []  # 2 is held behind 0 now
    lane.put_back([1])
    assert lane.take_new(0) == []

    retried = []
    while (row := lane.take_retry(60 * SECOND)) is not None:
        lane.fly(event_of(row.position, "a"), row)
        lane.settle(row.position, State.DELIVERED, None, 60 * SECOND, 0.0)
        retried.append(row.position)

    assert retried == [0, 1, 2]


@holds("L5")
def test_requests_that_come_back_untried_leave_everything_in_order() -> None:
    lane = Lane("shop", BACKOFF, batch_max=1, batch_bytes=10_000)
    for position, subject in enumerate("abab"):
        lane.admit(event_of(position, subject))
        lane.read = position + 1
    first, second = lane.take_new(0), lane.take_new(0)

    lane.put_back([one.position for one in first])
    lane.put_back([one.position for one in second])

    assert lane.position == 0
    oldest = lane.oldest()
    assert oldest is not None
    assert oldest.position == 0
