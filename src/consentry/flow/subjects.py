"""Subjects: what is known of a person right now, ready for a decision.

The store is the truth; this keeps what was folded from it, until a new fact or the passing
of time makes it wrong. A denial counts from the moment it is received, so facts that are
still on their way to the disk already block here; grants wait until they are durable.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import msgspec

from consentry.core.moment import Moment
from consentry.core.policy import Policy
from consentry.core.preference import (
    FOREVER,
    Block,
    Found,
    Standing,
    Why,
    narrower,
    silence,
    stand,
)
from consentry.core.record import Account, Fact, FactKind, Facts, History, Merge, Node, NodeKind
from consentry.ledger.entry import Record
from consentry.ports import Store

Key = tuple[Node, ...]
T = TypeVar("T")
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

    def remove(self, record: Record) -> None:
        """Take back what ``add`` added of this very record."""
        for node, fact in record.facts:
            _take_out(self.facts, node, fact)
        for left, right in record.links:
            _take_out(self.links, left, right)
            _take_out(self.links, right, left)
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


class TooManyIdentifiers(Exception):
    """A subject has more identifiers than a decision may read."""


class Reading:
    """What the store and the overlays say, each identifier read once."""

    def __init__(
        self, store: Store, overlays: Sequence[Overlay], linking: Sequence[Overlay]
    ) -> None:
        self._store = store
        self._overlays = overlays
        self._linking = linking
        self._facts: dict[Node, Facts] = {}
        self._links: dict[Node, tuple[Node, ...]] = {}
        self._accounts: dict[Node, Account] = {}
        self._known: dict[Node, bool] = {}

    def _knows(self, node: Node) -> bool:
        """Whether the store has anything to read about it: of most it has not."""
        known = self._known.get(node)
        if known is None:
            known = self._known[node] = self._store.knows(node)
        return known

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
            pending = [other for o in self._linking for other in o.links.get(node, ())]
            stored = self._store.links_of(node) if self._knows(node) else ()
            known = self._links[node] = (*stored, *pending)
        return known

    def account(self, node: Node) -> Account:
        known = self._accounts.get(node)
        if known is None:
            stored = self._store.merges_of(node.value) if self._knows(node) else ()
            merges = {m.record_id: m for m in stored}
            merges.update((m.record_id, m) for o in self._overlays for m in o.merges)
            group = _group(node.value, merges.values())
            members = {m: self.facts(Node(NodeKind.ACCOUNT, m)) for m in group}
            kept = tuple(m for m in merges.values() if m.left in group or m.right in group)
            known = self._accounts[node] = Account(node.value, members, kept)
        return known

    def subject(self, nodes: Key) -> tuple[History, list[Node]]:
        """The subject of these identifiers, and every identifier that was looked at.

        A subject is its devices, its accounts, the further devices of those accounts, and
        the addresses linked to any of them: not the further accounts of further devices.
        Raises TooManyIdentifiers.
        """
        device = _first(nodes, NodeKind.DEVICE)
        named = _first(nodes, NodeKind.ACCOUNT)
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


def nothing_granted(policy: Policy, as_of: Moment) -> Standing:
    """The standing of a subject that cannot be read whole: every category is in conflict."""
    block = Block("too_many_identifiers", FOREVER, Why.CONFLICT)
    return Standing(as_of, found={c: Found(block=block) for c in policy.category})


class Subjects:
    """Standings of subjects, remembered until something touches them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._standing: OrderedDict[Key, tuple[str, Standing]] = OrderedDict()
        self._depends: dict[Node, set[Key]] = defaultdict(set)
        self._present: dict[tuple[Node, str], bool] = {}
        self._pending = Overlay()  # what is on its way to the disk, as far as it counts already
        self._landing: list[tuple[set[Node], asyncio.Event]] = []

    def standing(self, nodes: Key, policy: Policy, now: Moment) -> Standing:
        """The subject's preferences as of now, with every denial received so far."""
        remembered = self._standing.get(nodes)
        if remembered is not None:
            version, standing = remembered
            if version == policy.version and standing.holds_at(now):
                return standing
        if self._never_heard_of(nodes):
            standing, looked_at = silence(policy, now), list(nodes)
        else:
            asking = Asking(self, policy, ())
            standing = asking.standing(nodes, now)
            looked_at = asking.looked_at
        self._remember(nodes, policy.version, standing, looked_at)
        return standing

    def _never_heard_of(self, nodes: Key) -> bool:
        """Whether no record, durable or on its way, names any of these: most who come do so anew."""
        return not any(self._pending.names(node) or self._store.knows(node) for node in nodes)

    def asking(self, policy: Policy, own: Sequence[Record] = ()) -> Asking:
        """For one request: each identifier is read once, with what the request itself records."""
        return Asking(self, policy, own)

    def standing_with(
        self, nodes: Key, policy: Policy, now: Moment, own: Sequence[Record]
    ) -> Standing:
        """As ``standing``, with records that the same request makes, grants included."""
        return self.asking(policy, own).standing(nodes, now)

    def standing_as_of(self, nodes: Key, policy: Policy, as_of: Moment) -> Standing:
        """As it was at an earlier moment; never remembered."""
        return Asking(self, policy, ()).standing(nodes, as_of)

    def alone(self, nodes: Key, policy: Policy, as_of: Moment) -> Standing:
        """The named identifiers without what is linked to them.

        For answers to a public key: who can link a device to somebody's account may not learn
        from that device what the account chose. What is sent is decided with the links.
        """
        reading = self.reading()
        device = _first(nodes, NodeKind.DEVICE)
        named = _first(nodes, NodeKind.ACCOUNT)
        history = History(
            device=None if device is None else reading.facts(device),
            account=None if named is None else reading.account(named),
        )
        return stand(history, policy, as_of)

    def reading(self, own: Overlay = NO_OVERLAY, *, links_in_flight: bool = True) -> Reading:
        """What is known now. Links in flight may be left out: they could lift something."""
        overlays = (self._pending, own)
        return Reading(self._store, overlays, overlays if links_in_flight else (own,))

    @property
    def links_in_flight(self) -> bool:
        return bool(self._pending.links)

    def facts(self, node: Node) -> Facts:
        """Everything received about one identifier, durable or not."""
        return self.reading().facts(node)

    def signal_present(self, node: Node, signal: str) -> bool:
        """Whether this identifier's latest word about a signal is that it is there."""
        known = self._present.get((node, signal))
        if known is None:
            seen = [
                (fact.received_at, fact.present)
                for fact in self.facts(node)
                if fact.kind is FactKind.SIGNAL and fact.signal == signal
            ]
            known = max(seen)[1] if seen else False
            if len(self._present) >= REMEMBERED:
                self._present.clear()
            self._present[node, signal] = known
        return known

    def linked(self, nodes: Key) -> list[Node]:
        """These identifiers and all that decisions about them read; alone, if they are too many."""
        try:
            return self.reading().subject(nodes)[1]
        except TooManyIdentifiers:
            return list(nodes)

    @contextmanager
    def in_flight(self, records: Sequence[Record]) -> Iterator[None]:
        """While these records are being written, their denials count already.

        Leaving it, whether they were written or not, everything they touch is read afresh.
        """
        if not records:
            yield
            return
        landed = asyncio.Event()
        about = self._about([record for record in records if _may_loosen(record)])
        landing = (about, landed)
        denials = list(map(_denials_of, records))
        for record in denials:
            self._pending.add(record)
        if about:
            self._landing.append(landing)
        self._forget(records)
        try:
            yield
        finally:
            for record in denials:
                self._pending.remove(record)
            if about:
                self._landing.remove(landing)
            self._forget(records)
            landed.set()

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
        if not touched or self._never_heard_of(tuple(touched)):
            return touched
        reading = self.reading()
        for node in tuple(touched):
            try:
                touched.update(reading.subject((node,))[1])
            except TooManyIdentifiers:
                continue  # nothing is granted to such a subject, landed or not
        return touched

    def _forget(self, records: Iterable[Record]) -> None:
        for record in records:
            for node, fact in record.facts:
                if fact.kind is FactKind.SIGNAL:
                    self._present.pop((node, fact.signal), None)
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


class Asking:
    """The questions of one request about its subjects, answered from one reading."""

    def __init__(self, subjects: Subjects, policy: Policy, own: Sequence[Record]) -> None:
        overlay = Overlay(own)
        self._policy = policy
        self._subjects = subjects
        self._own = bool(own)
        self._full = subjects.reading(overlay)
        self._unlinked = (
            subjects.reading(overlay, links_in_flight=False) if subjects.links_in_flight else None
        )
        self._answers: dict[tuple[Key, Moment], Standing] = {}
        self.looked_at: list[Node] = []

    def standing(self, nodes: Key, now: Moment) -> Standing:
        """The subject's preferences as of ``now``."""
        known = self._answers.get((nodes, now))
        if known is None:
            known = self._answers[nodes, now] = self._fold(nodes, now)
        return known

    def _fold(self, nodes: Key, now: Moment) -> Standing:
        try:
            history, self.looked_at = self._full.subject(nodes)
            standing = stand(history, self._policy, now)
            if self._unlinked is None:
                return standing
            # A link on its way to the disk may bring denials already, but no account's grant.
            unlinked, _ = self._unlinked.subject(nodes)
            return narrower(standing, stand(unlinked, self._policy, now))
        except TooManyIdentifiers:
            self.looked_at = list(nodes)
            return nothing_granted(self._policy, now)


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


def _may_loosen(record: Record) -> bool:
    """Whether something may be allowed by it that was not before; denials count at once."""
    unsuppressed = any(fact.kind is FactKind.UNSUPPRESS for _, fact in record.facts)
    granted = any(fact.granted for _, fact in record.facts)
    return granted or unsuppressed or record.merge is not None


def _denials_of(record: Record) -> Record:
    """A record with its grants taken out, and nothing that could only loosen."""
    facts = tuple(
        (node, msgspec.structs.replace(fact, granted=()))
        for node, fact in record.facts
        if fact.kind is not FactKind.UNSUPPRESS
    )
    return msgspec.structs.replace(record, facts=facts, merge=None)
