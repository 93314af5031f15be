"""Everything that is known of one person, as they may ask for it (GDPR Art. 15 and 20).

One JSON document a line, so that a long history needs little memory: the subject first, then
records, the notices that were shown, orders, and events with every attempt. The last line counts them: without it the answer was cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import StreamingResponse

from consentry.core.record import Node, NodeKind
from consentry.flow import describe
from consentry.flow.subjects import touched_by
from consentry.ledger.entry import LedgerRecord
from consentry.orders import Order
from consentry.ports import Positioned
from consentry.web import bodies
from consentry.web.admin import NDJSON
from consentry.web.call import Answer
from consentry.web.consent import LARGEST_BODY, trusted_caller
from consentry.web.propagation import described
from consentry.web.site import Site, read_body

PAGE = 500
"""What is read at once; then others are let in."""

_MEMBERS = {
    NodeKind.ACCOUNT: "userIds",
    NodeKind.DEVICE: "anonymousIds",
    NodeKind.EMAIL: "emails",
    NodeKind.PHONE: "phones",
}
Line = dict[str, Any]


async def post_export(site: Site, request: Request) -> Answer:
    """POST /v1/subjects/export."""
    trusted_caller(site, request)
    raw = await read_body(request, LARGEST_BODY, site.choice_room)
    nodes = bodies.read_bytes(raw, bodies.Suppress).subject.nodes()

    async def encoded() -> AsyncIterator[bytes]:
        for n, line in enumerate(lines(site, nodes)):
            if line:
                yield msgspec.json.encode(line) + b"\n"
            if not line or n % 100 == 99:
                await asyncio.sleep(0)  # others are waiting

    return StreamingResponse(encoded(), media_type=NDJSON, headers={"Cache-Control": "no-store"})


@dataclass
class Person:
    """Whose things are exported: a device may be shared, and another account's are not theirs."""

    nodes: frozenset[Node]
    accounts: frozenset[Node]
    left_out: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    def has(self, named: AbstractSet[Node]) -> bool:
        """Whether what names these is about the person. What also names somebody else is left out."""
        if self.nodes.isdisjoint(named):
            return False
        accounts = {node for node in named if node.kind is NodeKind.ACCOUNT}
        if accounts <= self.accounts:
            return True
        self.left_out += 1
        return False

    def counted(self, kind: str, line: Line) -> Line:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        return {"kind": kind, **line}


def lines(site: Site, named: tuple[Node, ...]) -> Iterator[Line]:
    """The export's lines. An empty one says that nothing was found for a while."""
    person = _person(site, named)
    yield _subject(site, named, person)
    shown: dict[str, None] = {}
    for entry in _records(site, person):
        yield person.counted(
            "record", {**describe.record(entry), "subject": _by_kind(_names(entry))}
        )
        digest = entry.record.evidence.get("noticeHash")
        if isinstance(digest, str):
            shown[digest] = None
    for digest in shown:
        text = site.world.store.notice(digest)
        if text is not None:
            yield person.counted("notice", {"noticeHash": digest, "text": text})
    for order in _orders(site, person):
        yield person.counted("order", described(site, order))
    for positioned in _events(site, person):
        yield {} if positioned is None else person.counted("event", _event(site, positioned))
    yield {"kind": "end", "counts": person.counts, "leftOut": person.left_out}


def _person(site: Site, named: tuple[Node, ...]) -> Person:
    """Who is named, with what is linked to them, but for other accounts."""
    accounts = {node for node in named if node.kind is NodeKind.ACCOUNT}
    for node in tuple(accounts):
        for merge in site.world.store.merges_of(node.value):
            accounts |= {Node(NodeKind.ACCOUNT, user) for user in (merge.left, merge.right)}
    linked = {node for node in site.world.subjects.linked(named) if node.kind in _MEMBERS}
    others = {node for node in linked if node.kind is not NodeKind.ACCOUNT}
    return Person(frozenset({*others, *accounts, *named}), frozenset(accounts))


def _subject(site: Site, named: tuple[Node, ...], person: Person) -> Line:
    world = site.world
    now = world.clock.now()
    standing = world.subjects.standing(named, world.policy, now)
    return {
        "kind": "subject",
        "exportedAt": describe.time(now),
        "workspace": world.policy.workspace,
        "identifiers": _by_kind(person.nodes),
        "preferences": describe.preferences(world.policy, standing, now, None),
        "topics": describe.topics(world.policy, standing, now),
        "channels": describe.channels(world.policy, standing),
        "suppressed": standing.suppressed,
    }


def _by_kind(nodes: AbstractSet[Node]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {member: [] for member in _MEMBERS.values()}
    for node in sorted(nodes):
        if node.kind in _MEMBERS:
            found[_MEMBERS[node.kind]].append(node.value)
    return found


def _names(entry: LedgerRecord) -> set[Node]:
    return {*entry.record.subject, *touched_by(entry.record)}


def _records(site: Site, person: Person) -> Iterator[LedgerRecord]:
    """Newest first."""
    before: int | None = None
    while page := site.world.store.records_of(person.nodes, before, PAGE):
        before = page[-1].seq
        yield from (entry for entry in page if person.has(_names(entry)))


def _orders(site: Site, person: Person) -> Iterator[Order]:
    """Newest first for each identifier, and each once."""
    known: set[str] = set()
    for node in sorted(person.nodes):
        before: int | None = None
        while page := site.world.store.orders.find(node, before=before, limit=PAGE):
            before = page[-1].number
            for order in page:
                if order.order_id not in known and person.has(set(order.nodes)):
                    yield order
                known.add(order.order_id)


def _events(site: Site, person: Person) -> Iterator[Positioned | None]:
    """In the order of the log, which has no index by person; None after each part of it."""
    position = 0
    while page := site.world.store.events_from(position, PAGE):
        position = page[-1].position + 1
        yield from (one for one in page if person.has(set(one.event.nodes)))
        yield None


def _event(site: Site, one: Positioned) -> Line:
    attempts = site.world.store.attempts_at(one.position)
    return {
        "messageId": one.event.message_id,
        "source": one.event.source,
        "receivedAt": describe.time(one.event.received_at),
        "recordId": one.event.record_id,
        "message": msgspec.Raw(one.event.body),
        "attempts": [
            {"destination": name, **describe.attempt(attempt)} for name, attempt in attempts
        ],
    }
