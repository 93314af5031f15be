"""A choice and what every system made of it, as the pages are told: one line for each order.

The lines go out with the demo's feed, when a choice was recorded and whenever an order was tried.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from consentry.core.moment import Moment
from consentry.core.order import Verb
from consentry.demo.overheard import Overheard
from consentry.flow import describe
from consentry.ledger.entry import Record, RecordType
from consentry.orders import Order
from consentry.web.propagation import described
from consentry.web.site import Site

MILLISECOND: Moment = 1_000
BELIEVED_FOR: Moment = 60_000 * MILLISECOND
"""How long before its reception a click may have been, by the browser's clock."""
LOOKED_THROUGH = 2_000  # records, most of which say what became of orders
RECENT = 100  # of the others


def clicked_at(record: Record) -> Moment:
    """When the person chose: by their own clock, unless that cannot be."""
    made, received = record.made_at, record.received_at
    return made if made is not None and 0 <= received - made <= BELIEVED_FOR else received


def choice(site: Site, overheard: Overheard, record: Record) -> dict[str, Any]:
    """A record of somebody, with the orders that it owes."""
    orders = site.world.store.orders.of_record(record.record_id)
    return {
        "kind": "choice",
        "recordId": record.record_id,
        "type": record.type,
        "action": record.evidence.get("action"),
        "trust": record.trust,
        "subject": describe.subject(record.subject),
        "before": record.before,
        "after": record.after,
        "receivedAt": describe.time(record.received_at),
        "clickedAt": describe.time(clicked_at(record)),
        "orders": [_order(site, overheard, record, one) for one in orders],
    }


def order(site: Site, overheard: Overheard, order_id: str) -> dict[str, Any] | None:
    """One order as it stands now; None if it is not known."""
    found = site.world.store.orders.order(order_id)
    entry = None if found is None else site.world.store.record(found.record_id)
    if found is None or entry is None:
        return None
    return {"kind": "order", **_order(site, overheard, entry.record, found)}


def _order(site: Site, overheard: Overheard, record: Record, one: Order) -> dict[str, Any]:
    attempts = site.world.store.orders.attempts_of(one.order_id)
    ended = (
        one.terminal_at if one.verb is Verb.GATE else attempts[-1].ended_at if attempts else None
    )
    after_ms = None if ended is None else (ended - clicked_at(record)) // MILLISECOND
    return {
        **described(site, one),
        "tries": len(attempts),
        "afterMs": after_ms,
        "told": overheard.told(one.order_id),
        "asked": overheard.asked(one.order_id),
    }


def choices(site: Site, overheard: Overheard, size: int) -> list[dict[str, Any]]:
    """The latest records of people among ``size``, oldest first; not what became of orders."""
    latest: deque[Record] = deque(maxlen=RECENT)
    for entry in site.world.store.ledger(max(0, size - LOOKED_THROUGH)):
        if entry.record.type is not RecordType.OUTCOME:
            latest.append(entry.record)
    return [choice(site, overheard, record) for record in latest]
