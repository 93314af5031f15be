"""The feed: what just happened, for those who watch. Nobody who enforces listens to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

LONGEST_BACKLOG = 1000


class Feed:
    """Bounded queues, one per watcher; a slow watcher loses the oldest and is told how many."""

    def __init__(self) -> None:
        self._watchers: set[asyncio.Queue[dict[str, Any]]] = set()

    @property
    def watched(self) -> bool:
        """Whether anybody listens; a flow need not describe what nobody reads."""
        return bool(self._watchers)

    def tell(self, happened: dict[str, Any]) -> None:
        """Never waits. ``happened`` has a ``kind`` and JSON values."""
        for queue in self._watchers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(happened)

    async def watch(self) -> AsyncIterator[dict[str, Any]]:
        """Everything from now on."""
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(LONGEST_BACKLOG)
        self._watchers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._watchers.discard(queue)
