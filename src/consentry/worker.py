"""The worker of one destination: takes what is due from the event log, in order, and delivers.

A destination's progress is one number: every event before it is settled, or has a row of
its own. When a destination fails for one subject after another it is the destination
that is ill: one request at a time is tried, of old rows and new events in turn, until it answers.
A destination that refuses our credentials is paused until somebody looks.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

from consentry.core.delivery import Backoff, Grade, Outcome, State
from consentry.core.moment import SECOND, Moment
from consentry.destinations.registry import Connected
from consentry.flow.asked import allowed_at_acceptance
from consentry.flow.deliver import WITHHELD, Settled, deliver
from consentry.flow.lane import Lane
from consentry.flow.world import World
from consentry.ports import Attempt, Delivery, Pause, Positioned, Progress, StoreError

LONGEST_SLEEP_S = 1.0
STORE_PAUSE_S = 0.5
WINDOW_PER_SLOT = 4
SMALLEST_WINDOW = 64
LARGEST_WINDOW = 20_000

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
        spec = connected.spec
        self.lane = Lane(name, pace.backoff, batch_max=spec.batch_max, batch_bytes=spec.batch_bytes)
        self._told = told
        self._chance = chance
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._attempts: list[Attempt] = []
        self._writing = asyncio.Lock()
        self._written = -1
        self._not_before: Moment = 0
        self._next_request_at = 0.0
        self._stopping = False
        self._new_first = False

    # -- from outside -----------------------------------------------------------------------
    def wake(self) -> None:
        """Something may be due."""
        self._wake.set()

    async def resume(self) -> None:
        """Take up a paused destination again."""
        await self.world.store.end_pause(self.name)
        self.paused = None
        self.lane.forgive()
        self._not_before = 0
        self.wake()

    async def take_up(self, rows: list[Delivery]) -> None:
        """Try rows again now: what waits is hastened, what is dead waits again; durably."""
        now = self.world.clock.now()
        self.lane.hasten({row.position for row in rows if row.state == State.WAITING}, now)
        self.lane.revive([row for row in rows if row.state == State.DEAD], now)
        self._not_before = 0
        await self._write()
        self.wake()

    async def run(self) -> None:
        """Deliver until stopped."""
        await self._open()
        while not self._stopping:
            self._wake.clear()
            wait_s = self._start_what_is_due()
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def stop(self, grace_s: float = 10.0) -> None:
        """Start nothing more; wait for what is on the wire, then write what it came to."""
        self._stopping = True
        self.wake()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=grace_s)
        for task in list(self._tasks):
            task.cancel()
        await self._write()
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
        ahead = [a.position for a in store.attempted_from(self.name, position) if _settles(a)]
        dead = [row.position for row in rows if row.state == State.DEAD]
        waiting = [row for row in rows if row.state == State.WAITING]
        self.lane.restore(position, waiting, [p for p in (*ahead, *dead) if p >= position])
        self._written = position
        self.paused = next((p for p in store.pauses() if p.destination == self.name), None)

    # -- choosing ---------------------------------------------------------------------------
    def _start_what_is_due(self) -> float:
        """Start what may start; return the seconds until something may be due by itself."""
        now = self.world.clock.now()
        if self.paused is not None:
            return LONGEST_SLEEP_S
        if now < self._not_before:
            return min(LONGEST_SLEEP_S, (self._not_before - now) / SECOND)
        try:
            self._start_in_turn(now)
        except StoreError:
            return STORE_PAUSE_S  # the consent state cannot be read: nothing is sent
        due = self.lane.next_due()
        if due is None or len(self._tasks) >= self.pace.concurrency:
            return LONGEST_SLEEP_S
        return min(LONGEST_SLEEP_S, max(0.001, (due - now) / SECOND))

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
        self._fill()
        while self._slot_free():
            batch = self.lane.take_new(now)
            if not batch:
                break
            self._start(batch)
            self._fill()
        if not self._tasks and self.lane.position - self._written >= SMALLEST_WINDOW:
            self._track(self._write())  # nothing was owed: say how far that was seen

    def _fill(self) -> None:
        window = self.pace.concurrency * self.lane.batch_max * WINDOW_PER_SLOT
        window = min(max(window, SMALLEST_WINDOW), LARGEST_WINDOW)
        end = self.world.store.end
        while self.lane.in_memory < window and self.lane.read < end:
            read = self.world.store.events_from(self.lane.read, 256)
            if not read:
                self.lane.read = end  # pruned
            for one in read:
                if allowed_at_acceptance(self.world, one.event, self.name):
                    self.lane.admit(one)
                self.lane.read = one.position + 1

    def _slot_free(self) -> bool:
        most = 1 if self.lane.ill else self.pace.concurrency
        return len(self._tasks) < most and not self._stopping

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
        try:
            await self._keep_rate()
            for one in await self._deliver(batch):
                positions.discard(one.positioned.position)
                await self._settle(one)
        except StoreError:
            self._not_before = self.world.clock.now() + int(STORE_PAUSE_S * SECOND)
        finally:
            self.lane.put_back(positions)
        self.wake()
        await self._write()

    async def _deliver(self, batch: list[Positioned]) -> list[Settled]:
        """As the flow says; a fault of our own is a failed attempt, said aloud and retried later."""
        try:
            return await deliver(self.world, self.connected, self.name, batch)
        except StoreError:
            raise
        except Exception as fault:
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"a destination raised: {self.name}", "exception": fault}
            )
            outcome = Outcome(Grade.FAILED_RETRY, detail=f"internal: {type(fault).__name__}")
            now = self.world.clock.now()
            return [
                Settled(one, State.WAITING, Attempt(one.position, now, now, outcome.grade), outcome)
                for one in batch
            ]

    async def _settle(self, one: Settled) -> None:
        now = self.world.clock.now()
        state = self.lane.settle(
            one.positioned.position, one.state, one.outcome, now, self._chance()
        )
        self._attempts.append(one.attempt)
        self._told(self.name, one)
        outcome = one.outcome
        if outcome is None:
            return
        if outcome.grade is Grade.RATE_LIMITED:
            wait_s = outcome.retry_after_s or self.pace.backoff.first_s
            self._not_before = max(self._not_before, now + int(wait_s * SECOND))
        if outcome.pause and self.paused is None:
            self.paused = Pause(self.name, outcome.detail, now)
            await self.world.store.put_pause(self.paused)
        if state is State.WAITING and self.lane.ill:
            wait_s = self.pace.backoff.delay_s(self.lane.failing, self._chance())
            self._not_before = max(self._not_before, now + int(wait_s * SECOND))

    async def _keep_rate(self) -> None:
        if self.pace.rate_limit is None:
            return
        loop = asyncio.get_running_loop()
        start = max(loop.time(), self._next_request_at)
        self._next_request_at = start + 1 / self.pace.rate_limit
        await asyncio.sleep(start - loop.time())

    async def _write(self) -> None:
        """Write what is new. Whoever comes while a write is under way joins the next one."""
        async with self._writing:
            position = self.lane.position
            put, settled = self.lane.changes()
            attempts, self._attempts = self._attempts, []
            if not attempts and not put and not settled and position == self._written:
                return
            try:
                await self.world.store.record_progress(
                    Progress(
                        destination=self.name,
                        position=position,
                        attempts=tuple(attempts),
                        put=put,
                        settle=settled,
                    )
                )
                self._written = position
            except StoreError:
                self._attempts = attempts + self._attempts
                self.lane.unwritten(put, settled)
                self._not_before = self.world.clock.now() + int(STORE_PAUSE_S * SECOND)


def _settles(attempt: Attempt) -> bool:
    """Whether this attempt, found ahead of the position after a restart, need not be repeated."""
    return attempt.grade == WITHHELD or attempt.grade not in {
        Grade.FAILED_RETRY,
        Grade.RATE_LIMITED,
        Grade.AUTH_BLOCKED,
    }
