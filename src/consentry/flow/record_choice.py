"""The story of a choice: who says what of whom, recorded, durable, answered once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from consentry.core.choice import Answer
from consentry.core.moment import SECOND
from consentry.core.policy import channel_key, topic_key
from consentry.core.record import Node, NodeKind
from consentry.flow import describe
from consentry.flow.counts import tallies_of
from consentry.flow.once import Once, answering, kept_reply
from consentry.flow.owed import orders_of, standings_before
from consentry.flow.records import (
    GPC,
    Made,
    Origin,
    Said,
    as_shown,
    choice_made,
    signal_record,
    suppression_record,
)
from consentry.flow.world import World
from consentry.jurisdictions import rule_of
from consentry.ledger.entry import Record, RecordType
from consentry.orders import Order
from consentry.ports import Commit, Reply, Tally

JUST_NOW = 60 * SECOND

Owing = Callable[[tuple[Order, ...]], tuple[Order, ...]]


@dataclass(frozen=True, slots=True)
class Answered:
    """The reply to a choice; ``again`` when it had been given before.

    ``alone``: it tells of nobody but the identifiers that the choice names. ``tallies`` are what
    it was counted as, ``signals`` what was recorded beside it.
    """

    body: dict[str, Any]
    again: bool
    alone: bool = False
    tallies: tuple[Tally, ...] = ()
    signals: tuple[Record, ...] = ()


async def record_choice(
    world: World,
    said: Said,
    origin: Origin,
    *,
    once: Once | None = None,
    type_: RecordType = RecordType.CHOICE,
    notice: tuple[str, str] | None = None,
    gpc: bool | None = None,
    but: str | None = None,
    owing: Owing = tuple,
) -> Answered:
    """Record one choice and what it owes. The same key and body get the same reply, for ever.

    ``notice`` is (SHA-256 in hex, text) of what the person was shown. ``gpc`` is whether the
    browser that speaks sends the signal, None where no browser does. ``but`` is a destination
    that told us and is told nothing back; ``owing`` says which of the orders that a choice owes
    are worth telling. Raises KeyReused, and StoreUnavailable when nothing
    was written.
    """
    if once is None:
        return await _record(world, said, origin, None, type_, notice, gpc, but, owing)
    known = await kept_reply(world, once)
    if known is not None:
        return Answered(_with_seq(world, known), True)
    with answering(world, once):
        return await _record(world, said, origin, once, type_, notice, gpc, but, owing)


async def _record(
    world: World,
    said: Said,
    origin: Origin,
    once: Once | None,
    type_: RecordType,
    notice: tuple[str, str] | None,
    gpc: bool | None,
    but: str | None,
    owing: Owing,
) -> Answered:
    if type_ is RecordType.CHOICE:
        said = as_shown(world, said)
    signals = _signals(world, said, origin, gpc)
    made = choice_made(world, said, origin, type_, signals)
    record = made.record
    records = (*signals, record)
    befores = standings_before(world, records)
    with world.subjects.in_flight(records):
        orders = owing(orders_of(world, befores, made.asking, but=but))
        body = _reply(world, said, made, origin, orders)
        replies: tuple[Reply, ...] = ()
        if once is not None:
            replies = (Reply(once.key, once.digest, 201, msgspec.json.encode(body)),)
        notices = () if notice is None else (notice,)
        tallies = tallies_of(world.notices, record, origin.place)
        commit = Commit(
            records=records, replies=replies, notices=notices, tallies=tallies, orders=orders
        )
        committed = await world.store.commit(commit)
    if orders:
        world.owe()
    world.notify()
    world.followers.tell(records)
    return Answered({**body, "seq": committed.seqs[-1]}, False, made.alone, tallies, signals)


def _signals(world: World, said: Said, origin: Origin, gpc: bool | None) -> tuple[Record, ...]:
    """The signal of a browser, when it appears and when it is seen to be gone, as with events.

    The page that asked was loaded with it, so it was there before an answer that is given just
    now: an explicit yes outweighs it (rule 8), and it refuses whatever was not answered. An
    answer that comes late may be older than the signal, and then the signal refuses all.
    """
    node = said.subject[0]
    if gpc is None or node.kind not in (NodeKind.DEVICE, NodeKind.ACCOUNT):
        return ()
    if world.subjects.signal_known(node, GPC, gpc):
        return ()
    seen_at = said.received_at
    if said.made_at is not None and said.received_at - said.made_at <= JUST_NOW:
        seen_at = min(said.made_at, said.received_at) - 1
    return (signal_record(world, GPC, gpc, node, origin, said.received_at, seen_at),)


def _reply(
    world: World, said: Said, made: Made, origin: Origin, orders: tuple[Order, ...]
) -> dict[str, Any]:
    record, standing = made.record, made.standing
    now, regime = said.received_at, world.regimes.get(record.source)
    rule = rule_of(origin.place, now)
    return {
        "recordId": record.record_id,
        "seq": None,
        "receivedAt": describe.time(said.received_at),
        "preferences": describe.preferences(world.policy, standing, now, regime, rule),
        "topics": describe.topics(world.policy, standing, said.received_at),
        "channels": describe.channels(world.policy, standing),
        "unverified": list(record.unverified),
        "unknown": sorted(
            (said.answer.granted - world.policy.category.keys())
            | (said.answer.denied - world.policy.folded.keys())
        ),
        "orders": [order.order_id for order in orders],
    }


def _with_seq(world: World, body: dict[str, Any]) -> dict[str, Any]:
    """The ledger gives a record its number as it is written, so a reply gets it afterwards."""
    entry = world.store.record(body["recordId"])
    return {**body, "seq": None if entry is None else entry.seq}


class Listed(NamedTuple):
    """A record of the suppression list, and what it owes."""

    record: Record
    orders: tuple[Order, ...]


async def suppress(
    world: World, subject: tuple[Node, ...], origin: Origin, reason: str | None, *, on: bool
) -> Listed:
    """Put identifiers on the suppression list, or take them off it; other systems are told."""
    type_ = RecordType.SUPPRESS if on else RecordType.UNSUPPRESS
    record = suppression_record(world, type_, subject, origin, reason)
    if not on:
        world.lifted_at = record.received_at
    befores = standings_before(world, [record])
    with world.subjects.in_flight([record]):
        orders = orders_of(world, befores, world.subjects.asking(world.policy, [record]))
        await world.store.commit(Commit(records=(record,), orders=orders))
    if orders:
        world.owe()
    world.notify()
    world.followers.tell((record,))
    return Listed(record, orders)


def answer_of(
    preferences: dict[str, bool] | None,
    topics: dict[str, dict[str, bool]] | None,
    channels: Iterable[str] = (),
) -> Answer:
    """An API call changes only what it names, and what it names twice it refuses if either does.

    ``channels`` are those that are refused as a whole.
    """
    said = [*(preferences or {}).items(), *((channel_key(channel), False) for channel in channels)]
    for topic, ways in (topics or {}).items():
        said += [(topic_key(topic, channel), yes) for channel, yes in ways.items()]
    denied = frozenset(key for key, yes in said if not yes)
    return Answer(frozenset(key for key, _ in said) - denied, denied)


def withdrawal_of(
    world: World,
    categories: list[str] | None,
    topics: dict[str, dict[str, bool]] | None,
    channels: list[str] | None = None,
) -> Answer:
    """Named categories, topics and channels; with none, everything that is not essential."""
    policy = world.policy
    if categories is None and topics is None and channels is None:
        everything = (*policy.asked, *policy.messages, *policy.of_channel)
        return Answer(frozenset(), frozenset(everything))
    named = {*(categories or ()), *map(channel_key, channels or ())}
    for topic, ways in (topics or {}).items():
        named.update(topic_key(topic, channel) for channel in ways)
    return Answer(frozenset(), frozenset(named))
