"""The journal of a run: one line before each request, one after its answer, one for each send."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from pathlib import Path
from typing import Any

from tests.crash import history


class Journal:
    """Appends to a file and keeps what it wrote. Safe for several threads."""

    def __init__(self, path: Path, needs: dict[str, tuple[str, ...]]) -> None:
        self.path = path
        self.needs = needs
        self.lines: list[dict[str, Any]] = []
        self.answered = 0
        self._lock = threading.Lock()
        self._file = path.open("a")
        self._operations = 0
        self._write({"is": "needs", "needs": needs})

    def invoke(self, client: str, says: history.Operation) -> int:
        """A request is about to be made; returns its number."""
        with self._lock:
            self._operations += 1
            op = self._operations
        self._write(
            {
                "is": "invoke",
                "op": op,
                "client": client,
                "events": says.events,
                "denies": says.denies,
                "grants": says.grants,
                "links": says.links,
                "at": time.monotonic_ns(),
            }
        )
        return op

    def ok(self, op: int, **more: Any) -> None:
        """Its answer said that it is durable."""
        self.answered += 1
        self._write({"is": "ok", "op": op, "at": time.monotonic_ns(), **more})

    def lost(self, op: int) -> None:
        """No answer came; it may have been done, or be done yet."""
        self._write({"is": "lost", "op": op, "at": time.monotonic_ns()})

    def refused(self, op: int) -> None:
        """Its answer said that nothing was done. Only for what was tried once."""
        self._write({"is": "refused", "op": op, "at": time.monotonic_ns()})

    def sent(self, send: history.Send) -> None:
        """A destination was sent something."""
        self._write({"is": "send", **send._asdict()})

    def history(self) -> history.History:
        """All of it, as the checker takes it."""
        with self._lock:
            return history.read(list(self.lines))

    def close(self) -> None:
        """What is written stays."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _write(self, line: dict[str, Any]) -> None:
        with self._lock:
            self.lines.append(line)
            # The file is for people, and may lie on a disk that is filled on purpose.
            with contextlib.suppress(OSError):
                self._file.write(json.dumps(line) + "\n")
                self._file.flush()
