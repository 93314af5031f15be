"""The ledger in a store's SQLite file, opened for reading only.

It needs no lock and may be read while a server serves it: records are only ever appended.
So one statement says where the ledger ends, and everything up to there is then read in
pages. A long read transaction would keep the server from tidying up its write-ahead log.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import apsw

from consentry.cli.group import FAILED, UNREACHABLE, CliError
from consentry.core.record import Facts, Merge, Node
from consentry.ledger.entry import LedgerRecord
from consentry.ledger.verify import Entry
from consentry.ports import StoreError
from consentry.store import codec, pages
from consentry.store.record_file import NoStore, RecordFile
from consentry.store.sqlite_open import READ

_PAGE = 500
_END = """
SELECT (SELECT coalesce(max(seq) + 1, 0) FROM record),
       (SELECT coalesce(max(size), 0) FROM checkpoint)
"""
_NOTES = "SELECT size, note FROM checkpoint WHERE size > ? AND size <= ? ORDER BY size LIMIT ?"


class LedgerFile:
    """One store file. What cannot be read is a CliError with exit code 4.

    ``end`` is how many records there were when it was opened; later ones are not looked at.
    """

    def __init__(self, path: str) -> None:
        if not os.path.isfile(path):
            raise CliError(f"there is no store at {path}: name it with --store", UNREACHABLE)
        self.path = path
        with self._readable():
            self._file = RecordFile(path)
            self._db = self._file.db
            self.keys = self._file.keys
            row: Any = self._db.execute(_END).fetchone()
            self.end: int = row[0]
            self._newest_head: int = row[1]

    @property
    def checked(self) -> bool:
        """Whether its pages have checksums; those of an earlier version get them when it is served."""
        return pages.have_sums(self._db)

    def read_all(self) -> None:
        """Read every page, and compare it with its checksum. A CliError for a damaged one."""
        with self._readable():
            found = pages.read_all(self._db)
        if found is not None:
            raise CliError(f"{self.path} is damaged: {found}", FAILED)

    def row(self, sql: str, bindings: tuple[Any, ...] = ()) -> Any:
        """The first row of a query; None when it has none."""
        with self._readable():
            return self._db.execute(sql, bindings).fetchone()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    # -- what a decision reads ----------------------------------------------------------------
    def knows(self, node: Node) -> bool:
        """As ``ports.Store.knows``."""
        with self._readable():
            return self._file.knows(node)

    def facts_of(self, node: Node) -> Facts:
        """As ``ports.Store.facts_of``."""
        with self._readable():
            return self._file.facts_of(node)

    def links_of(self, node: Node) -> tuple[Node, ...]:
        """As ``ports.Store.links_of``."""
        with self._readable():
            return self._file.links_of(node)

    def merges_of(self, user_id: str) -> tuple[Merge, ...]:
        """As ``ports.Store.merges_of``."""
        with self._readable():
            return self._file.merges_of(user_id)

    def record(self, record_id: str) -> LedgerRecord | None:
        """As ``ports.Store.record``."""
        with self._readable():
            return self._file.record(record_id)

    def records_of(
        self, nodes: Iterable[Node], before: int | None = None, limit: int = 100
    ) -> Sequence[LedgerRecord]:
        """As ``ports.Store.records_of``."""
        with self._readable():
            return self._file.records_of(nodes, before, limit)

    def size(self) -> int:
        """As ``RecordFile.size``."""
        with self._readable():
            return self._file.size()

    # -- the ledger -----------------------------------------------------------------------------
    def entries(self, first: int = 0) -> Iterator[Entry]:
        """Every record from ``first`` on; one that cannot be read says so in its ``flaw``."""
        position = first
        while True:
            with self._readable():
                rows = self._db.execute(READ["ledger"], (position, _PAGE)).fetchall()
            for seq, body, leaf in rows:
                if seq >= self.end:
                    return
                yield _entry(seq, body, leaf)
            if not rows:
                return
            position = rows[-1][0] + 1

    def notes(self) -> Iterator[str]:
        """Every signed tree head, smallest first."""
        size = -1
        while True:
            with self._readable():
                rows = self._db.execute(_NOTES, (size, self._newest_head, _PAGE)).fetchall()
            if not rows:
                return
            size = rows[-1][0]
            yield from (note for _, note in rows)

    def newest_note(self) -> str | None:
        """The latest signed tree head; None for an empty ledger."""
        row = self.row(READ["checkpoint"])
        return None if row is None else str(row[0])

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (apsw.Error, *codec.UNREADABLE) as error:
            raise CliError(f"{self.path} cannot be read: {pages.why(error)}", UNREACHABLE) from None
        except NoStore as error:
            raise CliError(f"{error}: name another", UNREACHABLE) from None
        except StoreError as error:
            if isinstance(error.__cause__, apsw.Error):
                text = f"{self.path} cannot be read: {pages.why(error.__cause__)}"
            else:
                text = f"{self.path}: {error}: run `consentry ledger verify`"
            raise CliError(text, UNREACHABLE) from None


def _entry(seq: int, body: bytes, leaf: bytes) -> Entry:
    try:
        found: LedgerRecord = codec.ledger_record(seq, body, leaf)
    except codec.UNREADABLE as error:
        return Entry(seq, leaf, flaw=str(error))
    return Entry(seq, leaf, found.record, found.record.record_id, found.record.type.value)
