"""What the SQLite store writes of orders, inside the one transaction of a group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

import apsw

from consentry.core.moment import Moment
from consentry.core.record import Node
from consentry.orders import Order
from consentry.ports import Commit
from consentry.store import blank, codec
from consentry.store.codec import RowKeys
from consentry.store.statements import queries

SQL = queries("sqlite_write")


def write(
    db: apsw.Connection, keys: RowKeys, commits: Sequence[Commit], seqs: Mapping[str, int]
) -> None:
    """The orders of a group of commits, new ones first. ``seqs`` are of the group's records."""
    for commit in commits:
        for order in commit.orders:
            seq = seqs.get(order.record_id, order.seq)
            names = (order.order_id, order.record_id, seq, order.destination)
            row = (*names, order.state.value, order.acknowledged_at, *_changing(order))
            number = db.execute(SQL["add_order"], row).get
            nodes = sorted({keys.node(node) for node in order.nodes})
            db.executemany(SQL["add_order_node"], [(node, number) for node in nodes])
    for commit in commits:
        for given, attempt in commit.tried:
            order = blank.order_as_it_is(given, _found_by(db, keys, given))
            row = (order.order_id, order.state.value, *_changing(order))
            db.execute(SQL["change_order"], row)
            if attempt is not None:
                tried = (order.order_id, codec.encode(attempt))
                db.execute(SQL["add_order_attempt"], tried)


def _found_by(db: apsw.Connection, keys: RowKeys, order: Order) -> frozenset[Node]:
    if not order.nodes:
        return frozenset()  # there is no array of nothing
    named = {keys.node(node): node for node in order.nodes}
    rows = db.execute(SQL["order_found_by"], (order.order_id, apsw.carray(tuple(named))))
    return frozenset([named[key] for (key,) in rows])


def prune_attempts(db: apsw.Connection, before: Moment, most: int) -> int:
    """Forget at most so many attempts that ended before a moment; how many went.

    They lie in the order in which they were recorded, and up to the first that is not old.
    """
    rows: list[tuple[int, bytes]] = list(db.execute(SQL["oldest_order_attempts"], (most,)))
    old = [
        i for i, _ in takewhile(lambda row: codec.decode_attempt(row[1]).ended_at < before, rows)
    ]
    if old:
        db.execute(SQL["prune_order_attempts"], (old[-1],))
    return len(old)


def _changing(order: Order) -> tuple[Any, ...]:
    return order.escalated, order.read_at, int(order.drift), codec.encode(order)
