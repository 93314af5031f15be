"""The store in one SQLite file: the product's own, for one machine.

One thread writes, in groups (``store.writer``, ``store.sqlite_write``). Reads run on a second
connection in the caller's thread and see what is durable, and nothing else. A file beside the
database is locked for as long as the store is open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import apsw

from consentry.core import moment
from consentry.core.moment import Moment
from consentry.core.policy import Policy, policy_from_canonical
from consentry.core.record import Facts, Merge, Node
from consentry.ledger.entry import LedgerRecord
from consentry.ledger.notary import Notary
from consentry.ports import (
    Attempt,
    Commit,
    Committed,
    Delivery,
    Pause,
    Positioned,
    Progress,
    Reply,
    StoredEvent,
    StoreError,
    StoreUnavailable,
    Suppression,
    Tally,
)
from consentry.store import codec, pages, sqlite_open, sqlite_write
from consentry.store.codec import RowKeys
from consentry.store.known import RememberedRecords, records_naming
from consentry.store.lock import StoreLock
from consentry.store.messages import MOST_KEYS
from consentry.store.recent import RecentGroups
from consentry.store.sqlite_erasures import SqliteErasures
from consentry.store.sqlite_leaks import SqliteLeaks
from consentry.store.sqlite_log import SqliteLog
from consentry.store.sqlite_orders import SqliteOrders
from consentry.store.sqlite_outbox import SqliteOutbox
from consentry.store.sqlite_read import SnapshotReader, SqliteReader, reading
from consentry.store.sqlite_write import SqliteWriter
from consentry.store.writer import GroupWriter

_LEDGER_PAGE = 500
LONGEST_SNAPSHOT_S = 1.0
_EVENT_BYTES = 200  # what an event takes beside its body, roughly


class SqliteStore:
    """Implements ``consentry.ports.Store``. Reads belong to one thread, that of the event loop.

    Every read raises StoreError when the database or what stands in it cannot be read.
    """

    def __init__(
        self,
        path: str,
        lock: StoreLock,
        notary: Notary,
        clock: Callable[[], Moment],
        keys_in_memory: int,
    ) -> None:
        """Use ``open``. Opens the database that ``lock`` is for."""
        self._path = path
        self._lock = lock
        self._clock = clock
        self._recent = RecentGroups()
        self._policies: dict[int, Policy] = {}
        self._policy_ids: dict[str, int] = {}
        self._write_db = sqlite_open.connect_writer(path)
        try:
            sqlite_open.migrate(self._write_db)
            self._keys: RowKeys = sqlite_open.row_keys(self._write_db)
            head = sqlite_open.head(self._write_db)
            self._messages = sqlite_open.newest_messages(
                self._write_db, self._keys, head.end, keys_in_memory
            )
            self._read = SqliteReader(path)
            self._facts = SnapshotReader(path)
        except BaseException:
            self._write_db.close()
            raise
        self._writer = SqliteWriter(
            self._write_db, self._keys, notary, head, self._recent, self._messages
        )
        self._log = SqliteLog(
            self._read, self._keys, self._recent, self._messages, lambda: self._writer.head.end
        )
        self._known = RememberedRecords(self._durable_rows, self._keys, self._ledger_size)
        writable = self._can_write()
        self._group = GroupWriter(self._writer.run, self._writer.probe)
        self._group.available = writable
        self._closed = False
        self.outbox = SqliteOutbox(self._read, self._keys, self._submit)
        self.orders = SqliteOrders(self._read, self._keys)
        self.leaks = SqliteLeaks(self._read, self._submit)
        self.erasures = SqliteErasures(path, self._read, self._keys, self._submit, self._forget)

    def _can_write(self) -> bool:
        """Asked once, before anything is sent: withdrawals that could not be recorded stop it."""
        try:
            self._writer.probe()
        except StoreUnavailable:
            return False
        return True

    @classmethod
    def open(
        cls,
        path: str,
        notary: Notary,
        *,
        clock: Callable[[], Moment],
        keys_in_memory: int = MOST_KEYS,
    ) -> SqliteStore:
        """Open the store in the file ``path``, and make it when there is none.

        ``clock`` gives the present Moment; only ``prune`` asks it. ``keys_in_memory`` bounds
        how many message ids wait for their table (``store.messages``). Raises StoreLocked when
        another process serves it, and StoreError when it cannot be opened, is damaged, or is
        not of a version that is known here.
        """
        lock = StoreLock(path)
        try:
            return cls(path, lock, notary, clock, keys_in_memory)
        except (apsw.Error, *codec.UNREADABLE) as error:
            lock.release()
            raise StoreError(f"cannot open the store at {path}: {pages.why(error)}") from error
        except BaseException:
            lock.release()
            raise

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._group.close()
        self._read.close()
        self._facts.close()
        try:
            self._write_db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except apsw.Error:
            pass  # what was committed is in the WAL and stays durable there
        finally:
            self._write_db.close()
            self._lock.release()

    @property
    def available(self) -> bool:
        return self._group.available and not self._closed

    @property
    def newest(self) -> Moment:
        return self._writer.head.newest

    @property
    def transactions(self) -> int:
        """How many groups were written since the store was opened."""
        return self._group.groups

    # -- what a decision reads ------------------------------------------------------------
    def _durable_rows(self, query: str, *bindings: Any) -> list[tuple[Any, ...]]:
        """Of a snapshot that shows everything in the ledger that is durable at this moment."""
        return self._facts.at(self._ledger_size()).rows(query, *bindings)

    def _ledger_size(self) -> int:
        return self._writer.head.frontier.size

    async def _submit(self, task: Any, count: int = 1, size: int = 0, urgent: bool = False) -> Any:
        result = await self._group.submit(task, count, size, urgent=urgent)
        if not self._closed:
            self._facts.let_go(LONGEST_SNAPSHOT_S)
        return result

    def _forget(self, firsts: Sequence[int]) -> None:
        """What was read is no longer so, though the ledger did not grow: somebody was erased.

        Once more after the writer: a group may have been read just before it was changed.
        """
        for first in firsts:
            self._recent.forget(first)
        self._known.forget()
        self._facts.let_go()

    @reading
    def knows(self, node: Node) -> bool:
        return self._known.knows(node)

    @reading
    def facts_of(self, node: Node) -> Facts:
        return self._known.facts_of(node)

    @reading
    def links_of(self, node: Node) -> tuple[Node, ...]:
        return self._known.links_of(node)

    @reading
    def trusted_links_of(self, node: Node) -> tuple[Node, ...]:
        return self._known.trusted_links_of(node)

    @reading
    def merges_of(self, user_id: str) -> tuple[Merge, ...]:
        return self._known.merges_of(user_id)

    # -- writes ---------------------------------------------------------------------------
    async def commit(self, commit: Commit) -> Committed:
        size = sum(len(event.body) + _EVENT_BYTES for event in commit.events)
        count = len(commit.events) + len(commit.records) + len(commit.orders)
        urgent = bool(commit.records or commit.tried) and not commit.events
        committed: Committed = await self._submit(commit, count, size, urgent=urgent)
        return committed

    async def record_progress(self, progress: Progress) -> None:
        task = partial(sqlite_write.write_progress, progress=progress)
        await self._submit(task, len(progress.attempts))

    async def put_pause(self, pause: Pause) -> None:
        await self._submit(partial(sqlite_write.write_pause, pause=pause))

    async def end_pause(self, destination: str) -> None:
        task = partial(sqlite_write.write_end_of_pause, destination=destination)
        await self._submit(task)

    async def forget_place(self, destination: str) -> None:
        await self._submit(partial(sqlite_write.forget_place, destination=destination))

    # -- events ---------------------------------------------------------------------------
    def position_of(self, source: str, message_id: str) -> int | None:
        return self._log.position_of(source, message_id)

    def event_at(self, position: int) -> StoredEvent | None:
        return self._log.event_at(position)

    def events_from(self, position: int, limit: int) -> Sequence[Positioned]:
        return self._log.events_from(position, limit)

    @property
    def end(self) -> int:
        return self._writer.head.end

    # -- deliveries -----------------------------------------------------------------------
    @reading
    def count_rows(self, destination: str, state: str) -> int:
        return int(self._read.value("count_rows", destination, state))

    @reading
    def position_for(self, destination: str) -> int | None:
        position: int | None = self._read.value("position_for", destination)
        return position

    @reading
    def placed(self) -> Sequence[str]:
        return [name for (name,) in self._read.rows("placed")]

    @reading
    def deliveries(
        self,
        destination: str | None = None,
        state: str | None = None,
        after: tuple[str, int] | None = None,
        limit: int = 1000,
    ) -> Sequence[Delivery]:
        name, position = after or ("", -1)
        if destination is None:
            rows = self._read.rows("deliveries", name, position, state, limit)
        elif name > destination:
            return []
        else:
            first = position if name == destination else -1
            if state is None:
                rows = self._read.rows("deliveries_of", destination, first, limit)
            else:
                rows = self._read.rows("deliveries_in", destination, state, first, limit)
        return [codec.decode_delivery(body) for (body,) in rows]

    @reading
    def attempts_at(self, position: int) -> Sequence[tuple[str, Attempt]]:
        earliest = position - sqlite_write.ATTEMPT_SPAN + 1
        rows = self._read.rows("attempts_at", earliest, position)
        return [
            (destination, attempt)
            for destination, attempts in rows
            for attempt in codec.decode_attempts(attempts)
            if attempt.position == position
        ]

    @reading
    def attempted_from(self, destination: str, position: int) -> Sequence[Attempt]:
        rows = self._read.rows("attempted_from", destination, position)
        return [
            attempt
            for (attempts,) in rows
            for attempt in codec.decode_attempts(attempts)
            if attempt.position >= position
        ]

    @reading
    def pauses(self) -> Sequence[Pause]:
        return [Pause(*row) for row in self._read.rows("pauses")]

    # -- policies -------------------------------------------------------------------------
    async def policy_id(self, policy: Policy) -> int:
        known = self._policy_ids.get(policy.version)
        if known is None:
            known = await self._submit(partial(sqlite_write.write_policy, policy=policy))
            self._policy_ids[policy.version] = known
        return known

    @reading
    def policy(self, policy_id: int) -> Policy | None:
        known = self._policies.get(policy_id)
        if known is None:
            canonical = self._read.value("policy", policy_id)
            if canonical is None:
                return None
            known = self._policies[policy_id] = policy_from_canonical(canonical)
        return known

    # -- the ledger -----------------------------------------------------------------------
    @reading
    def reply_to(self, key: str) -> Reply | None:
        row = self._read.row("reply_to", key)
        if row is None:
            return None
        digest, status, body = row
        return Reply(key, digest, status, body)

    @reading
    def notice(self, digest: str) -> str | None:
        text: str | None = self._read.value("notice", digest)
        return text

    @reading
    def tallies(self, since: str) -> Sequence[Tally]:
        return [Tally(*row) for row in self._read.rows("tallies", since)]

    @reading
    def records_of(
        self, nodes: Iterable[Node], before: int | None = None, limit: int = 100
    ) -> Sequence[LedgerRecord]:
        return records_naming(self._read.rows, self._keys, nodes, before, limit)

    def ledger(self, first: int = 0) -> Iterator[LedgerRecord]:
        while page := self._ledger_page(first):
            yield from page
            first = page[-1].seq + 1

    @reading
    def _ledger_page(self, first: int) -> list[LedgerRecord]:
        rows = self._read.rows("ledger", first, _LEDGER_PAGE)
        return [codec.ledger_record(*row) for row in rows]

    @reading
    def record(self, record_id: str) -> LedgerRecord | None:
        row = self._read.row("record", record_id)
        return None if row is None else codec.ledger_record(*row)

    @reading
    def checkpoint(self) -> str | None:
        row = self._read.row("checkpoint")
        return None if row is None else str(row[0])

    @reading
    def suppressions(
        self, after: int | None = None, limit: int = 100
    ) -> Sequence[tuple[int, Suppression]]:
        if limit < 1:
            return []
        rows = self._read.rows("suppressions", -1 if after is None else after, limit)
        listed = [
            (seq, Suppression(self._suppressed(key, body), since, record_id))
            for seq, key, since, record_id, body in rows
        ]
        return sorted(listed, key=lambda entry: (entry[0], entry[1].node or ()))

    def _suppressed(self, key: bytes, body: bytes) -> Node | None:
        said = codec.decode_said(body)
        for node, _ in said.facts:
            if self._keys.node(node) == key:
                return node
        if said.erased_by is not None:
            return None
        raise StoreError("the store is damaged: a record does not suppress what it is listed for")

    # -- upkeep ---------------------------------------------------------------------------
    async def prune(
        self,
        *,
        events_before: Moment,
        attempts_before: Moment,
        dead_before: Moment,
        destinations: Collection[str] | None = None,
    ) -> int:
        rows = partial(
            sqlite_write.prune_rows, attempts_before=attempts_before, dead_before=dead_before
        )
        while not await self._submit(rows):
            pass  # one part at a time, so that callers who wait get their turn in between
        before = min(events_before, self._clock() - moment.DAY)
        events = partial(
            sqlite_write.prune_events,
            keys=self._keys,
            before=before,
            destinations=None if destinations is None else tuple(destinations),
        )
        gone, done = 0, False
        while not done:
            pruned: sqlite_write.Pruned = await self._submit(events)
            gone, done = gone + pruned.events, pruned.done
        return gone

    async def backup(self, path: str) -> None:
        await asyncio.to_thread(sqlite_open.copy, self._path, path)
