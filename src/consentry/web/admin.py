"""The operator's endpoints: destinations, deliveries, dead letters, the ledger and the tail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from consentry.core.delivery import State
from consentry.core.moment import SECOND
from consentry.destinations.registry import KINDS
from consentry.flow import describe
from consentry.ports import Delivery
from consentry.web import bodies
from consentry.web.arriving import read_body
from consentry.web.call import Answer
from consentry.web.consent import LARGEST_BODY
from consentry.web.decisions import find_event
from consentry.web.problems import Problem, json_response, whole_number
from consentry.web.site import Site

PAGE = 200
NDJSON = "application/x-ndjson"
HEARTBEAT_S = 15.0


async def get_destinations(site: Site, request: Request) -> Answer:
    """GET /v1/destinations: what each is, and how it is doing."""
    site.require_admin(request)
    return json_response({"destinations": [_destination(site, m.name) for m in _mappings(site)]})


def _mappings(site: Site) -> tuple[Any, ...]:
    return site.world.policy.mappings


def _destination(site: Site, name: str) -> dict[str, Any]:
    mapping = site.world.policy.mapping[name]
    worker = site.crew.workers.get(name)
    kind = KINDS.get(mapping.kind)
    described: dict[str, Any] = {
        "name": name,
        "kind": mapping.kind,
        "categories": list(mapping.categories),
        "match": mapping.match,
        "enabled": mapping.enabled,
        "exempt": mapping.exempt,
        "shareConsent": mapping.share_consent,
        "shadow": site.world.shadow,
        "paused": None,
        "stuck": None,
        "waiting": 0,
        "dead": site.world.store.count_rows(name, State.DEAD),
        "lag": 0,
        "oldestSeconds": 0.0,
        "proves": None if kind is None else kind.spec.proves,
        "verbs": _verbs(site, name),
    }
    if worker is not None:
        pause = worker.paused
        if pause is not None:
            described["paused"] = {"reason": pause.reason, "since": describe.time(pause.since)}
        described["stuck"] = worker.stuck
        described["waiting"] = worker.lane.held
        described["lag"] = site.world.store.end - worker.lane.position
        described["oldestSeconds"] = oldest_s(site, name)
    return described


def _verbs(site: Site, name: str) -> list[str]:
    """What it can be told of a person, beside our own gate."""
    told = site.world.told.get(name)
    return [] if told is None or told.orders is None else sorted(told.orders.verbs)


def oldest_s(site: Site, name: str) -> float:
    """Age in seconds of the oldest event that a destination has not settled."""
    worker = site.crew.workers.get(name)
    if worker is None:
        return 0.0
    rows = site.world.store.deliveries(name, State.WAITING, limit=1)
    positions = [worker.lane.position, *(row.position for row in rows)]
    event = site.world.store.event_at(min(positions))
    if event is None:
        return 0.0
    return max(0.0, (site.world.clock.now() - event.received_at) / SECOND)


async def get_deliveries(site: Site, request: Request) -> Answer:
    """GET /v1/deliveries: rows, that is what is retried, held back or dead."""
    site.require_admin(request)
    state = request.query_params.get("state")
    if state not in (None, "waiting", "dead"):
        message = "state is waiting or dead; what is delivered or withheld has no row"
        raise Problem(400, "invalid_state", message, "state")
    rows, following = _rows(site, request, state)
    return json_response({"deliveries": rows, "next": following})


async def get_dead_letters(site: Site, request: Request) -> Answer:
    """GET /v1/dead-letters."""
    site.require_admin(request)
    rows, following = _rows(site, request, "dead")
    return json_response({"deadLetters": rows, "next": following})


def _rows(
    site: Site, request: Request, state: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    destination = request.query_params.get("destination")
    cursor = request.query_params.get("cursor")
    after: tuple[str, int] | None = None
    if cursor is not None:
        name, _, position = cursor.rpartition(":")
        after = (name, whole_number(position, "cursor"))
    found = site.world.store.deliveries(destination, state, after, PAGE + 1)
    page = found[:PAGE]
    following = f"{page[-1].destination}:{page[-1].position}" if len(found) > PAGE else None
    return [_row(site, row) for row in page], following


def _row(site: Site, row: Delivery) -> dict[str, Any]:
    event = site.world.store.event_at(row.position)
    return {
        "destination": row.destination,
        "position": row.position,
        "messageId": None if event is None else event.message_id,
        "state": row.state,
        "attempts": row.attempts,
        "firstAt": describe.time(row.first_at),
        "nextAt": describe.time(row.next_at) if row.state == State.WAITING else None,
        "grade": row.grade or None,
        "detail": row.detail,
    }


async def post_retry(site: Site, request: Request) -> Answer:
    """POST /v1/deliveries/retry: what waits is tried now; a paused destination is resumed."""
    site.require_admin(request)
    raw = await read_body(request, LARGEST_BODY, site.choice_room)
    which = bodies.read_bytes(raw, bodies.Which)
    resumed = []
    for name, worker in site.crew.workers.items():
        if which.destination in (None, name) and worker.paused is not None:
            await worker.resume()
            resumed.append(name)
    rows = await _chosen(site, which, State.WAITING)
    await site.crew.requeue(rows)
    return json_response({"retried": len(rows), "resumed": resumed})


async def post_replay(site: Site, request: Request) -> Answer:
    """POST /v1/dead-letters/replay: decided again now, then sent if allowed."""
    site.require_admin(request)
    raw = await read_body(request, LARGEST_BODY, site.choice_room)
    which = bodies.read_bytes(raw, bodies.Which)
    rows = await _chosen(site, which, State.DEAD)
    await site.crew.requeue(rows)
    return json_response({"replayed": len(rows)})


async def _chosen(site: Site, which: bodies.Which, state: State) -> list[Delivery]:
    """The rows meant, of destinations that have a worker: nobody would take the others."""
    if which.destination is not None and which.destination not in site.world.policy.mapping:
        raise Problem(404, "not_found", "no destination has this name", "destination")
    positions = None
    if which.message_ids is not None:
        found = (find_event(site, message_id) for message_id in which.message_ids)
        positions = {one[0] for one in found if one is not None}
    rows: list[Delivery] = []
    after: tuple[str, int] | None = None
    while page := site.world.store.deliveries(which.destination, state, after):
        rows += [
            row
            for row in page
            if row.destination in site.crew.workers
            and (positions is None or row.position in positions)
        ]
        after = (page[-1].destination, page[-1].position)
        await asyncio.sleep(0)  # others are waiting
    return rows


# -- the ledger -----------------------------------------------------------------------------------
async def get_ledger(site: Site, request: Request) -> Answer:
    """GET /v1/ledger: every leaf from ``first`` on, one JSON document a line."""
    site.require_admin(request)
    first = whole_number(request.query_params.get("first", "0"), "first")

    async def lines() -> AsyncIterator[bytes]:
        for n, entry in enumerate(site.world.store.ledger(first)):
            yield (
                msgspec.json.encode(
                    {
                        "seq": entry.seq,
                        "recordId": entry.record.record_id,
                        "type": entry.record.type,
                        "leaf": entry.leaf.decode(),
                    }
                )
                + b"\n"
            )
            if n % 100 == 99:
                await asyncio.sleep(0)  # others are waiting

    return StreamingResponse(lines(), media_type=NDJSON, headers={"Cache-Control": "no-store"})


async def get_checkpoint(site: Site, request: Request) -> Answer:
    """GET /v1/ledger/checkpoint: the signed tree head. It says nothing about anybody."""
    note = site.world.store.checkpoint()
    if note is None:
        raise Problem(404, "not_found", "the ledger is empty")
    return Response(note, media_type="text/plain", headers={"Cache-Control": "no-store"})


async def get_key(site: Site, request: Request) -> Answer:
    """GET /v1/ledger/key: the public key that checkpoints are verified with."""
    return Response(f"{site.ledger_key}\n", media_type="text/plain")


async def get_notice(site: Site, request: Request) -> Answer:
    """GET /v1/notices/{hash}: the text that people were shown."""
    site.require_admin(request)
    text = site.world.store.notice(request.path_params["digest"])
    if text is None:
        raise Problem(404, "not_found", "no notice with this hash was archived")
    return Response(text, media_type="text/plain; charset=utf-8")


# -- watching ---------------------------------------------------------------------------------------
async def get_tail(site: Site, request: Request) -> Answer:
    """GET /v1/tail: what happens, as it happens, one JSON document a line."""
    site.require_admin(request)
    return StreamingResponse(
        tail_lines(site), media_type=NDJSON, headers={"Cache-Control": "no-store"}
    )


async def tail_lines(site: Site) -> AsyncIterator[bytes]:
    """Lines of the feed until the server stops.

    An empty line now and then, so that a dead connection is noticed.
    """
    happened = site.world.feed.watch()
    following = asyncio.ensure_future(anext(happened))
    ending = asyncio.ensure_future(site.closing.wait())
    try:
        await asyncio.sleep(0)  # now it watches
        yield b"\n"  # the first bytes say that from here on nothing is missed
        while not ending.done():
            await asyncio.wait(
                {following, ending}, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED
            )
            if following.done():
                yield msgspec.json.encode(following.result()) + b"\n"
                following = asyncio.ensure_future(anext(happened))
            elif not ending.done():
                yield b"\n"
    finally:
        ending.cancel()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)  # else it is still running
        await happened.aclose()  # type: ignore[attr-defined]
