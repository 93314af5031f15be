"""An event loop whose time is virtual: nothing sleeps, and a seed gives the same run again.

When nothing is ready, time jumps to the next timer. Nothing else may happen in it: no thread,
no socket. A loop that has nothing left to wait for is a deadlock, and says so.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any


class Deadlock(AssertionError):
    """Everybody waits for somebody, and no timer is set."""


class _Time:
    """Stands where the selector of a real loop stands: it waits, by letting time pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def select(self, timeout: float | None) -> Sequence[Any]:
        if timeout is None:
            raise Deadlock("nothing is ready and nothing will be")
        self.now += timeout
        return ()


class VirtualLoop(asyncio.BaseEventLoop):
    """``shuffled``: what became ready at one moment runs in an order drawn by chance.

    ``busy_s``: each look at the clock takes up to so many seconds, as if the processor were
    slow, so that long work yields to others where it is meant to.
    """

    def __init__(self, chance: random.Random, *, shuffled: bool = False) -> None:
        super().__init__()
        self._selector = _Time()
        self._chance = chance
        self.shuffled = shuffled
        self.busy_s = 0.0
        self.faults: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.faults.append(context))

    def time(self) -> float:
        if self.busy_s:
            self._selector.now += self._chance.random() * self.busy_s
        return self._selector.now

    def elapsed_ns(self) -> int:
        """Nanoseconds since it began."""
        return round(self._selector.now * 1e6) * 1000

    def _run_once(self) -> None:
        if self.shuffled and len(self._ready) > 1:
            waiting = list(self._ready)
            self._chance.shuffle(waiting)
            self._ready.clear()
            self._ready.extend(waiting)
        super()._run_once()

    def _process_events(self, event_list: Sequence[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Only threads would need it."""
