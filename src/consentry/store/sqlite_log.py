"""The log of events in SQLite, read: groups as they were committed, the newest from memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from consentry.ports import Positioned, StoredEvent
from consentry.store import codec
from consentry.store.codec import RowKeys
from consentry.store.messages import NewestMessages
from consentry.store.recent import Group, RecentGroups
from consentry.store.sqlite_read import SqliteReader, reading


class SqliteLog:
    """The part of ``ports.Store`` that reads events. ``end`` is where the durable log ends."""

    def __init__(
        self,
        read: SqliteReader,
        keys: RowKeys,
        recent: RecentGroups,
        messages: NewestMessages,
        end: Callable[[], int],
    ) -> None:
        self._read = read
        self._keys = keys
        self._recent = recent
        self._messages = messages
        self._end = end

    @reading
    def position_of(self, source: str, message_id: str) -> int | None:
        key = self._keys.message(source, message_id)
        # Memory first: a key leaves it only after the table has it.
        position: int | None = self._messages.position(key)
        return self._read.value("position_of", key) if position is None else position

    @reading
    def event_at(self, position: int) -> StoredEvent | None:
        group = self._group_with(position)
        return None if group is None else group.events[position - group.first]

    @reading
    def events_from(self, position: int, limit: int) -> Sequence[Positioned]:
        found: list[Positioned] = []
        position, end = max(position, 0), self._end()
        while position < end and len(found) < limit:
            group = self._group_with(position) or self._group_after(position)
            if group is None or group.first >= end:
                break
            start = max(position, group.first)
            part = group.events[start - group.first :][: limit - len(found)]
            found.extend([Positioned(start + n, event) for n, event in enumerate(part)])
            position = group.end
        return found

    def _group_with(self, position: int) -> Group | None:
        """The group that holds this position; None when it is pruned or not yet durable."""
        if not 0 <= position < self._end():
            return None
        group = self._recent.at(position)
        if group is not None:
            return group
        row = self._read.row("group_at", position)
        if row is None or row[0] + row[1] <= position:
            return None
        return self._decoded(row)

    def _group_after(self, position: int) -> Group | None:
        row = self._read.row("group_after", position)
        return None if row is None else self._recent.at(row[0]) or self._decoded(row)

    def _decoded(self, row: tuple[Any, ...]) -> Group:
        group = Group(row[0], codec.decode_events(row[2]), len(row[2]))
        self._recent.add(group)
        return group
