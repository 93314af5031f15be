"""SQL lives in files: named queries in ``queries/``, numbered steps in ``migrations/``."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import NamedTuple

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_MIGRATION = re.compile(r"(\d{4})_\w+\.sql")


class Migration(NamedTuple):
    """One step of the schema. ``number`` counts from 1 without gaps."""

    number: int
    name: str
    sql: str


def queries(name: str) -> dict[str, str]:
    """The queries of one file by name: each stands after a line ``-- name: it``.

    Raises ValueError when a name stands there twice.
    """
    text = (files("consentry.store") / "queries" / f"{name}.sql").read_text("utf-8")
    parts = _NAME.split(text)[1:]
    names, bodies = parts[::2], parts[1::2]
    if len(set(names)) < len(names):
        raise ValueError(f"a query's name stands twice in {name}.sql")
    return {name: _without_comments(body) for name, body in zip(names, bodies, strict=True)}


def migrations() -> list[Migration]:
    """Every step, in order. Raises ValueError when a number is missing or repeated."""
    found = []
    for entry in (files("consentry.store") / "migrations").iterdir():
        match = _MIGRATION.fullmatch(entry.name)
        if match is not None:
            found.append(Migration(int(match[1]), entry.name, entry.read_text("utf-8")))
    found.sort()
    if [step.number for step in found] != list(range(1, len(found) + 1)):
        raise ValueError("migrations are numbered from 1 without gaps")
    return found


def _without_comments(body: str) -> str:
    lines = (line for line in body.splitlines() if not line.startswith("--"))
    return " ".join(line.strip() for line in lines if line.strip())
