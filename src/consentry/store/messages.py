"""Which message ids were accepted: the newest in memory, the others in a table.

Hashes of message ids are random, so a table of them is written all over: a commit of a hundred
events would rewrite nearly a hundred pages of it. The event log already holds every message
id durably. So new keys are kept in memory, and written to the table in slices by their first
byte, when many of them belong to the same few pages. After a crash the keys that the table
may lack are read from the log again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

MOST_KEYS = 65_536
_SLICES = 256


class Due(NamedTuple):
    """What has to go to the table with the next commit, and where the rounds stand after it.

    ``indexed_to`` is set when a round ends: the table then has every key before that position.
    """

    slices: tuple[int, ...]
    rows: list[tuple[bytes, int]]
    mark: int
    indexed_to: int | None


class NewestMessages:
    """Keys that the table may lack, each with its event's position.

    One thread writes; another may ask ``position`` meanwhile. Changes are made only after the
    commit they belong to: a key leaves here when it can be found in the table.
    """

    def __init__(
        self, keys: Iterable[tuple[bytes, int]], end: int, most_keys: int = MOST_KEYS
    ) -> None:
        """``keys`` are those of the log before ``end`` that the table may lack."""
        self._slices: list[dict[bytes, int]] = [{} for _ in range(_SLICES)]
        self._most = most_keys
        self._count = 0
        self._next = 0
        self._mark = end
        self._add(keys)

    @property
    def kept(self) -> int:
        """How many keys are in memory."""
        return self._count

    def position(self, key: bytes) -> int | None:
        """Where the event with this key lies, if it is one of these."""
        return self._slices[key[0]].get(key)

    def due(self, coming: int, end: int) -> Due:
        """What to write so that ``coming`` more find room; ``end`` is the log's, before them."""
        count, at, mark = self._count + coming, self._next, self._mark
        slices: list[int] = []
        indexed_to = None
        while count > self._most and len(slices) < _SLICES:
            if at == 0:
                mark = end
            slices.append(at)
            count -= len(self._slices[at])
            at = (at + 1) % _SLICES
            if at == 0:
                indexed_to = mark
        rows = [row for each in slices for row in sorted(self._slices[each].items())]
        return Due(tuple(slices), rows, mark, indexed_to)

    def committed(self, due: Due, new: Iterable[tuple[bytes, int]]) -> None:
        """``due`` is in the table now, and ``new`` in the log."""
        for each in due.slices:
            self._count -= len(self._slices[each])
            self._slices[each].clear()
        self._next = (self._next + len(due.slices)) % _SLICES
        self._mark = due.mark
        self._add(new)

    def forget(self, keys: Iterable[bytes]) -> None:
        """Their events were pruned."""
        for key in keys:
            if self._slices[key[0]].pop(key, None) is not None:
                self._count -= 1

    def _add(self, keys: Iterable[tuple[bytes, int]]) -> None:
        slices, count = self._slices, 0
        for key, position in keys:
            slices[key[0]][key] = position
            count += 1
        self._count += count
