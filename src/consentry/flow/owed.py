"""What a request's records owe to other systems: the change they make, per destination.

Whether a destination may have a person is what ``decide`` says of an event of theirs that says
nothing itself, happens now, and meets every recorded denial. It is asked before a request's
records count and with them. Whom a destination may be told of is asked here too: our own gate
closes for anybody's no, another system hears only of identifiers that are proven.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec

from consentry.core.decision import Question, decide
from consentry.core.delivery import Grade
from consentry.core.moment import Moment
from consentry.core.order import Change, Due, OrderState, Topics, Verb, Word, owed
from consentry.core.policy import Policy, topic_key
from consentry.core.preference import Standing
from consentry.core.record import Node, NodeKind
from consentry.core.rule import Rule
from consentry.core.verdict import granted
from consentry.destinations.instruction import Orders
from consentry.flow.reading import Key
from consentry.flow.subjects import Asking, touched_by
from consentry.flow.where import Known, rule_for, there
from consentry.flow.whom import Whom
from consentry.flow.world import Tellable, World
from consentry.ledger.entry import Record, RecordType
from consentry.orders import Order

Stands = Callable[[Key], Standing]
Tellables = Mapping[str, Tellable]
_WORDS = {RecordType.SUPPRESS: Word.SUPPRESSED, RecordType.ERASE: Word.ERASED}


class Before(NamedTuple):
    """What a record's person stood at before the request counted."""

    record: Record
    subject: Key
    standing: Standing


def standings_before(
    world: World, records: Iterable[Record], also: Tellables | None = None
) -> list[Before]:
    """To be asked before the records are on their way: from then on their denials count.

    ``also`` are destinations that are owed orders besides those that are configured.
    """
    if not (world.told or also):
        return []
    found = []
    for record in records:
        for subject in people_of(record):
            standing = world.subjects.standing(subject, world.policy, record.received_at)
            found.append(Before(record, subject, standing))
    return found


def people_of(record: Record) -> list[Key]:
    """Whom a record may change something for, each as a person of their own."""
    if record.facts:
        return [tuple(dict.fromkeys(node for node, _ in record.facts))]
    if record.links or record.merge is not None:
        whom = (NodeKind.DEVICE, NodeKind.ACCOUNT)
        return [(node,) for node in sorted(touched_by(record)) if node.kind in whom]
    return []


def orders_of(
    world: World,
    befores: Sequence[Before],
    asking: Asking | None,
    *,
    but: str | None = None,
    also: Tellables | None = None,
) -> tuple[Order, ...]:
    """The orders that a request's records owe, in the order of its records.

    ``asking`` knows what the request itself records. ``but`` is a destination that told us,
    ``also`` those that are owed something and are not configured.
    """
    if asking is None or not befores:
        return ()
    owing = {n: tellable for n, tellable in {**world.told, **(also or {})}.items() if n != but}
    found: list[Order] = []
    for before in befores:
        after = asking.standing(before.subject, before.record.received_at)
        if _as_it_was(before.standing, after) and not _says_no(before.record):
            continue
        stands = partial(asking.standing, now=before.record.received_at)
        found += _orders_of_one(world, before, after, stands, owing)
    return tuple(_each_once(found))


def _as_it_was(before: Standing, after: Standing) -> bool:
    return before.found == after.found and before.suppressed == after.suppressed


def _each_once(orders: Iterable[Order]) -> Iterator[Order]:
    """A link has two ends, and what it changes is often the same at both."""
    known: dict[tuple[object, ...], set[Node]] = {}
    for order in orders:
        kind = (order.record_id, order.destination, order.verb, order.topics)
        told = known.get(kind)
        if told is None or not told.issuperset(order.named):
            known[kind] = (told or set()).union(order.named)
            yield order


def _says_no(record: Record) -> bool:
    return record.type in _WORDS or any(fact.denied for _, fact in record.facts)


def _orders_of_one(
    world: World, before: Before, after: Standing, stands: Stands, owing: Tellables
) -> list[Order]:
    record = before.record
    told = Whom(world, record, before.subject)
    was = Rights(world, record, before.standing, record.received_at)
    now = Rights(world, record, after, record.received_at)
    said = {category for _, fact in record.facts for category in fact.denied}
    denied = set(world.policy.reached(said))
    made: list[Order] = []
    for name, tellable in owing.items():
        change = Change(
            allowed_before=was.may_have(name),
            allowed_after=now.may_have(name),
            denied=now.needs_any(name, denied),
            topics_denied=now.topics_denied(tellable, denied),
            topics_granted=now.topics_granted(tellable, was),
            word=_WORDS.get(record.type),
            verbs=_verbs(record, tellable.orders),
            reached=told.reached_by(tellable.orders),
        )
        due = owed(change)
        for one in due:
            order = order_of(world, record, name, one, told, tellable.orders, due)
            if one.verb is Verb.GRANT:
                named = may_be_granted(world, record, order, stands, record.received_at)
                order = msgspec.structs.replace(order, named=named)
            if order.named or one.verb is Verb.GATE:
                made.append(order)
    return made


def may_be_granted(
    world: World, record: Record | Door, order: Order, stands: Stands, at: Moment
) -> Key:
    """Whom a grant may name: those that the record itself is about, and of those linked to them
    each whom the destination may have together with them.

    People share devices. The yes of one must not bring back what another took back.
    """
    return tuple(
        node
        for node in order.named
        if node in order.subject or _may_have_too(world, record, order, node, stands, at)
    )


def _may_have_too(
    world: World, record: Record | Door, order: Order, node: Node, stands: Stands, at: Moment
) -> bool:
    beside = (other for other in order.subject if other.kind is not node.kind)
    standing = stands(tuple(sorted((node, *beside))))
    return Rights(world, record, standing, at).still(order)


def _verbs(record: Record, orders: Orders | None) -> frozenset[Verb]:
    """What may be told. An import says what was agreed to elsewhere: it must not have people
    signed up again, whom a system has dropped since."""
    verbs = frozenset() if orders is None else frozenset(orders.verbs)
    return verbs - {Verb.GRANT} if record.type is RecordType.IMPORT else verbs


def order_of(
    world: World,
    record: Record,
    name: str,
    due: Due,
    told: Whom,
    orders: Orders | None,
    others: tuple[Due, ...],
) -> Order:
    """One order that a record owes; ``others`` are all that it owes this destination."""
    at, gate = record.received_at, due.verb is Verb.GATE
    alone = gate and not any(o.verb is not Verb.GATE and o.topics == due.topics for o in others)
    return Order(
        order_id=world.new_id("ord"),
        record_id=record.record_id,
        destination=name,
        verb=due.verb,
        acknowledged_at=at,
        state=OrderState.TERMINAL if gate else OrderState.WAITING,
        subject=told.subject,
        nodes=told.nodes,
        named=() if gate else told.named_to(orders),
        topics=due.topics,
        next_at=at,
        grade=Grade.GATED if gate else None,
        why=told.why_not(orders) if alone else "",
        terminal_at=at if gate else None,
        erasure=record.type is RecordType.ERASE,
    )


class Door(NamedTuple):
    """Where and when a record was said; of nobody in particular, so it may be remembered."""

    source: str
    place: dict[str, Any]
    made_at: Moment | None
    expired: bool = False


class Rights:
    """What the destinations may do with one person, by one standing, as of a moment."""

    def __init__(
        self,
        world: World,
        record: Record | Door,
        standing: Standing,
        at: Moment,
        policy: Policy | None = None,
    ) -> None:
        """By the policy in force, or by another."""
        self._policy = (policy or world.policy).all_on
        self.suppressed = standing.suppressed
        question = question_of(world, self._policy, record.source, record.place, at)
        self._decisions = decide(self._policy, question, standing)
        self._granted = granted(self._policy, question, standing)

    def may_have(self, destination: str) -> bool:
        """Whether it may have the person now, turned on or not."""
        return self._decisions.allows(destination)

    def needs_any(self, destination: str, categories: set[str]) -> bool:
        """Whether it is mapped to one of these categories."""
        mapping = self._policy.mapping.get(destination)
        return mapping is not None and not categories.isdisjoint(mapping.categories)

    def still(self, order: Order) -> bool:
        """Whether it may have what an order is about: all of its topics, or the person."""
        if order.whole:
            return self.may_have(order.destination)
        return all(self.has(*pair) for pair in order.topics)

    def has(self, topic: str, channel: str) -> bool:
        """Whether somebody may be written to about a topic by a channel."""
        return bool(self._policy.bits.get(topic_key(topic, channel), 0) & self._granted)

    def topics_denied(self, tellable: Tellable, denied: set[str]) -> Topics:
        """Those carried that were refused, and still are."""
        return tuple(
            pair
            for pair in carried(self._policy, tellable)
            if topic_key(*pair) in denied and not self.has(*pair)
        )

    def topics_granted(self, tellable: Tellable, before: Rights) -> Topics:
        """Those carried that are granted now and were not before."""
        return tuple(
            pair
            for pair in carried(self._policy, tellable)
            if self.has(*pair) and not before.has(*pair)
        )


def carried(policy: Policy, tellable: Tellable) -> list[tuple[str, str]]:
    """Each topic and channel by which the destination reaches people."""
    if not tellable.topics or tellable.orders is None:
        return []
    ways = tellable.orders.channels
    return [
        (topic.id, channel)
        for topic in policy.topics
        if topic.id in tellable.topics
        for channel in topic.channels
        if channel in ways
    ]


def question_of(
    world: World, policy: Policy, source: str, place: dict[str, Any], at: Moment
) -> Question:
    """What is asked of an event that says nothing itself: every recorded denial counts."""
    question = Question(accepted_at=0, made_at=at, regime=world.regimes.get(source))
    return there(policy, question, _known(place), at)


def rule_of_record(record: Record | Door, at: Moment) -> Rule | None:
    """What holds, as of a moment, at the place where something was said."""
    return rule_for(_known(record.place), at)


def _known(place: dict[str, Any]) -> Known:
    code = place.get("jurisdiction")
    return Known(code if isinstance(code, str) else None)
