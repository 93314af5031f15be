"""What a row of the benchmark is, what it came to, and how that is kept and shown.

A row has measures. Each has a limit that it must keep and one that it aims at. Where a
measure is a ratio, both sides ran interleaved in the same run, and the figure is the
median of the rounds' ratios.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
CHART = HERE / "results.svg"
DOCS = HERE.parent / "docs" / "performance.md"
MARKERS = ("<!-- table -->", "<!-- /table -->")
ROWS = (
    "decision", "ingest_single", "ingest_batch", "choice", "choice_scale", "read",
    "latency", "fanout", "withdrawal", "withdrawals", "questions",
    "client", "memory", "start",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limit:
    """A measure's name, its unit, and its two limits. ``x`` as a unit means a ratio."""

    name: str
    unit: str
    must: float
    aim: float
    higher: bool = True

    def holds(self, value: float, limit: float) -> bool:
        return value >= limit if self.higher else value <= limit

    def score(self, value: float) -> float:
        """How many times as good as it must be; the same for both directions."""
        return value / self.must if self.higher else self.must / max(value, 1e-12)

    @property
    def aim_score(self) -> float:
        return self.score(self.aim)


@dataclass(frozen=True, slots=True)
class Row:
    """One row: what is measured, and against what."""

    id: str
    what: str
    against: str
    limits: tuple[Limit, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """What one run of a row came to.

    ``values`` has one entry for each limit, by name; ``figures`` is everything else that was
    seen, with its unit in its name. ``missing`` says why there is no value.
    """

    row: Row
    values: dict[str, float] = field(default_factory=dict)
    figures: dict[str, float | str] = field(default_factory=dict)
    missing: str | None = None

    def keeps(self, *, aim: bool = False) -> bool:
        """Whether every measure is there and within its limit."""
        return self.missing is None and all(
            limit.holds(self.values[limit.name], limit.aim if aim else limit.must)
            for limit in self.row.limits
        )


def ratio(ours: Sequence[float], reference: Sequence[float]) -> float:
    """The median of the rounds' ratios; the two sides of a round ran one after the other."""
    return median(a / b for a, b in zip(ours, reference, strict=True))


def line_of(result: Result, where: dict[str, Any]) -> dict[str, Any]:
    """A line of results.jsonl. ``where``: date, commit, machine and whether it was a quick run."""
    limits = result.row.limits
    return {
        **where,
        "row": result.row.id,
        "figures": result.figures,
        "ratio": result.values,
        "must": {limit.name: limit.must for limit in limits},
        "aim": {limit.name: limit.aim for limit in limits},
        "ok": result.keeps(),
        "aimed": result.keeps(aim=True),
        "missing": result.missing,
    }


def result_of(line: dict[str, Any], row: Row) -> Result:
    """The result that a line holds; measures that are new since then make it a missing one."""
    if line["missing"] is None and not all(limit.name in line["ratio"] for limit in row.limits):
        return Result(row, missing="not measured since its measures changed")
    return Result(row, line["ratio"], line["figures"], line["missing"])


def append(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Add lines to the file of results."""
    with path.open("a") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def latest(path: Path, *, quick: bool = False) -> dict[str, dict[str, Any]]:
    """The last line of each row; quick runs only if asked for."""
    found: dict[str, dict[str, Any]] = {}
    if path.exists():
        for text in path.read_text().splitlines():
            line = json.loads(text)
            if quick or not line["quick"]:
                found[line["row"]] = line
    return found


def number(value: float) -> str:
    """Three digits that count, with thousands marked."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 1 else f"{value:.2g}"


def amount(value: float, unit: str) -> str:
    return f"{number(value)} {unit}".strip()


def cells(result: Result) -> list[tuple[str, str, str, str, str, str, str]]:
    """One line of the table for each measure: row, measure, against, figure, must, aim, verdict."""
    row = result.row
    if result.missing is not None:
        return [(row.id, row.what, row.against, result.missing, "", "", "no figure")]
    found = []
    for limit in row.limits:
        value = result.values[limit.name]
        sign = "≥" if limit.higher else "≤"
        found.append((
            row.id, limit.name, row.against, amount(value, limit.unit),
            f"{sign} {amount(limit.must, limit.unit)}", f"{sign} {amount(limit.aim, limit.unit)}",
            verdict(limit, value),
        ))  # fmt: skip
    return found


def verdict(limit: Limit, value: float) -> str:
    if limit.holds(value, limit.aim):
        return "aim"
    return "must" if limit.holds(value, limit.must) else "short"


HEADINGS = ("row", "measure", "against", "figure", "must", "aim", "kept")


def text_table(results: Sequence[Result]) -> str:
    """For a terminal."""
    lines = [HEADINGS, *(line for result in results for line in cells(result))]
    shown = [tuple(cell for n, cell in enumerate(line) if n != 2) for line in lines]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in shown
    )


def markdown_table(results: Sequence[Result]) -> str:
    """For the documentation."""
    lines = [HEADINGS, *(line for result in results for line in cells(result))]
    rows = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([rows[0], "| " + " | ".join("---" for _ in HEADINGS) + " |", *rows[1:]])


def shortfalls(results: Sequence[Result]) -> tuple[list[str], list[str]]:
    """Rows that fall short of what they must keep, and those that only miss their aim."""
    short = [r.row.id for r in results if not r.keeps()]
    below = [r.row.id for r in results if r.keeps() and not r.keeps(aim=True)]
    return short, below


def between(document: str, inner: str) -> str:
    """The document with everything between the markers replaced. Raises ValueError without them."""
    first, last = MARKERS
    before, found, rest = document.partition(first)
    _, ended, after = rest.partition(last)
    if not found or not ended:
        raise ValueError(f"the document has no {first} … {last}")
    return f"{before}{first}\n{inner}\n{last}{after}"
