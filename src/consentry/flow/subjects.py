"""Subjects: what is known of a person right now, ready for a decision.

The store is the truth; this keeps what was folded from it, until a new fact or the passing
of time makes it wrong. A denial counts from the moment it is received, so facts that are
still on their way to the disk already block here; grants wait until they are durable.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import msgspec

from consentry.core.moment import Moment
from consentry.core.policy import Policy
from consentry.core.preference import Standing, narrower, stand
from consentry.core.record import Account, Fact, FactKind, Facts, History, Merge, Node, NodeKind
from consentry.ledger.entry import Record
from consentry.ports import Store

Key = tuple[Node, ...]
REMEMBERED = 50_000


class Overlay:
    """Facts, links and merges that are not in the store yet."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.facts: dict[Node, list[Fact]] = defaultdict(list)
        self.links: dict[Node, list[Node]] = defaultdict(list)
        self.merges: list[Merge] = []
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        for node, fact in record.facts:
            self.facts[node].append(fact)
        for left, right in record.links:
            self.links[left].append(right)
            self.links[right].append(left)
        if record.merge is not None:
            self.merges.append(record.merge)


NO_OVERLAY = Overlay()


class Subjects:
    """Standings of subjects, remembered until something touches them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._standing: OrderedDict[Key, tuple[str, Standing]] = OrderedDict()
        self._depends: dict[Node, set[Key]] = defaultdict(set)
        self._in_flight: dict[str, Overlay] = {}
        self._landing: list[tuple[set[Node], asyncio.Event]] = []

    def standing(self, nodes: Key, policy: Policy, now: Moment) -> Standing:
        """The subject's preferences as of now, with every denial received so far."""
        remembered = self._standing.get(nodes)
        if remembered is not None:
            version, standing = remembered
            if version == policy.version and standing.holds_at(now):
                return standing
        history, touched = self._read(nodes, NO_OVERLAY)
        standing = self._narrowest(nodes, policy, now, history, NO_OVERLAY)
        self._remember(nodes, policy.version, standing, touched)
        return standing

    def standing_with(
        self, nodes: Key, policy: Policy, now: Moment, own: Sequence[Record]
    ) -> Standing:
        """As ``standing``, with records that the same request makes, grants included."""
        if not own:
            return self.standing(nodes, policy, now)
        overlay = Overlay(own)
        history, _ = self._read(nodes, overlay)
        return self._narrowest(nodes, policy, now, history, overlay)

    def standing_as_of(self, nodes: Key, policy: Policy, as_of: Moment) -> Standing:
        """As it was at an earlier moment; never remembered."""
        history, _ = self._read(nodes, NO_OVERLAY)
        return self._narrowest(nodes, policy, as_of, history, NO_OVERLAY)

    def _narrowest(
        self, nodes: Key, policy: Policy, now: Moment, history: History, own: Overlay
    ) -> Standing:
        """A link on its way to the disk may bring denials already, but no account's grant."""
        standing = stand(history, policy, now)
        if not any(overlay.links for overlay in self._in_flight.values()):
            return standing
        unlinked, _ = self._read(nodes, own, links_in_flight=False)
        return narrower(standing, stand(unlinked, policy, now))

    def facts(self, node: Node) -> Facts:
        """Everything received about one identifier, durable or not."""
        return self._facts(node, NO_OVERLAY)

    def linked(self, nodes: Key) -> list[Node]:
        """These identifiers and all that decisions about them read."""
        _, touched = self._read(nodes, NO_OVERLAY)
        return touched

    @contextmanager
    def in_flight(self, records: Sequence[Record]) -> Iterator[None]:
        """While these records are being written, their denials count already.

        Leaving it, whether they were written or not, everything they touch is read afresh.
        """
        if not records:
            yield
            return
        token = records[0].record_id
        self._in_flight[token] = Overlay(map(_denials_of, records))
        landing = (self._about(records), asyncio.Event())
        self._landing.append(landing)
        self._forget(records)
        try:
            yield
        finally:
            del self._in_flight[token]
            self._landing.remove(landing)
            self._forget(records)
            landing[1].set()

    def landing(self, nodes: Iterable[Node]) -> list[asyncio.Event]:
        """What to wait for before deciding about these identifiers, as of this instant.

        A grant that was received before an event counts for it, but only once it is durable.
        Deciding without waiting would withhold, and be explained as consented afterwards. Asked
        before ``in_flight`` is entered, so nobody waits for those who came later.
        """
        if not self._landing:
            return []
        wanted = set(nodes)
        return [done for about, done in self._landing if not about.isdisjoint(wanted)]

    def _about(self, records: Iterable[Record]) -> set[Node]:
        """Every identifier that decisions read together with those of the records."""
        touched = {node for record in records for node in _touched(record)}
        return touched.union(*(self.linked((node,)) for node in touched))

    def _forget(self, records: Iterable[Record]) -> None:
        for record in records:
            for node in _touched(record):
                for key in self._depends.pop(node, ()):
                    self._standing.pop(key, None)

    def _remember(self, key: Key, version: str, standing: Standing, nodes: list[Node]) -> None:
        self._standing[key] = (version, standing)
        for node in nodes:
            self._depends[node].add(key)
        if len(self._standing) > REMEMBERED:
            # Dropping half at once keeps the index of dependencies from outgrowing its use.
            for old in list(self._standing)[: REMEMBERED // 2]:
                del self._standing[old]
            self._depends = defaultdict(
                set,
                {
                    n: kept
                    for n, keys in self._depends.items()
                    if (kept := keys & self._standing.keys())
                },
            )

    # -- reading ----------------------------------------------------------------------------
    def _read(
        self, nodes: Key, own: Overlay, *, links_in_flight: bool = True
    ) -> tuple[History, list[Node]]:
        """The subject of these identifiers, and every identifier that was looked at.

        A subject is its devices, its accounts, the further devices of those accounts, and
        the addresses linked to any of them: not the further accounts of further devices.
        """
        device = _first(nodes, NodeKind.DEVICE)
        named = _first(nodes, NodeKind.ACCOUNT)
        links_of = partial(self._links, own=own, in_flight=links_in_flight)
        contacts = {n for n in nodes if n.kind in (NodeKind.EMAIL, NodeKind.PHONE)}
        accounts = [named] if named is not None else []
        for node in (device, *contacts):
            if node is not None:
                accounts += [n for n in links_of(node) if n.kind is NodeKind.ACCOUNT]
        groups = {node: self._account(node, own) for node in dict.fromkeys(accounts)}
        members = [Node(NodeKind.ACCOUNT, m) for a in groups.values() for m in a.members]
        devices: dict[Node, None] = {}
        for node in (*members, *([device] if device else [])):
            for link in links_of(node):
                if link.kind is NodeKind.DEVICE:
                    devices[link] = None
                elif link.kind is not NodeKind.ACCOUNT:
                    contacts.add(link)
        devices.pop(device, None) if device else None
        of_named = set(groups[named].members) if named is not None else set()
        contact = next(iter(nodes), None) if device is None and named is None else None
        contacts.discard(contact)  # named alone: it speaks for itself
        history = History(
            device=self._facts(device, own) if device is not None else None,
            account=groups[named] if named is not None else None,
            others=tuple(a for n, a in groups.items() if n.value not in of_named),
            siblings=tuple(self._facts(node, own) for node in devices),
            contacts=tuple(self._facts(node, own) for node in contacts),
            contact=self._facts(contact, own) if contact is not None else None,
        )
        looked_at = [*nodes, *accounts, *members, *devices, *contacts]
        return history, looked_at

    def _account(self, node: Node, own: Overlay) -> Account:
        merges = {m.record_id: m for m in self._store.merges_of(node.value)}
        merges.update((m.record_id, m) for m in self._pending_merges(own))
        group = _group(node.value, merges.values())
        members = {m: self._facts(Node(NodeKind.ACCOUNT, m), own) for m in group}
        kept = tuple(m for m in merges.values() if m.left in group or m.right in group)
        return Account(node.value, members, kept)

    def _facts(self, node: Node, own: Overlay) -> Facts:
        pending = [f for o in self._overlays(own) for f in o.facts.get(node, ())]
        durable = self._store.facts_of(node)
        return (*durable, *pending) if pending else durable

    def _links(self, node: Node, own: Overlay, in_flight: bool) -> list[Node]:
        found = list(self._store.links_of(node))
        for overlay in self._overlays(own) if in_flight else (own,):
            found += overlay.links.get(node, ())
        return found

    def _pending_merges(self, own: Overlay) -> list[Merge]:
        return [merge for overlay in self._overlays(own) for merge in overlay.merges]

    def _overlays(self, own: Overlay) -> Iterator[Overlay]:
        yield from self._in_flight.values()
        yield own


def _first(nodes: Key, kind: NodeKind) -> Node | None:
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


def _touched(record: Record) -> set[Node]:
    """Identifiers that a record says something of."""
    touched = {node for node, _ in record.facts}
    touched.update(node for link in record.links for node in link)
    if record.merge is not None:
        touched.add(Node(NodeKind.ACCOUNT, record.merge.left))
        touched.add(Node(NodeKind.ACCOUNT, record.merge.right))
    return touched


def _denials_of(record: Record) -> Record:
    """A record with its grants taken out, and nothing that could only loosen."""
    facts = tuple(
        (node, msgspec.structs.replace(fact, granted=()))
        for node, fact in record.facts
        if fact.kind is not FactKind.UNSUPPRESS
    )
    return msgspec.structs.replace(record, facts=facts, merge=None)
