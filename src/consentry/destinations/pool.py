"""The kept connections of the outbound client, and how many there may be.

What is bounded are exchanges, in all and for each origin: one slow destination must not take
every connection. Whoever finds none free waits in line. A connection that nobody uses is
closed after a while.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from weakref import WeakSet

from consentry.destinations.wire import Connection

CONNECTIONS = 256
CONNECTIONS_PER_HOST = 32
KEEPALIVE_S = 30.0

_Waiting = tuple[float, asyncio.Future[bool]]  # until when


class Pool:
    """Places and idle connections, by origin. ``enter`` a place, and ``leave`` it at the end."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        limit: int = CONNECTIONS,
        per_origin: int = CONNECTIONS_PER_HOST,
        keepalive_s: float = KEEPALIVE_S,
    ) -> None:
        self._loop = loop
        self._limit = limit
        self._per_origin = per_origin
        self._keepalive_s = keepalive_s
        self._used: dict[str, int] = defaultdict(int)
        self._all = 0
        self._lines: dict[str, deque[_Waiting]] = {}
        self._overdue: asyncio.TimerHandle | None = None
        self._idle: dict[str, list[Connection]] = {}
        self._opened: WeakSet[Connection] = WeakSet()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    def try_enter(self, origin: str) -> bool:
        """Take a place at once, if one is free and nobody waits for it."""
        if origin in self._lines or not self._room(origin):
            return False
        self._count(origin, 1)
        return True

    async def enter(self, origin: str, deadline: float) -> bool:
        """Wait in line for a place; False when there was none by then, as the loop counts."""
        waiting: asyncio.Future[bool] = self._loop.create_future()
        self._lines.setdefault(origin, deque()).append((deadline, waiting))
        self._admit(origin)
        self._watch(deadline)
        try:
            return await waiting
        except BaseException:
            if waiting.done() and not waiting.cancelled() and waiting.result():
                self.leave(origin)  # it was given to us as we went
            raise

    def _watch(self, deadline: float) -> None:
        """One timer for all who wait: it comes up when the first of them may wait no longer."""
        if self._overdue is None or self._overdue.when() > deadline:
            if self._overdue is not None:
                self._overdue.cancel()
            self._overdue = self._loop.call_at(deadline, self._turn_away)

    def _turn_away(self) -> None:
        """Those who may wait no longer."""
        self._overdue = None
        now = self._loop.time()
        for origin, line in list(self._lines.items()):
            left = deque(one for one in line if one[0] > now and not one[1].done())
            for deadline, waiting in line:
                if deadline <= now and not waiting.done():
                    waiting.set_result(False)
            if left:
                self._lines[origin] = left
                self._watch(min(deadline for deadline, _ in left))
            else:
                del self._lines[origin]

    def leave(self, origin: str, connection: Connection | None = None) -> None:
        """Give the place up; ``connection`` is kept for others if it may be used again."""
        if connection is not None:
            self._keep(origin, connection)
        self._count(origin, -1)
        self._admit(origin)
        if self._lines and self._all < self._limit:
            for other in list(self._lines):
                self._admit(other)

    def add(self, connection: Connection) -> None:
        """A new one: it ends with the pool."""
        self._opened.add(connection)

    def idle(self, origin: str) -> Connection | None:
        """A kept connection that may be used, the one that was used last."""
        kept = self._idle.get(origin)
        while kept:
            connection = kept.pop()
            if not connection.free:
                continue
            if self._loop.time() - connection.idle_since < self._keepalive_s:
                return connection
            connection.abort()
        return None

    def close(self) -> None:
        """End every connection, and each that comes back."""
        self._closed = True
        for timer in (self._sweep, self._overdue):
            if timer is not None:
                timer.cancel()
        for line in self._lines.values():
            for _, waiting in line:
                if not waiting.done():
                    waiting.set_result(False)
        self._lines.clear()
        for connection in list(self._opened):
            connection.abort()
        self._idle.clear()

    def _room(self, origin: str) -> bool:
        return self._used.get(origin, 0) < self._per_origin and self._all < self._limit

    def _count(self, origin: str, change: int) -> None:
        self._all += change
        self._used[origin] += change
        if not self._used[origin]:
            del self._used[origin]

    def _admit(self, origin: str) -> None:
        """Let in who waits first, as long as there is room."""
        line = self._lines.get(origin)
        while line and self._room(origin):
            _, waiting = line.popleft()
            if not waiting.done():
                self._count(origin, 1)
                waiting.set_result(True)
        if line is not None and not line:
            del self._lines[origin]

    def _keep(self, origin: str, connection: Connection) -> None:
        if not connection.free:
            return
        if self._closed:
            connection.abort()
            return
        connection.idle_since = self._loop.time()
        self._idle.setdefault(origin, []).append(connection)
        if self._sweep is None:
            self._sweep = self._loop.call_later(self._keepalive_s, self._close_old)

    def _close_old(self) -> None:
        self._sweep = None
        oldest = self._loop.time() - self._keepalive_s
        for origin, kept in list(self._idle.items()):
            left = [one for one in kept if one.free and one.idle_since > oldest]
            for connection in kept:
                if connection not in left:
                    connection.abort()
            if left:
                self._idle[origin] = left
            else:
                del self._idle[origin]
        if self._idle:
            self._sweep = self._loop.call_later(self._keepalive_s, self._close_old)
