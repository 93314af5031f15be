"""Decisions in bulk, and what became of an event (spec/api.md)."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec import structs
from starlette.requests import Request

from consentry.core.event import Envelope, Malformed, parse_event
from consentry.core.rule import NOBODY_LOOKED, How, Place
from consentry.flow import describe
from consentry.flow.explain import explain_event, explain_stored, explain_subject, explain_topic
from consentry.flow.records import Origin
from consentry.ports import StoredEvent, StoreError
from consentry.web import bodies
from consentry.web.arriving import read_body
from consentry.web.call import Call, Reply
from consentry.web.consent import trusted_caller
from consentry.web.problems import Problem, json_response
from consentry.web.site import Site

LARGEST_QUESTION = 16 * 1024 * 1024  # 10,000 events of some 1.6 KB, as SDKs write them


async def post_decisions(site: Site, request: Call) -> Reply:
    """POST /v1/decisions: nothing is sent and nothing recorded."""
    who = trusted_caller(site, request)
    raw = await read_body(request, LARGEST_QUESTION, site.room)
    body = bodies.read_bytes(raw, bodies.Decisions)
    items: list[dict[str, Any]] = []
    try:
        for n, item in enumerate(body.items):
            items.append(_answer(site, who.origin, item))
            if n % 100 == 99:
                await asyncio.sleep(0)  # a withdrawal may not wait for 10,000 answers
    except StoreError:
        message = "the consent state cannot be read; treat every answer as no"
        raise Problem(503, "unavailable", message, retry_after_s=2) from None
    return json_response(
        {
            "decidedAt": describe.time(site.world.clock.now()),
            "policyVersion": site.world.policy.version,
            "items": items,
        }
    )


def _answer(site: Site, asker: Origin, item: bodies.Item) -> dict[str, Any]:
    try:
        return {"id": item.id, "decisions": _decisions(site, asker, item)}
    except Problem as problem:
        return {"id": item.id, "error": {"code": problem.code, "message": problem.message}}


def _decisions(site: Site, asker: Origin, item: bodies.Item) -> list[dict[str, Any]]:
    if (item.event is None) == (item.subject is None):
        raise Problem(400, "invalid_item", "an item has either an event or a subject")
    if item.event is not None:
        envelope = Envelope(site.world.clock.now())
        event = parse_event(item.event, envelope, fallback_id="explained")
        if isinstance(event, Malformed):
            raise Problem(400, event.code, event.message, event.field)
        door = structs.replace(_door(site, asker, item.event), place=_place(item))
        return [describe.decision(d) for d in explain_event(site.world, event, door)]
    assert item.subject is not None
    nodes = item.subject.nodes()
    if item.topic is not None or item.channel is not None:
        if item.topic is None or item.channel is None:
            raise Problem(400, "invalid_item", "topic and channel belong together")
        return [explain_topic(site.world, nodes, item.topic, item.channel)]
    unknown = set(item.destinations or ()) - site.world.policy.mapping.keys()
    if unknown:
        # Left out of the answer, it could be taken for allowed.
        message = f"there is no destination {min(unknown)!r}"
        raise Problem(400, "unknown_destination", message, "destinations")
    asked = explain_subject(site.world, nodes, item.destinations, _place(item))
    return [describe.decision(d) for d in asked]


def _place(item: bodies.Item) -> Place:
    if item.place is None:
        return NOBODY_LOOKED
    return Place(item.place.country, item.place.region, How.TOLD)


def _door(site: Site, asker: Origin, event: dict[str, Any]) -> Origin:
    """The source whose key the event holds, without any proof; else the door of who asks."""
    key = event.get("writeKey")
    source = site.source_of(key) if isinstance(key, str) else None
    if source is None:
        return asker
    return Origin(source.name, "server" if source.trusted else "public")


async def get_event(site: Site, request: Request) -> Reply:
    """GET /v1/events/{messageId}."""
    site.require_admin(request)
    found = find_event(site, request.path_params["message_id"])
    if found is None:
        message = "no event with this messageId was accepted, or it is past its retention"
        raise Problem(404, "not_found", message)
    return json_response(explain_stored(site.world, *found))


def find_event(site: Site, message_id: str) -> tuple[int, StoredEvent] | None:
    """Message ids are unique per source, so every source is asked."""
    for source in site.config.sources:
        position = site.world.store.position_of(source.name, message_id)
        event = None if position is None else site.world.store.event_at(position)
        if position is not None and event is not None:
            return position, event
    return None
