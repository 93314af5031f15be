"""Seeded defects of forgetting: parts that break one promise of the jobs of erasures each."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import msgspec

from consentry.core.moment import Moment
from consentry.core.record import Node
from consentry.erasures import Shredded
from consentry.flow.erase import Erasing, Status, erase, status_of
from consentry.flow.once import Once
from consentry.flow.records import Origin
from consentry.flow.world import World
from consentry.ledger.entry import LedgerRecord, Record, RecordType
from consentry.store.memory_records import MemoryRecords
from tests.simulation.jobs import Jobs
from tests.simulation.process import Parts
from tests.simulation.store import Disk


class SaysItForgot(Jobs):
    """Says that a job is done, and does nothing."""

    async def shred(self, erasure_id: str, at: Moment) -> Shredded:
        await asyncio.sleep(1.0)
        self.disk.forgot(erasure_id)
        return Shredded(done=True)


class _Afterwards(Jobs):
    """Does something else to the records once a job is done."""

    @abstractmethod
    def afterwards(self, records: MemoryRecords) -> None:
        """What it does."""

    async def shred(self, erasure_id: str, at: Moment) -> Shredded:
        part = await super().shred(erasure_id, at)
        if part.done:
            self.afterwards(vars(self.disk.kept)["_records"])
        return part


class ForgetsTheNeighbours(_Afterwards):
    """Takes away what everybody answered."""

    def afterwards(self, records: MemoryRecords) -> None:
        answers = lambda r: r.type is RecordType.CHOICE and not r.erased_by  # noqa: E731
        _replace(records, answers, facts=())


class MarksForNoErasure(_Afterwards):
    """Leaves marks that name an erasure which is not there."""

    def afterwards(self, records: MemoryRecords) -> None:
        _replace(records, lambda r: r.erased_by is not None, erased_by="rec_none")


class TakesTheTombstone(_Afterwards):
    """Of whoever was erased nothing is known any more, not even that."""

    def afterwards(self, records: MemoryRecords) -> None:
        vars(records)["_tombstones"].clear()
        records._index_anew()


def _replace(records: MemoryRecords, which: Callable[[Record], bool], **instead: Any) -> None:
    for seq, entry in enumerate(records.all):
        if which(entry.record):
            other = msgspec.structs.replace(entry.record, **instead)
            records.all[seq] = LedgerRecord(seq, other, entry.leaf)


async def _twice(
    world: World, named: tuple[Node, ...], origin: Origin, reason: str, *, once: Once | None
) -> Erasing:
    """Carries out again what was asked for again."""
    known = once is not None and world.store.reply_to(once.key) is not None
    return await erase(world, named, origin, reason, once=None if known else once)


def _is_over(world: World, erasure_id: str) -> Status:
    """Says of every erasure that it is done, from its beginning."""
    return status_of(world, erasure_id)._replace(ours="erased")


def _hides_who_waits(world: World, erasure_id: str) -> Status:
    """Says nothing of a system that has still to be told."""
    status = status_of(world, erasure_id)
    return status._replace(told=[one for one in status.told if not one.strongest.open])


def _on(jobs_: type[Jobs]) -> type[Disk]:
    class Forgetful(Disk):
        jobs = jobs_

    return Forgetful


FORGET_DEFECTS: dict[str, Parts] = {
    **{
        one.__name__: Parts(disk=_on(one))
        for one in (
            *(SaysItForgot, ForgetsTheNeighbours),
            *(MarksForNoErasure, TakesTheTombstone),
        )
    },
    "ErasesAgain": Parts(erase=_twice),
    "SaysItIsOver": Parts(status_of=_is_over),
    "HidesWhoWaits": Parts(status_of=_hides_who_waits),
}
