"""What a worker has still to write: attempts, rows, and how far it got in the log.

Many attempts are written at once. A crash before that makes a destination see again what it took
since: at least once is what is promised. What could not be written is kept and tried again, and
meanwhile ``unwritten`` says so: nothing more may start then.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from consentry.flow.lane import Lane
from consentry.ports import Attempt, Progress, Store, StoreError

WRITE_EVERY_S = 0.02
"""How long what was tried may wait to be written with what is tried meanwhile. Every worker writes
at the same instants, so that all of them share one commit."""
MOST_UNWRITTEN = 2_000


class Writing:
    """The attempts of one worker, and the position of its lane, on their way to the store.

    ``failed`` is called when something could not be written, ``done`` after every write.
    """

    def __init__(
        self, store: Store, lane: Lane, failed: Callable[[], None], done: Callable[[], None]
    ) -> None:
        self.unwritten = False
        self.written = -1
        """The position that the store knows."""
        self._store = store
        self._lane = lane
        self._failed = failed
        self._done = done
        self._attempts: list[Attempt] = []
        self._lock = asyncio.Lock()
        self._writes: set[asyncio.Task[bool]] = set()
        self._soon: asyncio.TimerHandle | None = None
        self._opened = False

    def open(self, position: int) -> None:
        """From here on: before it the position was not known, and nothing was done."""
        self.written = position
        self._opened = True

    def add(self, attempt: Attempt) -> None:
        self._attempts.append(attempt)

    @property
    def full(self) -> bool:
        """Whether so much waits that nothing more should start."""
        return len(self._attempts) >= MOST_UNWRITTEN

    @property
    def under_way(self) -> bool:
        return bool(self._writes)

    @property
    def behind(self) -> int:
        """How many events were passed, or rows changed, that the store does not know of."""
        return max(self._lane.position - self.written, self._lane.changed)

    def soon(self, *, alone: bool) -> None:
        """Write at the next instant; at once when nothing more is on the wire to wait for."""
        if self._soon is None:
            loop = asyncio.get_running_loop()
            now = loop.time()
            at = now if alone else (math.floor(now / WRITE_EVERY_S) + 1) * WRITE_EVERY_S
            self._soon = loop.call_at(at, self._due)

    async def write(self) -> bool:
        """Write what is new; False when it could not be written, and is still to be.

        Whoever comes while a write is under way joins the next one. Whoever is cancelled
        does not take the write along: whether it happened would not be known.
        """
        return await asyncio.shield(self._begin())

    async def stop(self, grace_s: float) -> None:
        """Write the rest; what is not written after ``grace_s`` seconds is given up."""
        if self._soon is not None:
            self._soon.cancel()
        try:
            async with asyncio.timeout(grace_s):
                await self.write()
        except TimeoutError:
            pass
        for write in set(self._writes):
            write.cancel()

    def _due(self) -> None:
        self._soon = None
        self._begin().add_done_callback(lambda _write: self._done())

    def _begin(self) -> asyncio.Task[bool]:
        write = asyncio.ensure_future(self._write_new())
        self._writes.add(write)
        write.add_done_callback(self._writes.discard)
        return write

    async def _write_new(self) -> bool:
        lane = self._lane
        async with self._lock:
            position = lane.position
            if not self._opened:
                return True
            put, settled = lane.changes()
            attempts, self._attempts = self._attempts, []
            if not attempts and not put and not settled and position == self.written:
                self.unwritten = False
                return True
            progress = Progress(
                destination=lane.name,
                position=position,
                attempts=tuple(attempts),
                put=put,
                settle=settled,
            )
            try:
                await self._store.record_progress(progress)
            except BaseException as error:
                self._attempts = attempts + self._attempts
                lane.unwritten(put, settled)
                self.unwritten = True
                self._failed()
                if not isinstance(error, StoreError):
                    raise
                return False
            self.written = position
            self.unwritten = False
            return True
