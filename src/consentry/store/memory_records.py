"""Records in memory, and what is found by identifier."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Set as AbstractSet

from consentry.core.record import Fact, Merge, Node
from consentry.erasures import Erasure
from consentry.ledger.entry import LedgerRecord, Record
from consentry.store import blank, suppression
from consentry.store.naming import is_trusted, nodes_named


class MemoryRecords:
    """Every record in ledger order, with indexes that could be made of them at any time.

    But for tombstones: what an erasure says of its identifiers is no longer in its record.
    """

    def __init__(self) -> None:
        self.all: list[LedgerRecord] = []
        self.by_id: dict[str, int] = {}
        self._tombstones: dict[int, tuple[tuple[Node, Fact], ...]] = {}
        self._clear()

    def _clear(self) -> None:
        self.facts: dict[Node, list[tuple[int, Fact]]] = defaultdict(list)
        self.links: dict[Node, dict[Node, bool]] = defaultdict(dict)  # and who is trusted
        self.merges: dict[str, dict[Merge, None]] = defaultdict(dict)
        self.naming: dict[Node, list[int]] = defaultdict(list)
        self.suppressed: dict[Node, tuple[int, Fact]] = {}

    def add(self, record: Record, leaf: bytes) -> int:
        """The next record; its place."""
        seq = len(self.all)
        self.all.append(LedgerRecord(seq, record, leaf))
        self.by_id[record.record_id] = seq
        self._index(seq, record)
        return seq

    def _index(self, seq: int, record: Record) -> None:
        facts = record.facts or self._tombstones.get(seq, ())
        named = dict.fromkeys((*nodes_named(record), *(node for node, _ in facts)))
        for node in named:
            self.naming[node].append(seq)
        for node, fact in facts:
            self.facts[node].append((seq, fact))
            if fact.kind in suppression.WORDS:
                self._list_or_unlist(node)
        trusted = is_trusted(record.trust)
        for left, right in record.links:
            self.links[left][right] = trusted or self.links[left].get(right, False)
            self.links[right][left] = self.links[left][right]
        if record.merge is not None:
            self.merges[record.merge.left][record.merge] = None
            self.merges[record.merge.right][record.merge] = None

    def _list_or_unlist(self, node: Node) -> None:
        stands = suppression.standing(self.facts[node])
        if stands is None:
            self.suppressed.pop(node, None)
        else:
            self.suppressed[node] = stands

    # -- erasing ------------------------------------------------------------------------------
    def shred(self, job: Erasure, gone: AbstractSet[Node]) -> tuple[int, int]:
        """Take identifiers out of what was received until then; how many records, and how many
        of them still name somebody."""
        seqs = {seq for node in gone for seq in self.naming.get(node, ()) if seq != job.seq}
        old = [s for s in seqs if s < job.seq or self._received(s) <= job.asked_at]
        shared = 0
        for seq in old:
            entry = self.all[seq]
            kept = tuple(pair for pair in self._tombstones.pop(seq, ()) if pair[0] not in gone)
            if kept:
                self._tombstones[seq] = kept
            left = blank.record_without(entry.record, gone, job.record_id)
            self.all[seq] = LedgerRecord(seq, left, entry.leaf)
            shared += bool(nodes_named(left))
        if old:
            self._index_anew()
        return len(old), shared

    def mark(self, seq: int, erasure_id: str) -> None:
        """The last step: the erasure's own record names nobody either. Its suppression stays."""
        entry = self.all[seq]
        self._tombstones[seq] = entry.record.facts
        self.all[seq] = LedgerRecord(seq, blank.mark(entry.record, erasure_id), entry.leaf)
        self._index_anew()

    def is_gone(self, record_id: str, erasure_id: str) -> bool:
        """Whether nothing is left of a record that an erasure took."""
        seq = self.by_id.get(record_id)
        if seq is None:
            return False
        record = self.all[seq].record
        return record.erased_by == erasure_id and not nodes_named(record)

    def _received(self, seq: int) -> int:
        return self.all[seq].record.received_at

    def _index_anew(self) -> None:
        self._clear()
        for entry in self.all:
            self._index(entry.seq, entry.record)
