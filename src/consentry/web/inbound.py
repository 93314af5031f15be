"""Vendors' own webhooks: an unsubscribe over there becomes a choice here."""

from __future__ import annotations

from starlette.requests import Request

from consentry.config import DestinationConfig
from consentry.destinations.instruction import Heard, InboundCall, Unproven
from consentry.destinations.registry import KINDS, Hear
from consentry.flow.heard import take
from consentry.ledger.entry import RecordType
from consentry.ports import StoreUnavailable
from consentry.web.arriving import read_body
from consentry.web.call import Answer
from consentry.web.consent import tell_choice
from consentry.web.problems import Problem, json_response
from consentry.web.site import Site

LARGEST = 1024 * 1024
MOST_HEARD = 10_000


async def get_inbound(site: Site, request: Request) -> Answer:
    """GET /v1/inbound/{destination}: some vendors look whether there is anybody. Reads nothing."""
    _hearing(site, request)
    return json_response({"status": "ok"})


async def post_inbound(site: Site, request: Request) -> Answer:
    """POST /v1/inbound/{destination}: proven by the vendor's signature alone."""
    given, hear = _hearing(site, request)
    raw = await read_body(request, LARGEST, site.choice_room)
    try:
        heard = hear(_call(site, request, raw), given.options)
    except Unproven:
        raise Problem(401, "unproven", "no valid signature of this vendor") from None
    if len(heard) > MOST_HEARD:
        raise Problem(413, "too_large", f"at most {MOST_HEARD} events in one call")
    await _take(site, given.name, heard)
    return json_response({"taken": len(heard)})


async def _take(site: Site, name: str, heard: tuple[Heard, ...]) -> None:
    try:
        for answered in await take(site.world, name, heard):
            if answered is None:
                site.meters.erased.labels("inbound").inc()
            else:
                tell_choice(site, answered, RecordType.CHOICE)
    except StoreUnavailable:
        message = "nothing was recorded; try again"
        raise Problem(503, "unavailable", message, retry_after_s=2) from None


def _hearing(site: Site, request: Request) -> tuple[DestinationConfig, Hear]:
    """The destination that is called about, and how its kind is heard. Raises Problem 404."""
    name = request.path_params["destination"]
    given = next((d for d in site.config.destinations if d.name == name), None)
    kind = None if given is None else KINDS.get(given.kind)
    if given is None or kind is None or kind.hear is None:
        raise Problem(404, "not_found", "no destination of this name tells us anything")
    return given, kind.hear


def _call(site: Site, request: Request, raw: bytes) -> InboundCall:
    """The call as the vendor signed it: a proxy may have changed scheme, host and port."""
    url = request.url
    base = site.config.server.base_url
    path = url.path + (f"?{url.query}" if url.query else "")
    return InboundCall(
        method=request.method,
        url=f"{base.rstrip('/')}{path}" if base else str(url),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=raw,
        now=site.world.clock.now(),
    )
