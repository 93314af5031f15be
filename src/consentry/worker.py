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
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from consentry.clock import Timer
from consentry.core.delivery import Backoff, Grade, Outcome, State
from consentry.core.moment import SECOND, Moment
from consentry.destinations.registry import Sender
from consentry.flow.deliver import Settled, deliver
from consentry.flow.intake import SMALLEST_WINDOW, read_on, restore
from consentry.flow.lane import Lane
from consentry.flow.progress import Writing
from consentry.flow.world import World
from consentry.ports import Attempt, Delivery, Pause, Positioned, StoreError, StoreUnavailable
from consentry.under_way import UnderWay

log = structlog.get_logger()
LONGEST_SLEEP_S = 1.0
STORE_PAUSE_S = 0.5
LOOKED_AT_PER_TURN = 1_000  # events; others have to have their turn in between
TURNS = 32  # one slot takes so many batches, one after another, before others have their turn
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
        connected: Sender,
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
        self._under_way = UnderWay(f"worker of {name}", self.wake)
        self._writing = Writing(
            world.store, self.lane, lambda: self._wait_at_least(STORE_PAUSE_S), self.wake
        )
        self._on_wire = 0  # batches
        self._handed: list[Positioned] | None = None  # to the slot that asks for its next batch
        self._asking = False
        self._timer = Timer(world.clock)
        self._opened = False
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
        written = await self._writing.write()
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
                wait_s = self._fail(fault)
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
        await self._under_way.stop(grace_s)
        await self._writing.stop(grace_s)
        await self.connected.close()

    async def _open(self) -> None:
        store = self.world.store
        self.paused = next((p for p in store.pauses() if p.destination == self.name), None)
        self._writing.open(await restore(store, self.lane, self._timer.now()))
        self._opened = True

    # -- choosing ---------------------------------------------------------------------------
    async def _look(self) -> float:
        """Start what may start; return the seconds until something may be due by itself."""
        wait_s = self._not_before - asyncio.get_running_loop().time()
        if wait_s > 0:
            return min(LONGEST_SLEEP_S, wait_s)
        if not self._opened:
            await self._open()
        if self._writing.unwritten and not self._writing.under_way:
            self._under_way.begin(self._writing.write())
        return self._start_if_it_may()

    def _start_if_it_may(self) -> float:
        """Nothing is awaited from the question whether it may to the start."""
        if self._writing.unwritten or not self.world.store.available:
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
        if due is None or self._on_wire >= self.pace.concurrency:
            return LONGEST_SLEEP_S
        return min(LONGEST_SLEEP_S, max(0.001, (due - now) / SECOND))

    def _stick(self, why: str, fault: Exception | None = None) -> None:
        """Say once what keeps this worker from its work; of a fault only its type is said."""
        error = "StoreUnavailable" if fault is None else type(fault).__name__
        why = why if fault is None else f"{why}: {error}"
        if self.stuck != why:
            self.stuck = why
            log.error("worker_failed", destination=self.name, error=error)

    def _fail(self, fault: Exception) -> float:
        self._stick("it failed", fault)
        self._wait_at_least(STORE_PAUSE_S)
        return STORE_PAUSE_S

    def _wait_at_least(self, seconds: float) -> None:
        now = asyncio.get_running_loop().time()
        self._not_before = max(self._not_before, now + seconds)

    def _start_in_turn(self, now: Moment) -> None:
        """Retries before new events; while the destination is ill, one request of either in turn.

        Without turns, rows that always fail would keep everybody else waiting behind them.
        """
        running = self._on_wire
        steps = [self._start_retries, self._start_new]
        for start in reversed(steps) if self._new_first else steps:
            start(now)
        if self._on_wire > running:
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
            slots = self.pace.concurrency
            self._to_look_at -= read_on(self.world, self.lane, slots, self._to_look_at)
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
        unsaid = LOOKED_AT_PER_TURN if self._on_wire else SMALLEST_WINDOW
        if self._writing.behind >= unsaid and not self._writing.under_way:
            self._under_way.begin(
                self._writing.write()
            )  # no attempt will say soon how far this was seen

    def _lingering(self) -> bool:
        """Whether new events wait for others: a file for each would be a heap of files."""
        spec, waiting = self.connected.spec, self.lane.in_memory
        if not spec.linger_s or not waiting or waiting >= spec.batch_max:
            return False
        now = asyncio.get_running_loop().time()
        if self._linger_until is None:
            self._linger_until = now + spec.linger_s
        return now < self._linger_until

    def _slot_free(self) -> bool:
        most = 1 if self.lane.ill else self.pace.concurrency
        return self._on_wire < most and not self._writing.full and not self._stopping

    # -- one attempt --------------------------------------------------------------------------
    def _start(self, batch: list[Positioned]) -> None:
        """Hand a batch to the slot that asks for its next one, else to a new slot."""
        self._on_wire += 1
        if self._asking:
            self._asking, self._handed = False, batch
        else:
            self._under_way.begin(self._slot(batch))

    async def _slot(self, batch: list[Positioned] | None) -> None:
        """One batch after another, as long as there is one that may start."""
        turns = 0
        try:
            while batch is not None:
                await self._attempt(batch)
                turns += 1
                if turns % TURNS == 0:
                    await asyncio.sleep(0)  # an attempt need not have waited for anything
                batch = self._next()
        finally:
            self.wake()

    def _next(self) -> list[Positioned] | None:
        """What a slot whose batch has ended takes up; None where the worker has to look first."""
        if self._stopping or self._not_before > asyncio.get_running_loop().time():
            return None
        self._asking, self._handed = True, None
        try:
            self._start_if_it_may()
        except Exception as fault:
            self._fail(fault)
        self._asking = False
        return self._handed

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
            self._on_wire -= 1
            # Also what was withheld before the rest failed: later ones of its subject went on.
            for one in settled:
                positions.discard(one.positioned.position)
                self._settle(one)
            self.lane.put_back(positions)
        await self._put_pause(paused)
        self._writing.soon(alone=self._on_wire == 0)

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
        self._writing.add(one.attempt)
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
