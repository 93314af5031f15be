"""Orders in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from consentry.core.moment import Moment
from consentry.core.order import OrderState
from consentry.core.record import Node
from consentry.orders import Open, Order, Tried
from consentry.ports import Attempt, StoreRefused
from consentry.store import blank


class MemoryOrders:
    """Implements ``consentry.orders.OrderBook``."""

    def __init__(self) -> None:
        self._orders: dict[str, Order] = {}
        self._about: dict[str, frozenset[Node]] = {}
        self._attempts: dict[str, list[Attempt]] = {}

    def refuse_repeats(self, orders: Sequence[Order]) -> None:
        """Raises StoreRefused where an id is there already: ids are given out once."""
        ids = [order.order_id for order in orders]
        if len(set(ids)) < len(ids) or not self._orders.keys().isdisjoint(ids):
            raise StoreRefused("this cannot be stored: an id is there already")

    def add(self, orders: Iterable[Order], tried: Iterable[Tried], seqs: Mapping[str, int]) -> None:
        """Those of one commit. ``seqs`` are of its records."""
        for order in orders:
            number, seq = len(self._orders) + 1, seqs.get(order.record_id, order.seq)
            kept = msgspec.structs.replace(order, number=number, seq=seq)
            self._orders[order.order_id] = kept
            self._about[order.order_id] = frozenset(order.nodes)
        for order, attempt in tried:
            known = self._orders.get(order.order_id)
            if known is None:
                continue
            left = blank.order_as_it_is(order, self._about[order.order_id])
            kept = msgspec.structs.replace(left, number=known.number, seq=known.seq)
            self._orders[order.order_id] = kept
            if attempt is not None:
                self._attempts.setdefault(order.order_id, []).append(attempt)

    def prune(self, attempts_before: Moment) -> None:
        """Forget attempts that ended before a moment."""
        for order_id, attempts in self._attempts.items():
            self._attempts[order_id] = [a for a in attempts if a.ended_at >= attempts_before]

    # -- erasing ------------------------------------------------------------------------------
    def shred(self, erasure_id: str, gone: AbstractSet[Node]) -> tuple[int, int]:
        """Take identifiers out of orders that have ended; how many, and how many are open."""
        shredded = waits = 0
        for order_id, order in list(self._orders.items()):
            about = self._about[order_id]
            if order.erases or order.record_id == erasure_id or gone.isdisjoint(about):
                continue
            if order.open:
                waits += 1
                continue
            self._orders[order_id] = blank.order_without(order, gone)
            self._about[order_id] = about - gone
            shredded += 1
        return shredded, waits

    def shred_owed(self, erasure_id: str, gone: AbstractSet[Node]) -> None:
        """The same of those that the erasure owes, which are still found by the identifiers."""
        for order in self.of_record(erasure_id):
            if blank.has_ended(order):
                self._orders[order.order_id] = blank.order_without(order, gone)

    def order(self, order_id: str) -> Order | None:
        return self._orders.get(order_id)

    def waiting(self, destination: str, after: int = -1, limit: int = 1000) -> Sequence[Order]:
        found = (o for o in self._waiting() if o.destination == destination and o.number > after)
        return list(found)[:limit]

    def _waiting(self) -> list[Order]:
        return [o for o in self._orders.values() if o.state is OrderState.WAITING]

    def find(
        self,
        node: Node | None = None,
        destination: str | None = None,
        state: OrderState | None = None,
        *,
        before: int | None = None,
        limit: int = 100,
    ) -> Sequence[Order]:
        found = [
            order
            for order in reversed(self._orders.values())
            if (before is None or order.number < before)
            and (node is None or node in self._about[order.order_id])
            and (destination is None or order.destination == destination)
            and (state is None or order.state is state)
        ]
        return found[:limit]

    def of_record(self, record_id: str) -> Sequence[Order]:
        return [order for order in self._orders.values() if order.record_id == record_id]

    def attempts_of(self, order_id: str) -> Sequence[Attempt]:
        return tuple(self._attempts.get(order_id, ()))

    def to_read(self, now: Moment, limit: int = 100) -> Sequence[Order]:
        due = [(o.read_at, o.number, o) for o in self._orders.values() if o.read_at is not None]
        return [order for at, _, order in sorted(due, key=lambda d: d[:2]) if at <= now][:limit]

    def open(self, late: Moment) -> Sequence[Open]:
        waiting = self._waiting()
        found = []
        for name in sorted({order.destination for order in waiting}):
            times = [order.acknowledged_at for order in waiting if order.destination == name]
            found.append(Open(name, len(times), min(times), sum(at < late for at in times)))
        return found

    def overdue(
        self, before: Moment, escalated: int, destinations: Collection[str], limit: int = 100
    ) -> Sequence[Order]:
        late = (
            o
            for o in self._waiting()
            if o.acknowledged_at < before
            and o.escalated < escalated
            and o.destination in destinations
        )
        return sorted(late, key=lambda o: (o.acknowledged_at, o.number))[:limit]

    def drifting(self, destination: str | None = None, limit: int = 1000) -> Sequence[Order]:
        found = [
            order
            for order in reversed(self._orders.values())
            if order.drift and destination in (None, order.destination)
        ]
        return found[:limit]
