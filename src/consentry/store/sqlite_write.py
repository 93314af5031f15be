"""What the SQLite store writes, inside the one transaction of a group.

``SqliteWriter.run`` is called by the writer thread alone. What it counts with (the next
position, the Merkle frontier) moves only after the transaction has been committed, so a
failed group leaves no trace.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple

import apsw

from consentry.core.merkle import Frontier
from consentry.core.moment import Moment
from consentry.core.policy import Policy
from consentry.ledger.entry import Record, RecordType
from consentry.ledger.notary import Notary
from consentry.ports import (
    Attempt,
    Commit,
    Committed,
    Pause,
    Progress,
    StoreConflict,
    StoredEvent,
    StoreUnavailable,
)
from consentry.store import (
    codec,
    naming,
    pages,
    sqlite_mails,
    sqlite_owed,
    sqlite_shred,
    suppression,
)
from consentry.store.codec import RowKeys
from consentry.store.messages import Due, NewestMessages
from consentry.store.naming import account, nodes_named
from consentry.store.recent import Group, RecentGroups
from consentry.store.statements import queries

SQL = queries("sqlite_write")
ATTEMPT_SPAN = 256
"""Positions that one row of attempts may span: what bounds the search for one position."""

PRUNE_GROUPS = 50
"""Groups of events, or 20 times as many rows of attempts, that one transaction forgets."""

_OF_THE_TASK = (apsw.ConstraintError, apsw.MismatchError, apsw.RangeError, apsw.TooBigError)
"""SQLite's errors that are about what was to be written. All others are the database's."""

Task = Commit | Callable[[apsw.Connection], Any]


class Head(NamedTuple):
    """Where the logs end. ``newest`` is the latest ``received_at`` in either."""

    end: int
    frontier: Frontier
    newest: Moment


class SqliteWriter:
    """Writes groups of tasks: commits together, everything else in the order given."""

    def __init__(
        self,
        db: apsw.Connection,
        keys: RowKeys,
        notary: Notary,
        head: Head,
        recent: RecentGroups,
        messages: NewestMessages,
    ) -> None:
        self.head = head
        self._messages = messages
        self._db = db
        self._keys = keys
        self._notary = notary
        self._recent = recent

    def run(self, tasks: Sequence[Task]) -> list[Any]:
        """One result for each task. Raises StoreUnavailable when the database failed."""
        commits = [task for task in tasks if isinstance(task, Commit)]
        try:
            self._db.execute(SQL["begin"])
            writing = _CommitGroup(self._db, self._keys, self._notary, self.head, self._messages)
            committed = iter(writing.write(commits) if commits else ())
            results = [
                next(committed) if isinstance(task, Commit) else task(self._db) for task in tasks
            ]
            self._db.execute(SQL["commit"])
        except BaseException as error:
            self._roll_back()
            if isinstance(error, apsw.Error) and not isinstance(error, _OF_THE_TASK):
                raise StoreUnavailable(f"the database failed: {pages.why(error)}") from error
            raise
        self._publish(writing, results)
        return results

    def _publish(self, writing: _CommitGroup, results: Sequence[Any]) -> None:
        """It is durable: let the others see it."""
        if writing.events:
            self._recent.add(Group(self.head.end, tuple(writing.events), writing.size))
            self._messages.committed(writing.due, writing.places.items())
        for result in results:
            if isinstance(result, Pruned | sqlite_shred.Part):
                self._messages.forget(result.messages)
                for first in result.firsts:
                    self._recent.forget(first)
        self.head = writing.head

    def probe(self) -> None:
        """Write something and take it back; raises when the database still fails."""
        self.run([_try_room])

    def _roll_back(self) -> None:
        # SQLite may have rolled back by itself; and if it cannot now, the next BEGIN says so.
        with suppress(apsw.Error):
            if self._db.in_transaction:
                self._db.execute(SQL["rollback"])


class _CommitGroup:
    """The commits of one group. What they add up to is published by ``SqliteWriter`` later."""

    def __init__(
        self,
        db: apsw.Connection,
        keys: RowKeys,
        notary: Notary,
        head: Head,
        messages: NewestMessages,
    ) -> None:
        self.head = head
        self.events: list[StoredEvent] = []
        self.size = 0
        self.places: dict[bytes, int] = {}
        self.due = Due((), [], head.end, None)
        self._db = db
        self._keys = keys
        self._notary = notary
        self._messages = messages

    def write(self, commits: Sequence[Commit]) -> list[Committed | StoreConflict]:
        """Where each one went, or why it was refused; a refused one leaves the others alone."""
        conflicts = self._conflicts(commits)
        accepted = [c for c, conflict in zip(commits, conflicts, strict=True) if not conflict]
        seqs = iter(range(self.head.frontier.size, 1 << 63))
        records = [record for commit in accepted for record in commit.records]
        placed = {r.record_id: n for n, r in enumerate(records, self.head.frontier.size)}
        self._write_records(records)
        sqlite_owed.write(self._db, self._keys, accepted, placed)
        positions = iter(self._write_events([e for commit in accepted for e in commit.events]))
        self._write_answers(accepted)
        return [
            conflict
            or Committed(
                tuple(islice(seqs, len(commit.records))),
                tuple(islice(positions, len(commit.events))),
            )
            for commit, conflict in zip(commits, conflicts, strict=True)
        ]

    def _conflicts(self, commits: Sequence[Commit]) -> list[StoreConflict | None]:
        ids: set[str] = set()
        keys: set[str] = set()
        return [self._conflict(commit, ids, keys) for commit in commits]

    def _conflict(self, commit: Commit, ids: set[str], keys: set[str]) -> StoreConflict | None:
        """``ids`` and ``keys`` are those of the commits accepted before; this one's are added."""
        own_ids = [record.record_id for record in commit.records]
        own_keys = [reply.key for reply in commit.replies]
        if self._taken(own_ids, ids, SQL["has_record"]):
            return StoreConflict("a record with this id is in the ledger already")
        if self._taken(own_keys, keys, SQL["has_reply"]):
            return StoreConflict("this idempotency key was answered already")
        ids.update(own_ids)
        keys.update(own_keys)
        return None

    def _taken(self, names: list[str], others: set[str], sql: str) -> bool:
        if len(set(names)) < len(names) or not others.isdisjoint(names):
            return True
        return any(self._db.execute(sql, (name,)).get is not None for name in names)

    # -- records --------------------------------------------------------------------------
    def _write_records(self, records: Sequence[Record]) -> None:
        if not records:
            return
        first = self.head.frontier.size
        sealed = self._notary.seal(records, self.head.frontier)
        rows = [
            (seq, r.record_id, r.type.value, r.received_at, leaf, codec.encode(r))
            for seq, (r, leaf) in enumerate(zip(records, sealed.leaves, strict=True), first)
        ]
        self._db.executemany(SQL["add_record"], rows)
        self._index(first, records)
        for seq, record in enumerate(records, first):
            if record.type is RecordType.ERASE:
                sqlite_shred.begin(self._db, seq, record.record_id, record.received_at)
        root = sealed.frontier.root()
        self._db.execute(SQL["add_checkpoint"], (sealed.frontier.size, root, sealed.checkpoint))
        self._db.execute(SQL["put_meta"], ("frontier", sealed.frontier.to_bytes()))
        newest = max(self.head.newest, *(record.received_at for record in records))
        self.head = self.head._replace(frontier=sealed.frontier, newest=newest)

    def _index(self, first: int, records: Sequence[Record]) -> None:
        """What decisions read: rows of a group together, so that each page is met once."""
        names: list[tuple[bytes, int]] = []
        facts: list[tuple[bytes, int, int, bytes]] = []
        links: list[tuple[bytes, bytes, int, int | None]] = []
        merges: list[tuple[bytes, int]] = []
        words: list[bytes] = []
        for seq, record in enumerate(records, first):
            keys = {node: self._keys.node(node) for node in nodes_named(record)}
            names += [(key, seq) for key in keys.values()]
            facts += [(keys[n], seq, i, codec.encode(f)) for i, (n, f) in enumerate(record.facts)]
            trusted = seq if naming.is_trusted(record.trust) else None
            for left, right in record.links:
                links.append((keys[left], keys[right], seq, trusted))
                links.append((keys[right], keys[left], seq, trusted))
            if record.merge is not None:
                sides = (account(record.merge.left), account(record.merge.right))
                merges += [(keys[side], seq) for side in sides]
            words += [keys[n] for n, fact in record.facts if fact.kind in suppression.WORDS]
        self._db.executemany(SQL["add_record_node"], sorted(names))
        self._db.executemany(SQL["add_fact"], sorted(facts))
        self._db.executemany(SQL["add_link"], links)
        self._db.executemany(SQL["add_merge"], merges)
        for key in words:
            self._list_or_unlist(key)

    def _list_or_unlist(self, node: bytes) -> None:
        rows = self._db.execute(SQL["seqs_and_facts_of"], (node,))
        stands = suppression.standing((seq, codec.decode_fact(body)) for seq, body in rows)
        self._db.execute(SQL["unlist"], (node,))
        if stands is not None:
            seq, fact = stands
            self._db.execute(SQL["list"], (seq, node, fact.received_at, fact.record_id))

    # -- events ---------------------------------------------------------------------------
    def _write_events(self, events: Sequence[StoredEvent]) -> list[int | None]:
        if not events:
            return []
        keys = [self._keys.message(event.source, event.message_id) for event in events]
        self.places = self._places(keys)
        left = self.places.copy()
        positions = [left.pop(key, None) for key in keys]
        self.events = [e for e, p in zip(events, positions, strict=True) if p is not None]
        if self.events:
            self._move_keys()
            first, count = self.head.end, len(self.events)
            newest = max(event.received_at for event in self.events)
            blob = codec.encode(self.events)
            self.size = len(blob)
            self._db.execute(SQL["add_group"], (first, count, newest, blob))
            self.head = self.head._replace(end=first + count, newest=max(self.head.newest, newest))
        return positions

    def _places(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        """Positions for the keys that are new, without gaps."""
        fresh = tuple([key for key in dict.fromkeys(keys) if self._messages.position(key) is None])
        if not fresh:
            return {}
        rows = self._db.execute(SQL["known_messages"], (apsw.carray(fresh),)).fetchall()
        if rows:
            known = {key for (key,) in rows}
            fresh = tuple([key for key in fresh if key not in known])
        return dict(zip(fresh, range(self.head.end, self.head.end + len(fresh)), strict=True))

    def _move_keys(self) -> None:
        """Write to the table those keys that memory has no more room for."""
        self.due = self._messages.due(len(self.places), self.head.end)
        self._db.executemany(SQL["add_message"], self.due.rows)
        if self.due.indexed_to is not None:
            indexed_to = self.due.indexed_to.to_bytes(8, "big")
            self._db.execute(SQL["put_meta"], ("indexed_to", indexed_to))

    def _write_answers(self, commits: Sequence[Commit]) -> None:
        replies = [(r.key, r.digest, r.status, r.body) for c in commits for r in c.replies]
        if replies:
            self._db.executemany(SQL["add_reply"], replies)
        notices = [notice for commit in commits for notice in commit.notices]
        if notices:
            self._db.executemany(SQL["add_notice"], notices)
        tallies = [tally for commit in commits for tally in commit.tallies]
        if tallies:
            self._db.executemany(SQL["add_tally"], tallies)
        sqlite_mails.write(self._db, self._keys, commits)


# -- the other tasks ----------------------------------------------------------------------
def write_progress(db: apsw.Connection, progress: Progress) -> None:
    """A destination's new position, its rows, and what was tried."""
    name = progress.destination
    db.execute(SQL["put_cursor"], (name, progress.position))
    db.executemany(SQL["settle"], [(name, position) for position in progress.settle])
    rows = [
        (name, row.position, row.state, max(row.first_at, row.next_at), codec.encode(row))
        for row in progress.put
    ]
    db.executemany(SQL["put_delivery"], rows)
    for run in _runs(progress.attempts):
        ended = max(attempt.ended_at for attempt in run)
        row = (name, run[0].position, run[-1].position, ended, codec.encode(run))
        db.execute(SQL["add_attempts"], row)


def _runs(attempts: Sequence[Attempt]) -> Iterator[list[Attempt]]:
    """Attempts ordered by position, cut where a row would span too many positions."""
    run: list[Attempt] = []
    for attempt in sorted(attempts, key=lambda each: each.position):
        if run and attempt.position - run[0].position >= ATTEMPT_SPAN:
            yield run
            run = []
        run.append(attempt)
    if run:
        yield run


def write_pause(db: apsw.Connection, pause: Pause) -> None:
    """Stop a destination, or change the reason."""
    db.execute(SQL["put_pause"], (pause.destination, pause.reason, pause.since))


def write_end_of_pause(db: apsw.Connection, destination: str) -> None:
    """Let a destination go on."""
    db.execute(SQL["end_pause"], (destination,))


def forget_place(db: apsw.Connection, destination: str) -> None:
    """A destination has no place in the log any more."""
    db.execute(SQL["forget_cursor"], (destination,))


def write_policy(db: apsw.Connection, policy: Policy) -> int:
    """The number of a policy, which may have been numbered meanwhile."""
    known = db.execute(SQL["policy_id"], (policy.version,)).get
    if known is None:
        known = db.execute(SQL["add_policy"], (policy.version, policy.canonical)).get
    return int(known)


def _try_room(db: apsw.Connection) -> None:
    db.execute(SQL["try_room"])
    db.execute(SQL["give_room_back"])


class Pruned(NamedTuple):
    """What one transaction forgot: groups by first position, message keys, how many events.

    ``done`` when nothing is left to forget.
    """

    firsts: tuple[int, ...]
    messages: tuple[bytes, ...]
    events: int
    done: bool


def prune_rows(db: apsw.Connection, attempts_before: Moment, dead_before: Moment) -> bool:
    """Forget dead rows and a part of the old attempts, at orders too; whether it was the last."""
    db.execute(SQL["prune_dead"], (dead_before,))
    most = 20 * PRUNE_GROUPS
    db.execute(SQL["prune_attempts"], (attempts_before, most))
    gone = max(db.changes(), sqlite_owed.prune_attempts(db, attempts_before, most))
    return gone < most


def prune_events(
    db: apsw.Connection, keys: RowKeys, before: Moment, destinations: tuple[str, ...] | None
) -> Pruned:
    """Forget a part of the old events, with the message ids that they were recognised by."""
    served = None if destinations is None else json.dumps(destinations)
    groups: list[tuple[int, int, int, bytes]] = list(
        db.execute(SQL["prunable"], (before, PRUNE_GROUPS, served))
    )
    forgotten: list[bytes] = []
    for first, count, _, events in groups:
        forgotten += [
            keys.message(event.source, event.message_id) for event in codec.decode_events(events)
        ]
        db.execute(SQL["drop_group"], (first,))
        db.execute(SQL["drop_rows"], (first, first + count))
    db.executemany(SQL["drop_message"], [(key,) for key in sorted(forgotten)])
    if groups:
        # The newest group may be among them; the next position must not be given out again.
        end = max(first + count for first, count, _, _ in groups)
        newest = max(received for _, _, received, _ in groups)
        db.execute(SQL["raise_meta"], ("pruned_to", end.to_bytes(8, "big")))
        db.execute(SQL["raise_meta"], ("pruned_newest", newest.to_bytes(8, "big")))
    return Pruned(
        tuple(first for first, _, _, _ in groups),
        tuple(forgotten),
        sum(count for _, count, _, _ in groups),
        len(groups) < PRUNE_GROUPS,
    )
