"""Sets of categories as integers: one bit for each name."""

from __future__ import annotations

from collections.abc import Iterable


class Bits(dict[str, int]):
    """The bit of each name. Names that have none count for nothing in a set."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__((name, 1 << n) for n, name in enumerate(dict.fromkeys(names)))

    def read(self, found: int, names: Iterable[str]) -> dict[str, bool]:
        """For each of these names, whether it is in a set."""
        return {name: bool(self.get(name, 0) & found) for name in names}

    def of(self, names: Iterable[str]) -> int:
        """The set of these names."""
        found = 0
        for name in names:
            found |= self.get(name, 0)
        return found
