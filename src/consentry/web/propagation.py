"""What other systems were told of choices: orders, status, drift, and trying again."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request

from consentry.core.delivery import Grade
from consentry.core.moment import SECOND
from consentry.core.order import OrderState
from consentry.core.record import Node, NodeKind
from consentry.flow import describe
from consentry.flow.propagate import give_up, is_forgotten
from consentry.orders import Order
from consentry.ports import StoreUnavailable
from consentry.web import bodies
from consentry.web.arriving import read_body
from consentry.web.call import Answer
from consentry.web.consent import LARGEST_BODY
from consentry.web.problems import Problem, json_response, whole_number
from consentry.web.site import Site

PAGE = 100
MOST_RETRIED = 1_000
OVERDUE = 15 * 60 * SECOND
_KINDS = {"user_id": NodeKind.ACCOUNT, "anonymous_id": NodeKind.DEVICE}
_STATES = tuple(state.value for state in OrderState)


async def get_orders(site: Site, request: Request) -> Answer:
    """GET /v1/propagation/orders: the newest first. E-mail and phone: see /lookup."""
    site.require_admin(request)
    query = request.query_params
    named, node = query.get("subject"), None
    if named is not None:
        kind, _, value = named.partition(":")
        if kind not in _KINDS or not value:
            message = "name the subject as user_id:ID or anonymous_id:ID"
            raise Problem(400, "invalid_subject", message, "subject")
        node = Node(_KINDS[kind], value)
    return _orders(site, node, query.get("destination"), query.get("state"), query.get("cursor"))


async def post_lookup(site: Site, request: Request) -> Answer:
    """POST /v1/propagation/lookup: as GET, for identifiers that may not stand in a URL."""
    site.require_admin(request)
    raw = await read_body(request, LARGEST_BODY, site.choice_room)
    body = bodies.read_bytes(raw, bodies.OrdersOf)
    nodes = body.subject.nodes()
    if len(nodes) > 1:
        raise Problem(400, "invalid_subject", "name one identifier", "subject")
    return _orders(site, nodes[0], body.destination, body.state, body.cursor)


def _orders(
    site: Site,
    node: Node | None,
    destination: str | None,
    state: str | None,
    cursor: str | None,
) -> Answer:
    if state is not None and state not in _STATES:
        message = f"state is one of {', '.join(_STATES)}"
        raise Problem(400, "invalid_state", message, "state")
    sending = state == OrderState.SENDING  # the store knows it as waiting
    wanted = None if state is None else OrderState.WAITING if sending else OrderState(state)
    before = None if cursor is None else whole_number(cursor, "cursor")
    book = site.world.store.orders
    found = book.find(node, destination, wanted, before=before, limit=PAGE + 1)
    page = found[:PAGE]
    shown = [described(site, order) for order in page]
    if sending:
        shown = [order for order in shown if order["state"] == OrderState.SENDING]
    following = str(page[-1].number) if len(found) > len(page) else None
    return json_response({"orders": shown, "next": following})


def described(site: Site, order: Order) -> dict[str, Any]:
    """One order with every attempt at it."""
    attempts = site.world.store.orders.attempts_of(order.order_id)
    sending = order.state is OrderState.WAITING and site.crew.on_the_wire(order)
    return {
        "orderId": order.order_id,
        "recordId": order.record_id,
        "destination": order.destination,
        "verb": order.verb,
        "state": OrderState.SENDING if sending else order.state,
        "grade": order.grade,
        "detail": order.detail,
        "why": order.why or None,
        "topics": [{"topic": topic, "channel": way} for topic, way in order.topics],
        "acknowledgedAt": describe.time(order.acknowledged_at),
        "firstAttemptAt": describe.time(order.first_attempt_at),
        "nextAt": describe.time(order.next_at) if order.open else None,
        "terminalAt": describe.time(order.terminal_at),
        "supersededBy": order.superseded_by,
        "drift": order.drift,
        "attempts": [describe.attempt(attempt) for attempt in attempts],
    }


async def get_status(site: Site, request: Request) -> Answer:
    """GET /v1/propagation/status: per destination, what is open, overdue and drifting."""
    site.require_admin(request)
    return json_response({"destinations": status(site)})


def status(site: Site) -> list[dict[str, Any]]:
    """Also destinations that are no longer configured, as long as something is owed to them.

    Nothing of theirs is overdue: nobody tries to tell them.
    """
    world, now = site.world, site.world.clock.now()
    book = world.store.orders
    found = {one.destination: one for one in book.open(now - OVERDUE)}
    drift: dict[str, int] = {}
    for order in book.drifting():
        drift[order.destination] = drift.get(order.destination, 0) + 1
    names = dict.fromkeys((*world.policy.mapping, *found, *drift))
    rows = []
    for name in names:
        mapping, one = world.policy.mapping.get(name), found.get(name)
        worker = site.crew.workers.get(name)
        rows.append(
            {
                "name": name,
                "kind": None if mapping is None else mapping.kind,
                "removed": mapping is None,
                "paused": worker is not None and worker.paused is not None,
                "open": 0 if one is None else one.orders,
                "overdue": 0 if one is None or mapping is None else one.late,
                "drift": drift.get(name, 0),
                "oldestSeconds": 0.0 if one is None else max(0.0, (now - one.oldest_at) / SECOND),
            }
        )
    return rows


async def get_drift(site: Site, request: Request) -> Answer:
    """GET /v1/propagation/drift: where a system holds something else than it was told."""
    site.require_admin(request)
    found = site.world.store.orders.drifting(request.query_params.get("destination"))
    return json_response({"drift": [described(site, order) for order in found]})


async def post_retry(site: Site, request: Request) -> Answer:
    """POST /v1/propagation/retry: orders that failed for good, or wait, are tried now.

    Whether they still hold is asked first, as always.
    """
    site.require_admin(request)
    raw = await read_body(request, LARGEST_BODY, site.choice_room)
    which = bodies.read_bytes(raw, bodies.WhichOrders)
    book = site.world.store.orders
    if which.order_ids is not None:
        known = (book.order(order_id) for order_id in which.order_ids)
        orders = [order for order in known if order is not None]
    else:
        orders = await _worth_trying(site, which.destination)
    may = [order for order in orders if _may_be_tried(site, order, which.destination)]
    await site.crew.try_orders(may[:MOST_RETRIED])
    return json_response({"retried": len(may[:MOST_RETRIED])})


async def post_drop(site: Site, request: Request) -> Answer:
    """POST /v1/propagation/drop: what is owed to a destination that is no longer configured ends."""
    site.require_admin(request)
    raw = await read_body(request, LARGEST_BODY, site.choice_room)
    name = bodies.read_bytes(raw, bodies.Dropped).destination
    if name in site.world.policy.mapping:
        message = "it is configured, so it is told: take it out of the configuration first"
        raise Problem(409, "still_configured", message, "destination")
    try:
        return json_response({"dropped": await give_up(site.world, name)})
    except StoreUnavailable:
        message = "the store cannot be written; some may have ended, the rest is owed still"
        raise Problem(503, "unavailable", message, retry_after_s=2) from None


async def _worth_trying(site: Site, destination: str | None) -> list[Order]:
    """What waits, then what failed, the newest first. Gates have ended too, so it may take many
    pages to find an order that failed; others have their turn between them."""
    found: list[Order] = []
    for state in (OrderState.WAITING, OrderState.TERMINAL):
        before = None
        while page := site.world.store.orders.find(None, destination, state, before=before):
            found += [order for order in page if _may_be_tried(site, order, destination)]
            if len(found) >= MOST_RETRIED:
                return found
            before = page[-1].number
            await asyncio.sleep(0)
    return found


def _may_be_tried(site: Site, order: Order, destination: str | None) -> bool:
    if destination not in (None, order.destination) or site.crew.on_the_wire(order):
        return False
    if order.destination not in site.world.policy.mapping:
        return False  # nobody is there to tell it
    if order.state is OrderState.WAITING:
        return True
    failed = order.state is OrderState.TERMINAL and order.grade is Grade.FAILED_FINAL
    return failed and not is_forgotten(site.world, order)
