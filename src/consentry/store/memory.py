"""The store in memory: for simulation, for tests, and for looking at the rules in plain code.

It keeps every promise of ``Store`` but durability. Nothing here waits, so a commit is whole
by construction: it is checked first and then cannot fail.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice

from consentry.core import moment
from consentry.core.merkle import Frontier
from consentry.core.moment import Moment
from consentry.core.policy import Policy, policy_from_canonical
from consentry.core.record import Fact, Facts, Merge, Node
from consentry.ledger.entry import LedgerRecord, Record
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
from consentry.store import suppression
from consentry.store.memory_leaks import MemoryLeaks
from consentry.store.memory_orders import MemoryOrders
from consentry.store.memory_outbox import MemoryOutbox
from consentry.store.naming import is_trusted, nodes_named


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
        self._records: list[LedgerRecord] = []
        self._by_id: dict[str, int] = {}
        self._frontier = Frontier()
        self._checkpoint: str | None = None
        self._facts: dict[Node, list[tuple[int, Fact]]] = defaultdict(list)
        self._links: dict[Node, dict[Node, bool]] = defaultdict(dict)  # and who is trusted
        self._merges: dict[str, dict[Merge, None]] = defaultdict(dict)
        self._naming: dict[Node, list[int]] = defaultdict(list)
        self._suppressed: dict[Node, tuple[int, Fact]] = {}
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
        return node in self._naming

    def facts_of(self, node: Node) -> Facts:
        return tuple(fact for _, fact in self._facts.get(node, ()))

    def links_of(self, node: Node) -> tuple[Node, ...]:
        return tuple(self._links.get(node, ()))

    def trusted_links_of(self, node: Node) -> tuple[Node, ...]:
        return tuple(other for other, trusted in self._links.get(node, {}).items() if trusted)

    def merges_of(self, user_id: str) -> tuple[Merge, ...]:
        found: dict[Merge, None] = {}
        seen, todo = {user_id}, [user_id]
        while todo:
            for merge in self._merges.get(todo.pop(), ()):
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
        first = len(self._records)
        if sealed is not None:
            self._frontier, self._checkpoint = sealed.frontier, sealed.checkpoint
            for record, leaf in zip(commit.records, sealed.leaves, strict=True):
                self._add_record(record, leaf)
        positions = tuple(self._add_event(event) for event in commit.events)
        self._replies.update((reply.key, reply) for reply in commit.replies)
        for digest, text in commit.notices:
            self._notices.setdefault(digest, text)
        for one in commit.tallies:
            self._tallies[one[:5]] += one.times
        self.outbox.add(commit.mails, commit.opt_ins)
        placed = {record.record_id: n for n, record in enumerate(commit.records, first)}
        self.orders.add(commit.orders, commit.tried, placed)
        return Committed(tuple(range(first, len(self._records))), positions)

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
        if len(set(ids)) < len(ids) or not self._by_id.keys().isdisjoint(ids):
            raise StoreConflict("a record with this id is in the ledger already")
        if len(set(keys)) < len(keys) or not self._replies.keys().isdisjoint(keys):
            raise StoreConflict("this idempotency key was answered already")
        self.outbox.refuse_repeats(commit.mails, commit.opt_ins)
        self.orders.refuse_repeats(commit.orders)

    def _add_record(self, record: Record, leaf: bytes) -> None:
        seq = len(self._records)
        self._records.append(LedgerRecord(seq, record, leaf))
        self._newest = max(self._newest, record.received_at)
        self._by_id[record.record_id] = seq
        for node in nodes_named(record):
            self._naming[node].append(seq)
        for node, fact in record.facts:
            self._facts[node].append((seq, fact))
            if fact.kind in suppression.WORDS:
                self._list_or_unlist(node)
        trusted = is_trusted(record.trust)
        for left, right in record.links:
            self._links[left][right] = trusted or self._links[left].get(right, False)
            self._links[right][left] = self._links[left][right]
        if record.merge is not None:
            self._merges[record.merge.left][record.merge] = None
            self._merges[record.merge.right][record.merge] = None

    def _list_or_unlist(self, node: Node) -> None:
        stands = suppression.standing(self._facts[node])
        if stands is None:
            self._suppressed.pop(node, None)
        else:
            self._suppressed[node] = stands

    def _add_event(self, event: StoredEvent) -> int | None:
        key = (event.source, event.message_id)
        if key in self._position_of:
            return None
        position = self._position_of[key] = self._end
        self._events[position] = event
        self._end += 1
        self._newest = max(self._newest, event.received_at)
        return position

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
        seqs = {seq for node in nodes for seq in self._naming.get(node, ())}
        wanted = sorted((s for s in seqs if before is None or s < before), reverse=True)
        return [self._records[seq] for seq in wanted[:limit]]

    def ledger(self, first: int = 0) -> Iterator[LedgerRecord]:
        return islice(iter(self._records), max(first, 0), None)

    def record(self, record_id: str) -> LedgerRecord | None:
        seq = self._by_id.get(record_id)
        return None if seq is None else self._records[seq]

    def checkpoint(self) -> str | None:
        return self._checkpoint

    def suppressions(
        self, after: int | None = None, limit: int = 100
    ) -> Sequence[tuple[int, Suppression]]:
        listed = sorted(
            (
                (seq, Suppression(node, fact.received_at, fact.record_id))
                for node, (seq, fact) in self._suppressed.items()
                if after is None or seq > after
            ),
            key=lambda entry: (entry[0], entry[1].node),
        )
        if len(listed) <= limit:
            return listed
        last = listed[limit - 1][0] if limit > 0 else -1
        return [entry for entry in listed if entry[0] <= last]

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
            del self._position_of[event.source, event.message_id]
        left = set(gone)
        for key in [key for key in self._deliveries if key[1] in left]:
            del self._deliveries[key]
        return len(gone)

    async def backup(self, path: str) -> None:
        raise StoreError("a store in memory has no file to copy")
