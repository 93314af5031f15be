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
from consentry.core.record import FactKind, Facts, History, Node, NodeKind
from consentry.flow.reading import (
    NO_OVERLAY,
    Key,
    Overlay,
    Reading,
    TooManyIdentifiers,
    first,
)
from consentry.ledger.entry import Record
from consentry.ports import Store

REMEMBERED = 50_000


def nothing_granted(policy: Policy, as_of: Moment) -> Standing:
    """The standing of a subject that cannot be read whole: every category is in conflict."""
    block = Block("too_many_identifiers", FOREVER, Why.CONFLICT)
    return Standing(as_of, found=dict.fromkeys(policy.folded, Found(block=block)), whole=False)


class Subjects:
    """Standings of subjects, remembered until something touches them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._standing: OrderedDict[Key, tuple[str, Standing]] = OrderedDict()
        self._depends: dict[Node, set[Key]] = defaultdict(set)
        self._unknown: set[Node] = set()
        self._present: dict[tuple[Node, str], bool] = {}
        self._pending = Overlay()  # what is on its way to the disk, as far as it counts already
        self._flying: dict[str, Record] = {}  # the same records, whole
        self._landing: list[tuple[set[Node], asyncio.Event]] = []
        self._changes = 0
        self._on_their_way = 0

    @property
    def epoch(self) -> int:
        """While it is the same and not 0, no standing has changed but by the passing of time.

        0 while records are on their way to the disk: what then holds may change at any instant.
        """
        return 0 if self._on_their_way else self._changes + 1

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
        # What is on its way may be durable a moment before it is known to be: that is read afresh.
        if not any(map(self._pending.names, looked_at)):
            self._remember(nodes, policy.version, standing, looked_at)
        return standing

    def _never_heard_of(self, nodes: Key) -> bool:
        """Whether no record, durable or on its way, names any of these: most who come do so anew."""
        return not any(self._pending.names(node) or self.knows(node) for node in nodes)

    def knows(self, node: Node) -> bool:
        """As the store's; that it does not know somebody is remembered until a record does."""
        if node in self._unknown and not self._pending.names(node):
            return False
        if self._store.knows(node):
            return True
        if len(self._unknown) >= REMEMBERED:
            self._unknown.clear()
        self._unknown.add(node)
        return False

    def asking(
        self, policy: Policy, own: Sequence[Record] = (), as_of: Moment | None = None
    ) -> Asking:
        """For one request: each identifier is read once, with what the request itself records.

        ``as_of`` is for a request that had to wait: others have linked and merged meanwhile.
        """
        return Asking(self, policy, own, as_of)

    def standing_with(
        self, nodes: Key, policy: Policy, now: Moment, own: Sequence[Record]
    ) -> Standing:
        """As ``standing``, with records that the same request makes, grants included."""
        return self.asking(policy, own).standing(nodes, now)

    def standing_as_of(self, nodes: Key, policy: Policy, as_of: Moment) -> Standing:
        """As it was at an earlier moment; never remembered."""
        return Asking(self, policy, (), as_of).standing(nodes, as_of)

    def alone(
        self, nodes: Key, policy: Policy, as_of: Moment, reading: Reading | None = None
    ) -> Standing:
        """The named identifiers without what is linked to them.

        For answers to a public key: who can link a device to somebody's account may not learn
        from that device what the account chose. What is sent is decided with the links. An
        address that is named alone is read alone too. ``reading`` is one that the caller goes on
        reading.
        """
        reading = reading or self.reading()
        device = first(nodes, NodeKind.DEVICE)
        named = first(nodes, NodeKind.ACCOUNT)
        contact = next(iter(nodes), None) if device is None and named is None else None
        history = History(
            device=None if device is None else reading.facts(device),
            account=None if named is None else reading.account(named),
            contact=None if contact is None else reading.facts(contact),
        )
        return stand(history, policy, as_of)

    def reading(
        self,
        own: Overlay = NO_OVERLAY,
        *,
        links_in_flight: bool = True,
        as_of: Moment | None = None,
    ) -> Reading:
        """What is known now. Links in flight may be left out: they could lift something."""
        overlays = (self._pending, own)
        linking = overlays if links_in_flight else (own,)
        return Reading(self._store, self.knows, overlays, linking, as_of)

    @property
    def links_in_flight(self) -> bool:
        return bool(self._pending.links)

    def facts(self, node: Node) -> Facts:
        """Everything received about one identifier, durable or not."""
        return self.reading().facts(node)

    def record(self, record_id: str) -> Record | None:
        """The record that a fact is of, durable or not; None if there is none."""
        flying = self._flying.get(record_id)
        if flying is not None:
            return flying
        entry = self._store.record(record_id)
        return None if entry is None else entry.record

    def signal_known(self, node: Node, signal: str, present: bool) -> bool:
        """Whether the latest durable word about a signal is that it is there, or is not.

        False while another word is on its way to the disk: it may never be there.
        """
        if any(fact.signal == signal for fact in self._pending.facts.get(node, ())):
            return False
        known = self._present.get((node, signal))
        if known is None:
            facts = self._store.facts_of(node) if self.knows(node) else ()
            seen = [
                (fact.received_at, fact.present)
                for fact in facts
                if fact.kind is FactKind.SIGNAL and fact.signal == signal
            ]
            known = max(seen)[1] if seen else False
            if len(self._present) >= REMEMBERED:
                self._present.clear()
            self._present[node, signal] = known
        return known == present

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
        # Reading may fail: then nothing is written, and nothing of it may stay behind.
        about = self._about([record for record in records if _may_loosen(record)])
        landed = asyncio.Event()
        landing = (about, landed)
        denials = list(map(_denials_of, records))
        self._on_their_way += 1
        flying = {record.record_id: record for record in records}
        self._flying |= flying
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
            for record_id in flying:
                self._flying.pop(record_id)
            self._forget(records)
            self._on_their_way -= 1
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
        touched = {node for record in records for node in touched_by(record)}
        if not touched or self._never_heard_of(tuple(touched)):
            return touched
        reading = self.reading()
        for node in tuple(touched):
            try:
                touched.update(reading.subject((node,))[1])
            except TooManyIdentifiers:
                continue  # nothing is granted to such a subject, landed or not
        return touched

    def forget(self, nodes: Iterable[Node]) -> None:
        """Read these identifiers afresh, and whoever was read with them: somebody was erased."""
        self._changes += 1
        for node in nodes:
            self._unknown.discard(node)
            for key in self._depends.pop(node, ()):
                self._standing.pop(key, None)
        self._present.clear()

    def _forget(self, records: Iterable[Record]) -> None:
        self._changes += 1
        for record in records:
            for node, fact in record.facts:
                if fact.kind is FactKind.SIGNAL:
                    self._present.pop((node, fact.signal), None)
            for node in touched_by(record):
                self._unknown.discard(node)
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

    def __init__(
        self,
        subjects: Subjects,
        policy: Policy,
        own: Sequence[Record],
        as_of: Moment | None = None,
    ) -> None:
        overlay = Overlay(own)
        self._policy = policy
        self._subjects = subjects
        self._own = bool(own)
        self._full = subjects.reading(overlay, as_of=as_of)
        self._unlinked = (
            subjects.reading(overlay, links_in_flight=False, as_of=as_of)
            if subjects.links_in_flight
            else None
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


def touched_by(record: Record) -> set[Node]:
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
