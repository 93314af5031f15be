"""The lane of one destination: which of its deliveries may start, in which order.

Pure bookkeeping, no clock and no store. A delivery that the lane knows is in exactly one of
three places: *ready* (read from the log, no row), *flying* (on the wire), or *held* (it has a
row: it waits for a retry, or behind an earlier event of its subject). Everything else
before ``position`` is settled.

What is ready or held lies in one queue for each subject. Two heaps hold the heads of the
queues that may start; an entry that is no longer true is left out when it comes up. So each
step costs the same whether ten deliveries wait or a hundred thousand.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Set
from heapq import heappop, heappush
from typing import NamedTuple

import msgspec

from consentry.core.delivery import Backoff, Grade, Outcome, State
from consentry.core.moment import SECOND, Moment
from consentry.ports import Delivery, Positioned

FAILURES_UNTIL_ILL = 5
BEHIND = "behind an earlier event of this subject"
_UNKNOWN = Outcome(Grade.FAILED_RETRY, detail="nothing is known of the attempt")


class Flying(NamedTuple):
    """On the wire: the event, and its row if it had one."""

    positioned: Positioned
    row: Delivery | None
    subject_key: str


class Lane:
    """Order and rows for one destination."""

    def __init__(self, name: str, backoff: Backoff, *, batch_max: int, batch_bytes: int) -> None:
        self.name = name
        self.backoff = backoff
        self.batch_max = batch_max
        self.batch_bytes = batch_bytes
        self.read = 0  # the log was read up to here
        self._failing: set[str] = set()  # subjects that failed since anything was delivered
        self._ready: dict[str, deque[Positioned]] = {}
        self._startable: list[tuple[int, str]] = []  # heap of heads: position, subject
        self._behind: set[str] = set()  # subjects that may have something ready and held
        self._open: dict[int, Positioned] = {}  # not settled and without a row
        self._opened: deque[int] = deque()  # their positions in order, and of some no longer
        self._flying: dict[int, Flying] = {}
        self._with_row = 0  # how many of them had a row
        self._busy: dict[str, int] = {}  # subject -> how many of its events are flying
        self._held: dict[str, deque[Delivery]] = {}
        self._held_count = 0
        self._due: list[tuple[Moment, int, str]] = []  # heap of heads: next_at, position, subject
        self._known: set[int] = set()  # settled, dead or held, at or after the position at start
        self._put: dict[int, Delivery] = {}
        self._settled: set[int] = set()

    def restore(
        self, position: int, rows: Iterable[Delivery], settled_ahead: Iterable[int]
    ) -> None:
        """Take up where the last process stopped."""
        self.read = position
        self._known.update(settled_ahead)
        self.hold(rows)

    def hold(self, rows: Iterable[Delivery]) -> None:
        """Waiting rows, in order of position: found at start, replayed, or to be tried at once."""
        found: dict[str, dict[int, Delivery]] = {}
        for row in rows:
            if row.position in self._flying:
                continue  # it is being tried at this moment
            found.setdefault(row.subject_key, {})[row.position] = row
            if row.position >= self.read:
                self._known.add(row.position)
        for key, new in found.items():
            old = self._held.get(key, ())
            merged = {row.position: row for row in old} | new
            self._held[key] = deque(merged[position] for position in sorted(merged))
            self._held_count += len(merged) - len(old)
            self._behind.add(key)
            self._offer(key)

    def hasten(self, positions: Set[int], now: Moment) -> None:
        """Held rows that somebody wants tried now. What was settled meanwhile stays settled."""
        for key, rows in self._held.items():
            fresh = {r.position: _fresh(r, now) for r in rows if r.position in positions}
            if fresh:
                self._held[key] = deque(fresh.get(row.position, row) for row in rows)
                self._put.update(fresh)
                self._offer(key)

    def revive(self, rows: Iterable[Delivery], now: Moment) -> None:
        """Dead rows that somebody wants tried again, as if for the first time."""
        fresh = [_fresh(row, now) for row in rows if row.position not in self._flying]
        self._put.update((row.position, row) for row in fresh)
        self.hold(fresh)

    # -- what it knows --------------------------------------------------------------------
    @property
    def position(self) -> int:
        """Every event before it is settled or has a row."""
        oldest = self.oldest()
        return self.read if oldest is None else oldest.position

    @property
    def failing(self) -> int:
        """How many subjects failed, one after another, since anything was delivered."""
        return len(self._failing)

    @property
    def ill(self) -> bool:
        """The destination fails whatever it is given. One subject that fails is not enough."""
        return self.failing >= FAILURES_UNTIL_ILL

    def forgive(self) -> None:
        """Whoever resumed it says that it is well."""
        self._failing.clear()

    @property
    def held(self) -> int:
        """How many rows wait."""
        return self._held_count

    @property
    def in_memory(self) -> int:
        """How many events are ready or on the wire."""
        return len(self._open) + self._with_row

    @property
    def startable(self) -> bool:
        """Whether something new may start."""
        return self._next_ready() is not None

    def next_due(self) -> Moment | None:
        """When the earliest retry that may start is due."""
        if self.ill and self._flying:
            return None
        row = self._next_held()
        return None if row is None else row.next_at

    def oldest(self) -> Positioned | None:
        """The oldest event without a row that is not settled."""
        while self._opened:
            one = self._open.get(self._opened[0])
            if one is not None:
                return one
            self._opened.popleft()
        return None

    def _next_held(self) -> Delivery | None:
        """The row that is due first of those whose subject is free."""
        while self._due:
            next_at, position, key = self._due[0]
            row = self._held[key][0] if key in self._held and key not in self._busy else None
            ready = self._ready.get(key)
            first = not ready or ready[0].position > position  # else it came back untried
            if row is not None and first and (row.next_at, row.position) == (next_at, position):
                return row
            heappop(self._due)
        return None

    def _next_ready(self) -> str | None:
        """The subject of the oldest ready event that may start."""
        while self._startable:
            position, key = self._startable[0]
            ready = self._ready.get(key)
            free = key not in self._busy and key not in self._held
            if ready and free and ready[0].position == position:
                return key
            heappop(self._startable)
        return None

    def _offer(self, key: str) -> None:
        """What is first of this subject may start, if the subject is free."""
        if key in self._busy:
            return
        if key in self._held:
            row = self._held[key][0]
            heappush(self._due, (row.next_at, row.position, key))
        elif key in self._ready:
            heappush(self._startable, (self._ready[key][0].position, key))

    # -- in -------------------------------------------------------------------------------
    def admit(self, one: Positioned) -> None:
        """An event that is owed to the destination, in the order of the log."""
        if one.position in self._known:
            self._known.remove(one.position)
            return
        key = one.event.subject_key
        self._open[one.position] = one
        self._opened.append(one.position)
        ready = self._ready.setdefault(key, deque())
        ready.append(one)
        if key in self._held:
            self._behind.add(key)
        elif len(ready) == 1:
            self._offer(key)

    # -- out ------------------------------------------------------------------------------
    def take_retry(self, now: Moment) -> Delivery | None:
        """The row that is due first, if its subject is free; when ill, only one at a time.

        It stays held until ``fly`` or ``forget``: its event has yet to be read, which may fail.
        """
        if self.ill and self._flying:
            return None
        row = self._next_held()
        return row if row is not None and row.next_at <= now else None

    def fly(self, one: Positioned, row: Delivery | None) -> None:
        """It is on the wire."""
        if row is None:
            key = one.event.subject_key
        else:
            key = row.subject_key
            self._unhold(row)
            self._with_row += 1
        self._flying[one.position] = Flying(one, row, key)
        self._busy[key] = self._busy.get(key, 0) + 1

    def take_new(self, now: Moment) -> list[Positioned]:
        """The next events whose subjects are free, in order; they are flying when returned."""
        for key in self._behind:
            if key in self._held and key in self._ready:
                for one in self._ready.pop(key):
                    self._hold_behind(one, now)
                self._offer(key)  # what came back untried may be first now
        self._behind.clear()
        batch: list[Positioned] = []
        size = 0
        while len(batch) < self.batch_max and (next_key := self._next_ready()) is not None:
            ready = self._ready[next_key]
            size += len(ready[0].event.body) + 64
            if batch and size > self.batch_bytes:
                break
            batch.append(ready.popleft())
            if not ready:
                del self._ready[next_key]
            self._offer(next_key)  # more of the same subject goes in the same request, in order
        for one in batch:
            self.fly(one, None)
        return batch

    def _hold_behind(self, one: Positioned, now: Moment) -> None:
        key = one.event.subject_key
        row = Delivery(self.name, one.position, key, State.WAITING, 0, now, now, detail=BEHIND)
        self._insert(row)
        self._put[one.position] = row
        del self._open[one.position]

    # -- back -----------------------------------------------------------------------------
    def put_back(self, positions: Iterable[int]) -> None:
        """Nothing was tried: as they were before."""
        landed = sorted(map(self._land, positions), key=lambda flying: -flying.positioned.position)
        for flying in landed:
            key = flying.subject_key
            if flying.row is not None:
                self._insert(flying.row)
            else:
                # Whatever of this subject is ready was read later: it could not start meanwhile.
                self._ready.setdefault(key, deque()).appendleft(flying.positioned)
                self._behind.add(key)
            self._offer(key)

    def forget(self, row: Delivery) -> None:
        """A row whose event is no longer there."""
        self._unhold(row)
        self._put.pop(row.position, None)
        self._settled.add(row.position)
        self._offer(row.subject_key)

    def settle(
        self, position: int, state: State, outcome: Outcome | None, now: Moment, chance: float
    ) -> State:
        """What became of it; returns the state after the time to give up is considered."""
        flying = self._land(position)
        self._open.pop(position, None)
        if state is State.DELIVERED:
            self._failing.clear()
        if state is State.WAITING:
            state = self._again(flying, outcome or _UNKNOWN, now, chance)
            self._offer(flying.subject_key)
            return state
        if state is State.DEAD:
            self._put[position] = self._row(flying, outcome, State.DEAD, now, now)
        elif flying.row is not None:
            self._put.pop(position, None)
            self._settled.add(position)
        self._offer(flying.subject_key)
        return state

    def _again(self, flying: Flying, outcome: Outcome, now: Moment, chance: float) -> State:
        """Retry, unless it has been tried for as long as it may."""
        self._failing.add(flying.subject_key)
        attempts = 1 + (0 if flying.row is None else flying.row.attempts)
        delay_s = max(self.backoff.delay_s(attempts, chance), outcome.retry_after_s or 0.0)
        due = now + int(delay_s * SECOND)
        row = self._row(flying, outcome, State.WAITING, now, due)
        if not outcome.pause and due > row.first_at + int(self.backoff.give_up_after_s * SECOND):
            self._put[row.position] = msgspec.structs.replace(row, state=State.DEAD, next_at=now)
            return State.DEAD
        self._put[row.position] = row
        self._insert(row)
        return State.WAITING

    def _unhold(self, row: Delivery) -> None:
        held = self._held.get(row.subject_key)
        if held and held[0].position == row.position:
            held.popleft()
            self._held_count -= 1
            if not held:
                del self._held[row.subject_key]

    def _insert(self, row: Delivery) -> None:
        """Among the held rows of its subject, in order of position."""
        held = self._held.setdefault(row.subject_key, deque())
        if not held or row.position > held[-1].position:
            held.append(row)
        elif row.position < held[0].position:
            held.appendleft(row)
        else:
            held.insert(bisect_left(held, row.position, key=lambda other: other.position), row)
        self._held_count += 1
        self._behind.add(row.subject_key)

    def _row(
        self, flying: Flying, outcome: Outcome | None, state: State, now: Moment, due: Moment
    ) -> Delivery:
        """The row after an attempt. The time to give up counts from ``first_at``.

        For a row that was held behind another that is when it was held, not its first try:
        else each of a subject that always fails would begin its hours after the one before.
        """
        old = flying.row
        return Delivery(
            destination=self.name,
            position=flying.positioned.position,
            subject_key=flying.subject_key,
            state=state,
            attempts=1 + (old.attempts if old is not None else 0),
            first_at=now if old is None else old.first_at,
            next_at=due,
            grade="" if outcome is None else outcome.grade.value,
            detail="" if outcome is None else outcome.detail,
        )

    def _land(self, position: int) -> Flying:
        flying = self._flying.pop(position)
        if flying.row is not None:
            self._with_row -= 1
        key = flying.subject_key
        left = self._busy[key] - 1
        if left:
            self._busy[key] = left
        else:
            del self._busy[key]
        return flying

    # -- what must be written ---------------------------------------------------------------
    @property
    def changed(self) -> int:
        """How many rows there are to put or remove."""
        return len(self._put) + len(self._settled)

    def changes(self) -> tuple[tuple[Delivery, ...], tuple[int, ...]]:
        """Rows to put and rows to remove since the last time."""
        put, settled = tuple(self._put.values()), tuple(self._settled)
        self._put.clear()
        self._settled.clear()
        return put, settled

    def unwritten(self, put: Iterable[Delivery], settled: Iterable[int]) -> None:
        """They could not be written: they are still to be."""
        for row in put:
            if row.position not in self._settled:
                self._put.setdefault(row.position, row)
        self._settled.update(p for p in settled if p not in self._put)


def _fresh(row: Delivery, now: Moment) -> Delivery:
    """Waiting, due, and with its whole time to be retried before it."""
    return msgspec.structs.replace(row, state=State.WAITING, attempts=0, first_at=now, next_at=now)
