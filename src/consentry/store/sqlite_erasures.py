"""Erasures in SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import apsw

from consentry.core.moment import Moment
from consentry.erasures import Erasure, Shredded
from consentry.ports import StoreUnavailable
from consentry.store import pages, sqlite_shred
from consentry.store.codec import RowKeys
from consentry.store.sqlite_read import SqliteReader, reading

FOLD_WITHIN_MS = 200
"""How long folding the write-ahead log back may keep writers waiting for somebody who reads."""


class SqliteErasures:
    """Implements ``consentry.erasures.Erasures``.

    ``submit`` runs a task in the store's writer. ``forget`` is told which groups of events, by
    their first position, are no longer what was read; whatever else was read is stale too.
    """

    def __init__(
        self,
        path: str,
        read: SqliteReader,
        keys: RowKeys,
        submit: Callable[[Any], Awaitable[Any]],
        forget: Callable[[Sequence[int]], None],
    ) -> None:
        self._path = path
        self._read = read
        self._keys = keys
        self._submit = submit
        self._forget = forget

    @reading
    def unfinished(self) -> Sequence[Erasure]:
        rows = self._read.rows("erasures")
        return [Erasure(record_id, seq, at, bool(erased)) for record_id, seq, at, erased in rows]

    async def shred(self, erasure_id: str, at: Moment) -> Shredded:
        task = partial(sqlite_shred.step, keys=self._keys, erasure_id=erasure_id, at=at)
        part: sqlite_shred.Part = await self._submit(task)
        self._forget(part.firsts)
        return part.shredded

    async def finish(self, erasure_id: str) -> bool:
        self._forget(())
        if not await asyncio.to_thread(self._fold_back):
            return False
        await self._submit(partial(sqlite_shred.forget, erasure_id=erasure_id))
        return True

    def _fold_back(self) -> bool:
        """Whether nothing old is left in the write-ahead log: what was erased is in there too.

        The first round makes nobody wait; after it, whoever begins to read does not need the log,
        so the second one has to wait for few.
        """
        try:
            db = pages.connect(self._path)
            try:
                db.set_busy_timeout(FOLD_WITHIN_MS)
                db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                found: Any = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                db.close()
        except apsw.BusyError:
            return False
        except apsw.Error as error:
            raise StoreUnavailable(f"the write-ahead log cannot be folded back: {error}") from error
        return not found[0]  # whether somebody was in the way
