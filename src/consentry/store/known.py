"""What a decision reads of a SQLite store, by whichever connection it is opened."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from consentry.core.record import Facts, Merge, Node
from consentry.ledger.entry import LedgerRecord
from consentry.ports import StoreError
from consentry.store import codec
from consentry.store.codec import RowKeys
from consentry.store.naming import account

Rows = Callable[..., list[tuple[Any, ...]]]
T = TypeVar("T")
_LAST = (1 << 63) - 1
REMEMBERED = 4_096
"""Identifiers of which one ledger's rows are remembered. Of those who come, most come again at
once: a choice reads its subject before, after and while it is written."""


class KnownRecords:
    """``knows``, ``facts_of``, ``links_of``, ``trusted_links_of`` and ``merges_of`` of ``consentry.ports.Store``.

    ``rows`` runs a query of ``sqlite_read.sql`` with its bindings. Raises StoreError where the
    rows that decisions read and the records do not agree, and whatever ``rows`` raises.
    """

    def __init__(self, rows: Rows, keys: RowKeys) -> None:
        self._rows = rows
        self._keys = keys

    def knows(self, node: Node) -> bool:
        return bool(self._rows("knows", self._keys.node(node)))

    def facts_of(self, node: Node) -> Facts:
        rows = self._rows("facts_of", self._keys.node(node))
        return tuple([codec.decode_fact(body) for (body,) in rows])

    def links_of(self, node: Node) -> tuple[Node, ...]:
        return self._ends("links_of", node)

    def trusted_links_of(self, node: Node) -> tuple[Node, ...]:
        return self._ends("trusted_links_of", node)

    def _ends(self, query: str, node: Node) -> tuple[Node, ...]:
        rows = self._rows(query, self._keys.node(node))
        return tuple([self._linked(other, seq) for seq, other in sorted(rows)])

    def _linked(self, key: bytes, seq: int) -> Node:
        for _, body, _ in self._rows("record_at", seq):
            for pair in codec.decode_joined(body).links:
                for node in pair:
                    if self._keys.node(node) == key:
                        return node
        raise StoreError("the store is damaged: a record does not have the link it is found by")

    def merges_of(self, user_id: str) -> tuple[Merge, ...]:
        found: dict[Merge, None] = {}
        seen, todo = {user_id}, [user_id]
        while todo:
            for (body,) in self._rows("merges_of", self._keys.node(account(todo.pop()))):
                merge = codec.decode_joined(body).merge
                if merge is None:
                    raise StoreError("the store is damaged: a record lost its merge")
                found[merge] = None
                new = [user for user in (merge.left, merge.right) if user not in seen]
                seen.update(new)
                todo.extend(new)
        return tuple(found)


def records_naming(
    rows: Rows, keys: RowKeys, nodes: Iterable[Node], before: int | None, limit: int
) -> list[LedgerRecord]:
    """``records_of`` of ``consentry.ports.Store``."""
    last = _LAST if before is None else before
    seqs: set[int] = set()
    for node in nodes:
        seqs.update(seq for (seq,) in rows("seqs_of", keys.node(node), last, limit))
    wanted = sorted(seqs, reverse=True)[:limit]
    return [codec.ledger_record(*row) for seq in wanted for row in rows("record_at", seq)]


class RememberedRecords(KnownRecords):
    """As ``KnownRecords``, but what was read is kept for as long as the ledger does not grow.

    ``size`` is how many records are durable now; ``rows`` must show all of them. Nothing here
    can change without a new record, but for an erasure, after which ``forget`` is called.
    """

    def __init__(self, rows: Rows, keys: RowKeys, size: Callable[[], int]) -> None:
        super().__init__(rows, keys)
        self._size = size
        self._read_at = -1
        self._read: dict[tuple[str, Node], Any] = {}

    def forget(self) -> None:
        """What was read is no longer so."""
        self._read_at = -1

    def knows(self, node: Node) -> bool:
        return self._once("knows", super().knows, node)

    def facts_of(self, node: Node) -> Facts:
        return self._once("facts", super().facts_of, node)

    def links_of(self, node: Node) -> tuple[Node, ...]:
        return self._once("links", super().links_of, node)

    def trusted_links_of(self, node: Node) -> tuple[Node, ...]:
        return self._once("trusted", super().trusted_links_of, node)

    def _once(self, what: str, read: Callable[[Node], T], node: Node) -> T:
        size = self._size()
        if size != self._read_at or len(self._read) >= REMEMBERED:
            self._read.clear()
            self._read_at = size
        known: T | None = self._read.get((what, node))
        if known is None:
            known = self._read[what, node] = read(node)
        return known
