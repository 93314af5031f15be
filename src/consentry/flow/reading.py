"""What is known of one subject: facts, links and merges, durable or on their way to the disk."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeVar

from consentry.core.moment import Moment
from consentry.core.record import Account, Fact, Facts, History, Merge, Node, NodeKind
from consentry.ledger.entry import Record
from consentry.ports import Store

Key = tuple[Node, ...]
T = TypeVar("T")


class Overlay:
    """Facts, links and merges that are not in the store yet."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.facts: dict[Node, list[Fact]] = defaultdict(list)
        self.links: dict[Node, list[tuple[Moment, Node]]] = defaultdict(list)
        self.merges: list[Merge] = []
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        for node, fact in record.facts:
            self.facts[node].append(fact)
        for left, right in record.links:
            self.links[left].append((record.received_at, right))
            self.links[right].append((record.received_at, left))
        if record.merge is not None:
            self.merges.append(record.merge)

    def remove(self, record: Record) -> None:
        """Take back what ``add`` added of this very record."""
        for node, fact in record.facts:
            _take_out(self.facts, node, fact)
        for left, right in record.links:
            _take_out(self.links, left, (record.received_at, right))
            _take_out(self.links, right, (record.received_at, left))
        if record.merge is not None:
            self.merges.remove(record.merge)

    def names(self, node: Node) -> bool:
        """Whether it may say something of this identifier."""
        return bool(self.merges) or node in self.facts or node in self.links


def _take_out(lists: dict[Node, list[T]], node: Node, value: T) -> None:
    lists[node].remove(value)
    if not lists[node]:
        del lists[node]


NO_OVERLAY = Overlay()
MOST_IDENTIFIERS = 1_000
"""How many identifiers one decision reads. Beyond it nothing is granted: whoever holds a public
key can link any number of devices to an account, and reading them all would stop the server."""

MOST_RECORDS = 10_000
"""How many records of one identifier are read to learn when its links were made."""


class TooManyIdentifiers(Exception):
    """A subject has more identifiers than a decision may read."""


class Reading:
    """What the store and the overlays say, each identifier read once.

    With ``as_of``, links and merges that were received later are left out: otherwise a later
    sign-in would change what is said of a moment before it.
    """

    def __init__(
        self,
        store: Store,
        knows: Callable[[Node], bool],
        overlays: Sequence[Overlay],
        linking: Sequence[Overlay],
        as_of: Moment | None = None,
    ) -> None:
        self._as_of = as_of
        self._store = store
        self._knows = knows  # of most there is nothing to read
        self._overlays = overlays
        self._linking = linking
        self._facts: dict[Node, Facts] = {}
        self._links: dict[Node, tuple[Node, ...]] = {}
        self._accounts: dict[Node, Account] = {}

    def facts(self, node: Node) -> Facts:
        known = self._facts.get(node)
        if known is None:
            pending = [f for o in self._overlays for f in o.facts.get(node, ())]
            stored = self._store.facts_of(node) if self._knows(node) else ()
            known = self._facts[node] = (*stored, *pending)
        return known

    def links(self, node: Node) -> tuple[Node, ...]:
        known = self._links.get(node)
        if known is None:
            pending = [
                other
                for overlay in self._linking
                for received_at, other in overlay.links.get(node, ())
                if self._as_of is None or received_at <= self._as_of
            ]
            known = self._links[node] = (*self._durable_links(node), *pending)
        return known

    def _durable_links(self, node: Node) -> tuple[Node, ...]:
        """Links are kept without their times; only the records that made them know those."""
        links = self._store.links_of(node) if self._knows(node) else ()
        if self._as_of is None or not links:
            return links
        records = self._store.records_of([node], limit=MOST_RECORDS + 1)
        if len(records) > MOST_RECORDS:
            raise TooManyIdentifiers
        then = {
            end
            for entry in records
            if entry.record.received_at <= self._as_of
            for link in entry.record.links
            if node in link
            for end in link
        }
        return tuple(other for other in links if other in then)

    def account(self, node: Node) -> Account:
        known = self._accounts.get(node)
        if known is None:
            merges = self._merges(node.value)
            group = _group(node.value, merges.values())
            members = {m: self.facts(Node(NodeKind.ACCOUNT, m)) for m in group}
            kept = tuple(m for m in merges.values() if m.left in group or m.right in group)
            known = self._accounts[node] = Account(node.value, members, kept)
        return known

    def _merges(self, user_id: str) -> dict[str, Merge]:
        """By record, every merge of this account's group: what is on its way may join two of those
        that the store knows."""
        pending = [merge for overlay in self._overlays for merge in overlay.merges]
        found: dict[str, Merge] = {}
        seen: set[str] = set()
        todo = [user_id]
        while todo:
            user = todo.pop()
            if user in seen:
                continue
            seen.add(user)
            known = self._knows(Node(NodeKind.ACCOUNT, user))
            durable = self._store.merges_of(user) if known else ()
            for merge in (*durable, *(m for m in pending if user in (m.left, m.right))):
                if self._as_of is None or merge.at <= self._as_of:
                    found[merge.record_id] = merge
                    todo += [merge.left, merge.right]
        return found

    def subject(self, nodes: Key) -> tuple[History, list[Node]]:
        """The subject of these identifiers, and every identifier that was looked at.

        A subject is its devices, its accounts, the further devices of those accounts, and
        the addresses linked to any of them: not the further accounts of further devices.
        Raises TooManyIdentifiers.
        """
        device = first(nodes, NodeKind.DEVICE)
        named = first(nodes, NodeKind.ACCOUNT)
        contacts = {n for n in nodes if n.kind in (NodeKind.EMAIL, NodeKind.PHONE)}
        accounts = [named] if named is not None else []
        for node in (device, *contacts):
            if node is not None:
                accounts += [n for n in self.links(node) if n.kind is NodeKind.ACCOUNT]
        _bound(accounts)
        groups = {node: self.account(node) for node in dict.fromkeys(accounts)}
        members = [Node(NodeKind.ACCOUNT, m) for a in groups.values() for m in a.members]
        devices: dict[Node, None] = {}
        for node in (*members, *([device] if device else [])):
            for link in self.links(node):
                if link.kind is NodeKind.DEVICE:
                    devices[link] = None
                elif link.kind is not NodeKind.ACCOUNT:
                    contacts.add(link)
            _bound(devices, contacts, members)
        devices.pop(device, None) if device else None
        of_named = set(groups[named].members) if named is not None else set()
        contact = next(iter(nodes), None) if device is None and named is None else None
        contacts.discard(contact)  # named alone: it speaks for itself
        history = History(
            device=self.facts(device) if device is not None else None,
            account=groups[named] if named is not None else None,
            others=tuple(a for n, a in groups.items() if n.value not in of_named),
            siblings=tuple(self.facts(node) for node in devices),
            contacts=tuple(self.facts(node) for node in contacts),
            contact=self.facts(contact) if contact is not None else None,
        )
        return history, [*nodes, *accounts, *members, *devices, *contacts]


def _bound(*identifiers: Collection[Node]) -> None:
    if sum(map(len, identifiers)) > MOST_IDENTIFIERS:
        raise TooManyIdentifiers


def first(nodes: Key, kind: NodeKind) -> Node | None:
    return next((node for node in nodes if node.kind is kind), None)


def _group(user_id: str, merges: Iterable[Merge]) -> list[str]:
    """All accounts that merges join to this one, this one first."""
    known = list(merges)
    group, grown = {user_id: None}, True
    while grown:
        grown = False
        for merge in known:
            if (merge.left in group) != (merge.right in group):
                group.update({merge.left: None, merge.right: None})
                grown = True
    return list(group)
