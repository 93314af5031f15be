"""The worker of one destination: a store that fails, a slow subject, a wrong clock."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from consentry.clock import Clock, Timer
from consentry.core.delivery import Backoff, Grade, Outcome
from consentry.core.event import Envelope
from consentry.core.moment import DAY, SECOND
from consentry.core.policy import Mapping, Policy, Settings
from consentry.destinations.message import Attempted, LastLook, Message
from consentry.destinations.spec import ALL_EVENTS, Spec
from consentry.flow.accept import Incoming, accept
from consentry.flow.configure import take_policy
from consentry.flow.records import Origin
from consentry.flow.subjects import Subjects
from consentry.flow.world import World
from consentry.ports import Delivery, Positioned, Progress, StoreError, StoreUnavailable
from consentry.store.memory import MemoryStore
from consentry.worker import UNWRITABLE, Pace, Worker
from tests.store.makers import notary

POLICY = Policy("shop", Settings(), (), (Mapping("crm", "webhook", exempt="needed"),))
QUICK = Pace(backoff=Backoff(first_s=0.05))


class Crm:
    """A destination that answers what it is told to, and remembers what it was sent."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.spec = Spec("crm", "crm", 1, 10**6, ALL_EVENTS, "", Grade.ACCEPTED)
        self.got: list[str] = []
        self.open = asyncio.Event()
        self.open.set()
        self.shut_for = ""
        self._outcomes = list(outcomes)

    async def send(
        self, messages: Sequence[Message], last_look: LastLook | None = None
    ) -> Attempted:
        assert last_look is not None
        last_look()
        self.got += [message.message_id for message in messages]
        if not self.shut_for or messages[0].anonymous_id == self.shut_for:
            await self.open.wait()
        outcome = self._outcomes.pop(0) if self._outcomes else Outcome(Grade.ACCEPTED, 200)
        return Attempted((outcome,) * len(messages))

    async def close(self) -> None:
        pass


class Disk(MemoryStore):
    """A store whose disk may be full, be slow, or be unreadable."""

    full = False
    unreadable = 0
    gate: asyncio.Event | None = None
    writing = False

    async def record_progress(self, progress: Progress) -> None:
        if self.gate is not None:
            self.writing = True
            await self.gate.wait()
        if self.full:
            self.fail_next = StoreUnavailable("disk full")
        await super().record_progress(progress)

    def events_from(self, position: int, limit: int) -> Sequence[Positioned]:
        self._read()
        return super().events_from(position, limit)

    def deliveries(
        self,
        destination: str | None = None,
        state: str | None = None,
        after: tuple[str, int] | None = None,
        limit: int = 1000,
    ) -> Sequence[Delivery]:
        self._read()
        return super().deliveries(destination, state, after, limit)

    def _read(self) -> None:
        if self.unreadable:
            self.unreadable -= 1
            raise StoreError("disk I/O error")


async def a_world(clock: Clock | None = None) -> tuple[World, Disk]:
    clock = clock or Clock()
    store = Disk(notary(), clock=clock.now)
    world = World(store, Subjects(store), clock, Policy("shop"), 0)
    await store.record_progress(Progress(destination="crm", position=0))
    await take_policy(world, POLICY)
    return world, store


async def track(world: World, *named: str) -> None:
    """Events called ``subject/n``."""
    messages = [
        {"type": "track", "event": "e", "anonymousId": name.split("/")[0], "messageId": name}
        for name in named
    ]
    origin = Origin("website", "public")
    await accept(world, Incoming(origin, messages, Envelope(world.clock.now())))


@contextlib.asynccontextmanager
async def serving(world: World, crm: Crm, pace: Pace = QUICK) -> AsyncIterator[Worker]:
    worker = Worker(world, "crm", crm, pace, chance=lambda: 0.0)
    world.notify = worker.wake
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        await worker.stop(1.0)
        await asyncio.wait_for(task, 2.0)


async def until(holds: Callable[[], object], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.005)


async def test_nothing_is_sent_while_the_store_cannot_be_written() -> None:
    world, store = await a_world()
    crm = Crm()
    async with serving(world, crm) as worker:
        await track(world, "a/1")
        await until(lambda: store.attempts_at(0))
        await track(world, "a/2")
        store.full = True
        await until(lambda: worker.stuck == UNWRITABLE)
        tried = list(crm.got)
        await track(world, "b/1")
        store.fail_next = StoreUnavailable("disk full")
        with pytest.raises(StoreUnavailable):
            await track(world, "c/1")
        await asyncio.sleep(0.1)
        assert crm.got == tried
        store.full = False
        await until(lambda: "b/1" in crm.got)
        assert worker.stuck is None
    assert crm.got == ["a/1", "a/2", "b/1"]


async def test_what_cannot_be_written_now_is_written_later() -> None:
    world, store = await a_world()
    crm = Crm(Outcome(Grade.FAILED_FINAL, 400))
    store.full = True
    async with serving(world, crm) as worker:
        await track(world, "a/1")
        await until(lambda: worker.stuck == UNWRITABLE)
        assert not store.deliveries("crm")
        store.full = False
        await until(lambda: store.deliveries("crm", "dead"))
        assert store.position_for("crm") == 1
        assert len(store.attempts_at(0)) == 1


async def test_a_write_that_is_under_way_is_waited_for() -> None:
    world, store = await a_world()
    crm = Crm(Outcome(Grade.FAILED_RETRY, 503))
    worker = Worker(world, "crm", crm, Pace())
    task = asyncio.create_task(worker.run())
    store.gate = asyncio.Event()
    await track(world, "a/1")
    worker.wake()
    await until(lambda: store.writing)
    store.full = True
    stopping = asyncio.create_task(worker.stop(5.0))
    gate, store.gate = store.gate, None
    await asyncio.wait([stopping], timeout=0.08)
    assert not stopping.done()
    store.full = False
    gate.set()
    await stopping
    await task

    assert [row.position for row in store.deliveries("crm")] == [0]
    assert [a.grade for _, a in store.attempts_at(0)] == ["failed_retry"]


async def test_a_worker_that_is_stopped_before_it_began_leaves_the_position() -> None:
    world, store = await a_world()
    await store.record_progress(Progress(destination="crm", position=7))

    await Worker(world, "crm", Crm(), QUICK).stop()

    assert store.position_for("crm") == 7


async def test_a_worker_survives_a_store_that_cannot_be_read_and_says_it_once() -> None:
    world, store = await a_world()
    store.unreadable = 2
    crm = Crm()
    with capture_logs() as logs:
        async with serving(world, crm) as worker:
            with pytest.raises(StoreUnavailable):
                await worker.take_up([])  # what waits is not known yet
            await until(lambda: worker.stuck is not None)
            assert worker.stuck == "it failed: StoreError"
            await track(world, "a/1")
            await until(lambda: crm.got)
            await until(lambda: worker.stuck is None)
    said = [entry for entry in logs if entry["event"] == "worker_failed"]
    assert [(e["destination"], e["error"]) for e in said] == [("crm", "StoreError")]


async def test_who_listens_may_fail_without_a_second_delivery() -> None:
    world, _ = await a_world()
    crm = Crm()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)

    def told(name: str, settled: object) -> None:
        raise RuntimeError("a meter is broken")

    worker = Worker(world, "crm", crm, QUICK, told=told)
    task = asyncio.create_task(worker.run())
    await track(world, "a/1")
    worker.wake()
    await until(lambda: world.store.attempts_at(0))
    await worker.stop()
    await task
    assert crm.got == ["a/1"]


async def test_one_subject_does_not_starve_the_others() -> None:
    world, _ = await a_world()
    await track(world, *(f"hot/{n}" for n in range(300)), "other/1")
    crm = Crm()
    crm.shut_for = "hot"
    crm.open.clear()
    async with serving(world, crm):
        await until(lambda: "other/1" in crm.got)
        assert crm.got == ["hot/0", "other/1"]
        crm.open.set()
        await until(lambda: len(crm.got) == 301)
    assert crm.got[2:] == [f"hot/{n}" for n in range(1, 300)]


async def test_a_long_log_that_owes_nothing_leaves_others_their_turn() -> None:
    world, store = await a_world()
    refusing = Policy("shop", Settings(), (), (Mapping("crm", "webhook"),))
    await take_policy(world, refusing)
    for page in range(5):
        await track(world, *(f"s{n}/{page}" for n in range(500)))
    seen: list[int] = []
    worker = Worker(world, "crm", Crm(), QUICK)
    task = asyncio.create_task(worker.run())
    while worker.lane.read < 2500:
        seen.append(worker.lane.read)
        await asyncio.sleep(0)
    await until(lambda: store.position_for("crm") == 2500)
    await worker.stop()
    await task
    assert 1000 in seen


async def test_a_clock_that_was_wrong_once_does_not_stop_retries() -> None:
    ahead = Clock(Clock().now() + 365 * DAY)
    world, _ = await a_world(ahead)
    crm = Crm(Outcome(Grade.FAILED_RETRY, 503))
    async with serving(world, crm):
        await track(world, "a/1")
        await until(lambda: crm.got == ["a/1", "a/1"])


async def test_a_row_from_the_future_is_due_within_the_longest_backoff() -> None:
    world, store = await a_world()
    await track(world, "a/1")
    later = world.clock.now() + 365 * DAY
    row = Delivery("crm", 0, "d:a", "waiting", 1, later, later)
    await store.record_progress(Progress(destination="crm", position=1, put=(row,)))
    crm = Crm()
    async with serving(world, crm, Pace(backoff=Backoff(first_s=0.01, longest_s=0.05))):
        await until(lambda: crm.got == ["a/1"])


def test_a_timer_goes_on_while_the_clock_stands_still() -> None:
    ticks = [0]
    wrong = Clock(Clock().now() + DAY)
    timer = Timer(wrong, lambda: ticks[0])
    began = timer.now()
    ticks[0] = 3600 * 10**9
    assert 3599 * SECOND <= timer.now() - began <= 3601 * SECOND
    assert wrong.now() - began < SECOND


class Files(Crm):
    """Leaves something behind with every request."""

    def __init__(self, linger_s: float, batch_max: int = 100) -> None:
        super().__init__()
        self.spec = replace(self.spec, batch_max=batch_max, linger_s=linger_s)
        self.files: list[int] = []

    async def send(
        self, messages: Sequence[Message], last_look: LastLook | None = None
    ) -> Attempted:
        self.files.append(len(messages))
        return await super().send(messages, last_look)


async def test_events_wait_for_others_where_each_request_makes_a_file() -> None:
    world, _ = await a_world()
    files = Files(linger_s=0.2)
    async with serving(world, files):
        for name in ("a", "b", "c"):
            await track(world, name)
            await asyncio.sleep(0.01)
        assert files.files == []
        await until(lambda: len(files.got) == 3)

    assert files.files == [3]


async def test_a_full_batch_waits_for_nobody() -> None:
    world, _ = await a_world()
    files = Files(linger_s=3600, batch_max=2)
    async with serving(world, files):
        await track(world, "a", "b")
        await until(lambda: len(files.got) == 2)

    assert files.files == [2]


class Picky(Crm):
    """Takes track events alone, two at a time, and breaks on the first request."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = replace(self.spec, batch_max=2, events=frozenset({"track"}))
        self.broken = False

    async def send(
        self, messages: Sequence[Message], last_look: LastLook | None = None
    ) -> Attempted:
        sent = await super().send(messages, last_look)
        if not self.broken:
            self.broken = True
            raise RuntimeError("after the first byte")
        return sent


async def test_what_was_withheld_stays_so_though_the_rest_of_the_request_fails() -> None:
    world, store = await a_world()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    messages = [
        {"type": "identify", "messageId": "a/1", "anonymousId": "a"},
        {"type": "track", "event": "Seen", "messageId": "a/2", "anonymousId": "a"},
    ]
    await accept(world, Incoming(Origin("web", "public"), messages, Envelope(world.clock.now())))
    picky = Picky()
    async with serving(world, picky):
        await until(lambda: picky.got == ["a/2", "a/2"])
        await until(lambda: len(store.attempts_at(1)) == 2)

    assert [attempt.grade for _, attempt in store.attempts_at(0)] == ["unsupported"]
