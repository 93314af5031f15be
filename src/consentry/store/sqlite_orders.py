"""Orders in SQLite, read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from consentry.core.moment import Moment
from consentry.core.order import OrderState
from consentry.core.record import Node
from consentry.orders import Open, Order
from consentry.ports import Attempt
from consentry.store import codec
from consentry.store.codec import RowKeys
from consentry.store.sqlite_read import SqliteReader, reading

_LAST = (1 << 63) - 1


class SqliteOrders:
    """Implements ``consentry.orders.OrderBook``."""

    def __init__(self, read: SqliteReader, keys: RowKeys) -> None:
        self._read = read
        self._keys = keys

    def _orders(self, query: str, *bindings: Any) -> list[Order]:
        rows = self._read.rows(query, *bindings)
        return [_order(*row) for row in rows]

    @reading
    def order(self, order_id: str) -> Order | None:
        row = self._read.row("order", order_id)
        return None if row is None else _order(*row)

    @reading
    def waiting(self, destination: str, after: int = -1, limit: int = 1000) -> Sequence[Order]:
        return self._orders("orders_waiting", destination, after, limit)

    @reading
    def find(
        self,
        node: Node | None = None,
        destination: str | None = None,
        state: OrderState | None = None,
        *,
        before: int | None = None,
        limit: int = 100,
    ) -> Sequence[Order]:
        bindings = (_LAST if before is None else before, destination, state and state.value, limit)
        if node is None:
            return self._orders("orders_found", *bindings)
        return self._orders("orders_about", *bindings, self._keys.node(node))

    @reading
    def of_record(self, record_id: str) -> Sequence[Order]:
        return self._orders("orders_of_record", record_id)

    @reading
    def attempts_of(self, order_id: str) -> Sequence[Attempt]:
        rows = self._read.rows("order_attempts", order_id)
        return [codec.decode_attempt(body) for (body,) in rows]

    @reading
    def to_read(self, now: Moment, limit: int = 100) -> Sequence[Order]:
        return self._orders("orders_to_read", now, limit)

    @reading
    def open(self, late: Moment) -> Sequence[Open]:
        return [Open(*row) for row in self._read.rows("orders_open", late)]

    @reading
    def overdue(
        self, before: Moment, escalated: int, destinations: Collection[str], limit: int = 100
    ) -> Sequence[Order]:
        names = msgspec.json.encode(sorted(destinations)).decode()
        return self._orders("orders_overdue", before, escalated, names, limit)

    @reading
    def drifting(self, destination: str | None = None, limit: int = 1000) -> Sequence[Order]:
        return self._orders("orders_drifting", destination, limit)


def _order(number: int, seq: int, body: bytes) -> Order:
    return msgspec.structs.replace(codec.decode_order(body), number=number, seq=seq)
