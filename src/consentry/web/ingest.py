"""The tracking API, as Segment's SDKs use it (spec/segment-api.md)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
from starlette.requests import Request

from consentry.config import Enforcement, Source
from consentry.core.event import Envelope, Malformed, read_time
from consentry.core.stamp import Invalid
from consentry.flow import describe
from consentry.flow.accept import Accepted, Decided, Incoming, Written, accept
from consentry.ports import StoreUnavailable
from consentry.web.arriving import read_body
from consentry.web.call import Asked, Call, Reply
from consentry.web.messages import Posted, read_batch, read_single
from consentry.web.problems import Problem, json_reply, json_response
from consentry.web.site import Site
from consentry.web.strict_json import flaw

LARGEST_EVENT = 32 * 1024
LARGEST_BATCH = 500 * 1024
MOST_GIVEN = 4 * 1024 * 1024  # context and integrations of a batch, times its messages
MOST_EVENTS = 2500
LONGEST_LIST = 20_000  # more real messages fit no batch; each would cost a line of the reply
SUCCESS = b'{"success":true}'
MOST_AT_ONCE = 2000  # requests that may wait for the disk together

SHORT_PATHS = {
    "t": "track",
    "i": "identify",
    "p": "page",
    "s": "screen",
    "g": "group",
    "a": "alias",
}

Handler = Callable[[Site, Call], Awaitable[Reply]]


def single(type_: str) -> Handler:
    """POST of one message; the path names its type."""

    async def handle(site: Site, call: Call) -> Reply:
        return await _take(site, call, read_single(await _read(site, call)), type_)

    return handle


async def batch(site: Site, call: Call) -> Reply:
    """POST of many messages. What is malformed is refused by itself; the rest is taken."""
    posted = read_batch(await _read(site, call))
    if posted.count > LONGEST_LIST:
        raise Problem(400, "too_many", f"a batch holds at most {MOST_EVENTS} messages", "batch")
    return await _take(site, call, posted, None)


async def metrics(site: Site, call: Call) -> Reply:
    """analytics.js' own metrics: accepted and forgotten."""
    await read_body(call, LARGEST_BATCH, site.room, too_large=400)
    return json_reply(SUCCESS)


async def _read(site: Site, call: Call) -> bytes:
    if site.in_progress >= MOST_AT_ONCE:
        raise Problem(429, "overloaded", "too many requests at once", retry_after_s=1)
    return await read_body(call, LARGEST_BATCH, site.room, too_large=400)


async def _take(site: Site, call: Call, posted: Posted, type_: str | None) -> Reply:
    source = site.tracking_source(call, posted.around.get("writeKey"))
    if source is None:
        return _unknown_key(site)
    site.check_origin(source, call)
    site.check_rate(source, max(1, posted.count))
    incoming = _incoming(site, call, source, posted, type_)
    site.in_progress += 1
    try:
        accepted = await accept(site.world, incoming)
    except StoreUnavailable:
        message = "the store cannot be written; nothing was accepted"
        raise Problem(503, "unavailable", message, retry_after_s=2) from None
    finally:
        site.in_progress -= 1
    site.meters.count_accepted(source.name, accepted)
    tell(site, incoming, accepted)
    return _reply(accepted, single=type_ is not None)


def _unknown_key(site: Site) -> Reply:
    """Segment answers 200 and keeps nothing; the strict profile says so aloud."""
    site.meters.unknown_keys.inc()
    if site.config.enforcement is Enforcement.SEGMENT:
        return json_reply(SUCCESS)
    raise Problem(401, "unknown_key", "no source has this write key", authenticate=True)


def _incoming(
    site: Site, call: Call, source: Source, posted: Posted, type_: str | None
) -> Incoming:
    now = site.world.clock.now()
    ip = site.client_ip(call)
    try:
        envelope = Envelope(now, ip=ip) if type_ is not None else _envelope(posted.around, now, ip)
        most = LARGEST_EVENT - _given_to_each(envelope, posted.count)
    except Invalid as error:
        raise Problem(400, error.code, error.message, error.field) from None
    return Incoming(
        origin=site.origin_of(source, call, now),
        messages=_checked(posted, most),
        envelope=envelope,
        expected_type=type_,
        gpc=None if source.trusted else read_gpc(call),
    )


def _envelope(around: dict[str, Any], now: int, ip: str | None) -> Envelope:
    for member in ("context", "integrations"):
        found = flaw(around.get(member))
        if found is not None:
            raise Invalid(member, found.message, found.code)
        if around.get(member) is not None and not isinstance(around[member], dict):
            raise Invalid(member, f"{member} must be an object")
    sent = around.get("sentAt")
    return Envelope(
        received_at=now,
        sent_at=None if sent is None else read_time(sent, "sentAt"),
        context=around.get("context"),
        integrations=around.get("integrations"),
        ip=ip,
    )


def _given_to_each(envelope: Envelope, count: int) -> int:
    """How many bytes the batch adds to each of its ``count`` messages.

    Every event is stored and sent with them, so 500 KB could become hundreds of megabytes.
    Raises Invalid.
    """
    if not (envelope.context or envelope.integrations):
        return 0
    given = sum(len(msgspec.json.encode(p)) for p in (envelope.context, envelope.integrations) if p)
    if given * count > MOST_GIVEN:
        message = f"what a batch gives to its messages may come to {MOST_GIVEN} bytes in all"
        raise Invalid("context", message, "too_large")
    return given


def _checked(posted: Posted, most: int) -> Iterator[Written | Malformed]:
    """The messages; in place of one that is not read any further, why it is refused.

    ``most`` is how many bytes each may have besides what its batch gives it.
    """
    for index, (message, text) in enumerate(posted):
        if index < MOST_EVENTS and type(text) is bytes and len(text) <= most:
            yield Written(message, text)
        else:
            yield _refused(index, message, text)


def _refused(index: int, message: Any, found: bytes | Malformed) -> Malformed:
    if index >= MOST_EVENTS:
        return Malformed("too_many", f"a batch holds at most {MOST_EVENTS} messages")
    if isinstance(found, bytes):
        found = Malformed("event_too_large", f"a message has at most {LARGEST_EVENT} bytes")
    if isinstance(message, dict):
        message_id = message.get("messageId")
        if isinstance(message_id, str) and message_id.isascii():
            found = Malformed(found.code, found.message, found.field, message_id[:100])
    return found


def read_gpc(request: Asked) -> bool | None:
    """Sec-GPC, only exactly ``1`` (w3c/gpc). None where no browser speaks."""
    values = request.headers.getlist("sec-gpc")
    if "1" in (value.strip() for value in values):
        return True
    browser = "origin" in request.headers or "sec-fetch-mode" in request.headers
    return False if browser else None


def _reply(accepted: Accepted, *, single: bool) -> Reply:
    if not accepted.refused:
        return json_reply(SUCCESS)
    if single:
        _, why = accepted.refused[0]
        raise Problem(400, why.code, why.message, why.field)
    rejected = [
        {
            "index": index,
            "messageId": why.message_id,
            "code": why.code,
            "message": why.message,
            **({"field": why.field} if why.field else {}),
        }
        for index, why in accepted.refused
    ]
    return json_response({"success": True, "rejected": rejected})


def tell(site: Site, incoming: Incoming, accepted: Accepted) -> None:
    """Those who watch hear of choices and of every decision."""
    known = site.world.policy.category
    for one in accepted.decided:
        stamp = one.event.stamp
        if stamp is not None and stamp.names_unknown(known):
            site.meters.unknown_categories.inc()
    if not site.world.feed.watched:
        return
    for record in accepted.records:
        tell_record(site, record)
    for one in accepted.decided:
        site.world.feed.tell(_told(incoming, one))


def tell_record(site: Site, record: Any) -> None:
    """A new entry of the ledger, for those who watch."""
    site.world.feed.tell(
        {
            "kind": "choice",
            "recordId": record.record_id,
            "type": record.type,
            "subject": describe.subject(record.subject),
            "before": record.before,
            "after": record.after,
            "receivedAt": describe.time(record.received_at),
        }
    )


def _told(incoming: Incoming, one: Decided) -> dict[str, Any]:
    event = one.event
    return {
        "kind": "event",
        "messageId": event.message_id,
        "type": event.type,
        "event": event.name,
        "source": incoming.origin.source,
        "receivedAt": describe.time(event.received_at),
        "subject": {
            name: value
            for name, value in (("anonymousId", event.anonymous_id), ("userId", event.user_id))
            if value is not None
        },
        "decisions": [describe.decision(decision) for decision in one.decisions],
    }


async def settings(site: Site, request: Request) -> Reply:
    """What analytics.js loads first: where to send, and each integration's categories."""
    key = request.path_params["write_key"]
    source = site.source_of(key)
    if source is None or source.trusted:
        raise Problem(404, "unknown_key", "no public source has this write key")
    base = site.config.server.base_url or str(request.base_url).rstrip("/")
    protocol, _, host = base.partition("://")
    policy = site.world.policy
    integrations: dict[str, Any] = {
        "Segment.io": {"apiKey": key, "apiHost": f"{host}/v1", "protocol": protocol}
    }
    for mapping in policy.mappings:
        if mapping.enabled:
            wanted = [c for c in mapping.categories if policy.category[c].enabled]
            integrations[mapping.name] = {"consentSettings": {"categories": wanted}}
    return json_response(
        {
            "integrations": integrations,
            "plan": {"track": {"__default": {"enabled": True, "integrations": {}}}},
            # True: with False the consent wrapper turns the SDK off when nothing is granted,
            # and would swallow the withdrawal itself.
            "consentSettings": {
                "allCategories": [c.id for c in policy.categories if c.enabled],
                "hasUnmappedDestinations": True,
            },
            "metrics": {"sampleRate": 0},
        },
        headers={"Cache-Control": "public, max-age=60"},
    )
