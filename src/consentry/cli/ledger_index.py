"""Whether what is read beside the records is what the records say.

The tree covers records. Decisions read facts, links, merges and the suppression list, and a
person's history is found by identifier: all of that was copied out of the records into rows of
its own. A row that was altered, or a page of the file that went bad, changes answers and leaves
every leaf as it was. So those rows are compared too.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from consentry.cli.ledger_file import LedgerFile
from consentry.core.record import Fact, Node
from consentry.ledger.entry import Record, RecordType
from consentry.ledger.verify import Fault
from consentry.store import codec, suppression
from consentry.store.naming import account, is_trusted, nodes_named

_RECORD = """
SELECT CAST(record_id AS BLOB), CAST(type AS BLOB), received_at FROM record WHERE seq = ?
"""
_BY_ID = "SELECT seq FROM record WHERE record_id = ?"
_NAMED = "SELECT 1 FROM record_node WHERE node = ? AND seq = ?"
_FACT = "SELECT body FROM fact WHERE node = ? AND seq = ? AND n = ?"
_LINK = "SELECT seq FROM link WHERE node = ? AND other = ?"
_TRUSTED = "SELECT trusted_seq FROM link WHERE node = ? AND other = ?"
_KNOWS_TRUST = "SELECT 1 FROM pragma_table_info('link') WHERE name = 'trusted_seq'"
_COUNT_TRUSTED = "SELECT count(*) FROM link WHERE trusted_seq IS NOT NULL AND trusted_seq < ?"
_MERGE = "SELECT 1 FROM merge WHERE node = ? AND seq = ?"
_LISTED = "SELECT seq, since, record_id FROM suppression WHERE node = ?"
_LATER = "SELECT 1 FROM record_node WHERE node = ? AND seq >= ? LIMIT 1"
_COUNTS = """
SELECT (SELECT count(*) FROM fact WHERE seq < ?1),
       (SELECT count(*) FROM link WHERE seq < ?1),
       (SELECT count(*) FROM merge WHERE seq < ?1),
       (SELECT count(*) FROM record_node WHERE seq < ?1),
       (SELECT count(*) FROM suppression WHERE seq < ?1)
"""
_BEYOND = """
WITH ends AS (SELECT coalesce(max(seq), -1) AS last FROM record)
SELECT (SELECT count(*) FROM fact WHERE seq > last),
       (SELECT count(*) FROM link WHERE seq > last),
       (SELECT count(*) FROM merge WHERE seq > last),
       (SELECT count(*) FROM record_node WHERE seq > last),
       (SELECT count(*) FROM suppression WHERE seq > last)
FROM ends
"""
_TOMBSTONES = """
SELECT (SELECT count(*) FROM record_node WHERE seq IN (SELECT value FROM json_each(?1))),
       (SELECT count(*) FROM fact WHERE seq IN (SELECT value FROM json_each(?1))),
       (SELECT count(*) FROM suppression WHERE seq IN (SELECT value FROM json_each(?1)))
"""
_NAMES = ("fact", "link", "merge", "history", "suppression")


class IndexCheck:
    """Takes every record in order, then says what does not agree with them."""

    def __init__(self, file: LedgerFile) -> None:
        self._file = file
        self._keys = file.keys
        self._made = dict.fromkeys(_NAMES, 0)
        self._words: dict[bytes, list[tuple[int, Fact]]] = defaultdict(list)
        self.faults: list[Fault] = []
        self._trusts = file.row(_KNOWS_TRUST) is not None  # not in a store of an earlier version
        self._trusted = 0
        self._erasures: list[int] = []  # whose suppressions stay, though their records name nobody

    def take(self, seq: int, record: Record) -> None:
        """The next record."""
        columns = (record.record_id.encode(), record.type.value.encode(), record.received_at)
        by_id = self._one(_BY_ID, (record.record_id,))
        if self._file.row(_RECORD, (seq,)) != columns or by_id != seq:
            self.faults.append(Fault("what stands beside the record is not what it says", seq))
        if record.erased_by is not None and record.type is RecordType.ERASE:
            self._erasures.append(seq)
        for node in nodes_named(record):
            self._made["history"] += 1
            if self._one(_NAMED, (self._keys.node(node), seq)) is None:
                self._fault("history", seq)
        self._take_facts(seq, record)
        self._take_links(seq, record)
        if record.merge is not None:
            for user in {record.merge.left, record.merge.right}:
                self._made["merge"] += 1
                if self._one(_MERGE, (self._keys.node(account(user)), seq)) is None:
                    self._fault("merge", seq)

    def _take_facts(self, seq: int, record: Record) -> None:
        for n, (node, fact) in enumerate(record.facts):
            self._made["fact"] += 1
            key = self._keys.node(node)
            if self._one(_FACT, (key, seq, n)) != codec.encode(fact):
                self._fault("fact", seq)
            if fact.kind in suppression.WORDS:
                self._words[key].append((seq, fact))

    def _take_links(self, seq: int, record: Record) -> None:
        both = {pair for a, b in record.links for pair in ((a, b), (b, a))}
        for left, right in both:
            found = self._one(_LINK, (self._keys.node(left), self._keys.node(right)))
            if found is None or found > seq:  # the first record that says so is kept
                self._fault("link", seq)
            elif found == seq:
                self._made["link"] += 1
            if self._trusts and is_trusted(record.trust):
                self._take_trusted(seq, left, right)

    def _take_trusted(self, seq: int, left: Node, right: Node) -> None:
        """The first record of a trusted door is kept beside the first of all."""
        found = self._one(_TRUSTED, (self._keys.node(left), self._keys.node(right)))
        if found is None or found > seq:
            self._fault("link", seq)
        self._trusted += found == seq

    def finish(self, end: int) -> list[Fault]:
        """All faults, after a look for rows that no record makes."""
        self._check_suppressions(end)
        if self._trusts and self._one(_COUNT_TRUSTED, (end,)) > self._trusted:
            text = "links that are taken for trusted belong to no record of a trusted door"
            self.faults.append(Fault(text))
        self._count_tombstones()
        counts = self._file.row(_COUNTS, (end,))
        beyond = self._file.row(_BEYOND)
        for name, there, more in zip(_NAMES, counts, beyond, strict=True):
            made = self._made[name]
            if there + more > made:
                text = f"{there + more - made} {name} rows that decisions read belong to no record"
                self.faults.append(Fault(text))
        return self.faults

    def _count_tombstones(self) -> None:
        """Nobody can say of whom they are; each must be whole: in the history, a fact, and listed
        unless it was lifted or another one is older."""
        if not self._erasures:
            return
        seqs = json.dumps(self._erasures)
        named, facts, listed = self._file.row(_TOMBSTONES, (seqs,))
        if named != facts:
            self.faults.append(Fault("an erasure's suppression is not whole: rows are missing"))
        self._made["history"] += named
        self._made["fact"] += facts
        self._made["suppression"] += listed

    def _check_suppressions(self, end: int) -> None:
        """Who is on the list now; what a record that came meanwhile changed is not judged."""
        for key, words in self._words.items():
            stands = suppression.standing(words)
            expected = None
            if stands is not None:
                seq, fact = stands
                expected = (seq, fact.received_at, fact.record_id)
                self._made["suppression"] += 1
            listed = self._file.row(_LISTED, (key,))
            if listed is not None and listed[0] in self._erasures:
                self._made["suppression"] -= expected is not None
                continue  # it was erased, and that is the older word
            differs = listed != expected
            if differs and self._one(_LATER, (key, end)) is None:
                self._fault("suppression", words[-1][0])

    def _one(self, sql: str, bindings: tuple[Any, ...]) -> Any:
        row = self._file.row(sql, bindings)
        return None if row is None else row[0]

    def _fault(self, name: str, seq: int) -> None:
        text = f"the {name} row that decisions read is not what the record says"
        self.faults.append(Fault(text, seq))
