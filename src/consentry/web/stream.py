"""The stream: a page hears of its subject's preferences when another device changes them.

``text/event-stream``, but read through fetch, so that key and token stand in headers and not in
a URL. A caller may follow what it may read (``consent.Caller``) and nobody else: its own
anonymous id, and the account that its subject token proves.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import StreamingResponse

from consentry.core.record import Node, NodeKind
from consentry.flow import describe
from consentry.flow.records import Origin
from consentry.jurisdictions import rule_of
from consentry.web import bodies
from consentry.web.call import Answer
from consentry.web.consent import Caller, caller
from consentry.web.problems import Problem
from consentry.web.site import EVENTS, Site
from consentry.web.strangers import network_key

ANONYMOUS_ID = "consentry-anonymous-id"
MOST_OF_ONE = 20  # streams of one device or account
MOST_OF_ADDRESS = 200  # an office may be behind one; of IPv6 a network counts as one
MOST_ANONYMOUS = 0.25  # of all streams
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # or nginx would keep it until it has a page of it
}


async def get_stream(site: Site, request: Request) -> Answer:
    """GET /v1/stream: a subject's preferences, at once and whenever they change."""
    who = caller(site, request, None, EVENTS)
    if who.trusted:
        raise Problem(403, "forbidden", "the stream is for pages: a server asks /v1/subjects")
    nodes = _followed(request, who)
    _make_room(site, nodes, network_key(site.client_ip(request)))
    return StreamingResponse(
        events(site, request, nodes, who.origin), media_type="text/event-stream", headers=_HEADERS
    )


def _followed(request: Request, who: Caller) -> tuple[Node, ...]:
    """The device that the header names, and the account that the token proves."""
    device = request.headers.get(ANONYMOUS_ID)
    subject = bodies.convert(
        {"anonymousId": device, "userId": who.origin.proven_user}, bodies.Subject
    )
    if device is None and who.origin.proven_user is None:
        message = "name your own anonymous id in Consentry-Anonymous-Id, or prove an account"
        raise Problem(400, "missing_subject", message, "Consentry-Anonymous-Id")
    return subject.nodes()


def _make_room(site: Site, nodes: tuple[Node, ...], address: str) -> None:
    """Raises Problem 429 where one subject or address has too many streams, 503 for all."""
    followers = site.world.followers
    if any(followers.following(node) >= MOST_OF_ONE for node in nodes):
        raise Problem(429, "too_many_streams", "this subject is followed often enough")
    if site.streams[address] >= MOST_OF_ADDRESS:
        raise Problem(429, "too_many_streams", "this address follows enough already")
    # Anybody can follow a device: who has proven an account is not crowded out by those.
    anonymous = site.anonymous_streams >= site.most_streams * MOST_ANONYMOUS
    if followers.count >= site.most_streams or (anonymous and not _proven(nodes)):
        message = "too many streams at once"
        raise Problem(503, "overloaded", message, retry_after_s=30)


def _proven(nodes: tuple[Node, ...]) -> bool:
    return any(node.kind is NodeKind.ACCOUNT for node in nodes)


async def events(
    site: Site, request: Request, nodes: tuple[Node, ...], origin: Origin
) -> AsyncIterator[bytes]:
    """The preferences now, then each time they have changed, until the caller's proof ends.

    A comment now and then, so that a dead connection is noticed, and that what changes by the
    passing of time is looked for. Of several changes while nobody reads, the latest is told.
    """
    address, proven = network_key(site.client_ip(request)), _proven(nodes)
    ending = asyncio.create_task(site.closing.wait())
    site.streams[address] += 1
    site.anonymous_streams += not proven
    told = b""
    try:
        with site.world.followers.follow(nodes) as changed:
            while not ending.done() and _may_still(site, request, nodes):
                changed.clear()
                now = _preferences(site, origin, nodes)
                yield b": still there\n\n" if now == told else _event(now)
                told = now
                await _either(changed, ending, site.heartbeat_s)
    finally:
        site.streams[address] -= 1
        site.anonymous_streams -= not proven
        if not site.streams[address]:
            del site.streams[address]
        ending.cancel()


async def _either(changed: asyncio.Event, ending: asyncio.Task[Any], within_s: float) -> None:
    """Wait for a change or the end, but not for longer than a heartbeat."""
    waiting: asyncio.Task[Any] = asyncio.create_task(changed.wait())
    try:
        await asyncio.wait({waiting, ending}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


def _may_still(site: Site, request: Request, nodes: tuple[Node, ...]) -> bool:
    """Whether key, origin and token would open it now: tokens end, and configurations change."""
    try:
        source = site.tracking_source(request, None)
        if source is None:
            return False
        site.check_origin(source, request)
    except Problem:
        return False
    account = next((node.value for node in nodes if node.kind is NodeKind.ACCOUNT), None)
    if account is None:
        return True
    return site.proven_user(source, request, site.world.clock.now()) == account


def _preferences(site: Site, origin: Origin, nodes: tuple[Node, ...]) -> bytes:
    """PREFS of the named identifiers alone, as a public key may read them."""
    world, now = site.world, site.world.clock.now()
    standing = world.subjects.alone(nodes, world.policy, now)
    regime, rule = world.regimes.get(origin.source), rule_of(origin.place, now)
    return msgspec.json.encode(describe.preferences(world.policy, standing, now, regime, rule))


def _event(data: bytes) -> bytes:
    return b"event: preferences\ndata: " + data + b"\n\n"
