"""The lane of one destination: which of its deliveries may start, in which order.

Pure bookkeeping, no clock and no store. A delivery that the lane knows is in exactly one of
three places: *ready* (read from the log, no row), *flying* (on the wire), or *held* (it has a
row: it waits for a retry, or behind an earlier event of its subject). Everything else
before ``position`` is settled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Set
from dataclasses import dataclass

import msgspec

from consentry.core.delivery import Backoff, Grade, Outcome, State
from consentry.core.moment import SECOND, Moment
from consentry.ports import Delivery, Positioned

FAILURES_UNTIL_ILL = 5
BEHIND = "behind an earlier event of this subject"
_UNKNOWN = Outcome(Grade.FAILED_RETRY, detail="nothing is known of the attempt")


@dataclass(frozen=True, slots=True)
class Flying:
    """On the wire: the event, and its row if it had one."""

    positioned: Positioned
    row: Delivery | None

    @property
    def subject_key(self) -> str:
        return self.positioned.event.subject_key if self.row is None else self.row.subject_key


class Lane:
    """Order and rows for one destination."""

    def __init__(self, name: str, backoff: Backoff, *, batch_max: int, batch_bytes: int) -> None:
        self.name = name
        self.backoff = backoff
        self.batch_max = batch_max
        self.batch_bytes = batch_bytes
        self.read = 0  # the log was read up to here
        self._failing: set[str] = set()  # subjects that failed since anything was delivered
        self._ready: deque[Positioned] = deque()
        self._flying: dict[int, Flying] = {}
        self._busy: dict[str, int] = {}  # subject -> how many of its events are flying
        self._held: dict[str, deque[Delivery]] = {}
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
        for row in rows:
            if row.position in self._flying:
                continue  # it is being tried at this moment
            held = [r for r in self._held.get(row.subject_key, ()) if r.position != row.position]
            self._held[row.subject_key] = deque(sorted([*held, row], key=lambda r: r.position))
            if row.position >= self.read:
                self._known.add(row.position)

    def hasten(self, positions: Set[int], now: Moment) -> None:
        """Held rows that somebody wants tried now. What was settled meanwhile stays settled."""
        for key, rows in self._held.items():
            if any(row.position in positions for row in rows):
                self._held[key] = deque(
                    _fresh(row, now) if row.position in positions else row for row in rows
                )
        for rows in self._held.values():
            self._put.update((row.position, row) for row in rows if row.position in positions)

    def revive(self, rows: Iterable[Delivery], now: Moment) -> None:
        """Dead rows that somebody wants tried again, as if for the first time."""
        fresh = [_fresh(row, now) for row in rows if row.position not in self._flying]
        self._put.update((row.position, row) for row in fresh)
        self.hold(fresh)

    # -- what it knows --------------------------------------------------------------------
    @property
    def position(self) -> int:
        """Every event before it is settled or has a row."""
        unsettled = [one.position for one in self._ready]
        unsettled += [p for p, flying in self._flying.items() if flying.row is None]
        return min(unsettled, default=self.read)

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
        return sum(map(len, self._held.values()))

    @property
    def in_memory(self) -> int:
        return len(self._ready) + len(self._flying)

    def next_due(self) -> Moment | None:
        """When the earliest retry that may start is due."""
        if self.ill and self._flying:
            return None
        due = [h[0].next_at for key, h in self._held.items() if h and key not in self._busy]
        return min(due, default=None)

    def oldest(self) -> Positioned | None:
        """The oldest event without a row that is not settled."""
        waiting = [f.positioned for f in self._flying.values() if f.row is None]
        waiting += [self._ready[0]] if self._ready else []
        return min(waiting, key=lambda one: one.position, default=None)

    # -- in -------------------------------------------------------------------------------
    def admit(self, one: Positioned) -> None:
        """An event that is owed to the destination, in the order of the log."""
        if one.position in self._known:
            self._known.discard(one.position)
            return
        self._ready.append(one)

    # -- out ------------------------------------------------------------------------------
    def take_retry(self, now: Moment) -> Delivery | None:
        """The row that is due first, if its subject is free; when ill, only one at a time.

        It stays held until ``fly`` or ``forget``: its event has yet to be read, which may fail.
        """
        if self.ill and self._flying:
            return None
        due = [
            rows[0]
            for key, rows in self._held.items()
            if rows and key not in self._busy and rows[0].next_at <= now
        ]
        if not due:
            return None
        return min(due, key=lambda r: (r.next_at, r.position))

    def fly(self, one: Positioned, row: Delivery | None) -> None:
        """It is on the wire."""
        if row is not None:
            self._unhold(row)
        flying = self._flying[one.position] = Flying(one, row)
        key = flying.subject_key
        self._busy[key] = self._busy.get(key, 0) + 1

    def take_new(self, now: Moment) -> list[Positioned]:
        """The next events whose subjects are free, in order; they are flying when returned."""
        batch: list[Positioned] = []
        passed: list[Positioned] = []
        passed_subjects: set[str] = set()
        size = 0
        while self._ready and len(batch) < self.batch_max and len(passed) < 1000:
            one = self._ready[0]
            key = one.event.subject_key
            if self._held.get(key):
                self._ready.popleft()
                self._hold_behind(one, now)
                continue
            if key in self._busy or key in passed_subjects:
                passed_subjects.add(key)
                passed.append(self._ready.popleft())
                continue
            size += len(one.event.body) + 64
            if batch and size > self.batch_bytes:
                break
            batch.append(self._ready.popleft())
        self._ready.extendleft(reversed(passed))
        for one in batch:
            self.fly(one, None)
        return batch

    def _hold_behind(self, one: Positioned, now: Moment) -> None:
        key = one.event.subject_key
        row = Delivery(self.name, one.position, key, State.WAITING, 0, now, now, detail=BEHIND)
        self._insert(row)
        self._put[one.position] = row

    # -- back -----------------------------------------------------------------------------
    def put_back(self, positions: Iterable[int]) -> None:
        """Nothing was tried: as they were before."""
        landed = [self._land(position) for position in positions]
        new = [flying.positioned for flying in landed if flying.row is None]
        if new:
            # Several requests may come back, in any order: what is ready is always in order.
            self._ready = deque(sorted((*new, *self._ready), key=lambda one: one.position))
        for flying in landed:
            if flying.row is not None:
                self._insert(flying.row)

    def forget(self, row: Delivery) -> None:
        """A row whose event is no longer there."""
        self._unhold(row)
        self._put.pop(row.position, None)
        self._settled.add(row.position)

    def settle(
        self, position: int, state: State, outcome: Outcome | None, now: Moment, chance: float
    ) -> State:
        """What became of it; returns the state after the time to give up is considered."""
        flying = self._land(position)
        if state is State.DELIVERED:
            self._failing.clear()
        if state is State.WAITING:
            return self._again(flying, outcome or _UNKNOWN, now, chance)
        if state is State.DEAD:
            self._put[position] = self._row(flying, outcome, State.DEAD, now, now)
        elif flying.row is not None:
            self._put.pop(position, None)
            self._settled.add(position)
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
        if not held:
            self._held.pop(row.subject_key, None)

    def _insert(self, row: Delivery) -> None:
        """Among the held rows of its subject, in order of position."""
        held = self._held.setdefault(row.subject_key, deque())
        if not held or row.position > held[-1].position:
            held.append(row)
        else:
            after = next(n for n, other in enumerate(held) if other.position > row.position)
            held.insert(after, row)

    def _row(
        self, flying: Flying, outcome: Outcome | None, state: State, now: Moment, due: Moment
    ) -> Delivery:
        old = flying.row
        tried = old is not None and old.attempts > 0
        return Delivery(
            destination=self.name,
            position=flying.positioned.position,
            subject_key=flying.subject_key,
            state=state,
            attempts=1 + (old.attempts if old is not None else 0),
            first_at=old.first_at if old is not None and tried else now,
            next_at=due,
            grade="" if outcome is None else outcome.grade.value,
            detail="" if outcome is None else outcome.detail,
        )

    def _land(self, position: int) -> Flying:
        flying = self._flying.pop(position)
        key = flying.subject_key
        left = self._busy[key] - 1
        if left:
            self._busy[key] = left
        else:
            del self._busy[key]
        return flying

    # -- what must be written ---------------------------------------------------------------
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
