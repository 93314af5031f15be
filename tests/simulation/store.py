"""A disk that is slow, full or unreadable, over a store that keeps what it was given.

``Disk`` implements ``consentry.ports.Store``. As the real one it writes in groups: what waits is
taken together, what only records choices first; a group is durable whole or not at all, and is
acknowledged some time after it is durable. ``crash`` may let the group that is being written
become durable unacknowledged; what waits behind it is gone.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from consentry.core.moment import Moment
from consentry.core.policy import Policy
from consentry.core.record import Facts, Merge, Node
from consentry.erasures import Erasures
from consentry.leaks import Leaks
from consentry.ledger.entry import LedgerRecord
from consentry.orders import OrderBook
from consentry.outbox import Outbox
from consentry.ports import (
    Attempt,
    Commit,
    Committed,
    Delivery,
    Pause,
    Positioned,
    Progress,
    Reply,
    StoredEvent,
    StoreError,
    StoreUnavailable,
    Suppression,
)
from consentry.store.memory import MemoryStore
from tests.simulation.jobs import Jobs

T = TypeVar("T")
PROBE_EVERY_S = 1.0


class Mood(NamedTuple):
    """How the disk is. Times are seconds that one group takes, drawn between the two."""

    fastest_s: float
    slowest_s: float
    fails: float = 0.0
    unreadable: float = 0.0


MOODS = {
    "well": Mood(0.001, 0.004),
    "slow": Mood(0.05, 1.5),
    "failing": Mood(0.001, 0.2, fails=0.5),
    "full": Mood(0.001, 0.01, fails=1.0),
    "unreadable": Mood(0.001, 0.05, unreadable=0.2),
    "dying": Mood(0.02, 0.5, fails=0.4, unreadable=0.1),
}

ASKED_BY: ContextVar[Any] = ContextVar("asked_by", default=None)
"""Who asks for a write, so that ``on_landed`` can be told whose it was."""


@dataclass(slots=True)
class _Work:
    write: Callable[[], Coroutine[Any, Any, Any]]
    done: asyncio.Future[Any]
    landed: Callable[[Any], None]


class Disk:
    """One process's view of the durable store ``kept``. ``forgot`` is called as it learns that
    nothing is left of an erasure's people."""

    jobs: type[Jobs] = Jobs

    def __init__(
        self,
        kept: MemoryStore,
        chance: random.Random,
        *,
        on_landed: Callable[[Any, Commit, Committed], None] = lambda by, commit, committed: None,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        forgot: Callable[[str], None] = lambda erasure_id: None,
    ) -> None:
        self.kept = kept
        self.mood = MOODS["well"]
        self.well = True
        """False once a write has failed and until one succeeds or would."""
        self.dead = False
        self.forgot = forgot
        self.erasures: Erasures = self.jobs(self)
        self._chance = chance
        self._on_landed = on_landed
        self._on_progress = on_progress
        self._queues: tuple[deque[_Work], deque[_Work]] = (deque(), deque())
        self._writing: list[_Work] = []
        self._came = asyncio.Event()
        self._policies: dict[int, Policy | None] = {}

    # -- the disk -----------------------------------------------------------------------------
    async def serve(self) -> None:
        """Write what comes, group by group, for as long as the process lives."""
        while True:
            self._came.clear()
            while group := self._gather():
                await self._write(group)
            try:
                async with asyncio.timeout(None if self.well else PROBE_EVERY_S):
                    await self._came.wait()
            except TimeoutError:
                self.well = self.well or self._chance.random() >= self.mood.fails

    def _gather(self) -> list[_Work]:
        group: list[_Work] = []
        for queue in self._queues:
            group += queue
            queue.clear()
        return group

    async def _write(self, group: list[_Work]) -> None:
        mood = self.mood
        self._writing = group
        took_s = self._chance.uniform(mood.fastest_s, mood.slowest_s)
        await asyncio.sleep(took_s * 0.8)
        self._writing = []
        if self._chance.random() < mood.fails:
            self.well = False
            results: list[Any] = [StoreUnavailable("the disk is full") for _ in group]
        else:
            results = self._land(group)
            await asyncio.sleep(took_s * 0.2)  # durable, and nobody knows yet
        for work, result in zip(group, results, strict=True):
            if work.done.done():
                continue
            if isinstance(result, Exception):
                work.done.set_exception(result)
            else:
                work.done.set_result(result)

    def _land(self, group: list[_Work]) -> list[Any]:
        results: list[Any] = []
        for work in group:
            try:
                result = _now(work.write())
            except StoreError as error:
                results.append(error)
            else:
                work.landed(result)
                results.append(result)
        self.well = True
        return results

    def crash(self) -> None:
        """The process is gone. What was being written is durable, or is not."""
        self.dead = True
        if self._writing and self._chance.random() < 0.5:
            self._land(self._writing)
        self._writing = []
        for queue in self._queues:
            queue.clear()

    async def submit(
        self,
        write: Callable[[], Coroutine[Any, Any, T]],
        landed: Callable[[T], None] = lambda result: None,
        *,
        urgent: bool = False,
    ) -> T:
        if self.dead:
            raise StoreUnavailable("the store is closed")
        work = _Work(write, asyncio.get_running_loop().create_future(), landed)
        self._queues[0 if urgent else 1].append(work)
        self._came.set()
        result: T = await work.done
        return result

    def read(self) -> None:
        if self.mood.unreadable and self._chance.random() < self.mood.unreadable:
            raise StoreError("disk I/O error")

    # -- writes -------------------------------------------------------------------------------
    def close(self) -> None:
        self.dead = True

    @property
    def available(self) -> bool:
        return self.well and not self.dead

    @property
    def newest(self) -> Moment:
        return self.kept.newest

    async def commit(self, commit: Commit) -> Committed:
        by = ASKED_BY.get()
        return await self.submit(
            lambda: self.kept.commit(commit),
            lambda committed: self._on_landed(by, commit, committed),
            urgent=bool(commit.records or commit.tried) and not commit.events,
        )

    async def record_progress(self, progress: Progress) -> None:
        await self.submit(
            lambda: self.kept.record_progress(progress), lambda _: self._on_progress(progress)
        )

    async def put_pause(self, pause: Pause) -> None:
        await self.submit(lambda: self.kept.put_pause(pause))

    async def end_pause(self, destination: str) -> None:
        await self.submit(lambda: self.kept.end_pause(destination))

    async def forget_place(self, destination: str) -> None:
        await self.submit(lambda: self.kept.forget_place(destination))

    async def policy_id(self, policy: Policy) -> int:
        return await self.submit(lambda: self.kept.policy_id(policy))

    async def prune(
        self,
        *,
        events_before: Moment,
        attempts_before: Moment,
        dead_before: Moment,
        destinations: Collection[str] | None = None,
    ) -> int:
        return await self.submit(
            lambda: self.kept.prune(
                events_before=events_before,
                attempts_before=attempts_before,
                dead_before=dead_before,
                destinations=destinations,
            )
        )

    async def backup(self, path: str) -> None:
        await self.kept.backup(path)

    # -- reads --------------------------------------------------------------------------------
    def knows(self, node: Node) -> bool:
        self.read()
        return self.kept.knows(node)

    def facts_of(self, node: Node) -> Facts:
        self.read()
        return self.kept.facts_of(node)

    def links_of(self, node: Node) -> tuple[Node, ...]:
        self.read()
        return self.kept.links_of(node)

    def trusted_links_of(self, node: Node) -> tuple[Node, ...]:
        self.read()
        return self.kept.trusted_links_of(node)

    def merges_of(self, user_id: str) -> tuple[Merge, ...]:
        self.read()
        return self.kept.merges_of(user_id)

    def position_of(self, source: str, message_id: str) -> int | None:
        self.read()
        return self.kept.position_of(source, message_id)

    def event_at(self, position: int) -> StoredEvent | None:
        self.read()
        return self.kept.event_at(position)

    def events_from(self, position: int, limit: int) -> Sequence[Positioned]:
        self.read()
        return self.kept.events_from(position, limit)

    @property
    def end(self) -> int:
        return self.kept.end

    def count_rows(self, destination: str, state: str) -> int:
        self.read()
        return self.kept.count_rows(destination, state)

    def position_for(self, destination: str) -> int | None:
        self.read()
        return self.kept.position_for(destination)

    def placed(self) -> Sequence[str]:
        self.read()
        return self.kept.placed()

    def deliveries(
        self,
        destination: str | None = None,
        state: str | None = None,
        after: tuple[str, int] | None = None,
        limit: int = 1000,
    ) -> Sequence[Delivery]:
        self.read()
        return self.kept.deliveries(destination, state, after, limit)

    def attempts_at(self, position: int) -> Sequence[tuple[str, Attempt]]:
        self.read()
        return self.kept.attempts_at(position)

    def attempted_from(self, destination: str, position: int) -> Sequence[Attempt]:
        self.read()
        return self.kept.attempted_from(destination, position)

    def pauses(self) -> Sequence[Pause]:
        self.read()
        return self.kept.pauses()

    def policy(self, policy_id: int) -> Policy | None:
        self.read()
        if self._policies.get(policy_id) is None:
            self._policies[policy_id] = self.kept.policy(policy_id)
        return self._policies[policy_id]

    @property
    def outbox(self) -> Outbox:
        return self.kept.outbox

    @property
    def orders(self) -> OrderBook:
        self.read()
        return self.kept.orders

    @property
    def leaks(self) -> Leaks:
        return self.kept.leaks

    def reply_to(self, key: str) -> Reply | None:
        self.read()
        return self.kept.reply_to(key)

    def notice(self, digest: str) -> str | None:
        self.read()
        return self.kept.notice(digest)

    def records_of(
        self, nodes: Iterable[Node], before: int | None = None, limit: int = 100
    ) -> Sequence[LedgerRecord]:
        self.read()
        return self.kept.records_of(nodes, before, limit)

    def ledger(self, first: int = 0) -> Iterator[LedgerRecord]:
        self.read()
        return self.kept.ledger(first)

    def record(self, record_id: str) -> LedgerRecord | None:
        self.read()
        return self.kept.record(record_id)

    def checkpoint(self) -> str | None:
        self.read()
        return self.kept.checkpoint()

    def suppressions(
        self, after: int | None = None, limit: int = 100
    ) -> Sequence[tuple[int, Suppression]]:
        self.read()
        return self.kept.suppressions(after, limit)


def _now(writing: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that waits for nothing."""
    try:
        writing.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("the store in memory waited")
