"""The jobs that forget people, as one process sees them: each part is a write like any other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from consentry.core.moment import Moment
from consentry.erasures import Erasure, Shredded

if TYPE_CHECKING:
    from tests.simulation.store import Disk


class Jobs:
    """Implements ``consentry.erasures.Erasures`` on a disk that may be slow, full or unreadable."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk

    def unfinished(self) -> Sequence[Erasure]:
        self.disk.read()
        return self.disk.kept.erasures.unfinished()

    async def shred(self, erasure_id: str, at: Moment) -> Shredded:
        kept = self.disk.kept.erasures
        part = await self.disk.submit(lambda: kept.shred(erasure_id, at))
        if part.done:
            self.disk.forgot(erasure_id)  # what memory knows goes before anybody else has a turn
        return part

    async def finish(self, erasure_id: str) -> bool:
        return await self.disk.submit(lambda: self.disk.kept.erasures.finish(erasure_id))
