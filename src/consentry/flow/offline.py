"""Decisions without a server: the same flows, over records that are read or kept in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol, cast

from consentry.clock import Clock
from consentry.core.policy import Policy, Regime
from consentry.core.record import Facts, Merge, Node, NodeKind
from consentry.flow.reading import Overlay
from consentry.flow.subjects import Subjects
from consentry.flow.world import World
from consentry.ledger.entry import LedgerRecord, Record
from consentry.ports import Store


class Records(Protocol):
    """What a decision reads of a store, and nothing more. May raise StoreError."""

    def size(self) -> int:
        """How many records there are now; while it stays the same, so does what they say."""

    def knows(self, node: Node) -> bool: ...

    def facts_of(self, node: Node) -> Facts: ...

    def links_of(self, node: Node) -> tuple[Node, ...]: ...

    def merges_of(self, user_id: str) -> tuple[Merge, ...]: ...

    def record(self, record_id: str) -> LedgerRecord | None: ...


class ToldRecords(Records, Protocol):
    """Those of a store, with what the workspace has told people, by ``records_of``."""

    def records_of(
        self, nodes: Iterable[Node], before: int | None = None, limit: int = 100
    ) -> Sequence[LedgerRecord]: ...


class NoRecords:
    """Nothing was ever recorded: what a decision is without a store."""

    def size(self) -> int:
        return 0

    def knows(self, node: Node) -> bool:
        return False

    def facts_of(self, node: Node) -> Facts:
        return ()

    def links_of(self, node: Node) -> tuple[Node, ...]:
        return ()

    def merges_of(self, user_id: str) -> tuple[Merge, ...]:
        return ()

    def record(self, record_id: str) -> LedgerRecord | None:
        return None

    def records_of(
        self, nodes: Iterable[Node], before: int | None = None, limit: int = 100
    ) -> Sequence[LedgerRecord]:
        return ()


class Held:
    """Records that are read elsewhere, and those that this process keeps in its own memory.

    It is what flows read of a ``Store`` when nothing is accepted or written. Of what is kept
    here only that remains which a decision reads.
    """

    def __init__(self, base: Records) -> None:
        self._base = base
        self._own = Overlay()
        self._merges: dict[str, list[Merge]] = defaultdict(list)
        self._refusing: dict[str, LedgerRecord] = {}
        self._messages: set[tuple[str, str]] = set()

    def keep(self, record: Record) -> None:
        """Add a record to those in memory."""
        self._own.add(record)
        if any(fact.denied for _, fact in record.facts):
            self._refusing[record.record_id] = _when_and_where(record)
        if record.merge is not None:
            for user_id in {record.merge.left, record.merge.right}:
                self._merges[user_id].append(record.merge)
        message_id = record.evidence.get("messageId")
        if isinstance(message_id, str) and message_id:
            self._messages.add((record.source, message_id))

    def size(self) -> int:
        """Of the records that are read elsewhere."""
        return self._base.size()

    def knows(self, node: Node) -> bool:
        own = node in self._own.facts or node in self._own.links
        merged = node.kind is NodeKind.ACCOUNT and node.value in self._merges
        return own or merged or self._base.knows(node)

    def facts_of(self, node: Node) -> Facts:
        return (*self._base.facts_of(node), *self._own.facts.get(node, ()))

    def links_of(self, node: Node) -> tuple[Node, ...]:
        own = (other for _, other in self._own.links.get(node, ()))
        return (*self._base.links_of(node), *own)

    def merges_of(self, user_id: str) -> tuple[Merge, ...]:
        found: dict[Merge, None] = {}
        seen, todo = {user_id}, [user_id]
        while todo:
            user = todo.pop()
            for merge in (*self._base.merges_of(user), *self._merges.get(user, ())):
                found[merge] = None
                new = [other for other in (merge.left, merge.right) if other not in seen]
                seen.update(new)
                todo.extend(new)
        return tuple(found)

    def record(self, record_id: str) -> LedgerRecord | None:
        """The record of a refusal; of those kept here no other is asked for."""
        return self._refusing.get(record_id) or self._base.record(record_id)

    def position_of(self, source: str, message_id: str) -> int | None:
        """Whether a choice came in a message with this id before: 0, or None."""
        return 0 if (source, message_id) in self._messages else None


def _when_and_where(record: Record) -> LedgerRecord:
    """All that is read of a refusal beside its facts; it has no place in a ledger."""
    said = Record(
        record_id=record.record_id,
        type=record.type,
        received_at=record.received_at,
        salt=b"",
        claimed_at=record.claimed_at,
        source=record.source,
    )
    return LedgerRecord(-1, said, b"")


def world_of(
    held: Held, policy: Policy, regimes: dict[str, Regime], clock: Clock | None = None
) -> World:
    """A world in which questions can be asked, and in which nothing can be written or sent."""
    # Deciding asks a store for what ``Held`` has: see flow.subjects and flow.accept.records_of.
    store = cast(Store, held)
    return World(store, Subjects(store), clock or Clock(), policy, 0, regimes)
