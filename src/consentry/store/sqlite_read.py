"""Reading from SQLite: what is durable, whole rows at once, and no silence about what fails."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import apsw
import msgspec

from consentry.ports import StoreError
from consentry.store import sqlite_open
from consentry.store.sqlite_open import READ as SQL

P = ParamSpec("P")
R = TypeVar("R")


def reading(read: Callable[P, R]) -> Callable[P, R]:
    """A read that cannot be done, or that finds what cannot be decoded, is a StoreError."""

    @wraps(read)
    def reading(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return read(*args, **kwargs)
        except (apsw.Error, msgspec.MsgspecError) as error:
            raise StoreError(f"the store cannot be read: {error}") from error

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
