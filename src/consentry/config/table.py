"""Reads one TOML table, key by key, and notes everything that is wrong with it.

A reader asks for each key it knows; what nobody asked for is unknown and refused by
``finish``. So the readers are the schema, and there is no second list to forget. A value
that is wrong is noted once and its default returned, so that reading goes on and every
error is found; the caller of all this throws the result away if any error was noted.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Any, TypeVar

from consentry.config.lines import Path
from consentry.config.problem import Notes, suggestion
from consentry.core import moment
from consentry.core.moment import Moment
from consentry.secret import Secret

Chosen = TypeVar("Chosen", bound=StrEnum)

ENV = "env:"
MOST_KEYS = 2  # the new one and the old one, while clients change over
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORDS = {str: "text", bool: "true or false", int: "a number", float: "a number"}


class Reading:
    """What every reader needs: where problems go, and where ``env:NAME`` is looked up.

    Without an ``environ`` no variable is looked up, and none is missed.
    """

    def __init__(self, notes: Notes, environ: Mapping[str, str] | None) -> None:
        self.notes = notes
        self._environ = environ

    def from_environment(self, text: str, path: Path) -> str | None:
        """The value of ``env:NAME``; without one None, and an error that names the variable."""
        name = text.removeprefix(ENV)
        if not _VARIABLE.fullmatch(name):
            self.notes.error(path, 'write "env:NAME", NAME being an environment variable')
            return None
        if self._environ is None:
            return None
        value = self._environ.get(name)
        if value is None or not value.strip():
            state = "not set" if value is None else "empty"
            self.notes.error(path, f"the environment variable {name} is {state}: set it")
            return None
        if any(
            "\ud800" <= char <= "\udfff" for char in value
        ):  # how bytes that are no UTF-8 arrive
            self.notes.error(path, f"the environment variable {name} is not UTF-8: set it again")
            return None
        return value

    def secret(self, text: str, path: Path) -> Secret:
        """The secret behind ``text``. A literal one is taken with a warning.

        Where there is none, a stand-in is returned so that the rest can still be checked;
        the error that was noted, or that nobody asked for values, keeps it from being used.
        """
        if text.startswith(ENV):
            found = self.from_environment(text, path)
            return Secret(
                f"unset-{text.removeprefix(ENV)}".ljust(32, "0") if found is None else found
            )
        if not text.strip():
            self.notes.error(path, 'must not be empty: write "env:NAME" and set that variable')
            return Secret("unset".ljust(32, "0"))
        self.notes.warning(
            path, 'a secret stands in the file: write "env:NAME" and set that variable instead'
        )
        return Secret(text)


class Table:
    """One table. Every getter notes what is wrong and returns the default then."""

    def __init__(self, data: Mapping[str, Any], path: Path, reading: Reading) -> None:
        self.data = data
        self.path = path
        self.reading = reading
        self._asked: set[str] = set()

    def at(self, key: str) -> Path:
        """The path of a key of this table."""
        return (*self.path, key)

    def error(self, key: str, message: str) -> None:
        self.reading.notes.error(self.at(key), message)

    def warning(self, key: str, message: str) -> None:
        self.reading.notes.warning(self.at(key), message)

    def raw(self, key: str) -> Any:
        """The value as TOML has it; None if the key is not there (TOML has no null)."""
        self._asked.add(key)
        return self.data.get(key)

    def text(self, key: str) -> str | None:
        """Text that is not blank; ``env:NAME`` is left as it is."""
        value = self.raw(key)
        if value is None:
            return None
        if not isinstance(value, str):
            self.error(key, f'must be text: {key} = "…"')
            return None
        if not value.strip():
            self.error(key, "must not be empty: fill it in, or leave the key out")
            return None
        return value

    def required(self, key: str) -> str:
        """Text that must be there; empty, and noted, when it is not."""
        if self.raw(key) is None:
            self.error(key, f'missing: add {key} = "…"')
        return self.text(key) or ""

    def flag(self, key: str, default: bool) -> bool:
        value = self.raw(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.error(key, "must be true or false, without quotes")
        return default

    def number(self, key: str, most: float = math.inf) -> float | None:
        """A finite number over 0 and at most ``most``."""
        value = self.raw(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.error(key, f"must be a number, without quotes: {key} = 1")
        elif not math.isfinite(value) or not 0 < value <= most:
            limit = "" if math.isinf(most) else f" and at most {most:g}"
            self.error(key, f"must be over 0{limit}")
        else:
            return float(value)
        return None

    def whole(self, key: str, default: int, most: int) -> int:
        """A whole number from 1 to ``most``."""
        value = self.raw(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            self.error(key, f"must be a whole number from 1 to {most}")
            return default
        return value

    def choice(self, key: str, kind: type[Chosen], default: Chosen) -> Chosen:
        """One of the values of ``kind``."""
        value = self.text(key)
        if value is None:
            return default
        try:
            return kind(value)
        except ValueError:
            wrong = json.dumps(value, ensure_ascii=False)
            self.error(key, f"{wrong} is not one of {', '.join(kind)}")
            return default

    def texts(self, key: str, *, or_one: bool = False) -> tuple[str, ...]:
        """A list of texts, none blank, none twice. ``or_one`` takes a single text too."""
        value = self.raw(key)
        if value is None:
            return ()
        if or_one and isinstance(value, str):
            value = [value]
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.error(key, f'must be a list of texts: {key} = ["…"]')
            return ()
        for index, item in enumerate(value):
            if not item.strip():
                self.reading.notes.error(self._item(key, index), "must not be empty: remove it")
            elif item in value[:index]:
                self.reading.notes.error(self._item(key, index), "is there twice: remove one")
        return tuple(dict.fromkeys(item for item in value if item.strip()))

    def secrets(self, key: str) -> tuple[Secret, ...]:
        """One secret or a list of up to two."""
        return tuple(
            self.reading.secret(text, self._item(key, index))
            for index, text in enumerate(self.keys(key))
        )

    def keys(self, key: str) -> tuple[str, ...]:
        """One text or a list of up to two, ``env:NAME`` left as it is."""
        found = self.texts(key, or_one=True)
        if len(found) > MOST_KEYS:
            self.error(
                key, f"holds {len(found)}: keep at most {MOST_KEYS}, the new one and the old one"
            )
        elif not found and self.raw(key) == []:
            self.error(key, "must not be an empty list: add one, or leave the key out")
        return found[:MOST_KEYS]

    def _item(self, key: str, index: int) -> Path:
        return (*self.at(key), index) if isinstance(self.data[key], list) else self.at(key)

    def moment(self, key: str) -> Moment | None:
        """A date, or a date and time; without a zone it is UTC."""
        value = self.raw(key)
        if value is None:
            return None
        try:
            if isinstance(value, datetime):
                return moment.from_datetime(value)
            if isinstance(value, date | str):
                return moment.parse(str(value))
        except (ValueError, OverflowError):
            pass
        self.error(key, f"must be a date, or a date and time: {key} = 2026-01-31T00:00:00Z")
        return None

    def table(self, key: str) -> Table:
        """The table under ``key``; an empty one if it is not there."""
        value = self.raw(key)
        if not isinstance(value, dict | None):
            self.error(key, f"must be one table: write [{key}] once, in single brackets")
            value = None
        return Table(value or {}, self.at(key), self.reading)

    def tables(self, key: str, most: int) -> Sequence[Table]:
        """The array of tables under ``key``."""
        value = self.raw(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.error(key, f"must be a list of tables: write [[{key}]] in double brackets")
            return ()
        if len(value) > most:
            self.error(key, f"there are {len(value)}: keep at most {most}")
        return [Table(item, (*self.at(key), i), self.reading) for i, item in enumerate(value)]

    def finish(self) -> None:
        """Refuse every key that was not asked for."""
        for key in self.data:
            if key not in self._asked:
                self.error(key, "unknown key: " + suggestion(key, self._asked, "the keys here are"))
