"""What is printed: documents for programs, tables for people.

Names of events and identifiers come from strangers. On a terminal a control character in
one of them could rewrite what stands above it, so none reaches it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, TextIO

import click

from consentry.cli.group import USAGE, CliError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

_PIPED_WIDTH = 160
_STYLES = {
    "allow": "green",
    "granted": "green",
    "delivered": "green",
    "withhold": "yellow",
    "withheld": "yellow",
    "denied": "yellow",
    "error": "red",
    "dead": "red",
    "paused": "red",
}


def shown(value: object) -> str:
    """A value as one line of text: lines are joined, control characters are spelled out."""
    if value is None:
        return ""
    text = " ".join(str(value).split("\n"))
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _spelled(c) for c in text)


def _spelled(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def emit(document: Any) -> None:
    """One JSON document on standard output. ASCII, so it is safe wherever it is shown."""
    click.echo(json.dumps(document, indent=2))


def emit_line(document: Any) -> None:
    """One line of JSON Lines, at once."""
    click.echo(json.dumps(document, separators=(",", ":")))


def note(text: str) -> None:
    """A remark beside the output, on standard error."""
    click.echo(f"consentry: {shown(text)}", err=True)


def say(text: str = "") -> None:
    """A line for people on standard output."""
    click.echo(shown(text))


def console(stream: TextIO | None = None) -> Console:
    """Rich's console on a stream: no colour where NO_COLOR is set or nobody watches."""
    from rich.console import Console

    stream = sys.stdout if stream is None else stream
    width = None if stream.isatty() else int(_columns() or _PIPED_WIDTH)
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)


def _columns() -> str | None:
    columns = os.environ.get("COLUMNS", "")
    return columns if columns.isdigit() and int(columns) >= 20 else None


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """A table for people. Long words are folded, so nothing is cut off."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        cells = [shown(cell) for cell in row]
        made.add_row(*[Text(cell, style=_STYLES.get(cell, "")) for cell in cells])
    console().print(made)


def progress(what: str, total: float | None) -> tuple[Progress, Any]:
    """A progress bar on standard error, shown only to a person; and the id of its one task."""
    from rich.progress import Progress

    bar = Progress(console=console(sys.stderr), transient=True, disable=not sys.stderr.isatty())
    return bar, bar.add_task(what, total=total)


@contextmanager
def new_file(path: str) -> Iterator[IO[str]]:
    """A file for its owner alone, that is there afterwards only if everything was written to it."""
    try:
        file = open(path, "x", encoding="utf-8", opener=_private)  # noqa: SIM115  closed below
    except FileExistsError:
        raise CliError(f"{path} exists already: name a new file", USAGE) from None
    try:
        with file:
            yield file
    except BaseException:
        os.unlink(path)
        raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
