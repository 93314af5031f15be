"""The store in memory: for simulation, for tests, and for looking at the rules in plain code.

It keeps every promise of ``Store`` but durability. Nothing here waits, so a commit is whole
by construction: it is checked first and then cannot fail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice

from consentry.core import moment
from consentry.core.delivery import State
from consentry.core.merkle import Frontier
from consentry.core.moment import Moment
from consentry.core.policy import Policy, policy_from_canonical
from consentry.core.record import Facts, Merge, Node
from consentry.erasures import Erasure
from consentry.ledger.entry import LedgerRecord, RecordType
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
    StoreConflict,
    StoredEvent,
    StoreError,
    StoreUnavailable,
    Suppression,
    Tally,
)
from consentry.store import blank
from consentry.store.memory_erasures import MemoryErasures, record_of
from consentry.store.memory_leaks import MemoryLeaks
from consentry.store.memory_orders import MemoryOrders
from consentry.store.memory_outbox import MemoryOutbox
from consentry.store.memory_records import MemoryRecords
from consentry.store.naming import nodes_named


class MemoryStore:
    """Implements ``consentry.ports.Store``. Serves one event loop.

    Set ``fail_next`` to an exception and the next write raises it and writes nothing. The store
    is then unavailable until a write succeeds or, as if it had tried by itself, a second has
    passed and ``fail_next`` is None. ``clock`` gives the present Moment.
    """

    def __init__(self, notary: Notary, *, clock: Callable[[], Moment]) -> None:
        self.fail_next: Exception | None = None
        self._notary = notary
        self._clock = clock
        self._failed_at: Moment | None = None
        self._closed = False
        self._records = MemoryRecords()
        self._frontier = Frontier()
        self._checkpoint: str | None = None
        self._replies: dict[str, Reply] = {}
        self._notices: dict[str, str] = {}
        self._tallies: Counter[tuple[str, str, str, str, str]] = Counter()
        self._events: dict[int, StoredEvent] = {}
        self._position_of: dict[tuple[str, str], int] = {}
        self._end = 0
        self._newest: Moment = 0
        self._cursors: dict[str, int] = {}
        self._deliveries: dict[tuple[str, int], Delivery] = {}
        self._attempts: list[tuple[str, Attempt]] = []
        self._pauses: dict[str, Pause] = {}
        self._policies: list[bytes] = []
        self.outbox = MemoryOutbox(self._begin)
        self.orders = MemoryOrders()
        self.leaks = MemoryLeaks(self._begin)
        self.erasures = MemoryErasures(
            self._begin, self._records, self.orders, self.outbox, self._shred_rest
        )
        self._policy_ids: dict[str, int] = {}

    def close(self) -> None:
        self._closed = True

    @property
    def available(self) -> bool:
        if self._closed or self._failed_at is None:
            return not self._closed
        return self.fail_next is None and self._clock() - self._failed_at >= moment.SECOND

    @property
    def newest(self) -> Moment:
        return self._newest

    # -- what a decision reads ------------------------------------------------------------
    def knows(self, node: Node) -> bool:
        return node in self._records.naming

    def facts_of(self, node: Node) -> Facts:
        return tuple(fact for _, fact in self._records.facts.get(node, ()))

    def links_of(self, node: Node) -> tuple[Node, ...]:
        return tuple(self._records.links.get(node, ()))

    def trusted_links_of(self, node: Node) -> tuple[Node, ...]:
        return tuple(
            other for other, trusted in self._records.links.get(node, {}).items() if trusted
        )

    def merges_of(self, user_id: str) -> tuple[Merge, ...]:
        found: dict[Merge, None] = {}
        seen, todo = {user_id}, [user_id]
        while todo:
            for merge in self._records.merges.get(todo.pop(), ()):
                found[merge] = None
                for other in (merge.left, merge.right):
                    if other not in seen:
                        seen.add(other)
                        todo.append(other)
        return tuple(found)

    # -- writes ---------------------------------------------------------------------------
    async def commit(self, commit: Commit) -> Committed:
        self._refuse_repeats(commit)
        self._begin()
        sealed = self._notary.seal(commit.records, self._frontier) if commit.records else None
        first = len(self._records.all)
        if sealed is not None:
            self._frontier, self._checkpoint = sealed.frontier, sealed.checkpoint
            for record, leaf in zip(commit.records, sealed.leaves, strict=True):
                seq = self._records.add(record, leaf)
                self._newest = max(self._newest, record.received_at)
                if record.type is RecordType.ERASE:
                    self.erasures.add(record.record_id, seq, record.received_at)
        positions = tuple(self._add_event(event) for event in commit.events)
        self._replies.update((reply.key, reply) for reply in commit.replies)
        for digest, text in commit.notices:
            self._notices.setdefault(digest, text)
        for one in commit.tallies:
            self._tallies[one[:5]] += one.times
        self.outbox.add(commit.mails, commit.opt_ins)
        placed = {record.record_id: n for n, record in enumerate(commit.records, first)}
        self.orders.add(commit.orders, commit.tried, placed)
        return Committed(tuple(range(first, len(self._records.all))), positions)

    async def record_progress(self, progress: Progress) -> None:
        self._begin()
        name = progress.destination
        self._cursors[name] = progress.position
        self._attempts.extend((name, attempt) for attempt in progress.attempts)
        for position in progress.settle:
            self._deliveries.pop((name, position), None)
        for row in progress.put:
            self._deliveries[name, row.position] = row

    async def put_pause(self, pause: Pause) -> None:
        self._begin()
        self._pauses[pause.destination] = pause

    async def end_pause(self, destination: str) -> None:
        self._begin()
        self._pauses.pop(destination, None)

    async def forget_place(self, destination: str) -> None:
        self._begin()
        self._cursors.pop(destination, None)

    def _begin(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        failure, self.fail_next = self.fail_next, None
        self._failed_at = None
        if failure is not None:
            self._failed_at = self._clock()
            raise failure

    def _refuse_repeats(self, commit: Commit) -> None:
        ids = [record.record_id for record in commit.records]
        keys = [reply.key for reply in commit.replies]
        if len(set(ids)) < len(ids) or not self._records.by_id.keys().isdisjoint(ids):
            raise StoreConflict("a record with this id is in the ledger already")
        if len(set(keys)) < len(keys) or not self._replies.keys().isdisjoint(keys):
            raise StoreConflict("this idempotency key was answered already")
        self.outbox.refuse_repeats(commit.mails, commit.opt_ins)
        self.orders.refuse_repeats(commit.orders)

    def _add_event(self, event: StoredEvent) -> int | None:
        key = (event.source, event.message_id)
        if key in self._position_of:
            return None
        position = self._position_of[key] = self._end
        self._events[position] = event
        self._end += 1
        self._newest = max(self._newest, event.received_at)
        return position

    # -- erasing --------------------------------------------------------------------------
    def _shred_rest(self, job: Erasure, gone: AbstractSet[Node], at: Moment) -> tuple[int, int]:
        """Kept replies to what is gone, and events; how many of each."""
        replies = [
            key
            for key, reply in self._replies.items()
            if self._records.is_gone(record_of(reply.body), job.record_id)
        ]
        for key in replies:
            del self._replies[key]
        theirs = [p for p, e in self._events.items() if blank.is_theirs(e, gone, job.asked_at)]
        for position in theirs:
            event = self._events[position]
            del self._position_of[event.source, event.message_id]
            self._events[position] = blank.blank(event)
            attempt = Attempt(position, at, at, State.WITHHELD.value, detail=blank.WITHHELD)
            for name, row_at in [key for key in self._deliveries if key[1] == position]:
                del self._deliveries[name, row_at]
                self._attempts.append((name, attempt))
        return len(replies), len(theirs)

    # -- events ---------------------------------------------------------------------------
    def position_of(self, source: str, message_id: str) -> int | None:
        return self._position_of.get((source, message_id))

    def event_at(self, position: int) -> StoredEvent | None:
        return self._events.get(position)

    def events_from(self, position: int, limit: int) -> Sequence[Positioned]:
        kept = (each for each in range(max(position, 0), self._end) if each in self._events)
        return [Positioned(each, self._events[each]) for each in islice(kept, max(limit, 0))]

    @property
    def end(self) -> int:
        return self._end

    # -- deliveries -----------------------------------------------------------------------
    def count_rows(self, destination: str, state: str) -> int:
        rows = self._deliveries.values()
        return sum(row.destination == destination and row.state == state for row in rows)

    def position_for(self, destination: str) -> int | None:
        return self._cursors.get(destination)

    def placed(self) -> Sequence[str]:
        return sorted(self._cursors)

    def deliveries(
        self,
        destination: str | None = None,
        state: str | None = None,
        after: tuple[str, int] | None = None,
        limit: int = 1000,
    ) -> Sequence[Delivery]:
        rows = (
            self._deliveries[key]
            for key in sorted(self._deliveries)
            if (after is None or key > after) and destination in (None, key[0])
        )
        return list(islice((row for row in rows if state in (None, row.state)), limit))

    def attempts_at(self, position: int) -> Sequence[tuple[str, Attempt]]:
        return [entry for entry in self._attempts if entry[1].position == position]

    def attempted_from(self, destination: str, position: int) -> Sequence[Attempt]:
        return [
            attempt
            for name, attempt in self._attempts
            if name == destination and attempt.position >= position
        ]

    def pauses(self) -> Sequence[Pause]:
        return [self._pauses[name] for name in sorted(self._pauses)]

    # -- policies -------------------------------------------------------------------------
    async def policy_id(self, policy: Policy) -> int:
        known = self._policy_ids.get(policy.version)
        if known is not None:
            return known
        self._begin()
        self._policies.append(policy.canonical)
        number = self._policy_ids[policy.version] = len(self._policies)
        return number

    def policy(self, policy_id: int) -> Policy | None:
        if not 1 <= policy_id <= len(self._policies):
            return None
        return policy_from_canonical(self._policies[policy_id - 1])

    # -- the ledger -----------------------------------------------------------------------
    def reply_to(self, key: str) -> Reply | None:
        return self._replies.get(key)

    def notice(self, digest: str) -> str | None:
        return self._notices.get(digest)

    def tallies(self, since: str) -> Sequence[Tally]:
        found = sorted(self._tallies.items())
        return [Tally(*counted, times) for counted, times in found if counted[0] >= since]

    def records_of(
        self, nodes: Iterable[Node], before: int | None = None, limit: int = 100
    ) -> Sequence[LedgerRecord]:
        seqs = {seq for node in nodes for seq in self._records.naming.get(node, ())}
        wanted = sorted((s for s in seqs if before is None or s < before), reverse=True)
        return [self._records.all[seq] for seq in wanted[:limit]]

    def ledger(self, first: int = 0) -> Iterator[LedgerRecord]:
        return islice(iter(self._records.all), max(first, 0), None)

    def record(self, record_id: str) -> LedgerRecord | None:
        seq = self._records.by_id.get(record_id)
        return None if seq is None else self._records.all[seq]

    def checkpoint(self) -> str | None:
        return self._checkpoint

    def suppressions(
        self, after: int | None = None, limit: int = 100
    ) -> Sequence[tuple[int, Suppression]]:
        listed = sorted(
            (
                (seq, Suppression(self._shown(seq, node), fact.received_at, fact.record_id))
                for node, (seq, fact) in self._records.suppressed.items()
                if after is None or seq > after
            ),
            key=lambda entry: (entry[0], entry[1].node or ()),
        )
        if len(listed) <= limit:
            return listed
        last = listed[limit - 1][0] if limit > 0 else -1
        return [entry for entry in listed if entry[0] <= last]

    def _shown(self, seq: int, node: Node) -> Node | None:
        """Nobody can say any more who an erased identifier was."""
        record = self._records.all[seq].record
        erased = record.erased_by is not None and node not in nodes_named(record)
        return None if erased else node

    # -- upkeep ---------------------------------------------------------------------------
    async def prune(
        self,
        *,
        events_before: Moment,
        attempts_before: Moment,
        dead_before: Moment,
        destinations: Collection[str] | None = None,
    ) -> int:
        self._begin()
        for key, row in list(self._deliveries.items()):
            if row.state == "dead" and max(row.first_at, row.next_at) < dead_before:
                del self._deliveries[key]
        self._attempts = [
            (name, attempt)
            for name, attempt in self._attempts
            if attempt.ended_at >= attempts_before or attempt.position >= self._cursors.get(name, 0)
        ]
        self.orders.prune(attempts_before)
        before = min(events_before, self._clock() - moment.DAY)
        served = self._cursors.keys() if destinations is None else frozenset(destinations)
        cursors = (at for name, at in self._cursors.items() if name in served)
        settled = min(cursors, default=self._end)
        needed = {
            position
            for name, position in self._deliveries
            if destinations is None or name in served
        }
        gone = [
            position
            for position, event in self._events.items()
            if event.received_at < before and position < settled and position not in needed
        ]
        for position in gone:
            event = self._events.pop(position)
            self._position_of.pop((event.source, event.message_id), None)
        left = set(gone)
        for key in [key for key in self._deliveries if key[1] in left]:
            del self._deliveries[key]
        return len(gone)

    async def backup(self, path: str) -> None:
        raise StoreError("a store in memory has no file to copy")
