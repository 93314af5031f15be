"""The story of acceptance: messages in, choices recorded, each event decided, all durable."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec

from consentry.core.choice import Answer, answer_of_update, subject_of
from consentry.core.decision import Decisions, decide, question_of
from consentry.core.event import FUTURE_TOLERANCE, Envelope, Event, Malformed, parse_event
from consentry.core.moment import Moment
from consentry.core.policy import Policy, Regime
from consentry.core.preference import Standing
from consentry.core.record import Node
from consentry.core.rule import NOBODY_LOOKED
from consentry.flow.named import besides, besides_in
from consentry.flow.owed import Before, orders_of, standings_before
from consentry.flow.person import is_erased
from consentry.flow.records import (
    GPC,
    Origin,
    Said,
    choice_record,
    contacts_of,
    link_record,
    links_of,
    merge_record,
    page_alone,
    signal_record,
)
from consentry.flow.subjects import Asking
from consentry.flow.where import NOTHING, Known, known_of, there
from consentry.flow.whom import is_trusted
from consentry.flow.world import World
from consentry.ledger.entry import Record
from consentry.ports import Commit, StoredEvent

LINKING = frozenset({"identify", "alias"})
LONGEST_TURN_S = 0.01  # of the event loop, for one request


class Written(NamedTuple):
    """A message with its JSON, where the door has it at hand."""

    message: Any
    text: bytes


class Incoming(NamedTuple):
    """One tracking request, after its bytes were read and its sender known.

    ``messages`` are gone through once. Each is raw, or Written, or Malformed where the door has
    refused it. ``gpc`` is whether a browser sent Sec-GPC: 1, or None where no browser spoke.
    """

    origin: Origin
    messages: Iterable[Any]
    envelope: Envelope
    expected_type: str | None = None
    gpc: bool | None = None


class Decided(msgspec.Struct, frozen=True, gc=False):
    """An event with what was decided about it, for each destination."""

    event: Event
    nodes: tuple[Node, ...]
    decisions: Decisions
    suppressed: bool
    record_id: str | None = None
    known: Known = NOTHING


class Accepted(NamedTuple):
    """What came of a request. ``refused`` pairs an index with why; ``repeated`` are message ids."""

    decided: Sequence[Decided] = ()
    refused: Sequence[tuple[int, Malformed]] = ()
    records: Sequence[Record] = ()
    repeated: int = 0
    positions: tuple[int | None, ...] = ()


async def accept(world: World, incoming: Incoming) -> Accepted:
    """Take what is well formed, record its choices, decide, and return once it is durable.

    Raises StoreUnavailable when nothing could be written; then nothing was accepted.
    """
    events, refused = _parse(world, incoming)
    subjects = [nodes_of(event) for event in events]
    landing = world.subjects.landing(node for nodes in subjects for node in nodes)
    records, record_ids = records_of(world, incoming, events)
    befores = standings_before(world, records) if records else []
    going = _Going(incoming, events, subjects, records, record_ids, landing, befores)
    if records:
        with world.subjects.in_flight(records), _on_its_way(world, incoming, events):
            decided, positions = await _decide_and_store(world, going)
        world.followers.tell(records)
    else:
        decided, positions = await _decide_and_store(world, going)
    if positions:
        world.notify()
    return Accepted(decided, refused, records, positions.count(None), positions)


class _Going(NamedTuple):
    """A request whose records are made, and what they and its decisions must wait for."""

    incoming: Incoming
    events: list[Event]
    subjects: list[tuple[Node, ...]]
    records: list[Record]
    record_ids: dict[int, str]
    landing: list[asyncio.Event]
    befores: Sequence[Before]


async def _decide_and_store(
    world: World, going: _Going
) -> tuple[list[Decided], tuple[int | None, ...]]:
    """What was decided of each event, and where those lie that are kept, once that is durable."""
    incoming, records = going.incoming, going.records
    for landed in going.landing:
        await landed.wait()
    # One policy decides and is named, whatever is configured meanwhile.
    terms = Terms(world.policy, world.policy_id, world.regimes.get(incoming.origin.source))
    asking = None
    if records or going.landing:
        as_of = incoming.envelope.received_at if going.landing else None
        asking = world.subjects.asking(terms.policy, records, as_of)
    decided = await _decide_all(world, terms, going, asking)
    kept = [one for one in decided if not one.suppressed]
    stored = tuple([_stored(terms, incoming.origin, one) for one in kept])
    orders = orders_of(world, going.befores, asking) if going.befores else ()
    committed = await world.store.commit(
        Commit(records=tuple(records), events=stored, orders=orders)
    )
    if orders:
        world.owe()
    return decided, committed.positions


def _parse(world: World, incoming: Incoming) -> tuple[list[Event], list[tuple[int, Malformed]]]:
    events: list[Event] = []
    refused: list[tuple[int, Malformed]] = []
    text: bytes | None
    for index, raw in enumerate(incoming.messages):
        if isinstance(raw, Malformed):
            refused.append((index, raw))
            continue
        raw, text = raw if type(raw) is Written else (raw, None)
        parsed = parse_event(
            raw, incoming.envelope, fallback_id="", expected_type=incoming.expected_type, text=text
        )
        if isinstance(parsed, Malformed):
            refused.append((index, parsed))
        elif parsed.message_id:
            events.append(parsed)
        else:  # nearly everybody sends an id, and chance costs more than reading does
            events.append(msgspec.structs.replace(parsed, message_id=world.new_id("msg")))
    return events, refused


def records_of(
    world: World, incoming: Incoming, events: list[Event]
) -> tuple[list[Record], dict[int, str]]:
    """All that the request puts on the ledger, before any of its events is decided."""
    records: list[Record] = _signals(world, incoming, events)
    record_ids: dict[int, str] = {}
    telling = [
        (n, event)
        for n, event in enumerate(events)
        if (event.type in LINKING or event.is_preference_update)
        and not is_erased(world, _all_named(event))  # nor may the ledger name them again
    ]
    if not telling:
        return records, record_ids
    # A link on its way to the disk may never be there: only one that is there need not be written.
    # One that only a public key has said is written again when a trusted door says it.
    reading = world.subjects.reading(links_in_flight=False)
    public = incoming.origin.trust == "public"
    linked: set[tuple[Node, Node]] = set()
    for n, event in telling:
        links = [
            link
            for link in links_of(event, incoming.origin)
            if link not in linked
            and not (link[1] in reading.links(link[0]) and (public or is_trusted(world, link)))
        ]
        linked.update(links)
        if links:
            records.append(link_record(world, links, incoming.origin, event.received_at))
        if event.type == "alias" and incoming.origin.trust != "public":
            records += _merge(world, event, incoming.origin)
        if event.is_preference_update:
            answer = _answer(world, event, incoming.origin, events[:n])
            if answer is not None:
                made_at = _first_made(world, event, incoming.origin)
                record = choice_record(world, _said(event, answer, made_at), incoming.origin)
                records.append(record)
                record_ids[n] = record.record_id
    return records, record_ids


def _answer(world: World, event: Event, origin: Origin, earlier: list[Event]) -> Answer | None:
    """The answer that counts. Of a repeated message only its denials do (rule 10).

    The end of a suppression takes what was said before it. What is being written from before may
    not come back by a copy that is received after it.
    """
    answer = answer_of_update(event, world.policy)
    repeated = world.store.position_of(origin.source, event.message_id) is not None
    taken = world.lifted_at > min(_copies(world, event, origin), default=world.lifted_at)
    if repeated or taken or any(e.message_id == event.message_id for e in earlier):
        answer = answer.refusals
        return answer if answer.denied else None
    return answer


def _copies(world: World, event: Event, origin: Origin) -> Sequence[Moment]:
    """When those were received that are being written now."""
    return world.updating.get((origin.source, event.message_id), ())


def _first_made(world: World, event: Event, origin: Origin) -> Moment | None:
    """When the choice was made. A message that comes again while it is being written says
    nothing newer: its grant may not lift a denial that was received in between. A time that it
    claims and that could not be true when it first came is none."""
    others = _copies(world, event, origin)
    made_at = event.made_at
    if made_at is None:
        return None
    if event.claimed_at is not None and others and made_at > min(others) + FUTURE_TOLERANCE:
        return None
    return min((made_at, *others))


@contextmanager
def _on_its_way(world: World, incoming: Incoming, events: list[Event]) -> Iterator[None]:
    """While preference updates are being written, it is known when they were received."""
    source, received_at = incoming.origin.source, incoming.envelope.received_at
    keys = [(source, event.message_id) for event in events if event.is_preference_update]
    for key in keys:
        world.updating.setdefault(key, []).append(received_at)
    try:
        yield
    finally:
        for key in keys:
            world.updating[key].remove(received_at)
            if not world.updating[key]:
                del world.updating[key]


def _said(event: Event, answer: Answer, made_at: Moment | None) -> Said:
    stamp = event.stamp
    stated = {} if stamp is None else {c: c in stamp.granted for c in sorted(stamp.stated)}
    evidence = {
        "action": "save",
        "surface": "event",
        "messageId": event.message_id,
        "stated": stated,
    }
    page = event.context.get("page")
    if isinstance(page, dict) and isinstance(page.get("url"), str):
        evidence["page"] = page_alone(page["url"][:2000])
    return Said(subject_of(event), answer, event.received_at, made_at, event.claimed_at, evidence)


def _signals(world: World, incoming: Incoming, events: list[Event]) -> list[Record]:
    """A signal is recorded when it appears and when it is seen to be gone, not in between."""
    if incoming.gpc is None:
        return []
    received_at = incoming.envelope.received_at
    nodes = dict.fromkeys(subject_of(event)[0] for event in events)
    return [
        signal_record(world, GPC, incoming.gpc, node, incoming.origin, received_at)
        for node in nodes
        if not world.subjects.signal_known(node, GPC, incoming.gpc)
        and not is_erased(world, (node,))
    ]


def _merge(world: World, event: Event, origin: Origin) -> list[Record]:
    if event.user_id is None or event.previous_id is None or event.user_id == event.previous_id:
        return []
    joined = world.store.merges_of(event.user_id)
    if any(event.previous_id in (merge.left, merge.right) for merge in joined):
        return []
    return [merge_record(world, event.previous_id, event.user_id, origin, event.received_at)]


def nodes_of(event: Event) -> tuple[Node, ...]:
    """Every identifier that an event names: these decide about it."""
    named = subject_of(event)
    if event.email is None and event.phone is None:
        return named
    return (*named, *contacts_of(event))


def of_all_named(world: World, event: Event, standing: Standing) -> Standing:
    """An event goes nowhere that names besides its person somebody who was erased, as an alias
    names the one before."""
    others = _besides(event)
    if not others or not is_erased(world, others):
        return standing
    return replace(standing, suppressed=True)


def _besides(event: Event) -> tuple[Node, ...]:
    if event.previous_id is None and event.email is None and event.phone is None:
        return ()
    nodes = nodes_of(event)
    return besides(event.message, nodes) if event.text is None else besides_in(event.text, nodes)


def _all_named(event: Event) -> tuple[Node, ...]:
    return (*nodes_of(event), *_besides(event))


class Terms(NamedTuple):
    """What a request is decided by."""

    policy: Policy
    policy_id: int
    regime: Regime | None


async def _decide_all(
    world: World, terms: Terms, going: _Going, asking: Asking | None
) -> list[Decided]:
    """Decide each event; a long request lets others have their turn in between."""
    loop = asyncio.get_running_loop()
    decided, began = [], loop.time()
    origin = going.incoming.origin
    placed = origin.place is not NOBODY_LOOKED or world.locate is not None
    for n, (event, nodes) in enumerate(zip(going.events, going.subjects, strict=True)):
        if asking is None:
            standing = world.subjects.standing(nodes, terms.policy, event.received_at)
        else:
            standing = asking.standing(nodes, event.received_at)
        standing = of_all_named(world, event, standing)
        question, known = question_of(event, terms.regime), NOTHING
        if placed:
            known = known_of(world, origin, event)
            question = there(terms.policy, question, known, event.received_at)
        decisions = decide(terms.policy, question, standing)
        record_id = going.record_ids.get(n)
        decided.append(Decided(event, nodes, decisions, standing.suppressed, record_id, known))
        if loop.time() - began > LONGEST_TURN_S:
            await asyncio.sleep(0)
            began = loop.time()
    return decided


def _stored(terms: Terms, origin: Origin, decided: Decided) -> StoredEvent:
    event, decisions = decided.event, decided.decisions
    granted, stated = (None, None) if event.stamp is None else event.stamp.written
    return StoredEvent(
        event.message_id,
        origin.source,
        event.type,
        event.name,
        decided.nodes,
        event.received_at,
        event.made_at,
        granted,
        stated,
        terms.policy_id,
        decisions.allowed,
        decided.record_id,
        None if event.integrations is None else dict(event.integrations),
        event.text or msgspec.json.encode(event.message),
        event.corrected_at,
        event.sent_at,
        *decided.known,
    )
