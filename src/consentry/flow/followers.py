"""Those who follow a subject: told that something of it changed, so that they look again.

What they see when they look is decided where it always is. Here is only who waits for whom.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from consentry.core.record import Node
from consentry.flow.subjects import touched_by
from consentry.ledger.entry import Record


class Followers:
    """Who follows whom, in one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[Node, set[asyncio.Event]] = defaultdict(set)
        self.count = 0

    def following(self, node: Node) -> int:
        """How many follow one identifier."""
        return len(self._waiting.get(node, ()))

    def tell(self, records: Iterable[Record]) -> None:
        """These records are durable. Never waits."""
        if not self._waiting:
            return
        for record in records:
            for node in touched_by(record):
                for changed in self._waiting.get(node, ()):
                    changed.set()

    def tell_all(self) -> None:
        """Something changed that may concern anybody: the configuration."""
        for waiting in self._waiting.values():
            for changed in waiting:
                changed.set()

    @contextmanager
    def follow(self, nodes: tuple[Node, ...]) -> Iterator[asyncio.Event]:
        """An event that is set whenever a record of one of these identifiers became durable."""
        changed = asyncio.Event()
        for node in nodes:
            self._waiting[node].add(changed)
        self.count += 1
        try:
            yield changed
        finally:
            self.count -= 1
            for node in nodes:
                self._waiting[node].discard(changed)
                if not self._waiting[node]:
                    del self._waiting[node]
