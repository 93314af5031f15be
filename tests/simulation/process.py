"""One life of the server, from its start to its crash or its orderly end, over a durable store."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from consentry.clock import Clock
from consentry.compose import Running, begin
from consentry.config import Config
from consentry.core.choice import Answer
from consentry.core.policy import Policy
from consentry.destinations.registry import Kind
from consentry.flow.erase import Erasing, Status, erase, status_of
from consentry.flow.explain import explain_topic
from consentry.flow.heard import take
from consentry.flow.record_choice import Answered, withdrawal_of
from consentry.flow.subjects import Subjects
from consentry.flow.world import World
from consentry.ports import StoreError
from consentry.store.memory import MemoryStore
from tests.simulation.destination import Hostile, Line
from tests.simulation.policies import WORKSPACE, Options
from tests.simulation.store import Disk

_ORDERS: WeakKeyDictionary[MemoryStore, Iterator[int]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Parts:
    """What a process is made of; a seeded defect is another one of these."""

    disk: type[Disk] = Disk
    line: type[Line] = Line
    subjects: type[Subjects] = Subjects
    clock: type[Clock] = Clock
    take: Callable[..., Coroutine[Any, Any, list[Answered | None]]] = take
    erase: Callable[..., Coroutine[Any, Any, Erasing]] = erase
    status_of: Callable[..., Status] = status_of
    explain_topic: Callable[..., dict[str, Any]] = explain_topic
    withdraw: Callable[..., Answer] = withdrawal_of


class NoWire:
    """Stands where the client for HTTP stands: nothing here may speak it."""

    async def close(self) -> None:
        """Nothing is held."""


class Process:
    """``up`` once its workers run, until it is gone."""

    def __init__(
        self,
        parts: Parts,
        disk: Disk,
        hostiles: dict[str, Hostile],
        chance: random.Random,
        wall_ns: Callable[[], int],
        elapsed_ns: Callable[[], int],
    ) -> None:
        self.disk = disk
        self.up = False
        self.gone = False
        self.clock = parts.clock(disk.newest, wall_ns=wall_ns, elapsed_ns=elapsed_ns)
        self.world = World(
            disk,
            parts.subjects(disk),
            self.clock,
            Policy(WORKSPACE),
            0,
            new_id=lambda prefix: _new_id(prefix, chance, disk),
            new_salt=lambda: chance.randbytes(32),
        )
        self._kinds: dict[str, Any] = {
            name: Kind(
                parts.line(hostile, lambda: True).spec,
                Options,
                lambda chosen, _: parts.line(hostiles[chosen.name], lambda: not self.gone),
                hostile.orders(),
            )
            for name, hostile in hostiles.items()
        }
        self._chance = chance
        self.running: Running | None = None

    async def begin(self, config: Config) -> None:
        """As ``compose.start`` does; a supervisor starts it again while the disk fails."""
        self._serving = asyncio.ensure_future(self.disk.serve())
        client: Any = NoWire()
        self.running = Running(config, self.world, client, self._kinds, self._chance.random)
        while True:
            try:
                await begin(self.running, "")
                break
            except StoreError:
                await asyncio.sleep(1.0)
        self.up = True

    async def stop(self) -> None:
        """An orderly end: what is on the wire is waited for, and written down."""
        assert self.running is not None
        await self.running.stop()
        self.up = False
        self.gone = True
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)

    async def crash(self) -> None:
        """Everything stops where it stands; nobody cleans up anything that lasts."""
        self.up = False
        self.gone = True
        self.disk.crash()
        me = asyncio.current_task()
        while left := [task for task in asyncio.all_tasks() if task is not me]:
            for task in sorted(left, key=_by_age):
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)


def _new_id(prefix: str, chance: random.Random, disk: Disk) -> str:
    """By chance; an order's is its number on this disk, so that owing one moves no seed."""
    if prefix == "ord":
        return f"ord_{next(_ORDERS.setdefault(disk.kept, itertools.count()))}"
    return f"{prefix}_{chance.getrandbits(64):016x}"


def _by_age(task: asyncio.Task[Any]) -> tuple[int, str]:
    """Task-9 before Task-10, whatever ran in this interpreter before."""
    return len(task.get_name()), task.get_name()
