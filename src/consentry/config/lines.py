"""On which line a key of a TOML document stands.

The standard library's parser gives values without places, and an error without a line
sends its reader searching. This scanner reads only what it needs: table headers, keys, and
where a value ends. The text must be valid TOML already; of anything else it finds less,
never something wrong that matters, since a path without a line falls back to its table.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Keys, and positions in arrays counted from 0: ``("destination", 1, "url")``."""

_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_KEY = re.compile(
    r"""[ \t]*(?P<key>"(?:\\.|[^"\\\n])*"|'[^'\n]*'|[A-Za-z0-9_-]+)[ \t]*(?P<dot>\.?)"""
)
# One piece of a value. A long string may end in up to two quotes of its own.
_PIECE = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*"
    r"|(?P<open>[\[{])"
    r"|(?P<close>[\]}])"
    r"|(?P<newline>\n)"
    r"""|[^"'\#\[\]{}\n]+""",
    re.DOTALL,
)


class Lines:
    """The line of every table and key of ``text``, counted from 1."""

    def __init__(self, text: str) -> None:
        scanner = _Scanner(text.replace("\r\n", "\n"))
        scanner.scan()
        self._found = scanner.found

    def of(self, path: Path) -> int | None:
        """The line of ``path``, or of the nearest thing around it; None for the whole file."""
        while path:
            if path in self._found:
                return self._found[path]
            path = path[:-1]
        return None


class _Scanner:
    def __init__(self, text: str) -> None:
        self.found: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._table: Path = ()
        self._counts: dict[Path, int] = {}  # elements so far of each array of tables
        self._newlines = [i for i, char in enumerate(text) if char == "\n"]

    def scan(self) -> None:
        """Walk the text once; stop at the end, or where it is no TOML."""
        while True:
            self._skip(_BLANK)
            if self._at >= len(self._text):
                return
            if not (self._header() if self._text[self._at] == "[" else self._pair()):
                return

    def _header(self) -> bool:
        line = self._line()
        array = self._text.startswith("[[", self._at)
        self._at += 2 if array else 1
        *parents, last = self._keys() or [""]
        path: Path = ()
        for key in parents:
            path = self._latest((*path, key))
            self.found.setdefault(path, line)
        path = (*path, last)
        if array:
            self.found.setdefault(path, line)
            self._counts[path] = self._counts.get(path, 0) + 1
            path = self._latest(path)
        self._table = path
        self.found[path] = line
        return self._value()  # the closing brackets, a comment, the end of the line

    def _pair(self) -> bool:
        line = self._line()
        keys = self._keys()
        path = self._table
        for key in keys:
            path = (*path, key)
            self.found.setdefault(path, line)
        return bool(keys) and self._value()

    def _latest(self, path: Path) -> Path:
        return (*path, self._counts[path] - 1) if path in self._counts else path

    def _keys(self) -> list[str]:
        keys = []
        while found := _KEY.match(self._text, self._at):
            self._at = found.end()
            keys.append(_decoded(found["key"]))
            if not found["dot"]:
                break
        return keys

    def _value(self) -> bool:
        """Go past a value, to the end of its last line. False if the text breaks off."""
        depth = 0
        while piece := _PIECE.match(self._text, self._at):
            self._at = piece.end()
            if piece["open"]:
                depth += 1
            elif piece["close"]:
                depth = max(depth - 1, 0)
            elif piece["newline"] and depth == 0:
                return True
        return False

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self._text, self._at)
        self._at = found.end() if found else self._at

    def _line(self) -> int:
        return bisect_left(self._newlines, self._at) + 1


def _decoded(key: str) -> str:
    if key[0] not in "\"'":
        return key
    try:
        return str(tomllib.loads(f"key = {key}")["key"])
    except tomllib.TOMLDecodeError:
        return key
