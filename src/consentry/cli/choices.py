"""Choices of another system, read from CSV or JSON Lines, row by row.

Every row becomes one choice of POST /v1/imports or one refusal with its line. A row is
flat here: a nested JSON member ``{"consents": {"stats": true}}`` is the column
``consents.stats``. Nothing is guessed: a word that is neither yes nor no refuses its row.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from consentry.core import moment

IDENTIFIERS = ("userId", "anonymousId", "email", "phone")
EVIDENCE = ("noticeId", "noticeVersion", "noticeHash", "language", "page")
TIME = "timestamp"
FIELDS = (*IDENTIFIERS, TIME, *EVIDENCE)
_SAME = {
    "user_id": "userId",
    "userid": "userId",
    "anonymous_id": "anonymousId",
    "anonymousid": "anonymousId",
}
_PREFIXES = ("preferences.", "category.", "categories.")
YES = frozenset(
    [
        "true",
        "t",
        "1",
        "yes",
        "y",
        "on",
        "granted",
        "grant",
        "accepted",
        "accept",
        "allowed",
        "allow",
        "opt_in",
        "optin",
        "in",
    ]
)
NO = frozenset(
    [
        "false",
        "f",
        "0",
        "no",
        "n",
        "off",
        "denied",
        "deny",
        "rejected",
        "reject",
        "refused",
        "withdrawn",
        "opt_out",
        "optout",
        "out",
    ]
)
_EPOCH_SCALE = {10: moment.SECOND, 13: moment.SECOND // 1000}  # by digits: since 2001, to 2286


class RowError(ValueError):
    """Why one row cannot be imported."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it was read. ``line`` counts from 1; ``flaw`` says why it cannot be used."""

    line: int
    values: Mapping[str, Any]
    flaw: str | None = None


@dataclass(frozen=True)
class Plan:
    """How columns become members: ``mapped`` is what was asked for, by column.

    ``yes`` and ``no`` are words beyond the usual ones, in lower case. ``ignored`` and
    ``found`` collect the columns that were met and not used, and those that were.
    """

    mapped: Mapping[str, str]
    yes: frozenset[str] = YES
    no: frozenset[str] = NO
    ignored: dict[str, None] = field(default_factory=dict)
    found: dict[str, None] = field(default_factory=dict)

    def member(self, column: str) -> str | None:
        """What a column means: a field, a category's id, or None when it is not used."""
        meaning = self.mapped.get(column) or _usual(column)
        (self.ignored if meaning is None else self.found)[column] = None
        return meaning

    def choice(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """One choice of POST /v1/imports, with its key. Raises RowError."""
        subject: dict[str, str] = {}
        preferences: dict[str, bool] = {}
        evidence: dict[str, str] = {"action": "import"}
        choice: dict[str, Any] = {"subject": subject, "preferences": preferences}
        for column, value in values.items():
            meaning = self.member(column)
            if meaning is None or value is None or value == "":
                continue
            if meaning in IDENTIFIERS:
                _identify(subject, meaning, _text(column, value))
            elif meaning in EVIDENCE:
                evidence[meaning] = _text(column, value)
            elif meaning == TIME:
                choice[TIME] = _time(column, value)
            else:
                self._state(preferences, meaning, column, value)
        if not subject:
            raise RowError(f"no identifier: map a column to {', '.join(IDENTIFIERS)}")
        if not preferences:
            raise RowError("no category is answered in it")
        choice["evidence"] = evidence
        return {**choice, "key": _key(choice)}

    def _state(self, preferences: dict[str, bool], category: str, column: str, value: Any) -> None:
        """Where two columns speak of one category, a no in either is the answer."""
        answer = self._answer(column, value)
        preferences[category] = preferences.get(category, True) and answer

    def _answer(self, column: str, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        word = str(value).strip().lower()
        if word in self.no:
            return False
        if word in self.yes:
            return True
        raise RowError(f"{column} says {value!r}, which is neither yes nor no: see --yes and --no")


def _usual(column: str) -> str | None:
    """What a column means by its name alone."""
    for prefix in _PREFIXES:
        if column.startswith(prefix):
            return column.removeprefix(prefix) or None
    if column in FIELDS:
        return column
    return _SAME.get(column.strip().lower())


def _identify(subject: dict[str, str], member: str, value: str) -> None:
    if subject.setdefault(member, value) != value:
        raise RowError(f"two columns name different {member}: map one of them only")


def _text(column: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RowError(f"{column} must be text")
    return str(value).strip()


def _time(column: str, value: Any) -> str:
    """RFC 3339, ISO 8601, or seconds or milliseconds since 1970. Other forms are ambiguous."""
    text = str(value).strip()
    try:
        if text.isascii() and text.isdigit() and len(text) in _EPOCH_SCALE:
            return moment.format_exact(int(text) * _EPOCH_SCALE[len(text)])
        return moment.format_exact(moment.parse(text))
    except (ValueError, OverflowError):
        raise RowError(
            f"{column} is no time that has one meaning: write 2026-01-31T12:00:00Z"
        ) from None


def _key(choice: Mapping[str, Any]) -> str:
    """The same for the same row, so that a row that is sent twice is recorded once."""
    text = json.dumps(choice, sort_keys=True, separators=(",", ":"))
    return "import:" + hashlib.sha256(text.encode()).hexdigest()


# -- files ------------------------------------------------------------------------------------


def read_rows(file: IO[str], form: str, delimiter: str = ",") -> Iterator[Row]:
    """The rows of a CSV file with a header (``form`` csv) or of JSON Lines (``jsonl``)."""
    return _csv(file, delimiter) if form == "csv" else _jsonl(file)


def header(file: IO[str], delimiter: str) -> list[str]:
    """The columns that a CSV file names in its first row; the file is read from its beginning."""
    try:
        columns = next(csv.reader(file, delimiter=delimiter), [])
    except csv.Error:
        columns = []
    file.seek(0)
    return columns


def _csv(file: IO[str], delimiter: str) -> Iterator[Row]:
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    columns = next(reader, [])
    while True:
        line = reader.line_num + 1  # a quoted cell may span lines; the row is where it begins
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield Row(line, {}, f"the row is not valid CSV: {error}")
            continue
        if cells is None:
            return
        if not cells:
            continue
        if len(cells) != len(columns):
            yield Row(line, {}, f"the row has {len(cells)} cells and the header {len(columns)}")
            continue
        yield Row(line, dict(zip(columns, cells, strict=True)))


def _jsonl(file: IO[str]) -> Iterator[Row]:
    for line, text in enumerate(file, start=1):
        if not text.strip():
            continue
        try:
            value = json.loads(text, object_pairs_hook=_pairs)
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", None) or str(error)
            yield Row(line, {}, f"the line is not valid JSON: {reason}")
            continue
        if isinstance(value, dict):
            yield Row(line, dict(_flat(value, "")))
        else:
            yield Row(line, {}, "the line is not a JSON object")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) < len(pairs):
        raise ValueError("a member stands twice")
    return plain


def _flat(value: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _flat(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner
