"""Seeded defects: parts that break one promise each, to show that the simulation would see it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace as with_fields
from typing import Any

import msgspec

from consentry.clock import Clock
from consentry.core.moment import Moment
from consentry.core.policy import Policy
from consentry.core.preference import Standing
from consentry.destinations.message import Attempted, LastLook, LastLookRefused, Message
from consentry.flow.subjects import Key, Subjects
from consentry.ledger.entry import LedgerRecord, Record
from consentry.ports import Commit, Committed, Positioned, Progress, StoreError
from tests.simulation.destination import Line
from tests.simulation.process import Parts
from tests.simulation.store import Disk


class DropsWithdrawals(Disk):
    """Acknowledges a withdrawal and writes nothing."""

    async def commit(self, commit: Commit) -> Committed:
        if not commit.events and any(r.evidence.get("action") is None for r in commit.records):
            denials = [f for r in commit.records for _, f in r.facts if f.denied and not f.granted]
            if denials:
                return Committed(tuple(range(len(commit.records))), ())
        return await super().commit(commit)


class LosesEvents(Disk):
    """Acknowledges a batch and keeps all of it but its last event."""

    async def commit(self, commit: Commit) -> Committed:
        if len(commit.events) < 2:
            return await super().commit(commit)
        kept = msgspec.structs.replace(commit, events=commit.events[:-1])
        committed = await super().commit(kept)
        return msgspec.structs.replace(committed, positions=(*committed.positions, None))


class SaysItIsWell(Disk):
    """Says that it can be written while it cannot."""

    @property
    def available(self) -> bool:
        return not self.dead


class OutOfOrder(Disk):
    """Gives the events of a page in the wrong order."""

    def events_from(self, position: int, limit: int) -> Sequence[Positioned]:
        events = [*super().events_from(position, limit)]
        return [*events[1:2], *events[:1], *events[2:]]


class ForgetsPositions(Disk):
    """After a restart every destination begins at the end: what was owed is not sent."""

    def position_for(self, destination: str) -> int | None:
        found = super().position_for(destination)
        return None if found is None else self.kept.end


class BeginsAgain(Disk):
    """After a restart every destination begins at the beginning, and forgets its attempts."""

    def position_for(self, destination: str) -> int | None:
        found = super().position_for(destination)
        return None if found is None else 0

    def attempted_from(self, destination: str, position: int) -> Sequence[Any]:
        return ()


class ForgetsAttempts(Disk):
    """Keeps the position and the rows, and no attempt."""

    async def record_progress(self, progress: Progress) -> None:
        await super().record_progress(msgspec.structs.replace(progress, attempts=()))


class AltersRecords(Disk):
    """Writes another record than the one that the ledger was sealed for."""

    async def commit(self, commit: Commit) -> Committed:
        committed = await super().commit(commit)
        for seq in committed.seqs:
            entry = self.kept._records.all[seq]
            record = msgspec.structs.replace(entry.record, source="somebody else")
            self.kept._records.all[seq] = LedgerRecord(seq, record, entry.leaf)
        return committed


class ReadsNothing(Disk):
    """An unreadable disk that answers as if nothing were on record."""

    def knows(self, node: Any) -> bool:
        try:
            return super().knows(node)
        except StoreError:
            return False

    def facts_of(self, node: Any) -> Any:
        try:
            return super().facts_of(node)
        except StoreError:
            return ()


class ComparesNoClocks(Subjects):
    """Does not know what a clock claimed before."""

    def record(self, record_id: str) -> Record | None:
        found = super().record(record_id)
        return None if found is None else msgspec.structs.replace(found, claimed_at=None)


class LooksAway(Line):
    """Does not ask again before the first byte."""

    def look(self, last_look: LastLook | None) -> None:
        """It should ask here."""


class SendsAnyway(Line):
    """Asks, is told no, and sends."""

    def look(self, last_look: LastLook | None) -> None:
        try:
            super().look(last_look)
        except LastLookRefused:
            return


class KeepsMessages(Line):
    """Sends on a retry what it was handed the first time."""

    kept: dict[str, Message]

    async def send(self, messages: Sequence[Message], last_look: LastLook | None) -> Attempted:
        kept = self.hostile.__dict__.setdefault("kept", {})
        first = [kept.setdefault(m.message_id, m) for m in messages]
        return await super().send(first, last_look)


class SaysMore(Line):
    """Says that everything is granted."""

    async def send(self, messages: Sequence[Message], last_look: LastLook | None) -> Attempted:
        said = [with_fields(m, consent=dict.fromkeys(m.consent, True)) for m in messages]
        return await super().send(said, last_look)


class TurnsRound(Line):
    """Sends the events of a request in the wrong order."""

    async def send(self, messages: Sequence[Message], last_look: LastLook | None) -> Attempted:
        return await super().send(messages[::-1], last_look)


class HearsNothing(Subjects):
    """Is not told of records: what it remembers stays as it was."""

    @contextmanager
    def in_flight(self, records: Sequence[Record]) -> Iterator[None]:
        yield


class WaitsForTheDisk(Subjects):
    """Forgets what it knew only when the records are durable, and counts no denial before."""

    @contextmanager
    def in_flight(self, records: Sequence[Record]) -> Iterator[None]:
        try:
            yield
        finally:
            self._forget(records)


class NeverLinked(Subjects):
    """Decides about the identifiers that are named, without those linked to them."""

    def standing(self, nodes: Key, policy: Policy, now: Moment) -> Standing:
        return self.alone(nodes, policy, now)


class Unguarded(Clock):
    """The wall clock as it is: it goes back when somebody sets it back."""

    def now(self) -> Moment:
        return self._wall_ns() // 1000


DEFECTS: dict[str, Parts] = {
    **{
        one.__name__: Parts(disk=one)
        for one in (
            *(DropsWithdrawals, LosesEvents, SaysItIsWell, OutOfOrder, ForgetsPositions),
            *(BeginsAgain, ForgetsAttempts, AltersRecords, ReadsNothing),
        )
    },
    **{
        one.__name__: Parts(line=one)
        for one in (LooksAway, SendsAnyway, KeepsMessages, SaysMore, TurnsRound)
    },
    **{
        one.__name__: Parts(subjects=one)
        for one in (HearsNothing, WaitsForTheDisk, NeverLinked, ComparesNoClocks)
    },
    "Unguarded": Parts(clock=Unguarded),
}
