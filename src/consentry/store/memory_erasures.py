"""Erasures in memory: records, then events, then orders, then the end, each in a part of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from consentry.core.moment import Moment
from consentry.core.record import Node
from consentry.erasures import Erasure, Shredded
from consentry.store.memory_orders import MemoryOrders
from consentry.store.memory_outbox import MemoryOutbox
from consentry.store.memory_records import MemoryRecords
from consentry.store.naming import nodes_named

Rest = Callable[[Erasure, AbstractSet[Node], Moment], tuple[int, int]]


class MemoryErasures:
    """Implements ``consentry.erasures.Erasures``.

    ``begin`` raises where the store cannot write; ``rest`` takes kept replies and events.
    """

    def __init__(
        self,
        begin: Callable[[], None],
        records: MemoryRecords,
        orders: MemoryOrders,
        outbox: MemoryOutbox,
        rest: Rest,
    ) -> None:
        self._begin = begin
        self._records = records
        self._orders = orders
        self._outbox = outbox
        self._rest = rest
        self._jobs: dict[str, Erasure] = {}

    def add(self, record_id: str, seq: int, asked_at: Moment) -> None:
        """There is somebody to be erased."""
        self._jobs[record_id] = Erasure(record_id, seq, asked_at, False)

    def unfinished(self) -> Sequence[Erasure]:
        return sorted(self._jobs.values(), key=lambda job: job.seq)

    async def shred(self, erasure_id: str, at: Moment) -> Shredded:
        self._begin()
        job = self._jobs.get(erasure_id)
        if job is None or job.erased:
            return Shredded(done=True)
        gone = frozenset(nodes_named(self._records.all[job.seq].record))
        records, shared = self._records.shred(job, gone)
        if records:
            return Shredded(records=records, shared=shared)
        replies, events = self._rest(job, gone, at)
        if replies or events:
            return Shredded(replies=replies, events=events)
        orders, waits = self._orders.shred(erasure_id, gone)
        if orders or waits:
            return Shredded(orders=orders, waits=0 if orders else waits)
        self._outbox.forget_people(gone)
        self._orders.shred_owed(erasure_id, gone)
        self._records.mark(job.seq, erasure_id)
        self._jobs[erasure_id] = job._replace(erased=True)
        return Shredded(done=True, records=1)

    async def finish(self, erasure_id: str) -> bool:
        self._begin()
        self._jobs.pop(erasure_id, None)
        return True


class _Kept(msgspec.Struct):
    """The part of a kept reply that says what it answered."""

    recordId: str | None = None


def record_of(reply: bytes) -> str:
    """The id of the record that a kept reply is of; empty where it says none."""
    try:
        return msgspec.json.decode(reply, type=_Kept).recordId or ""
    except msgspec.MsgspecError:
        return ""
