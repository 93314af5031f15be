"""Erasing a person: asked for once, and what came of it, ours and at every destination."""

from __future__ import annotations

from typing import Any

import structlog
from starlette.requests import Request

from consentry.core.delivery import Grade
from consentry.core.order import OrderState
from consentry.flow import describe
from consentry.flow.erase import Erasing, NobodyAlone, Told, erase, status_of
from consentry.flow.once import KeyReused
from consentry.flow.reading import TooManyIdentifiers
from consentry.ledger.entry import RecordType
from consentry.ports import StoreUnavailable
from consentry.web import bodies
from consentry.web.arriving import read_body
from consentry.web.call import Answer, Reply
from consentry.web.consent import LARGEST_BODY, once_of, trusted_caller, unavailable
from consentry.web.ingest import tell_record
from consentry.web.problems import Problem, json_response
from consentry.web.site import Site

log = structlog.get_logger()


async def post_erase(site: Site, request: Request) -> Reply:
    """POST /v1/subjects/erase: suppressed at once; every destination is told."""
    who = trusted_caller(site, request)
    raw = await read_body(request, LARGEST_BODY, site.choice_room)
    body = bodies.read_bytes(raw, bodies.Suppress)
    nodes, once = body.subject.nodes(), once_of(request, who, raw)
    try:
        made = await erase(site.world, nodes, who.origin, body.reason, once=once)
    except KeyReused:
        message = "this Idempotency-Key was used with another body; use a new key"
        raise Problem(409, "key_reused", message) from None
    except NobodyAlone:
        message = "it is linked to an account that is not named: name the account too, as userId"
        raise Problem(409, "another_account", message, "subject") from None
    except TooManyIdentifiers:
        message = "too many identifiers are linked to this person: suppress them, and look at why"
        raise Problem(409, "too_many_identifiers", message, "subject") from None
    except StoreUnavailable:
        raise unavailable() from None
    _tell(site, made)
    return json_response(made.body, 202)


def _tell(site: Site, made: Erasing) -> None:
    if made.record is None:
        return
    site.meters.choices.labels(made.record.type).inc()
    if made.away:
        log.warning(
            "erasure_waits_for_removed", erasure=made.record.record_id, destinations=made.away,
            message="they may know the person, and are told should they come back; to end that: "
            "consentry propagation drop --destination NAME",
        )  # fmt: skip
    if site.world.feed.watched:
        tell_record(site, made.record)


async def get_erasure(site: Site, request: Request) -> Answer:
    """GET /v1/erasures/{erasure_id}: what came of an erasure, per system."""
    site.require_admin(request)
    erasure_id = request.path_params["erasure_id"]
    entry = site.world.store.record(erasure_id)
    if entry is None or entry.record.type is not RecordType.ERASE:
        raise Problem(404, "not_found", "no erasure has this id")
    status = status_of(site.world, erasure_id)
    systems = [_system(site, told) for told in status.told]
    return json_response(
        {
            "erasureId": erasure_id,
            "receivedAt": describe.time(entry.record.received_at),
            "ours": status.ours,
            "open": sum(
                one["state"] in (OrderState.WAITING, OrderState.SENDING) for one in systems
            ),
            "failed": sum(one["grade"] == Grade.FAILED_FINAL for one in systems),
            "systems": systems,
        }
    )


def _system(site: Site, told: Told) -> dict[str, Any]:
    """One destination: what it was asked for, what it answered, and what it cannot do."""
    mapping, order = site.world.policy.mapping.get(told.destination), told.strongest
    sending = order.state is OrderState.WAITING and site.crew.on_the_wire(order)
    return {
        "destination": told.destination,
        "kind": None if mapping is None else mapping.kind,
        "verb": order.verb,
        "erases": told.erases,
        "cannot": told.cannot,
        "state": OrderState.SENDING if sending else order.state,
        "grade": order.grade,
        "detail": order.detail,
        "terminalAt": describe.time(order.terminal_at),
        "orders": [one.order_id for one in told.orders],
    }
