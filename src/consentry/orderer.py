"""The loop that tells one destination of choices, beside the worker that sends it events.

It has its own lane, its own slots and its own retries, so that a million queued events do not
delay a withdrawal. Orders are read from the store: at start, and whenever some became durable.
What an attempt came to is written with its record; dying in between, the order is sent again
under the same id.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import structlog

from consentry.clock import Timer
from consentry.core.delivery import Grade, Outcome
from consentry.core.moment import SECOND, Moment
from consentry.destinations.instruction import Orders
from consentry.destinations.registry import Connected
from consentry.flow.order_lane import BACKOFF, OrderLane, Turn
from consentry.flow.propagate import Ended, holds, left_out, propagate
from consentry.flow.world import World
from consentry.orders import Order
from consentry.ports import Attempt, Commit, StoreError
from consentry.under_way import UnderWay

log = structlog.get_logger()
LONGEST_SLEEP_S = 1.0
STORE_PAUSE_S = 0.5
READ_AT_ONCE = 1_000
NOBODY = Orders({}, frozenset(), "It takes no orders.")

Told = Callable[[str, Ended], None]


@dataclass(frozen=True, slots=True)
class Following:
    """How one destination stands with its orders."""

    waiting: int
    flying: frozenset[int]
    ill: bool


class Orderer:
    """One destination. ``run`` until ``stop``, which finishes what is on the wire first."""

    def __init__(
        self,
        world: World,
        name: str,
        connected: Connected,
        orders: Orders | None,
        *,
        concurrency: int = 8,
        told: Told = lambda name, ended: None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.world = world
        self.name = name
        self.connected = connected
        self.orders = orders or NOBODY
        self.lane = OrderLane(self.orders.batch_max)
        self._slots = concurrency
        self._told = told
        self._chance = chance
        self._wake = asyncio.Event()
        self._under_way = UnderWay(f"orders of {name}", self.wake)
        self._on_wire = 0
        self._seen = -1
        self._news = True
        self._read_at = 0.0
        self._timer = Timer(world.clock)
        self._not_before = 0.0
        self._stopping = False
        self._failed: str | None = None

    # -- from outside -----------------------------------------------------------------------
    def wake(self) -> None:
        """Something may be due."""
        self._wake.set()

    def owe(self) -> None:
        """Orders became durable."""
        self._news = True
        self._wake.set()

    def stands(self) -> Following:
        return Following(len(self.lane), self.lane.flying, self.lane.ill)

    def take_up(self, orders: Sequence[Order]) -> None:
        """Orders that wait again, durably."""
        waiting = [order for order in orders if self._waits(order)]
        for order in waiting:
            self.lane.hasten(order)
        self.lane.admit(order for order in waiting if order.number <= self._seen)
        self.wake()

    def _waits(self, order: Order) -> bool:
        """Whether it still does: it may have been tried, and have ended, while that was written."""
        try:
            now = self.world.store.orders.order(order.order_id)
        except StoreError:
            return True  # told twice rather than never
        return now is not None and now.open

    async def run(self) -> None:
        """Until stopped. Whatever fails is said and tried again: it ends at nothing else."""
        while not self._stopping:
            self._wake.clear()
            try:
                wait_s = self._look()
                self._failed = None
            except Exception as fault:
                wait_s = self._fail(fault)
            await asyncio.sleep(0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()

    async def stop(self, grace_s: float = 10.0) -> None:
        """Start nothing more; wait for what is on the wire, at most ``grace_s`` seconds."""
        self._stopping = True
        self.wake()
        await self._under_way.stop(grace_s)
        await self.connected.close()

    # -- choosing ---------------------------------------------------------------------------
    def _look(self) -> float:
        """Start what may start; return the seconds until something may be due by itself."""
        wait_s = self._not_before - asyncio.get_running_loop().time()
        if wait_s > 0:
            return min(LONGEST_SLEEP_S, wait_s)
        if not self.world.store.available or self.world.shadow:
            return STORE_PAUSE_S
        self._read()
        while self._on_wire < (1 if self.lane.ill else self._slots) and not self._stopping:
            turn = self.lane.take(self._timer.now(), lambda order: holds(self.world, order))
            if not turn.batch and not turn.left:
                break
            self._start(turn)
        due = self.lane.next_due()
        if due is None:
            return LONGEST_SLEEP_S
        return min(LONGEST_SLEEP_S, max(0.001, (due - self._timer.now()) / SECOND))

    def _read(self) -> None:
        """What is new; once a second also what nobody spoke of."""
        at = asyncio.get_running_loop().time()
        if not self._news and at - self._read_at < LONGEST_SLEEP_S:
            return
        while found := self.world.store.orders.waiting(self.name, self._seen, READ_AT_ONCE):
            self.lane.admit(_sane(order, self._timer.now()) for order in found)
            self._seen = found[-1].number
        self._news, self._read_at = False, at

    def _fail(self, fault: Exception) -> float:
        why = type(fault).__name__
        if self._failed != why:
            self._failed = why
            log.error("orders_failed", destination=self.name, error=why)
        return STORE_PAUSE_S

    def _start(self, turn: Turn) -> None:
        if turn.left:
            self._under_way.begin(self._leave(turn))
        if turn.batch:
            self._on_wire += 1
            self._under_way.begin(self._attempt(turn.batch))

    # -- one attempt --------------------------------------------------------------------------
    async def _leave(self, turn: Turn) -> None:
        await self._write([left_out(self.world, one) for one in turn.left])

    async def _attempt(self, batch: tuple[Order, ...]) -> None:
        ended: list[Ended] = []
        try:
            ended = await self._propagate(batch)
        except StoreError:
            self._pause()
        finally:
            self._on_wire -= 1
            known = {one.order.number for one in ended}
            for order in batch:
                if order.number not in known:
                    self.lane.put_back(order)
        for one in ended:
            if one.outcome is not None:
                self.lane.heard(one.outcome, self._timer.now(), self._chance())
        self.wake()  # the slot is free while what came of it is written
        await self._write(ended)

    async def _propagate(self, batch: tuple[Order, ...]) -> list[Ended]:
        """As the flow says; a fault of our own is a failed attempt, said aloud and tried again."""
        began = self.world.clock.now()
        try:
            return await propagate(
                self.world,
                self.connected,
                batch,
                chance=self._chance(),
                reads=self.orders.reads_back,
            )
        except StoreError:
            raise
        except Exception as fault:
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"a destination raised: {self.name}", "exception": fault}
            )
            detail = f"internal: {type(fault).__name__}"
            return [self._broken(order, began, detail) for order in batch]

    def _broken(self, order: Order, began: Moment, detail: str) -> Ended:
        now = self.world.clock.now()
        outcome = Outcome(Grade.FAILED_RETRY, detail=detail)
        attempts = order.attempts + 1
        waits = msgspec.structs.replace(
            order,
            attempts=attempts,
            grade=outcome.grade,
            detail=detail,
            first_attempt_at=order.first_attempt_at or began,
            next_at=now + int(BACKOFF.delay_s(attempts, self._chance()) * SECOND),
        )
        attempt = Attempt(order.number, began, now, outcome.grade.value, detail=detail)
        return Ended(waits, attempt, outcome)

    async def _write(self, ended: Sequence[Ended]) -> None:
        """What came of orders and the records of it, in one transaction; then others may start.

        What cannot be written waits as before: it is sent again under the same id.
        """
        if not ended:
            return
        records = tuple(one.record for one in ended if one.record is not None)
        commit = Commit(records=records, tried=tuple(one.tried for one in ended))
        try:
            await self.world.store.commit(commit)
        except StoreError:
            self._pause()
            for one in ended:
                self.lane.again(one.order.number, self._timer.now())
            return
        for one in ended:
            if one.order.open:
                self.lane.put_back(one.order)
            else:
                self.lane.settle(one.order.number)
            self._told(self.name, one)
        self.wake()

    def _pause(self) -> None:
        self._not_before = asyncio.get_running_loop().time() + STORE_PAUSE_S


def _sane(order: Order, now: Moment) -> Order:
    """One written while the clock was wrong would not be due for as long as it was wrong."""
    latest = now + int(BACKOFF.longest_s * SECOND)
    return order if order.next_at <= latest else msgspec.structs.replace(order, next_at=latest)
