"""What is left of a record, an event or an order when a person was erased. Both adapters share it."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from msgspec.structs import replace

from consentry.core.delivery import Grade
from consentry.core.moment import Moment
from consentry.core.record import Node, NodeKind
from consentry.ledger.entry import Record
from consentry.orders import Order
from consentry.ports import StoredEvent
from consentry.store.naming import account, nodes_named

WITHHELD = "the person was erased"
"""Why a delivery of theirs was not made."""


def mark(record: Record, erasure_id: str) -> Record:
    """A record of which nothing is left but that it was there, and what erased it."""
    return Record(
        record_id=record.record_id,
        type=record.type,
        received_at=record.received_at,
        salt=b"",
        erased_by=erasure_id,
    )


def record_without(record: Record, gone: AbstractSet[Node], erasure_id: str) -> Record:
    """A record without these identifiers; a mark where it names nobody else.

    The salt goes in either case: with it, whoever guesses an identifier could tell from the leaf
    that it was there.
    """
    if all(node in gone for node in nodes_named(record)):
        return mark(record, erasure_id)
    merge = record.merge
    if merge is not None and not gone.isdisjoint((account(merge.left), account(merge.right))):
        merge = None
    return replace(
        record,
        salt=b"",
        subject=tuple(node for node in record.subject if node not in gone),
        facts=tuple((node, fact) for node, fact in record.facts if node not in gone),
        links=tuple(link for link in record.links if gone.isdisjoint(link)),
        merge=merge,
        erased_by=erasure_id,
    )


def is_theirs(event: StoredEvent, gone: AbstractSet[Node], until: Moment) -> bool:
    """Whether an event goes: it names the person, and no account of somebody else."""
    if event.erased or event.received_at > until or gone.isdisjoint(event.nodes):
        return False
    return all(node in gone for node in event.nodes if node.kind is NodeKind.ACCOUNT)


def blank(event: StoredEvent) -> StoredEvent:
    """An event of which nothing is left but its place in the log. Nobody may have it."""
    return StoredEvent(
        message_id="",
        source=event.source,
        type=event.type,
        name=None,
        nodes=(),
        received_at=event.received_at,
        made_at=None,
        granted=None,
        stated=None,
        policy_id=event.policy_id,
        allowed=0,
        record_id=None,
        integrations=None,
        body=b"{}",
        corrected_at=event.corrected_at,
        erased=True,
    )


def has_ended(order: Order) -> bool:
    """Whether an order of an erasure needs nobody's identifiers any more. One that failed for good
    may be tried again."""
    failed = order.grade is Grade.FAILED_FINAL
    return not order.open and order.read_at is None and not failed


def order_as_it_is(order: Order, found_by: AbstractSet[Node]) -> Order:
    """An order with how it went, without those whom an erasure took out of it while it was tried."""
    gone = {node for node in order.nodes if node not in found_by}
    return order_without(order, gone) if gone else order


def order_without(order: Order, gone: AbstractSet[Node]) -> Order:
    """An order that has ended, without these identifiers. One that was theirs is not asked about
    again: nobody could be named."""
    subject = tuple(node for node in order.subject if node not in gone)
    if not subject:
        return replace(order, subject=(), nodes=(), named=(), read_at=None, drift=False)
    return replace(
        order,
        subject=subject,
        nodes=tuple(node for node in order.nodes if node not in gone),
        named=tuple(node for node in order.named if node not in gone),
    )
