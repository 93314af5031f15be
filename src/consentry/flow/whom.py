"""Whom an order is about, and whom of them another system may be told of.

Our own gate closes for anybody's no. Another system hears only of identifiers that are proven to
be the person's, and by which it knows people.
"""

from __future__ import annotations

from consentry.core.record import FactKind, Node, NodeKind
from consentry.destinations.instruction import Orders, Person
from consentry.flow.person import is_erased
from consentry.flow.reading import Key
from consentry.flow.subjects import REMEMBERED
from consentry.flow.world import World
from consentry.ledger.entry import Record, RecordType

UNPROVEN = "the identifiers are not proven to be this person's: our own gate, and no further"
UNKNOWN = "it knows people by other identifiers than these: our own gate, and no further"
SHADOW = "the workspace only watches (shadow = true): nobody is told anything"
TAKES_NONE = "it takes no such order: our own gate, and no further"
ERASED = "this person was erased: our own gate, and no further"
_MEMBERS = {
    NodeKind.DEVICE: "anonymous_ids",
    NodeKind.ACCOUNT: "user_ids",
    NodeKind.EMAIL: "emails",
    NodeKind.PHONE: "phones",
}


class Whom:
    """Whom a record is about: by all that is linked, and by what may be said to others."""

    def __init__(self, world: World, record: Record, subject: Key) -> None:
        self.subject = subject
        erasing = record.type is RecordType.ERASE
        # Whoever forgot a person may not be told who it was because something comes of them anew.
        self._gone = not erasing and is_erased(world, subject)
        self._proven = () if world.shadow or self._gone else named_by(world, record, subject)
        self._shadow = world.shadow
        linked = world.subjects.linked(subject)
        self.nodes: Key = tuple(sorted({*linked, *subject, *self._proven}))

    def named_to(self, orders: Orders | None) -> Key:
        """Those by which this kind of destination knows people."""
        if orders is None:
            return ()
        return tuple(node for node in self._proven if _MEMBERS[node.kind] in orders.needs)

    def reached_by(self, orders: Orders | None) -> bool:
        return bool(self.named_to(orders))

    def why_not(self, orders: Orders | None) -> str:
        """Why an order goes no further than our own gate."""
        if orders is None:
            return TAKES_NONE
        if self._shadow:
            return SHADOW
        if self._gone:
            return ERASED
        if not self._proven:
            return UNPROVEN
        return TAKES_NONE if self.reached_by(orders) else UNKNOWN


def named_by(world: World, record: Record, subject: Key) -> Key:
    """The identifiers that other systems may be told: proven to be this person's.

    Those that the record names with proof, and what a trusted door has linked to an account
    among them. From an address or a device a trusted record goes on to its account; a public
    one does not: whoever knows somebody's device may not speak for their account. An erasure
    reaches far by what anybody linked, so to others it names who was named, and of the rest what a
    trusted door has linked.
    """
    if record.type is RecordType.ERASE:
        proven = {node for node in subject if node.kind is NodeKind.ACCOUNT}
        found = proven_with(world, {*proven, *record.subject}, trusted=True)
        return tuple(node for node in found if node in subject)
    trusted = record.trust != "public"
    proven = {node for node in subject if trusted or _proves(record, node)}
    return proven_with(world, proven, trusted=trusted)


def proven_with(world: World, proven: set[Node], *, trusted: bool) -> Key:
    """These identifiers, with what a trusted door has tied to the accounts among them."""
    proven = set(proven)
    accounts = {node for node in proven if node.kind is NodeKind.ACCOUNT}
    if trusted:
        for node in proven - accounts:
            accounts |= {o for o in trusted_ends(world, node) if o.kind is NodeKind.ACCOUNT}
    for node in accounts:
        proven.add(node)
        proven.update(o for o in trusted_ends(world, node) if o.kind is not NodeKind.ACCOUNT)
    return tuple(sorted(node for node in proven if node.kind in _MEMBERS))


def _proves(record: Record, node: Node) -> bool:
    """Whether a public record may speak for this identifier to others."""
    if not record.facts:
        return False  # a link that a public key made reaches nobody
    facts = [fact for named, fact in record.facts if named == node]
    if any(fact.kind is not FactKind.CHOICE for fact in facts):
        return node.kind is NodeKind.DEVICE
    return any(fact.proven for fact in facts)


def trusted_ends(world: World, node: Node) -> set[Node]:
    """What a trusted door has linked to this identifier."""
    if not world.subjects.knows(node):
        return set()
    return set(world.store.trusted_links_of(node))


def is_trusted(world: World, link: tuple[Node, Node]) -> bool:
    """Whether a trusted door has said this link. Once it has, that is remembered."""
    known = world.trusted_links
    if link in known:
        return True
    if link[1] not in trusted_ends(world, link[0]):
        return False
    if len(known) >= REMEMBERED:
        known.clear()
    known.add(link)
    return True


def person_of(nodes: Key) -> Person:
    """Identifiers as a destination is handed them."""
    values: dict[str, list[str]] = {member: [] for member in _MEMBERS.values()}
    for node in sorted(set(nodes)):
        if node.kind in _MEMBERS:
            values[_MEMBERS[node.kind]].append(node.value)
    return Person(**{member: tuple(found) for member, found in values.items()})
