"""Logs: one JSON line for each thing that happened, and no personal data in any of them.

Only fields on a list are written. A value that somebody adds in a hurry is left out, and
that it was left out is said, so personal data cannot slip in by a new name.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO, cast

import structlog

FIELDS = frozenset(
    {
        "event",
        "level",
        "timestamp",
        "attempts",
        "count",
        "crossed",
        "destination",
        "detail",
        "error",
        "field",
        "file",
        "grade",
        "kind",
        "line",
        "message",
        "path",
        "policy",
        "port",
        "reason",
        "seconds",
        "shadow",
        "source",
        "status",
        "version",
        "workspace",
    }
)


def set_up(stream: TextIO | None = None, level: str = "info") -> None:
    """Log to a stream (standard error by default) as JSON lines."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            only_listed,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(
            file=cast(TextIO, _Forgiving(stream or sys.stderr))
        ),
        cache_logger_on_first_use=False,
    )


class _Forgiving(io.TextIOBase):
    """A log that cannot be written, on a full disk say, does not stop what it tells of."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


def only_listed(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Leave out every field that is not on the list, and count them."""
    kept = {name: value for name, value in fields.items() if name in FIELDS}
    left_out = len(fields) - len(kept)
    return {**kept, "left_out": left_out} if left_out else kept
