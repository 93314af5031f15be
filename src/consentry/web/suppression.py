"""The suppression list: who is on it, and putting somebody on it or taking them off."""

from __future__ import annotations

from starlette.requests import Request

from consentry.flow import describe
from consentry.flow.person import is_erased
from consentry.flow.record_choice import suppress
from consentry.ports import StoreUnavailable
from consentry.web import bodies
from consentry.web.arriving import read_body
from consentry.web.call import Reply
from consentry.web.consent import LARGEST_BODY, trusted_caller, unavailable
from consentry.web.ingest import tell_record
from consentry.web.problems import Problem, json_response, whole_number
from consentry.web.site import ADMIN, Site


async def post_suppress(site: Site, request: Request) -> Reply:
    """POST /v1/subjects/suppress."""
    return await _suppression(site, request, on=True)


async def post_unsuppress(site: Site, request: Request) -> Reply:
    """POST /v1/subjects/unsuppress."""
    return await _suppression(site, request, on=False)


async def _suppression(site: Site, request: Request, *, on: bool) -> Reply:
    who = trusted_caller(site, request)
    body = bodies.read_bytes(
        await read_body(request, LARGEST_BODY, site.choice_room), bodies.Suppress
    )
    nodes = body.subject.nodes()
    if not on and who.origin != ADMIN and is_erased(site.world, nodes):
        message = "this person was erased: only the operator's key may lift that"
        raise Problem(403, "erased", message, "subject")
    try:
        listed = await suppress(site.world, nodes, who.origin, body.reason, on=on)
    except StoreUnavailable:
        raise unavailable() from None
    record = listed.record
    site.meters.choices.labels(record.type).inc()
    if site.world.feed.watched:
        tell_record(site, record)
    orders = [order.order_id for order in listed.orders]
    return json_response({"recordId": record.record_id, "suppressed": on, "orders": orders})


async def get_suppressions(site: Site, request: Request) -> Reply:
    """GET /v1/suppressions."""
    site.require_admin(request)
    cursor = request.query_params.get("cursor")
    after = None if cursor is None else whole_number(cursor, "cursor")
    found = site.world.store.suppressions(after, 101)
    page = found[:100]
    return json_response(
        {
            "suppressions": [
                {
                    "subject": {} if one.node is None else describe.subject((one.node,)),
                    "since": describe.time(one.since),
                    "recordId": one.record_id,
                }
                for _, one in page
            ],
            "next": str(page[-1][0]) if len(found) > len(page) else None,
        }
    )
