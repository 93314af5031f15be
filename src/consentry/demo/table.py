"""The tables that ``consentry demo --once`` prints."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from consentry.demo.comparison import Judged, Outcome, Row, counts

WIDTH_OF_A_FILE = 130


@dataclass(frozen=True, slots=True)
class Act:
    """What the visitor did. Without a message id it was a choice, or something that happened."""

    title: str
    message_id: str | None = None
    event: str | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """One order: who was told what, and the grade of the answer with what it rests on.

    ``after_ms``: milliseconds from the choice to the answer.
    """

    destination: str
    verb: str
    grade: str
    detail: str
    after_ms: int

    @property
    def is_gate(self) -> bool:
        return self.grade == "gated" and self.verb.partition(" ")[0] == "gate"

    @classmethod
    def of(cls, order: Mapping[str, Any]) -> Told:
        """From an order as the API writes it."""
        chosen, ended = (datetime.fromisoformat(order[n]) for n in ("acknowledgedAt", "terminalAt"))
        about = ", ".join(f"{one['topic']} by {one['channel']}" for one in order["topics"])
        return cls(
            order["destination"],
            f"{order['verb']} ({about})" if about else order["verb"],
            order["grade"] or order["state"],
            order["why"] or order["detail"],
            (ended - chosen) // timedelta(milliseconds=1),
        )


def print_told(title: str, told: Sequence[Told]) -> None:
    """What every system made of a choice, as a table on standard output."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=f"“{title}”", title_justify="left")
    for column in ("Destination", "It was told", "Proof", "What it rests on"):
        table.add_column(column)
    table.add_column("After", justify="right")
    for one in told:
        table.add_row(one.destination, one.verb, one.grade, one.detail, f"{one.after_ms} ms")
    _console().print(table)


def _console() -> Console:
    width = None if sys.stdout.isatty() else WIDTH_OF_A_FILE
    return Console(width=width, markup=False, highlight=False, emoji=False)


def print_story(acts: Sequence[Act], outcome: Outcome, found: Sequence[str]) -> None:
    """The table on standard output, and under it whether everything agrees."""
    console = _console()
    console.print(_table(acts, outcome))
    decided, allowed, arrived = counts(outcome.rows)
    console.print(
        f"{decided} decisions: {allowed} allowed, {decided - allowed} withheld or not taken."
    )
    if found:
        console.print("What arrived is not what was allowed:", style="bold red")
        for said in found:
            console.print(f"  {said}")
        return
    console.print(
        f"{arrived} arrived, exactly those that were allowed. The decisions that were asked for "
        "before, and what is told afterwards, agree.",
        style="green",
    )


def _table(acts: Sequence[Act], outcome: Outcome) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="One visit", title_justify="left")
    table.add_column("The visitor")
    table.add_column("Event", no_wrap=True)
    table.add_column("Destinations")
    table.add_column("Decision", no_wrap=True)
    table.add_column("Reason")
    table.add_column("Arrived", no_wrap=True)
    for act in acts:
        if act.message_id is None:
            table.add_row(Text(act.title, style="bold"))
            table.add_section()
            continue
        groups = _alike(row for row in outcome.rows if row.message_id == act.message_id)
        for n, (names, row) in enumerate(groups):
            first = (act.title, act.event or "identify") if n == 0 else ("", "")
            last = n == len(groups) - 1
            table.add_row(*first, ", ".join(names), *_cells(row), end_section=last)
    return table


def _alike(rows: Iterable[Row]) -> list[tuple[list[str], Row]]:
    """Destinations for which all is the same stand together, in the order of the first."""
    groups: dict[tuple[object, ...], tuple[list[str], Row]] = {}
    for row in rows:
        key = (row.final.decision, _reason(row), row.kept, row.kept or row.statuses)
        groups.setdefault(key, ([], row))[0].append(row.destination)
    return list(groups.values())


def _cells(row: Row) -> tuple[Text, str, Text]:
    style = "green" if row.final.allows else "yellow"
    arrived = Text("yes", "green") if row.kept else Text("no", "yellow")
    if row.statuses and not row.kept:
        arrived.append(f" (tried: {', '.join(str(s) for s in row.statuses)})")
    return Text(row.final.decision, style), _reason(row), arrived


def _reason(row: Row) -> str:
    said = _words(row.final)
    if not row.takes:
        return "it takes no such event"
    return f"{said}; decided again before the retry" if row.statuses and not row.kept else said


def _words(judged: Judged) -> str:
    if not judged.why or judged.allows:
        return judged.reason
    return ", ".join(f"{category} {why}" for category, why in judged.why)
