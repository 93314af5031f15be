"""What a loop has begun and does not wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class UnderWay:
    """Tasks that belong to one loop. A fault in one is said aloud and ends nothing else.

    ``whose`` names the loop to a person. ``ended`` is called whenever one of them is over.
    """

    def __init__(self, whose: str, ended: Callable[[], None]) -> None:
        self._whose = whose
        self._ended = ended
        self._tasks: set[asyncio.Task[object]] = set()

    def begin(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        self._ended()
        if not task.cancelled() and task.exception() is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": self._whose, "exception": task.exception(), "task": task}
            )

    async def stop(self, grace_s: float) -> None:
        """Wait for them, at most ``grace_s`` seconds; then cancel what is left, and wait so long."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=grace_s)
        if left := set(self._tasks):
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=grace_s)
