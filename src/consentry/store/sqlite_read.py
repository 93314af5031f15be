"""Reading from SQLite: what is durable, whole rows at once, and no silence about what fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import apsw

from consentry.ports import StoreError
from consentry.store import codec, pages, sqlite_open
from consentry.store.sqlite_open import READ as SQL

P = ParamSpec("P")
R = TypeVar("R")


def reading(read: Callable[P, R]) -> Callable[P, R]:
    """A read that cannot be done, or that finds what cannot be decoded, is a StoreError."""

    @wraps(read)
    def reading(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return read(*args, **kwargs)
        except (apsw.Error, *codec.UNREADABLE) as error:
            raise StoreError(f"the store cannot be read: {pages.why(error)}") from error

    return reading


class SqliteReader:
    """A connection for reading, used by one thread. Queries are those of ``sqlite_read.sql``."""

    def __init__(self, path: str) -> None:
        self._db = sqlite_open.connect_reader(path)

    def close(self) -> None:
        """Every read after it fails."""
        self._db.close()

    def rows(self, query: str, *bindings: Any) -> list[tuple[Any, ...]]:
        """All rows at once: a statement left open would go on seeing the past."""
        rows: list[tuple[Any, ...]] = self._db.execute(SQL[query], bindings).fetchall()
        return rows

    def row(self, query: str, *bindings: Any) -> tuple[Any, ...] | None:
        """The first row, if there is one."""
        rows = self.rows(query, *bindings)
        return rows[0] if rows else None

    def value(self, query: str, *bindings: Any) -> Any:
        """The first row's first column; None when there is no row."""
        rows = self.rows(query, *bindings)
        return rows[0][0] if rows else None


class SnapshotReader(SqliteReader):
    """Reads that stay in one snapshot for as long as it shows everything they ask for.

    SQLite drops a connection's pages whenever somebody has written, and events are written all
    the time. What a decision reads changes only with the ledger, so for as long as the ledger
    does not grow, the old snapshot is as good as a new one, and its pages stay in memory.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._size = -1
        self._since = 0.0

    def at(self, size: int) -> SnapshotReader:
        """This reader, with a snapshot that shows a ledger of ``size`` records at least."""
        if size != self._size:
            self.let_go()
            self._db.execute("BEGIN")
            self._size, self._since = size, time.monotonic()
        return self

    def let_go(self, older_than_s: float = 0.0) -> None:
        """End the snapshot: while it is held, the write-ahead log cannot start anew."""
        if self._size >= 0 and time.monotonic() - self._since >= older_than_s:
            self._size = -1
            if self._db.in_transaction:  # SQLite ends one by itself where reading failed
                self._db.execute("COMMIT")
