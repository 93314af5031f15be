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
from consentry.flow.person import Person, theirs_alone, whole_person
from consentry.flow.reading import TooManyIdentifiers
from consentry.flow.subjects import touched_by
from consentry.ledger.entry import LedgerRecord, RecordType
from consentry.orders import Order
from consentry.ports import Positioned
from consentry.web import bodies
from consentry.web.admin import NDJSON
from consentry.web.arriving import read_body
from consentry.web.call import Answer
from consentry.web.consent import LARGEST_BODY, trusted_caller
from consentry.web.problems import Problem
from consentry.web.propagation import described
from consentry.web.site import Site

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
    try:
        person = whole_person(site.world, nodes)
    except TooManyIdentifiers:
        message = "too many identifiers are linked to this person to be read at once"
        raise Problem(409, "too_many_identifiers", message, "subject") from None

    async def encoded() -> AsyncIterator[bytes]:
        for n, line in enumerate(lines(site, nodes, person)):
            if line:
                yield msgspec.json.encode(line) + b"\n"
            if not line or n % 100 == 99:
                await asyncio.sleep(0)  # others are waiting

    return StreamingResponse(encoded(), media_type=NDJSON, headers={"Cache-Control": "no-store"})


@dataclass
class Export:
    """One export as it is written: whose it is, what was left out, and how many lines of a kind.

    ``sure`` are the identifiers that were named or that nobody else's account has: what names none
    of them may be another person's, who used the same device (GDPR Art. 15(4)).
    """

    person: Person
    sure: AbstractSet[Node]
    left_out: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    def has(self, named: AbstractSet[Node]) -> bool:
        """Whether what names these is about the person. What also names somebody else is left out."""
        if not self.person.is_about(named):
            return False
        if self.person.is_alone_in(named) and not self.sure.isdisjoint(named):
            return True
        self.left_out += 1
        return False

    def counted(self, kind: str, line: Line) -> Line:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        return {"kind": kind, **line}


def lines(site: Site, named: tuple[Node, ...], person: Person) -> Iterator[Line]:
    """The export's lines. An empty one says that nothing was found for a while."""
    export = Export(person, {*named, *theirs_alone(site.world, person)})
    yield _subject(site, named, person)
    shown: dict[str, None] = {}
    for entry in _records(site, export):
        yield export.counted(
            "record", {**describe.record(entry), "subject": _by_kind(_names(entry))}
        )
        digest = entry.record.evidence.get("noticeHash")
        if isinstance(digest, str):
            shown[digest] = None
    for digest in shown:
        text = site.world.store.notice(digest)
        if text is not None:
            yield export.counted("notice", {"noticeHash": digest, "text": text})
    for order in _orders(site, export):
        yield export.counted("order", described(site, order))
    for positioned in _events(site, export):
        yield {} if positioned is None else export.counted("event", _event(site, positioned))
    yield {"kind": "end", "counts": export.counts, "leftOut": export.left_out}


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


def _records(site: Site, export: Export) -> Iterator[LedgerRecord]:
    """Newest first."""
    before: int | None = None
    while page := site.world.store.records_of(export.person.nodes, before, PAGE):
        before = page[-1].seq
        yield from (e for e in page if export.has(_names(e)) or _erased_them(e))


def _erased_them(entry: LedgerRecord) -> bool:
    """An erasure that is done names nobody, but it is found by the identifiers that it took."""
    return entry.record.type is RecordType.ERASE and not _names(entry)


def _orders(site: Site, export: Export) -> Iterator[Order]:
    """Newest first for each identifier, and each once."""
    known: set[str] = set()
    for node in sorted(export.person.nodes):
        before: int | None = None
        while page := site.world.store.orders.find(node, before=before, limit=PAGE):
            before = page[-1].number
            for order in page:
                if order.order_id not in known and export.has(set(order.nodes)):
                    yield order
                known.add(order.order_id)


def _events(site: Site, export: Export) -> Iterator[Positioned | None]:
    """In the order of the log, which has no index by person; None after each part of it."""
    position = 0
    while page := site.world.store.events_from(position, PAGE):
        position = page[-1].position + 1
        yield from (one for one in page if export.has(set(one.event.nodes)))
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
