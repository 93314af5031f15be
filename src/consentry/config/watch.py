"""Notices that a file has changed, by looking at it again and again.

Looking is what works everywhere: over network mounts, through the symbolic link that
Kubernetes swaps, after an editor has put a new file in the old one's place. A change is
taken once the file looks the same twice in a row, so that half a file, still being
written, is not read as a whole one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

Look: TypeAlias = tuple[int, int, int]  # modified in nanoseconds, size, inode


class WatchedFile:
    """A file and what was last seen of it. ``text`` is what its owner already knows.

    ``look`` is one look; it blocks, and reads the file only when that changed.
    """

    def __init__(self, path: str | os.PathLike[str], text: str) -> None:
        self._path = Path(path)
        self._text = text
        self._seen: Look | None = None  # at the last look
        self._taken: Look | None = None  # when it was last read

    def look(self) -> str | None:
        """The new text, if the file has settled and says something new; else None.

        Raises OSError when the file cannot be read, ValueError when it is not UTF-8.
        """
        before, self._seen = self._seen, None
        now = self._seen = self._stat()
        if now != before or now == self._taken:
            return None
        data = self._path.read_bytes()
        if self._stat() != now:
            return None  # changed while it was read: the next look will tell
        self._taken = now
        text = data.decode("utf-8")
        if text == self._text:
            return None
        self._text = text
        return text

    def _stat(self) -> Look:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino


async def watch(
    path: str | os.PathLike[str],
    on_change: Callable[[str], Awaitable[None]],
    *,
    text: str | None = None,
    on_error: Callable[[str], None] = lambda message: None,
    poll_s: float = 1.0,
) -> None:
    """Call ``on_change`` with the whole new text whenever the content of ``path`` changes.

    Runs until cancelled. ``text`` is the content already in use; without it, what the file
    holds now. Looks every ``poll_s`` seconds, and takes a change at the second look. A file
    that cannot be read is reported to ``on_error`` once, with one line, until it can be
    again. What ``on_change`` raises ends the watch: it should handle a bad text itself.
    """
    if text is None:
        text = await asyncio.to_thread(_content, path)
    watched = WatchedFile(path, text)
    reported: str | None = None
    while True:
        try:
            changed = await asyncio.to_thread(watched.look)
        except (OSError, UnicodeDecodeError) as error:
            message = _message(path, error)
            if message != reported:
                on_error(message)
            reported = message
        else:
            reported = None
            if changed is not None:
                await on_change(changed)
        await asyncio.sleep(poll_s)


def _content(path: str | os.PathLike[str]) -> str:
    """What the file holds; nothing if it cannot be read, so that any content is news."""
    try:
        return Path(path).read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _message(path: str | os.PathLike[str], error: OSError | UnicodeDecodeError) -> str:
    why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
    return f"{os.fspath(path)} cannot be read: {why or error}"
