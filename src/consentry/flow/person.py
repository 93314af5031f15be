"""Whose things are exported or erased: one person, by all of their identifiers and nobody else's.

A person is who is named, the accounts merged with them, and what is linked to these. Devices and
addresses are shared, so nobody is followed from there to an account that was not named.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from consentry.core.record import FactKind, Node, NodeKind
from consentry.flow.reading import MOST_IDENTIFIERS, Reading, TooManyIdentifiers
from consentry.flow.world import World
from consentry.ledger.entry import RecordType

_KINDS = frozenset({NodeKind.ACCOUNT, NodeKind.DEVICE, NodeKind.EMAIL, NodeKind.PHONE})
_CONTACTS = frozenset({NodeKind.EMAIL, NodeKind.PHONE})


@dataclass(frozen=True, slots=True)
class Person:
    """Identifiers of one person, with the accounts among them."""

    nodes: frozenset[Node]
    accounts: frozenset[Node]

    def is_about(self, named: AbstractSet[Node]) -> bool:
        """Whether what names these names the person."""
        return not self.nodes.isdisjoint(named)

    def is_alone_in(self, named: AbstractSet[Node]) -> bool:
        """Whether no account of somebody else stands beside them."""
        accounts = {node for node in named if node.kind is NodeKind.ACCOUNT}
        return accounts <= self.accounts


def whole_person(world: World, named: tuple[Node, ...]) -> Person:
    """Who is named. Raises TooManyIdentifiers, and StoreError where it cannot be read.

    An address that was given on one of their devices before anybody signed in is linked to the
    device alone; it is theirs too.
    """
    reading = world.subjects.reading()
    accounts = {
        Node(NodeKind.ACCOUNT, member)
        for node in named
        if node.kind is NodeKind.ACCOUNT
        for member in reading.account(node).members
    }
    found = {node for node in named if node.kind in _KINDS} | accounts
    for node in accounts:
        found |= {end for end in reading.links(node) if end.kind is not NodeKind.ACCOUNT}
        _bound(found)
    for node in [node for node in found if node.kind is NodeKind.DEVICE]:
        if _is_shared(reading, node, accounts):
            continue  # whose address was given there, nobody knows
        found |= {end for end in reading.links(node) if end.kind in _CONTACTS}
        _bound(found)
    return Person(frozenset(found), frozenset(accounts))


def theirs_alone(world: World, person: Person) -> frozenset[Node]:
    """Their identifiers without those that are linked to somebody else's account too.

    To erase a shared device would take away what somebody else refused on it, and where silence
    grants that fails open.
    """
    reading = world.subjects.reading()
    return frozenset(
        node
        for node in person.nodes
        if node in person.accounts or not _is_shared(reading, node, person.accounts)
    )


def _is_shared(reading: Reading, node: Node, accounts: AbstractSet[Node]) -> bool:
    ends = reading.links(node)
    return any(end.kind is NodeKind.ACCOUNT and end not in accounts for end in ends)


def _bound(found: set[Node]) -> None:
    if len(found) > MOST_IDENTIFIERS:
        raise TooManyIdentifiers


def is_erased(world: World, nodes: AbstractSet[Node] | tuple[Node, ...]) -> bool:
    """Whether one of these was erased, and nobody lifted that since.

    An erasure that is on its way to the disk counts already.
    """
    return any(node in world.erasing or erased_at(world, node) is not None for node in nodes)


def erased_at(world: World, node: Node) -> int | None:
    """The place in the ledger of the last erasure of an identifier that nobody has lifted since."""
    if not world.subjects.knows(node):
        return None
    facts = world.subjects.facts(node)
    lifted = [fact.received_at for fact in facts if fact.kind is FactKind.UNSUPPRESS]
    lifted_at = max(lifted, default=None)
    found = None
    for fact in facts:
        stands = lifted_at is None or fact.received_at >= lifted_at
        if fact.kind is FactKind.SUPPRESS and stands:
            entry = world.store.record(fact.record_id)
            if entry is not None and entry.record.type is RecordType.ERASE:
                found = max(entry.seq, -1 if found is None else found)
    return found
