"""What decisions read of a store's SQLite file, opened for reading only.

It needs no lock and may be read while a server serves it: records are only ever appended, and
a reader sees each of them once it is durable.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import apsw

from consentry.core.record import Facts, Merge, Node
from consentry.ledger.entry import LedgerRecord
from consentry.ports import StoreError
from consentry.store import codec, pages
from consentry.store.codec import RowKeys
from consentry.store.known import KnownRecords, records_naming
from consentry.store.sqlite_open import READ
from consentry.store.sqlite_read import reading
from consentry.store.statements import migrations

BUSY_MS = 5_000
_APPLICATION_ID = 0x434F4E53  # what the store writes into the file's header
_SIZE = "SELECT coalesce(max(seq) + 1, 0) FROM record"


class NoStore(StoreError):
    """There is no file, or it is no store that this version can read. Name another."""


class RecordFile:
    """The reads of ``consentry.flow.offline.Records``. Used by one thread at a time.

    Everything raises StoreError where the file cannot be read, is damaged or is no store.
    """

    @reading
    def __init__(self, path: str) -> None:
        if not os.path.isfile(path):
            raise NoStore(f"there is no store at {path}")
        self.db: Any = pages.connect(path, apsw.SQLITE_OPEN_READONLY)
        self.db.set_busy_timeout(BUSY_MS)
        self._check_owner(path)
        self.keys = RowKeys(self.db.execute(READ["meta"], ("row_key",)).get or b"")
        self._known = KnownRecords(self._rows, self.keys)

    def close(self) -> None:
        """Let go of the file; every read after it fails."""
        self.db.close()

    @reading
    def size(self) -> int:
        """How many records there are now."""
        count: int = self.db.execute(_SIZE).get
        return count

    @reading
    def knows(self, node: Node) -> bool:
        """As ``ports.Store.knows``."""
        return self._known.knows(node)

    @reading
    def facts_of(self, node: Node) -> Facts:
        """As ``ports.Store.facts_of``."""
        return self._known.facts_of(node)

    @reading
    def links_of(self, node: Node) -> tuple[Node, ...]:
        """As ``ports.Store.links_of``."""
        return self._known.links_of(node)

    @reading
    def merges_of(self, user_id: str) -> tuple[Merge, ...]:
        """As ``ports.Store.merges_of``."""
        return self._known.merges_of(user_id)

    @reading
    def record(self, record_id: str) -> LedgerRecord | None:
        """As ``ports.Store.record``."""
        rows = self._rows("record", record_id)
        return codec.ledger_record(*rows[0]) if rows else None

    @reading
    def records_of(
        self, nodes: Iterable[Node], before: int | None = None, limit: int = 100
    ) -> Sequence[LedgerRecord]:
        """As ``ports.Store.records_of``."""
        return records_naming(self._rows, self.keys, nodes, before, limit)

    def _rows(self, query: str, *bindings: Any) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self.db.execute(READ[query], bindings).fetchall()
        return rows

    def _check_owner(self, path: str) -> None:
        if self.db.execute("PRAGMA application_id").get != _APPLICATION_ID:
            raise NoStore(f"{path} is no store of Consentry")
        version, known = self.db.execute("PRAGMA user_version").get, len(migrations())
        if version > known:
            raise NoStore(
                f"{path} has schema {version} and this version knows {known}: "
                "use the version that wrote it"
            )
