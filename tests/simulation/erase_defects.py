"""Seeded defects of erasures: parts that break one promise each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import msgspec

from consentry.core.order import OrderState, Verb
from consentry.core.record import Fact, FactKind, Node, NodeKind
from consentry.destinations.instruction import Instruction, Person
from consentry.destinations.message import Attempted, LastLook
from consentry.ledger.entry import LedgerRecord, Record, RecordType
from consentry.orders import Order
from consentry.ports import Commit, Committed
from tests.simulation.destination import OUTCOMES, Line
from tests.simulation.process import Parts
from tests.simulation.store import Disk


class ErasesHereAlone(Disk):
    """Asks nobody else to erase anybody."""

    async def commit(self, commit: Commit) -> Committed:
        orders = tuple(map(self._over, commit.orders))
        return await super().commit(msgspec.structs.replace(commit, orders=orders))

    def _over(self, order: Order) -> Order:
        if order.verb is not Verb.ERASE:
            return order
        return msgspec.structs.replace(order, state=OrderState.SUPERSEDED, why="it was forgotten")


class _Records(Disk):
    """Writes other records than were made."""

    @abstractmethod
    def instead(self, record: Record) -> Record:
        """What is written instead."""

    async def commit(self, commit: Commit) -> Committed:
        records = tuple(map(self.instead, commit.records))
        return await super().commit(msgspec.structs.replace(commit, records=records))


class LeavesNoTombstone(_Records):
    """Of an erasure nothing stays by which the person would be known again."""

    def instead(self, record: Record) -> Record:
        erases = record.type is RecordType.ERASE
        return msgspec.structs.replace(record, facts=()) if erases else record


class BringsThemBack(_Records):
    """An import takes whomever it names off the suppression list."""

    def instead(self, record: Record) -> Record:
        if record.type is not RecordType.IMPORT:
            return record
        lifted = Fact(FactKind.UNSUPPRESS, record.record_id, record.received_at)
        facts = (*record.facts, *((node, lifted) for node, _ in record.facts))
        return msgspec.structs.replace(record, facts=facts)


class TakesTheTabletToo(_Records):
    """Suppresses a device with whoever is erased, whosever it is."""

    def instead(self, record: Record) -> Record:
        if record.type is not RecordType.ERASE or not record.facts:
            return record
        more = (Node(NodeKind.DEVICE, "a0"), record.facts[0][1])
        return msgspec.structs.replace(record, facts=(*record.facts, more))


class TakesThemForSuppressed(Disk):
    """Does not know afterwards that it was an erasure: it puts on record and tells what comes."""

    def record(self, record_id: str) -> LedgerRecord | None:
        entry = super().record(record_id)
        if entry is None or entry.record.type is not RecordType.ERASE:
            return entry
        record = msgspec.structs.replace(entry.record, type=RecordType.SUPPRESS)
        return LedgerRecord(entry.seq, record, entry.leaf)


class SaysItErased(Line):
    """Says that a system has erased somebody whom it was not told of."""

    async def obey(self, told: Sequence[Instruction], last_look: LastLook | None) -> Attempted:
        if told[0].verb is Verb.ERASE:
            return Attempted((OUTCOMES["ok"],) * len(told))
        return await super().obey(told, last_look)


class ErasesOthersToo(Line):
    """Names a device with every erasure, whosever it is."""

    async def obey(self, told: Sequence[Instruction], last_look: LastLook | None) -> Attempted:
        return await super().obey([self._with(one) for one in told], last_look)

    def _with(self, one: Instruction) -> Instruction:
        if one.verb is not Verb.ERASE:
            return one
        devices = tuple(sorted({*one.person.anonymous_ids, "a0"}))
        return replace(one, person=Person(devices, one.person.user_ids))


class SuppressesInstead(Line):
    """Tells a system that can erase to stop, and no more."""

    async def obey(self, told: Sequence[Instruction], last_look: LastLook | None) -> Attempted:
        return await super().obey(
            [replace(one, verb=Verb.SUPPRESS) if one.verb is Verb.ERASE else one for one in told],
            last_look,
        )


ERASE_DEFECTS: dict[str, Parts] = {
    **{
        one.__name__: Parts(disk=one)
        for one in (
            *(ErasesHereAlone, LeavesNoTombstone, BringsThemBack, TakesTheTabletToo),
            TakesThemForSuppressed,
        )
    },
    **{one.__name__: Parts(line=one) for one in (SaysItErased, ErasesOthersToo, SuppressesInstead)},
}
