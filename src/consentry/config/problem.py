"""What is wrong with a configuration, and where."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from consentry.config.lines import Lines, Path

_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to repair (error) or to know (warning).

    ``message`` says what to do next and holds no secret. ``field`` is written as
    ``destination[1].url``, positions counted from 0; empty for the whole file. ``line``
    counts from 1; None where the file has no line to show.
    """

    level: Literal["error", "warning"]
    message: str
    field: str
    line: int | None

    def __str__(self) -> str:
        place = [f"line {self.line}"] if self.line is not None else []
        place += [self.field] if self.field else []
        text = ": ".join(
            [self.level, ", ".join(place), self.message] if place else [self.level, self.message]
        )
        return " ".join(text.split())


class ConfigError(Exception):
    """The configuration cannot be used. ``problems`` are all its errors, by line."""

    def __init__(self, problems: Iterable[Problem], warnings: Iterable[Problem] = ()) -> None:
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
        super().__init__("\n".join(map(str, self.problems)))


class Notes:
    """Collects the problems of one text."""

    def __init__(self, text: str) -> None:
        self._lines = Lines(text)
        self._problems: dict[Problem, None] = {}  # a set that keeps its order

    def error(self, path: Path, message: str) -> None:
        """Something to repair before the configuration can be used."""
        problem = Problem("error", message, field_name(path), self._lines.of(path))
        self._problems.setdefault(problem)

    def warning(self, path: Path, message: str) -> None:
        """Something that works, and that its owner should know."""
        problem = Problem("warning", message, field_name(path), self._lines.of(path))
        self._problems.setdefault(problem)

    def failed(self, path: Path) -> bool:
        """Whether an error was noted at ``path`` or inside it."""
        name = field_name(path)
        return any(
            p.field == name or p.field.startswith((f"{name}[", f"{name}.")) for p in self.errors
        )

    @property
    def errors(self) -> tuple[Problem, ...]:
        return self._of("error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return self._of("warning")

    def _of(self, level: str) -> tuple[Problem, ...]:
        found = [problem for problem in self._problems if problem.level == level]
        return tuple(sorted(found, key=lambda p: p.line or 0))


def field_name(path: Path) -> str:
    """``("destination", 1, "url")`` as ``destination[1].url``."""
    name = ""
    for part in path:
        if isinstance(part, int):
            name += f"[{part}]"
        else:
            name += ("." if name else "") + (part if _BARE.fullmatch(part) else json.dumps(part))
    return name


def suggestion(wrong: str, known: Iterable[str], what: str) -> str:
    """The end of a sentence: what was probably meant, else everything that could be."""
    names = sorted(known)
    close = get_close_matches(wrong, names, 1) or [n for n in names if n.lower() == wrong.lower()]
    if close:
        return f"did you mean {json.dumps(close[0])}?"
    return f"{what}: {', '.join(names)}" if names else f"there are no {what}"
