"""Leaks in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from consentry.core.leak import OTHER, Leak, narrowed
from consentry.core.moment import Moment
from consentry.leaks import MOST_KINDS, MOST_OF_A_HOST, LeakCount


class MemoryLeaks:
    """Implements ``consentry.leaks.Leaks``. ``begin`` raises where the store cannot write."""

    def __init__(self, begin: Callable[[], None]) -> None:
        self._begin = begin
        self._rows: dict[tuple[str, Leak], LeakCount] = {}

    async def count(self, source: str, leaks: Mapping[Leak, int], most: int, at: Moment) -> None:
        self._begin()
        for leak, count in leaks.items():
            seat = self._seat(source, leak, most)
            known = self._rows.get((source, seat), LeakCount(source, seat, 0, at, at))
            self._rows[source, seat] = known._replace(
                times=known.times + count, last_at=max(known.last_at, at)
            )

    def _seat(self, source: str, leak: Leak, most: int) -> Leak:
        *tried, last = narrowed(leak)
        for each in tried:
            if (source, each) in self._rows:
                return each
            of_host = sum(s == source and k.host == leak.host for s, k in self._rows)
            room = MOST_OF_A_HOST + MOST_KINDS * (each.page == OTHER)
            if len(self._rows) < most and of_host < room:
                return each
        return last

    def since(self, moment: Moment) -> Sequence[LeakCount]:
        found = [row for row in self._rows.values() if row.last_at >= moment]
        return sorted(found, key=lambda row: (-row.times, row.source, row.leak))

    async def forget(self, before: Moment) -> None:
        self._begin()
        self._rows = {key: row for key, row in self._rows.items() if row.last_at >= before}
