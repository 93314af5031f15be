"""What the demo's pages are shown: the feed with its recent past, and one subject's records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import msgspec

from consentry.config import DestinationConfig
from consentry.core.policy import Policy
from consentry.core.record import Node
from consentry.demo import timeline
from consentry.demo.overheard import Overheard
from consentry.destinations.registry import KINDS
from consentry.flow import describe
from consentry.flow.asked import decide_now, decide_then
from consentry.flow.deliver import WITHHELD
from consentry.flow.explain import explain_stored
from consentry.flow.world import World
from consentry.ledger.checkpoint import parse_count
from consentry.ports import Positioned
from consentry.web.decisions import find_event
from consentry.web.site import Site

RECENT = 100  # events, and records, that a page is shown when it opens
HEARTBEAT_S = 15.0


async def feed_lines(
    site: Site, overheard: Overheard, systems: Sequence[dict[str, Any]], closing: asyncio.Event
) -> AsyncIterator[bytes]:
    """The recent past, a line that says it is over, then what happens until ``closing``.

    ``systems`` are lines that say which of them are stopped.

    Watching begins before the past is read, so nothing is missed; what is told twice has the
    same ids. An empty line now and then keeps the connection alive.
    """
    happened = site.world.feed.watch()
    following = asyncio.ensure_future(anext(happened))
    ending = asyncio.ensure_future(closing.wait())
    try:
        await asyncio.sleep(0)  # now it watches
        for told in (*systems, *recent(site, overheard)):
            yield _line(told)
        yield _line({"kind": "now"})
        while not ending.done():
            await asyncio.wait(
                {following, ending}, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED
            )
            if following.done():
                yield _line(_in_full(site, overheard, following.result()))
                following = asyncio.ensure_future(anext(happened))
            elif not ending.done():
                yield b"\n"
    finally:
        ending.cancel()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await happened.aclose()  # type: ignore[attr-defined]


def _line(told: dict[str, Any]) -> bytes:
    return msgspec.json.encode(told) + b"\n"


def _in_full(site: Site, overheard: Overheard, told: dict[str, Any]) -> dict[str, Any]:
    """A line of the feed with what a page must know besides."""
    if told["kind"] == "choice":
        entry = site.world.store.record(told["recordId"])
        return told if entry is None else timeline.choice(site, overheard, entry.record)
    if told["kind"] == "order":
        return timeline.order(site, overheard, told["orderId"]) or told
    if told["kind"] == "attempt" and told["grade"] == WITHHELD:
        found = find_event(site, told["messageId"])
        decided = None if found is None else decide_now(site.world, found[1], told["destination"])
        return told if decided is None else {**told, "decision": describe.decision(decided)}
    return told


def recent(site: Site, overheard: Overheard) -> list[dict[str, Any]]:
    """The latest events with their attempts, and choices, in the order of their reception."""
    world = site.world
    stored = world.store.events_from(max(0, world.store.end - RECENT), RECENT)
    told = timeline.choices(site, overheard, ledger_size(world))
    told += [_event(world, one) for one in stored]
    told.sort(key=lambda one: one["receivedAt"])
    return told + [attempt for one in stored for attempt in _attempts(world, one)]


def _event(world: World, one: Positioned) -> dict[str, Any]:
    event = one.event
    decided = [decide_then(world, event, mapping.name) for mapping in world.policy.mappings]
    return {
        "kind": "event",
        "messageId": event.message_id,
        "type": event.type,
        "event": event.name,
        "source": event.source,
        "receivedAt": describe.time(event.received_at),
        "subject": describe.subject(event.nodes),
        "decisions": [describe.decision(decision) for decision in decided if decision is not None],
    }


def _attempts(world: World, one: Positioned) -> Iterator[dict[str, Any]]:
    """For each destination that was tried, the last attempt and what became of the delivery."""
    for delivery in explain_stored(world, one.position, one.event)["deliveries"]:
        if not delivery["attempts"]:
            continue
        told = {
            "kind": "attempt",
            "messageId": one.event.message_id,
            "destination": delivery["destination"],
            "grade": delivery["attempts"][-1]["grade"],
            "state": delivery["state"],
        }
        if told["grade"] == WITHHELD:
            told["decision"] = delivery["decision"]
        yield told


def system(given: DestinationConfig, policy: Policy) -> dict[str, Any]:
    """What a page says of a system: nothing that would open it."""
    kind = KINDS[given.kind]
    orders = kind.orders
    return {
        "name": given.name,
        "title": kind.spec.title,
        "enabled": policy.mapping[given.name].enabled,
        "readsBack": orders is not None and orders.reads_back,
    }


def ledger_size(world: World) -> int:
    """How many records the latest signed tree head covers."""
    note = world.store.checkpoint()
    return 0 if note is None else parse_count(note.splitlines()[1])


def subject(world: World, node: Node) -> dict[str, Any]:
    """One subject and all that is linked to it: preferences now, and every record."""
    now = world.clock.now()
    nodes = tuple(world.subjects.linked((node,)))
    standing = world.subjects.standing((node,), world.policy, now)
    return {
        "subject": describe.subject((node,)),
        "preferences": describe.preferences(world.policy, standing, now),
        "history": [
            describe.record(entry) for entry in world.store.records_of(nodes, None, RECENT)
        ],
        "checkpoint": {"size": ledger_size(world)},
    }
