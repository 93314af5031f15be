"""The composition root: what a changed configuration does to the workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from consentry import compose
from consentry.clock import Clock
from consentry.config import Config
from consentry.core.delivery import Grade, Outcome
from consentry.core.event import Envelope
from consentry.core.moment import DAY
from consentry.destinations.message import Attempted, LastLook, Message
from consentry.destinations.spec import ALL_EVENTS, Spec
from consentry.flow.accept import Incoming, accept
from consentry.flow.records import Origin
from consentry.ports import StoreUnavailable
from consentry.store.memory import MemoryStore
from tests.config.samples import read

CONFIG = """\
[workspace]
name = "Acme"
[store]
url = "{store}"
[server]
admin_key = "env:ADMIN"
allow_private_destinations = true
[[category]]
id = "analytics"
[[category]]
id = "advertising"
[[source]]
name = "website"
write_key = "wk_website"
[[destination]]
name = "crm"
kind = "webhook"
exempt = "{reason}"
url = "http://127.0.0.1:9/crm"
secret = "env:HOOK"
[[destination]]
name = "ads"
kind = "webhook"
exempt = "{reason}"
url = "http://127.0.0.1:9/ads"
secret = "env:HOOK"
"""


class Receiver:
    """An address that takes its time until ``open`` is set."""

    def __init__(self) -> None:
        self.spec = Spec("webhook", "Webhook", 1, 10**6, ALL_EVENTS, "", Grade.ACCEPTED)
        self.got: list[str] = []
        self.open = asyncio.Event()
        self.answer = Outcome(Grade.ACCEPTED, 200)

    async def send(
        self, messages: Sequence[Message], last_look: LastLook | None = None
    ) -> Attempted:
        self.got += [message.message_id for message in messages]
        await self.open.wait()
        return Attempted((self.answer,) * len(messages))

    async def close(self) -> None:
        pass


def config(reason: str, store: str = "memory://") -> Config:
    return read(CONFIG.format(reason=reason, store=store))


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(5.0):
        while not holds():
            await asyncio.sleep(0.005)


@pytest.fixture
async def running() -> AsyncIterator[compose.Running]:
    started = await compose.start(config("needed"))
    yield started
    await started.stop()


async def track(running: compose.Running, message_id: str) -> None:
    message = {"type": "track", "event": "e", "anonymousId": message_id, "messageId": message_id}
    envelope = Envelope(running.world.clock.now())
    await accept(running.world, Incoming(Origin("website", "public"), [message], envelope))


async def test_no_old_worker_starts_anything_once_a_change_is_under_way(
    running: compose.Running,
) -> None:
    crm, ads = Receiver(), Receiver()
    ads.open.set()
    running.workers["crm"].connected, running.workers["ads"].connected = crm, ads
    await track(running, "m1")
    await until(lambda: crm.got and ads.got)
    before = running.world.policy

    taking = asyncio.create_task(running.take_config(config("needed for something else")))
    await asyncio.sleep(0.02)
    await track(running, "m2")
    await asyncio.sleep(0.02)
    assert running.world.policy is before  # crm is still on the wire, by the old mapping
    crm.open.set()
    await taking

    assert running.world.policy is not before
    assert (crm.got, ads.got) == (["m1"], ["m1"])
    await until(lambda: running.world.store.attempts_at(1))  # by the new workers


async def test_a_change_that_cannot_be_recorded_leaves_the_old_workers(
    running: compose.Running,
) -> None:
    store = running.world.store
    assert isinstance(store, MemoryStore)
    before = running.world.policy
    await until(lambda: store.position_for("ads") is not None)
    store.fail_next = StoreUnavailable("disk full")

    with pytest.raises(StoreUnavailable):
        await running.take_config(config("needed for something else"))

    assert running.world.policy is before
    assert sorted(running.workers) == ["ads", "crm"]
    with pytest.raises(StoreUnavailable):
        await running.take_config(config("needed for something else"))
    await store.end_pause("nobody")  # the next write succeeds
    await running.take_config(config("needed for something else"))
    assert running.world.policy is not before
    assert sorted(running.workers) == ["ads", "crm"]


async def test_a_clock_behind_the_store_is_said_at_start(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/acme.db"
    first = await compose.start(config("needed", url))
    first.world.clock = Clock(first.world.clock.now() + 365 * DAY)
    await first.take_config(config("needed for something else", url))
    await first.stop()

    with capture_logs() as logs:
        second = await compose.start(config("needed", url))
        await second.stop()

    said = [entry for entry in logs if entry["event"] == "clock_behind_store"]
    assert [entry["seconds"] // 86_400 for entry in said] in ([364], [365])


async def test_rows_are_taken_up_again_durably_or_not_said_to_be(
    running: compose.Running,
) -> None:
    crm, ads = Receiver(), Receiver()
    crm.answer = ads.answer = Outcome(Grade.FAILED_FINAL, 400)
    crm.open.set()
    ads.open.set()
    store = running.world.store
    assert isinstance(store, MemoryStore)
    running.workers["crm"].connected, running.workers["ads"].connected = crm, ads
    await track(running, "m1")
    await until(lambda: len(store.deliveries(None, "dead")) == 2)
    crm.answer = ads.answer = Outcome(Grade.ACCEPTED, 200)
    rows = list(store.deliveries(None, "dead"))
    store.fail_next = StoreUnavailable("disk full")

    with pytest.raises(StoreUnavailable):
        await running.requeue(rows)

    await until(lambda: not store.deliveries())  # they are tried all the same, later
    assert crm.got == ads.got == ["m1", "m1"]
