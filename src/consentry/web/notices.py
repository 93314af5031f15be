"""What happened with notices: told by pages, counted, and read by operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import date
from typing import Any

from starlette.requests import Request

from consentry.core.record import Node, NodeKind
from consentry.flow.counts import What
from consentry.flow.note import note
from consentry.ports import StoreUnavailable, Tally
from consentry.web import bodies
from consentry.web.arriving import read_body
from consentry.web.call import Answer, Call, Reply
from consentry.web.consent import LARGEST_BODY, caller
from consentry.web.ingest import SUCCESS, read_gpc, tell_record
from consentry.web.problems import Problem, json_reply, json_response
from consentry.web.site import EVENTS, Site

BY = ("day", "region", "version", "language")
_FIRST_DAY = "0001-01-01"


async def post_noted(site: Site, request: Call) -> Reply:
    """POST /v1/notices/noted: a notice was shown, or closed without an answer, or neither.

    A page that knows who its visitor is sends ``signal`` where the browser sends one: a GET
    records nothing, and what a backend sends of that person has to be decided by it too.
    """
    body = bodies.read_bytes(await read_body(request, LARGEST_BODY, site.room), bodies.Noted)
    # Whoever floods this may not keep others from withdrawing.
    who = caller(site, request, body.write_key, EVENTS)
    nodes: list[Node] = []
    if body.anonymous_id is not None:
        nodes.append(Node(NodeKind.DEVICE, body.anonymous_id))
    if who.origin.proven_user is not None:
        nodes.append(Node(NodeKind.ACCOUNT, who.origin.proven_user))
    gpc = None if who.trusted else read_gpc(request)
    try:
        counted, records = await note(
            site.world,
            who.origin,
            None if body.what == "signal" else What(body.what),
            body.surface,
            body.notice_version,
            body.language,
            tuple(nodes),
            gpc,
        )
    except StoreUnavailable:
        message = "the store cannot be written; nothing was counted"
        raise Problem(503, "unavailable", message, retry_after_s=2) from None
    site.meters.count_notices(counted)
    for record in records:
        site.meters.choices.labels(record.type).inc()
        tell_record(site, record)
    return json_reply(SUCCESS)


async def get_choices(site: Site, request: Request) -> Answer:
    """GET /v1/choices: how often notices were shown and answered, added up."""
    site.require_admin(request)
    since = _day(request.query_params.get("since"))
    by = _by(request.query_params.get("by"))
    rows = added_up(site.world.store.tallies(since), by)
    return json_response({"since": since, "by": list(by), "rows": rows})


def added_up(tallies: Iterable[Tally], by: tuple[str, ...]) -> list[dict[str, Any]]:
    """One row for each of what ``by`` names, in order, with a number for everything counted."""
    found: dict[tuple[str, ...], Counter[str]] = {}
    for one in tallies:
        row = found.setdefault(tuple(getattr(one, name) for name in by), Counter())
        row[one.what] += one.times
    return [
        {**dict(zip(by, key, strict=True)), **{what: row[what] for what in What}}
        for key, row in sorted(found.items())
    ]


def _day(text: str | None) -> str:
    if text is None:
        return _FIRST_DAY
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise Problem(400, "invalid_date", "since is a day: 2026-11-01", "since") from None


def _by(text: str | None) -> tuple[str, ...]:
    named = tuple(dict.fromkeys(part.strip() for part in text.split(","))) if text else ("day",)
    unknown = [name for name in named if name not in BY]
    if unknown:
        raise Problem(400, "invalid_by", f"by names some of {', '.join(BY)}", "by")
    return named
