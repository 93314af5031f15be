"""The groups of events that were written or read last, decoded."""

from __future__ import annotations

import threading
from bisect import bisect_right, insort
from collections import OrderedDict
from typing import NamedTuple

from consentry.ports import StoredEvent

MOST_EVENTS = 50_000
MOST_BYTES = 64 * 1024 * 1024
_EVENT_BYTES = 1_000  # what an event takes in memory beside its body, roughly


class Group(NamedTuple):
    """Events that lie in one row; the first of them at position ``first``."""

    first: int
    events: tuple[StoredEvent, ...]
    size: int  # bytes in the row

    @property
    def end(self) -> int:
        return self.first + len(self.events)

    @property
    def memory(self) -> int:
        """Bytes that it takes in memory, roughly."""
        return self.size + _EVENT_BYTES * len(self.events)


class RecentGroups:
    """A bounded cache; what was not asked for longest goes first. Safe for two threads.

    The writer adds what it has just made durable, so a worker that keeps up reads nothing.
    """

    def __init__(self, most_events: int = MOST_EVENTS, most_bytes: int = MOST_BYTES) -> None:
        self._most_events = most_events
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._groups: OrderedDict[int, Group] = OrderedDict()
        self._firsts: list[int] = []
        self._events = 0
        self._bytes = 0

    def add(self, group: Group) -> None:
        """Keep a group, and let others go for it. The newest one always stays."""
        with self._lock:
            if group.first in self._groups:
                return
            self._groups[group.first] = group
            insort(self._firsts, group.first)
            self._events += len(group.events)
            self._bytes += group.memory
            while len(self._groups) > 1 and (
                self._events > self._most_events or self._bytes > self._most_bytes
            ):
                self._drop(next(iter(self._groups)))

    def at(self, position: int) -> Group | None:
        """The group that holds the event at this position."""
        with self._lock:
            index = bisect_right(self._firsts, position) - 1
            if index < 0:
                return None
            group = self._groups[self._firsts[index]]
            if position >= group.end:
                return None
            self._groups.move_to_end(group.first)
            return group

    def forget(self, first: int) -> None:
        """Let one group go."""
        with self._lock:
            if first in self._groups:
                self._drop(first)

    def _drop(self, first: int) -> None:
        group = self._groups.pop(first)
        del self._firsts[bisect_right(self._firsts, first) - 1]
        self._events -= len(group.events)
        self._bytes -= group.memory
