"""`consentry decide`: who of an audience may be in it."""

from __future__ import annotations

import csv
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, TYPE_CHECKING, Any

import click

from consentry.cli.group import FAILED, UNREACHABLE, USAGE, CliError
from consentry.cli.options import json_option, with_server
from consentry.cli.output import emit, note, progress

if TYPE_CHECKING:
    from consentry.cli.audience import Row

_TOGETHER = 1000  # rows a request: the server answers others in between
_TRIES = 6


@click.command("decide")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--destination", help="Keep who may be sent to this destination.")
@click.option("--topic", help="Keep who may get this topic by --channel.")
@click.option("--channel", help="By which channel: email, sms, push, phone, post.")
@click.option(
    "--map",
    "maps",
    multiple=True,
    metavar="COLUMN=MEMBER",
    help="What a column is: user_id, anonymous_id, email or phone.",
)
@click.option("--output", "-o", default="-", type=click.Path(dir_okay=False), help="Where to.")
@click.option(
    "--rejected", type=click.Path(dir_okay=False), help="Write the others here, with why."
)
@with_server
@json_option
def command(
    server: Any,
    file: str,
    destination: str | None,
    topic: str | None,
    channel: str | None,
    maps: tuple[str, ...],
    output: str,
    rejected: str | None,
    as_json: bool,
) -> None:
    """Write the rows of FILE (- is standard input) that may be in an audience.

    FILE is CSV with a header: user_id, anonymous_id, email, phone name the person, any
    further columns stay as they are. A row that cannot be read or decided is left out and
    counted. The summary goes to standard error. Exit code 1 when a row could not be read or
    decided; with exit code 4 the output is not to be used.
    """
    asked = _asked(destination, topic, channel)
    if as_json and output == "-":
        raise click.UsageError("--json prints the summary, so the rows need --output FILE")
    known = {file, output, rejected} - {"-", None}
    if len({os.path.realpath(str(name)) for name in known}) < len(known):
        raise click.UsageError("FILE, --output and --rejected must be three files")
    counts = _Counts()
    with ExitStack() as stack:
        source = _open(stack, file)
        kept = _Written(stack, output)
        others = None if rejected is None else _Written(stack, rejected)
        try:
            _decide(server, source, asked, _mapped(maps), kept, others, counts, _size(file))
        except UnicodeDecodeError:
            raise CliError("the file is not UTF-8: save it as UTF-8", USAGE) from None
        kept.finish()
        if others is not None:
            others.finish()
    _report(counts, asked, as_json=as_json)
    if counts.undecided:
        raise click.exceptions.Exit(FAILED)


def _asked(destination: str | None, topic: str | None, channel: str | None) -> dict[str, Any]:
    if (destination is None) == (topic is None) or (topic is None) != (channel is None):
        raise click.UsageError("give --destination, or --topic with --channel")
    if destination is not None:
        return {"destinations": [destination]}
    return {"topic": topic, "channel": channel}


def _mapped(maps: tuple[str, ...]) -> dict[str, str]:
    from consentry.cli.audience import MEMBERS

    mapped: dict[str, str] = {}
    for text in maps:
        column, equals, member = text.rpartition("=")
        if not (column and equals and member in MEMBERS):
            members = ", ".join(MEMBERS)
            raise click.UsageError(f"--map {text}: write it as COLUMN=MEMBER, of {members}")
        mapped[column] = member
    return mapped


def _open(stack: ExitStack, file: str) -> IO[str]:
    if file == "-":
        return TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="")
    return stack.enter_context(Path(file).open(encoding="utf-8-sig", newline=""))


def _size(file: str) -> int | None:
    return None if file == "-" else os.path.getsize(file)


class _Written:
    """A CSV file that is there once it is whole: until then its rows wait beside it.

    Standard output, too, gets nothing before everything is decided.
    """

    def __init__(self, stack: ExitStack, place: str) -> None:
        self._place = None if place == "-" else Path(place)
        folder = None if self._place is None else self._place.absolute().parent
        self._file = stack.enter_context(
            NamedTemporaryFile("w+", encoding="utf-8", newline="", dir=folder, delete=False)  # noqa: SIM115 - renamed when it is whole, else unlinked
        )
        stack.callback(Path(self._file.name).unlink, missing_ok=True)
        self._writer = csv.writer(self._file, lineterminator="\n")

    def write(self, cells: Iterable[str]) -> None:
        self._writer.writerow(cells)

    def finish(self) -> None:
        self._file.flush()
        if self._place is not None:
            os.replace(self._file.name, self._place)
            return
        out = sys.stdout.buffer
        self._file.buffer.seek(0)
        shutil.copyfileobj(self._file.buffer, out)
        out.flush()


@dataclass
class _Counts:
    """What became of the rows: ``why`` those left out; ``undecided`` of them nobody decided."""

    kept: int = 0
    undecided: int = 0
    why: Counter[str] = field(default_factory=Counter)

    @property
    def left_out(self) -> int:
        return self.why.total()


def _decide(
    server: Any,
    source: IO[str],
    asked: dict[str, Any],
    mapped: dict[str, str],
    kept: _Written,
    others: _Written | None,
    counts: _Counts,
    size: int | None,
) -> None:
    from consentry.cli.audience import named, read

    columns = next(csv.reader(source), [])
    of = named(columns, mapped)
    if len(set(of.values())) < len(of) or not of or not set(mapped) <= set(columns):
        raise CliError(
            "the header must name the person once: user_id, anonymous_id, email, phone; see --map",
            USAGE,
        )
    kept.write(columns)
    if others is not None:
        others.write(("reason", *columns))
    bar, task = progress("deciding", size)
    done = 0
    with bar:
        for batch in _batches(read(source, columns, of, asked)):
            _sort(batch, _answers(server, batch), kept, others, counts)
            done += sum(len(cell) + 1 for row in batch for cell in row.cells)
            bar.update(task, completed=done if size is None else min(done, size))


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _TOGETHER:
            yield batch
            batch = []
    if batch:
        yield batch


def _answers(server: Any, batch: list[Row]) -> dict[Any, Any]:
    """The answers by id. Every failure of the server ends the command with code 4 or 3."""
    items = [row.question for row in batch if row.question is not None]
    if not items:
        return {}
    found = server.post("/v1/decisions", {"items": items}, tries=_TRIES).get("items")
    if not isinstance(found, list) or len(found) != len(items):
        raise CliError("the server did not answer every question: nothing is kept", UNREACHABLE)
    return {one.get("id"): one for one in found if isinstance(one, dict)}


def _sort(
    batch: list[Row],
    answers: dict[Any, Any],
    kept: _Written,
    others: _Written | None,
    counts: _Counts,
) -> None:
    from consentry.cli.audience import why_not

    for row in batch:
        asked = row.question
        why, decided = row.flaw or None, False
        if asked is not None:
            why, decided = why_not(answers.get(asked["id"]), asked)
        if why is None:
            kept.write(row.cells)
            counts.kept += 1
            continue
        counts.why[why] += 1
        counts.undecided += not decided
        if others is not None:
            others.write((why, *row.cells))


def _report(counts: _Counts, asked: dict[str, Any], *, as_json: bool) -> None:
    rows = counts.kept + counts.left_out
    left = dict(counts.why.most_common())
    if as_json:
        document = {"asked": asked, "rows": rows, "kept": counts.kept}
        more = {"leftOutCount": counts.left_out, "undecided": counts.undecided, "leftOut": left}
        emit({**document, **more})
        return
    note(f"{rows} rows: {counts.kept} kept, {counts.left_out} left out")
    for why, number in left.items():
        note(f"  {number} left out: {why}")
