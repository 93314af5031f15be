"""The ledger in a store's SQLite file, opened for reading only.

It needs no lock and may be read while a server serves it: records are only ever appended.
So one statement says where the ledger ends, and everything up to there is then read in
pages. A long read transaction would keep the server from tidying up its write-ahead log.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import apsw
import msgspec

from consentry.cli.group import UNREACHABLE, CliError
from consentry.core.record import Facts, Merge, Node
from consentry.ledger.entry import LedgerRecord, Record
from consentry.ledger.verify import Entry, Fault
from consentry.ports import StoreError
from consentry.store import codec
from consentry.store.codec import RowKeys
from consentry.store.known import KnownRecords
from consentry.store.naming import account, nodes_named
from consentry.store.sqlite_open import READ
from consentry.store.statements import migrations

_PAGE = 500
_BUSY_MS = 5_000
_APPLICATION_ID = 0x434F4E53  # what the store writes into the file's header
_END = """
SELECT (SELECT coalesce(max(seq) + 1, 0) FROM record),
       (SELECT coalesce(max(size), 0) FROM checkpoint)
"""
_NOTES = "SELECT size, note FROM checkpoint WHERE size > ? AND size <= ? ORDER BY size LIMIT ?"
_FACT = "SELECT body FROM fact WHERE node = ? AND seq = ? AND n = ?"
_LINK = "SELECT seq FROM link WHERE node = ? AND other = ?"
_MERGE = "SELECT 1 FROM merge WHERE node = ? AND seq = ?"
_NAMED = "SELECT 1 FROM record_node WHERE node = ? AND seq = ?"
_COUNTS = """
SELECT (SELECT count(*) FROM record_node WHERE seq < ?1),
       (SELECT count(*) FROM fact WHERE seq < ?1),
       (SELECT count(*) FROM link WHERE seq < ?1),
       (SELECT count(*) FROM merge WHERE seq < ?1)
"""


_BEYOND = """
WITH ends AS (SELECT coalesce(max(seq), -1) AS last FROM record)
SELECT (SELECT count(*) FROM record_node WHERE seq > last),
       (SELECT count(*) FROM fact WHERE seq > last),
       (SELECT count(*) FROM link WHERE seq > last),
       (SELECT count(*) FROM merge WHERE seq > last)
FROM ends
"""


class LedgerFile:
    """One store file. What cannot be read is a CliError with exit code 4.

    ``end`` is how many records there were when it was opened; later ones are not looked at.
    """

    def __init__(self, path: str) -> None:
        if not os.path.isfile(path):
            raise CliError(f"there is no store at {path}: name it with --store", UNREACHABLE)
        self.path = path
        with self._readable():
            self._db: Any = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
            self._db.set_busy_timeout(_BUSY_MS)
            self._check_owner()
            row: Any = self._db.execute(_END).fetchone()
            self.end: int = row[0]
            self._newest_head: int = row[1]
            self.keys = RowKeys(self._db.execute(READ["meta"], ("row_key",)).get or b"")
            self._known = KnownRecords(self._rows, self.keys)

    def row(self, sql: str, bindings: tuple[Any, ...] = ()) -> Any:
        """The first row of a query; None when it has none."""
        with self._readable():
            return self._db.execute(sql, bindings).fetchone()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    # -- what a decision reads ----------------------------------------------------------------
    def knows(self, node: Node) -> bool:
        """As ``ports.Store.knows``."""
        with self._readable():
            return self._known.knows(node)

    def facts_of(self, node: Node) -> Facts:
        """As ``ports.Store.facts_of``."""
        with self._readable():
            return self._known.facts_of(node)

    def links_of(self, node: Node) -> tuple[Node, ...]:
        """As ``ports.Store.links_of``."""
        with self._readable():
            return self._known.links_of(node)

    def merges_of(self, user_id: str) -> tuple[Merge, ...]:
        """As ``ports.Store.merges_of``."""
        with self._readable():
            return self._known.merges_of(user_id)

    def _rows(self, query: str, *bindings: Any) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._db.execute(READ[query], bindings).fetchall()
        return rows

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

    def _check_owner(self) -> None:
        if self._db.execute("PRAGMA application_id").get != _APPLICATION_ID:
            raise CliError(f"{self.path} is no store of Consentry: name another", UNREACHABLE)
        version, known = self._db.execute("PRAGMA user_version").get, len(migrations())
        if version > known:
            raise CliError(
                f"{self.path} has schema {version} and this version knows {known}: "
                "use the version that wrote it",
                UNREACHABLE,
            )

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (apsw.Error, msgspec.MsgspecError) as error:
            raise CliError(f"{self.path} cannot be read: {error}", UNREACHABLE) from None
        except StoreError as error:
            text = f"{self.path}: {error}: run `consentry ledger verify`"
            raise CliError(text, UNREACHABLE) from None

    def index_check(self) -> IndexCheck:
        """A check that what decisions read is what the records say."""
        return IndexCheck(self)


class IndexCheck:
    """Whether the rows that decisions read are exactly those that the records make.

    The tree covers records. Decisions read facts, links and merges, which were copied out of
    the records into rows of their own, so those are compared too.
    """

    def __init__(self, file: LedgerFile) -> None:
        self._file = file
        self._keys = file.keys
        self._names = self._facts = self._links = self._merges = 0
        self.faults: list[Fault] = []

    def take(self, seq: int, record: Record) -> None:
        """The next record."""
        for node in nodes_named(record):
            self._names += 1
            if self._one(_NAMED, (self._keys.node(node), seq)) is None:
                self._fault("identifier", seq)
        for n, (node, fact) in enumerate(record.facts):
            self._facts += 1
            row = self._one(_FACT, (self._keys.node(node), seq, n))
            if row != codec.encode(fact):
                self._fault("fact", seq)
        self._take_links(seq, record)
        if record.merge is not None:
            for user in {record.merge.left, record.merge.right}:
                self._merges += 1
                if self._one(_MERGE, (self._keys.node(account(user)), seq)) is None:
                    self._fault("merge", seq)

    def _take_links(self, seq: int, record: Record) -> None:
        both = {pair for a, b in record.links for pair in ((a, b), (b, a))}
        for left, right in both:
            found = self._one(_LINK, (self._keys.node(left), self._keys.node(right)))
            if found is None or found > seq:  # the first record that says so is kept
                self._fault("link", seq)
            elif found == seq:
                self._links += 1

    def finish(self, end: int) -> list[Fault]:
        """All faults, after a look for rows that no record makes."""
        counts = self._file.row(_COUNTS, (end,))
        beyond = self._file.row(_BEYOND)
        expected = (self._names, self._facts, self._links, self._merges)
        names = ("identifier", "fact", "link", "merge")
        for name, there, more, made in zip(names, counts, beyond, expected, strict=True):
            if there + more > made:
                text = f"{there + more - made} {name} rows that decisions read belong to no record"
                self.faults.append(Fault(text))
        return self.faults

    def _one(self, sql: str, bindings: tuple[Any, ...]) -> Any:
        row = self._file.row(sql, bindings)
        return None if row is None else row[0]

    def _fault(self, name: str, seq: int) -> None:
        text = f"the {name} row that decisions read is not what the record says"
        self.faults.append(Fault(text, seq))


def _entry(seq: int, body: bytes, leaf: bytes) -> Entry:
    try:
        found: LedgerRecord = codec.ledger_record(seq, body, leaf)
    except msgspec.MsgspecError as error:
        return Entry(seq, leaf, flaw=str(error))
    return Entry(seq, leaf, found.record, found.record.record_id, found.record.type.value)
