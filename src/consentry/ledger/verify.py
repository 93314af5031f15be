"""Verification of a ledger by somebody who trusts neither the server nor its database.

It takes three things as they were found: the leaves in order, with the records where they
are at hand; the signed tree heads that lie beside them; and heads that the checker saved
earlier. It asks five questions.

1. Do the leaves stand at 0, 1, 2, ... without a gap, each record id once?
2. Does every record still give the leaf that was sealed for it? Where a person was erased, a mark is
   left: does it fit its leaf, and is the erasure that it names in the ledger?
3. Is every tree head signed by a known key?
4. At every head's size, do the leaves so far have that head's root (RFC 6962)? Each head
   is then a prefix of the next, so this also shows that all of them are consistent.
5. Does the newest head cover every leaf?

What it cannot see by itself: a ledger that was cut off at the end together with the heads
above the cut looks like a younger ledger, whole and signed. Only a head that was saved
elsewhere tells the two apart. That is what ``saved`` is for.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from consentry.core.merkle import Frontier, leaf_hash
from consentry.core.moment import format_exact
from consentry.ledger import checkpoint
from consentry.ledger.checkpoint import Checkpoint
from consentry.ledger.entry import Record, RecordType, leaf_of
from consentry.ledger.note import NoteError, VerifyKey

MOST_FAULTS = 50  # listed; the rest is only counted
_TOGETHER = 4096  # leaf hashes that are added to the tree at once


class Entry(NamedTuple):
    """One leaf as it was found. ``record`` is None where only the leaf is at hand.

    ``record_id`` and ``type`` are what stands beside the leaf, None where nothing does.
    ``flaw`` says why the record beside the leaf could not be read.
    """

    seq: int
    leaf: bytes
    record: Record | None = None
    record_id: str | None = None
    type: str | None = None
    flaw: str | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong; ``seq`` is the first leaf it concerns, None for none."""

    message: str
    seq: int | None = None

    def __str__(self) -> str:
        return self.message if self.seq is None else f"seq {self.seq}: {self.message}"


@dataclass(frozen=True, slots=True)
class Report:
    """What was found. ``leaves`` counts those seen, ``heads`` the signed heads that fit.

    ``root`` is that of all leaves, None when a gap made it unknowable. ``latest`` is the
    newest stored head that fits. ``saved`` counts the heads given as saved that fit.
    ``count`` is the number of all faults, of which ``faults`` lists the first. ``marks`` are records
    that an erasure took identifiers out of: of those only what the leaf shows can be compared.
    """

    leaves: int
    heads: int
    saved: int
    root: bytes | None
    latest: Checkpoint | None
    faults: tuple[Fault, ...]
    count: int
    marks: int = 0

    @property
    def sound(self) -> bool:
        """Whether nothing at all was found wrong."""
        return self.count == 0


def verify(
    entries: Iterable[Entry],
    signed: Iterable[str],
    keys: Sequence[VerifyKey],
    *,
    saved: Iterable[str] = (),
    on_leaf: Callable[[int], None] = lambda seen: None,
) -> Report:
    """Check a whole ledger, in one pass.

    ``entries`` and the notes ``signed`` come in ledger order and are read lazily; ``saved``
    are notes that the checker kept, in any order. ``keys`` are those that may have signed.
    ``on_leaf`` is told now and then how many leaves were seen. Never raises for what the
    ledger says; what reading the iterables raises is passed on. Memory grows by about 100
    bytes a leaf, to know a record id that comes twice.
    """
    walk = _Walk(keys, signed, saved)
    for entry in entries:
        walk.take(entry)
        if walk.seen % _TOGETHER == 0:
            on_leaf(walk.seen)
    on_leaf(walk.seen)
    return walk.finish()


class _Head(NamedTuple):
    """A signed tree head that is waiting for the leaves to reach it."""

    size: int
    is_saved: bool
    checkpoint: Checkpoint


def _by_size(head: _Head) -> tuple[int, bool]:
    return head.size, head.is_saved


class _Walk:
    """The state of one verification."""

    def __init__(
        self, keys: Sequence[VerifyKey], signed: Iterable[str], saved: Iterable[str]
    ) -> None:
        self.seen = 0
        self._expected = 0  # the seq that belongs next
        self._keys = keys
        self._faults: list[Fault] = []
        self._count = 0
        self._ids: set[bytes] = set()
        self._marks = 0
        self._erased_by: dict[str, Entry] = {}  # the last record that each erasure took
        self._erasures: dict[str, str] = {}  # when each was received
        self._frontier = Frontier()
        self._pending: list[bytes] = []
        self._tree = True  # False after a gap or a first wrong root: nothing above can fit
        self._fitted = {True: 0, False: 0}
        self._latest: Checkpoint | None = None
        self._covered = 0
        mine = sorted(self._heads_of(saved, is_saved=True), key=_by_size)
        theirs = self._heads_of(signed, is_saved=False)
        self._heads = heapq.merge(theirs, mine, key=_by_size)
        self._head = next(self._heads, None)

    # -- leaves -----------------------------------------------------------------------------
    def take(self, entry: Entry) -> None:
        """The next leaf."""
        if entry.seq != self._expected:
            self._gap(self._expected, entry.seq)
        self._check_leaf(entry)
        self._expected = entry.seq + 1
        self.seen += 1
        if not self._tree:
            return
        self._pending.append(leaf_hash(entry.leaf))
        reached = self._head is not None and self._head.size <= self.seen
        if reached or len(self._pending) >= _TOGETHER:
            self._grow()

    def _gap(self, expected: int, found: int) -> None:
        if found > expected:
            what = f"missing: after seq {expected - 1} comes seq {found}"
            if expected == 0:
                what = f"missing: the ledger begins at seq {found}"
            self._fault(f"{what}; leaves were removed", expected)
        else:
            self._fault(f"comes again or out of order, where seq {expected} belongs", found)
        if self._tree:
            self._grow()  # what stands before the gap can still be compared
        self._tree = False

    def _check_leaf(self, entry: Entry) -> None:
        said = _members(entry.leaf)
        if said is None:
            self._fault("the leaf is not readable JSON", entry.seq)
            return
        if entry.flaw is not None:
            self._fault(f"the record cannot be read: {entry.flaw}", entry.seq)
        if said.get("seq") != entry.seq:
            self._fault(f"the leaf was sealed for seq {said.get('seq')!r}", entry.seq)
        for name, beside in (("recordId", entry.record_id), ("type", entry.type)):
            if beside is not None and said.get(name) != beside:
                self._fault(f"the {name} beside the leaf is not the one in it", entry.seq)
        self._check_id(entry.seq, said.get("recordId"))
        if said.get("type") == RecordType.ERASE:
            self._erasures[str(said.get("recordId"))] = str(said.get("receivedAt"))
        if entry.record is not None and entry.record.erased_by is not None:
            self._check_mark(entry, entry.record, said)
        elif entry.record is not None:
            self._check_record(entry, entry.record, said)

    def _check_id(self, seq: int, record_id: object) -> None:
        key = sha256(str(record_id).encode("utf-8", "surrogatepass")).digest()[:16]
        if key in self._ids:
            self._fault("the record id stands at an earlier seq already", seq)
        self._ids.add(key)

    def _check_record(self, entry: Entry, record: Record, said: dict[str, Any]) -> None:
        workspace = said.get("workspace")
        sealed = leaf_of(record, entry.seq, workspace if isinstance(workspace, str) else "")
        if sealed == entry.leaf:
            return
        now = _members(sealed) or {}
        names = sorted(n for n in said.keys() | now.keys() if said.get(n) != now.get(n))
        where = ", ".join(names) or "its spelling"
        self._fault(f"the record does not give its leaf; they differ in {where}", entry.seq)

    def _check_mark(self, entry: Entry, record: Record, said: dict[str, Any]) -> None:
        """A record that somebody was taken out of: what the leaf shows of it must still be so.

        Whoever can write to the file could call any record erased. So the erasure that a mark
        names is looked for, and must be the later one.
        """
        self._marks += 1
        shown = {"recordId": record.record_id, "type": record.type.value}
        shown["receivedAt"] = format_exact(record.received_at)
        names = sorted(name for name, value in shown.items() if said.get(name) != value)
        if names or record.salt:
            where = ", ".join(names) or "its salt, which should be gone"
            self._fault(f"the mark of an erased record does not fit its leaf: {where}", entry.seq)
        known = self._erased_by.get(record.erased_by or "")
        if known is None or known.record is None or known.record.received_at < record.received_at:
            self._erased_by[record.erased_by or ""] = entry

    def _check_marks(self) -> None:
        for erasure_id, entry in self._erased_by.items():
            received = self._erasures.get(erasure_id)
            if received is None:
                what = (
                    f"the record is said to be erased by {erasure_id!r}, which is no erasure here"
                )
                self._fault(what, entry.seq)
            elif entry.record is None or format_exact(entry.record.received_at) > received:
                what = f"the record is said to be erased by {erasure_id!r}, which is older than it"
                self._fault(what, entry.seq)

    # -- the tree -----------------------------------------------------------------------------
    def _grow(self) -> None:
        """Add what is pending, and compare with every head that is reached on the way."""
        while self._tree and self._head is not None and self._head.size <= self.seen:
            wanted = self._head.size - self._frontier.size
            self._extend(wanted)
            self._compare(self._head)
            self._head = next(self._heads, None)
        self._extend(len(self._pending))

    def _extend(self, count: int) -> None:
        self._frontier = self._frontier.extend(self._pending[:count])
        del self._pending[:count]

    def _compare(self, head: _Head) -> None:
        size = head.size
        if self._frontier.root() == head.checkpoint.root:
            self._fitted[head.is_saved] += 1
            self._covered = max(self._covered, size)
            if not head.is_saved:
                self._latest = head.checkpoint
        elif head.is_saved:
            self._fault(
                f"the first {size} leaves do not give the root of the checkpoint of {size} leaves "
                "that you saved: the log was written anew"
            )
        else:
            self._fault(
                f"the first {size} leaves do not give the root of the signed checkpoint of {size} "
                "leaves: from here on one was altered, exchanged or put in",
                self._covered,
            )
            self._tree = False

    def finish(self) -> Report:
        """Whatever can only be said at the end."""
        if self._tree:
            self._grow()
        root = self._frontier.root() if self._tree else None
        self._check_heads_above()
        self._check_marks()
        if self._tree and self._covered < self.seen:
            self._fault("no signed checkpoint covers the leaves from here on", self._covered)
        return Report(
            leaves=self.seen,
            heads=self._fitted[False],
            saved=self._fitted[True],
            root=root,
            latest=self._latest,
            faults=tuple(self._faults),
            count=self._count,
            marks=self._marks,
        )

    def _check_heads_above(self) -> None:
        """Heads that count more leaves than there are; reading on also checks signatures."""
        told: set[bool] = set()
        while self._head is not None:
            head, self._head = self._head, next(self._heads, None)
            if head.size > self._expected and head.is_saved not in told:
                told.add(head.is_saved)
                whose = "the checkpoint you saved" if head.is_saved else "a signed checkpoint"
                self._fault(
                    f"missing: {whose} counts {head.size} leaves and the ledger ends after "
                    f"{self._expected}; leaves were removed at its end",
                    self._expected,
                )

    # -- heads ----------------------------------------------------------------------------------
    def _heads_of(self, notes: Iterable[str], *, is_saved: bool) -> Iterator[_Head]:
        """Heads whose signature holds; of stored ones only those in order."""
        before = -1
        for number, note in enumerate(notes, start=1):
            whose = f"saved checkpoint {number}" if is_saved else f"checkpoint {number}"
            try:
                found = self._open(note)
            except NoteError as error:
                self._fault(f"{whose} cannot be trusted: {error}")
                continue
            if not is_saved and found.size <= before:
                self._fault(f"{whose} counts {found.size} leaves, the one before it {before}")
                continue
            before = found.size
            yield _Head(found.size, is_saved, found)

    def _open(self, note: str) -> Checkpoint:
        """The checkpoint in a note, by the first key that vouches for it."""
        refusal = NoteError("no key was given to check it with")
        for key in self._keys:
            try:
                return checkpoint.parse(note, key)
            except NoteError as error:
                refusal = error
        raise refusal

    def _fault(self, message: str, seq: int | None = None) -> None:
        self._count += 1
        if len(self._faults) < MOST_FAULTS:
            self._faults.append(Fault(message, seq))


def _members(leaf: bytes) -> dict[str, Any] | None:
    try:
        said = msgspec.json.decode(leaf)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return said if isinstance(said, dict) else None
