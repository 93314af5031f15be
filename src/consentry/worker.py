"""The worker of one destination: takes what is due from the event log, in order, and delivers.

A destination's progress is one number: every event before it is settled, or has a row of
its own. When a destination fails for one subject after another it is the destination
that is ill: one request at a time is tried, of old rows and new events in turn, until it answers.
A destination that refuses our credentials is paused until somebody looks. While the
store cannot be read or written nothing is started: a withdrawal could not be recorded.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

import msgspec
import structlog

from consentry.clock import Timer
from consentry.core.delivery import Backoff, Grade, Outcome, State
from consentry.core.moment import SECOND, Moment
from consentry.destinations.registry import Connected
from consentry.flow.asked import allowed_at_acceptance
from consentry.flow.deliver import WITHHELD, Settled, deliver
from consentry.flow.lane import Lane
from consentry.flow.world import World
from consentry.ports import (
    Attempt,
    Delivery,
    Pause,
    Positioned,
    Progress,
    StoreError,
    StoreUnavailable,
)

log = structlog.get_logger()
LONGEST_SLEEP_S = 1.0
STORE_PAUSE_S = 0.5
WINDOW_PER_SLOT = 4
SMALLEST_WINDOW = 64
LARGEST_WINDOW = 20_000
LOOKED_AT_PER_TURN = 1_000  # events; others have to have their turn in between
WRITE_EVERY_S = 0.02
"""How long what was tried may wait to be written with what is tried meanwhile. A crash within it
makes a destination see again what it took since: at least once is what is promised."""
MOST_UNWRITTEN = 2_000
UNWRITABLE = "the store cannot be written"

Told = Callable[[str, Settled], None]


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast one destination may be served. ``rate_limit`` is requests per second."""

    concurrency: int = 8
    rate_limit: float | None = None
    backoff: Backoff = field(default_factory=Backoff)


class Worker:
    """One destination. ``run`` until ``stop``, which finishes what is on the wire first."""

    def __init__(
        self,
        world: World,
        name: str,
        connected: Connected,
        pace: Pace,
        *,
        told: Told = lambda name, settled: None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.world = world
        self.name = name
        self.connected = connected
        self.pace = pace
        self.paused: Pause | None = None
        self.stuck: str | None = None
        """Why nothing is started although it should be, for a person; None while all is well."""
        spec = connected.spec
        self.lane = Lane(name, pace.backoff, batch_max=spec.batch_max, batch_bytes=spec.batch_bytes)
        self._told = told
        self._chance = chance
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._attempts: list[Attempt] = []
        self._writing = asyncio.Lock()
        self._writes: set[asyncio.Task[bool]] = set()
        self._soon: asyncio.TimerHandle | None = None
        self._timer = Timer(world.clock)
        self._opened = False
        self._unwritten = False
        self._written = -1
        self._to_look_at = LOOKED_AT_PER_TURN
        self._not_before = 0.0  # as the event loop counts seconds
        self._next_request_at = 0.0
        self._linger_until: float | None = None
        self._stopping = False
        self._new_first = False

    # -- from outside -----------------------------------------------------------------------
    def wake(self) -> None:
        """Something may be due."""
        if self.paused is None or self._stopping:
            self._wake.set()

    async def resume(self) -> None:
        """Take up a paused destination again."""
        await self.world.store.end_pause(self.name)
        self.paused = None
        self.lane.forgive()
        self._not_before = 0.0
        self.wake()

    async def take_up(self, rows: list[Delivery]) -> None:
        """Try rows again now: what waits is hastened, what is dead waits again; durably.

        Raises StoreUnavailable when that could not be written; it is tried again later.
        """
        if not self._opened:
            raise StoreUnavailable(f"{self.name}: what waits could not be read yet")
        now = self._timer.now()
        self.lane.hasten({row.position for row in rows if row.state == State.WAITING}, now)
        self.lane.revive([row for row in rows if row.state == State.DEAD], now)
        self._not_before = 0.0
        written = await self._write()
        self.wake()
        if not written:
            raise StoreUnavailable(f"{self.name}: {UNWRITABLE}")

    async def run(self) -> None:
        """Deliver until stopped. Whatever fails is said and tried again: it ends at nothing else."""
        while not self._stopping:
            self._wake.clear()
            try:
                wait_s = await self._look()
            except Exception as fault:
                self._stick("it failed", fault)
                wait_s = STORE_PAUSE_S
                self._wait_at_least(wait_s)
            await asyncio.sleep(0)  # woken or not: others have their turn
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()

    async def stop(self, grace_s: float = 10.0) -> None:
        """Start nothing more; wait for what is on the wire, then write what it came to.

        At most ``grace_s`` seconds for either. What is not written by then is tried again
        by whoever comes after: the position does not pass it.
        """
        self._stopping = True
        self.wake()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=grace_s)
        if left := set(self._tasks):
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=grace_s)
        if self._soon is not None:
            self._soon.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._write()
        for write in set(self._writes):
            write.cancel()
        await self.connected.close()

    async def _open(self) -> None:
        store = self.world.store
        position = store.position_for(self.name)
        if position is None:
            # A destination that is added later begins with what comes after it.
            position = store.end
            await store.record_progress(Progress(destination=self.name, position=position))
        rows: list[Delivery] = []
        after: tuple[str, int] | None = None
        while page := store.deliveries(self.name, None, after):
            rows += page
            after = (self.name, page[-1].position)
        self.paused = next((p for p in store.pauses() if p.destination == self.name), None)
        ahead = [a.position for a in store.attempted_from(self.name, position) if _settles(a)]
        dead = [row.position for row in rows if row.state == State.DEAD]
        now = self._timer.now()
        waiting = [self._sane(row, now) for row in rows if row.state == State.WAITING]
        self.lane.restore(position, waiting, [p for p in (*ahead, *dead) if p >= position])
        self._written = position
        self._opened = True

    def _sane(self, row: Delivery, now: Moment) -> Delivery:
        """A row written while the clock was wrong would not be due for as long as it was wrong."""
        latest = now + int(self.pace.backoff.longest_s * SECOND)
        if row.first_at <= now and row.next_at <= latest:
            return row
        return msgspec.structs.replace(
            row, first_at=min(row.first_at, now), next_at=min(row.next_at, latest)
        )

    # -- choosing ---------------------------------------------------------------------------
    async def _look(self) -> float:
        """Start what may start; return the seconds until something may be due by itself."""
        wait_s = self._not_before - asyncio.get_running_loop().time()
        if wait_s > 0:
            return min(LONGEST_SLEEP_S, wait_s)
        if not self._opened:
            await self._open()
        if self._unwritten and not self._writes:
            self._track(self._write_again())
        if self._unwritten or not self.world.store.available:
            # Withdrawals cannot be recorded either: whoever withdrew must not be sent about.
            self._stick(UNWRITABLE)
            return STORE_PAUSE_S
        if self.paused is not None:
            self.stuck = None
            return LONGEST_SLEEP_S
        return self._start_what_is_due()

    def _start_what_is_due(self) -> float:
        now = self._timer.now()
        try:
            self._start_in_turn(now)
        except StoreError as error:
            # The consent state or the log cannot be read: nothing is sent.
            self._stick("the store cannot be read", error)
            return STORE_PAUSE_S
        self.stuck = None
        due = self.lane.next_due()
        if due is None or len(self._tasks) >= self.pace.concurrency:
            return LONGEST_SLEEP_S
        return min(LONGEST_SLEEP_S, max(0.001, (due - now) / SECOND))

    def _stick(self, why: str, fault: Exception | None = None) -> None:
        """Say once what keeps this worker from its work; of a fault only its type is said."""
        error = "StoreUnavailable" if fault is None else type(fault).__name__
        why = why if fault is None else f"{why}: {error}"
        if self.stuck != why:
            self.stuck = why
            log.error("worker_failed", destination=self.name, error=error)

    def _wait_at_least(self, seconds: float) -> None:
        now = asyncio.get_running_loop().time()
        self._not_before = max(self._not_before, now + seconds)

    def _start_in_turn(self, now: Moment) -> None:
        """Retries before new events; while the destination is ill, one request of either in turn.

        Without turns, rows that always fail would keep everybody else waiting behind them.
        """
        running = len(self._tasks)
        steps = [self._start_retries, self._start_new]
        for start in reversed(steps) if self._new_first else steps:
            start(now)
        if len(self._tasks) > running:
            self._new_first = self.lane.ill and not self._new_first

    def _start_retries(self, now: Moment) -> None:
        while self._slot_free():
            row = self.lane.take_retry(now)
            if row is None:
                return
            event = self.world.store.event_at(row.position)
            if event is None:
                self.lane.forget(row)
                continue
            one = Positioned(row.position, event)
            self.lane.fly(one, row)
            self._start([one])

    def _start_new(self, now: Moment) -> None:
        self._to_look_at = LOOKED_AT_PER_TURN
        while self._slot_free():
            before = self.lane.read
            self._fill()
            if self._lingering():
                break
            batch = self.lane.take_new(now)
            if batch:
                self._linger_until = None
                self._start(batch)
            elif self.lane.read == before:
                break
        if self._to_look_at <= 0:
            self.wake()
        unsaid = max(self.lane.position - self._written, self.lane.changed)
        if unsaid >= (LOOKED_AT_PER_TURN if self._tasks else SMALLEST_WINDOW) and not self._writes:
            self._track(self._write_again())  # no attempt will say soon how far this was seen

    def _lingering(self) -> bool:
        """Whether new events wait for others: a file for each would be a heap of files."""
        spec, waiting = self.connected.spec, self.lane.in_memory
        if not spec.linger_s or not waiting or waiting >= spec.batch_max:
            return False
        now = asyncio.get_running_loop().time()
        if self._linger_until is None:
            self._linger_until = now + spec.linger_s
        return now < self._linger_until

    def _fill(self) -> None:
        """Read on: some for each slot, and more as long as nothing of it may start.

        Else one subject, whose events go one after another, would keep all others waiting.
        """
        lane, store, end = self.lane, self.world.store, self.world.store.end
        window = self.pace.concurrency * lane.batch_max * WINDOW_PER_SLOT
        window = min(max(window, SMALLEST_WINDOW), LARGEST_WINDOW)
        while lane.read < end and self._to_look_at > 0:
            in_memory = lane.in_memory
            if in_memory >= (window if lane.startable else LARGEST_WINDOW):
                return
            read = store.events_from(lane.read, min(256, self._to_look_at))
            if not read:
                lane.read = end  # pruned
            for one in read:
                if allowed_at_acceptance(self.world, one.event, self.name):
                    lane.admit(one)
                lane.read = one.position + 1
            self._to_look_at -= len(read)

    def _slot_free(self) -> bool:
        most = 1 if self.lane.ill else self.pace.concurrency
        written = len(self._attempts) < MOST_UNWRITTEN
        return len(self._tasks) < most and written and not self._stopping

    # -- one attempt --------------------------------------------------------------------------
    def _start(self, batch: list[Positioned]) -> None:
        self._track(self._attempt(batch))

    def _track(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.wake()
        if not task.cancelled() and task.exception() is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"worker of {self.name}", "exception": task.exception(), "task": task}
            )

    async def _attempt(self, batch: list[Positioned]) -> None:
        positions = {one.position for one in batch}
        paused = self.paused
        settled: list[Settled] = []
        try:
            await self._keep_rate()
            if not self._stopping:
                await self._deliver(batch, settled)
        except StoreError:
            self._wait_at_least(STORE_PAUSE_S)
        finally:
            # Also what was withheld before the rest failed: later ones of its subject went on.
            for one in settled:
                positions.discard(one.positioned.position)
                self._settle(one)
            self.lane.put_back(positions)
        await self._put_pause(paused)
        self.wake()
        self._write_soon()

    async def _put_pause(self, before: Pause | None) -> None:
        if self.paused is None or self.paused is before:
            return
        try:
            await self.world.store.put_pause(self.paused)
        except StoreError:
            self._wait_at_least(STORE_PAUSE_S)

    async def _deliver(self, batch: list[Positioned], settled: list[Settled]) -> None:
        """As the flow says; a fault of our own is a failed attempt, said aloud and retried later."""
        try:
            await deliver(self.world, self.connected, self.name, batch, settled)
        except StoreError:
            raise
        except Exception as fault:
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"a destination raised: {self.name}", "exception": fault}
            )
            outcome = Outcome(Grade.FAILED_RETRY, detail=f"internal: {type(fault).__name__}")
            now = self.world.clock.now()
            known = {one.positioned.position for one in settled}
            settled += [
                Settled(one, State.WAITING, Attempt(one.position, now, now, outcome.grade), outcome)
                for one in batch
                if one.position not in known
            ]

    def _settle(self, one: Settled) -> None:
        now = self._timer.now()
        state = self.lane.settle(
            one.positioned.position, one.state, one.outcome, now, self._chance()
        )
        self._attempts.append(one.attempt)
        self._tell(one)
        outcome = one.outcome
        if outcome is None:
            return
        if outcome.grade is Grade.RATE_LIMITED:
            self._wait_at_least(outcome.retry_after_s or self.pace.backoff.first_s)
        if outcome.pause and self.paused is None:
            self.paused = Pause(self.name, outcome.detail, self.world.clock.now())
        if state is State.WAITING and self.lane.ill:
            self._wait_at_least(self.pace.backoff.delay_s(self.lane.failing, self._chance()))

    def _tell(self, one: Settled) -> None:
        """Whoever listens may fail: the rest of the batch was sent and must be settled."""
        try:
            self._told(self.name, one)
        except Exception as fault:
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"worker of {self.name}", "exception": fault}
            )

    async def _keep_rate(self) -> None:
        if self.pace.rate_limit is None:
            return
        loop = asyncio.get_running_loop()
        start = max(loop.time(), self._next_request_at)
        self._next_request_at = start + 1 / self.pace.rate_limit
        await asyncio.sleep(start - loop.time())

    # -- writing ------------------------------------------------------------------------------
    def _write_soon(self) -> None:
        """Write what was tried: at once if nothing is on the wire, else with what comes of that."""
        if self._soon is None:
            wait_s = WRITE_EVERY_S if len(self._tasks) > 1 else 0.0
            self._soon = asyncio.get_running_loop().call_later(wait_s, self._write_due)

    def _write_due(self) -> None:
        self._soon = None
        self._begin_write().add_done_callback(lambda _write: self.wake())

    async def _write(self) -> bool:
        """Write what is new; False when it could not be written, and is still to be.

        Whoever comes while a write is under way joins the next one. Whoever is cancelled
        does not take the write along: whether it happened would not be known.
        """
        return await asyncio.shield(self._begin_write())

    def _begin_write(self) -> asyncio.Task[bool]:
        write = asyncio.ensure_future(self._write_new())
        self._writes.add(write)
        write.add_done_callback(self._writes.discard)
        return write

    async def _write_again(self) -> None:
        await self._write()

    async def _write_new(self) -> bool:
        async with self._writing:
            position = self.lane.position
            if not self._opened:
                return True  # nothing was done, and the position is not known yet
            put, settled = self.lane.changes()
            attempts, self._attempts = self._attempts, []
            if not attempts and not put and not settled and position == self._written:
                self._unwritten = False
                return True
            progress = Progress(
                destination=self.name,
                position=position,
                attempts=tuple(attempts),
                put=put,
                settle=settled,
            )
            try:
                await self.world.store.record_progress(progress)
            except BaseException as error:
                self._attempts = attempts + self._attempts
                self.lane.unwritten(put, settled)
                self._unwritten = True
                self._wait_at_least(STORE_PAUSE_S)
                if not isinstance(error, StoreError):
                    raise
                return False
            self._written = position
            self._unwritten = False
            return True


def _settles(attempt: Attempt) -> bool:
    """Whether this attempt, found ahead of the position after a restart, need not be repeated."""
    return attempt.grade == WITHHELD or attempt.grade not in {
        Grade.FAILED_RETRY,
        Grade.RATE_LIMITED,
        Grade.AUTH_BLOCKED,
    }
