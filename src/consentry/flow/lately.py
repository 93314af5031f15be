"""A bounded memory of the events that were asked about last."""

from __future__ import annotations

from typing import Generic, TypeVar

MOST_BYTES = 1024 * 1024

T = TypeVar("T")


class Lately(Generic[T]):
    """Values by the position of an event. When they take too much, the older half is let go."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._known: dict[int, tuple[T, int]] = {}
        self._bytes = 0

    def get(self, position: int) -> T | None:
        found = self._known.get(position)
        return None if found is None else found[0]

    def clear(self) -> None:
        """Know nothing."""
        self._known.clear()
        self._bytes = 0

    def put(self, position: int, value: T, size: int) -> None:
        """Keep a value that stands for an event of ``size`` bytes."""
        self._bytes += size - self._known.pop(position, (None, 0))[1]
        self._known[position] = value, size
        if self._bytes > self._most_bytes:
            for old in list(self._known)[: (len(self._known) + 1) // 2]:
                self._bytes -= self._known.pop(old)[1]
