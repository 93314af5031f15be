"""Leaks in SQLite."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import apsw

from consentry.core.leak import OTHER, Leak, Via, narrowed
from consentry.core.moment import Moment
from consentry.leaks import MOST_KINDS, MOST_OF_A_HOST, LeakCount
from consentry.store.sqlite_read import SqliteReader, reading
from consentry.store.sqlite_write import SQL


class SqliteLeaks:
    """Implements ``consentry.leaks.Leaks``. ``submit`` runs a task in the store's writer."""

    def __init__(self, read: SqliteReader, submit: Callable[[Any], Awaitable[Any]]) -> None:
        self._read = read
        self._submit = submit

    async def count(self, source: str, leaks: Mapping[Leak, int], most: int, at: Moment) -> None:
        await self._submit(partial(_count, source=source, leaks=dict(leaks), most=most, at=at))

    @reading
    def since(self, moment: Moment) -> Sequence[LeakCount]:
        return [
            LeakCount(source, Leak(host, kind, page, Via(via), bool(stopped)), count, first, last)
            for source, host, kind, page, via, stopped, count, first, last in self._read.rows(
                "leaks_since", moment
            )
        ]

    async def forget(self, before: Moment) -> None:
        await self._submit(partial(_forget, before=before))


def _count(
    db: apsw.Connection, source: str, leaks: Mapping[Leak, int], most: int, at: Moment
) -> None:
    for leak, count in leaks.items():
        row = _row(source, _seat(db, source, leak, most))
        db.execute(SQL["count_leak"], (*row, count, at, at))


def _seat(db: apsw.Connection, source: str, leak: Leak, most: int) -> Leak:
    """The row that a leak is counted in."""
    *tried, last = narrowed(leak)
    for each in tried:
        if db.execute(SQL["has_leak"], _row(source, each)).get is not None:
            return each
        all_rows, of_host = next(db.execute(SQL["leak_rows"], (source, leak.host)))
        room = MOST_OF_A_HOST + MOST_KINDS * (each.page == OTHER)
        if all_rows < most and of_host < room:
            return each
    return last


def _row(source: str, leak: Leak) -> tuple[str, str, str, str, str, int]:
    return (source, leak.host, leak.kind, leak.page, leak.via.value, int(leak.stopped))


def _forget(db: apsw.Connection, before: Moment) -> None:
    db.execute(SQL["forget_leaks"], (before,))
