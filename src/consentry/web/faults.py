"""Faults of the program, said without quoting anybody.

The text of an exception, and the values in a traceback, may hold what somebody sent. So of a
fault only its type and its place in the code are logged, and what libraries log is reduced to
their own words.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from types import TracebackType
from typing import Any

import structlog

log = structlog.get_logger()


def say(fault: BaseException, **fields: Any) -> None:
    """Log a fault: its type, and the file and line where it was raised."""
    file, line = _place(fault.__traceback__)
    log.error("internal_error", error=type(fault).__name__, file=file, line=line, **fields)


def quote_nobody(loop: asyncio.AbstractEventLoop) -> None:
    """Let faults of tasks on ``loop``, and what libraries log, pass this door too."""
    loop.set_exception_handler(_of_task)
    # force: a library that logged before would have put its own handler there.
    logging.basicConfig(level=logging.WARNING, handlers=[_OwnWords()], force=True)


def _of_task(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    fault = context.get("exception")
    # asyncio's own messages and ours are fixed texts; the rest of the context is not.
    if isinstance(fault, BaseException):
        say(fault, message=context.get("message"))
    else:
        log.error("internal_error", message=context.get("message"))


class _OwnWords(logging.Handler):
    """Writes the template of a message, without the values that were put into it."""

    def emit(self, record: logging.LogRecord) -> None:
        fault = record.exc_info[1] if record.exc_info else None
        if fault is not None:
            say(fault, kind=record.name)
        else:
            log.warning("library", kind=record.name, message=str(record.msg).strip())


def _place(trace: TracebackType | None) -> tuple[str | None, int | None]:
    if trace is None:
        return None, None
    while trace.tb_next is not None:
        trace = trace.tb_next
    return Path(trace.tb_frame.f_code.co_filename).name, trace.tb_lineno
