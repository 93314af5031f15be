"""`consentry import`: choices that another system collected, into the ledger."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from consentry.cli.group import FAILED, USAGE, CliError
from consentry.cli.options import json_option, server_at, server_url_option
from consentry.cli.output import emit, note, progress, say

if TYPE_CHECKING:
    from consentry.cli.choices import Plan, Row

_TOGETHER = 500
_TRIES = 6
_MOST_LISTED = 1000  # refused rows that are listed; all are counted
_MOST_SHOWN = 20


@dataclass
class Summary:
    """What came of an import. ``refused`` pairs a line with why."""

    rows: int = 0
    recorded: int = 0
    repeated: int = 0
    withheld: int = 0
    undated: int = 0
    refused_count: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)
    answers: Counter[tuple[str, bool]] = field(default_factory=Counter)

    def refuse(self, line: int, why: str) -> None:
        """One more row that was not imported."""
        self.refused_count += 1
        if len(self.refused) < _MOST_LISTED:
            self.refused.append((line, why))


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@server_url_option
@click.option(
    "--map",
    "maps",
    multiple=True,
    metavar="COLUMN=MEMBER",
    help="What a column is: userId, anonymousId, email, phone, timestamp, or a category's id.",
)
@click.option("--yes", "yes_words", multiple=True, metavar="WORD", help="A word that grants.")
@click.option("--no", "no_words", multiple=True, metavar="WORD", help="A word that denies.")
@click.option(
    "--format", "form", type=click.Choice(["csv", "jsonl"]), help="By the file's name, if not said."
)
@click.option("--delimiter", default=",", show_default=True, help="What separates cells in CSV.")
@click.option("--dry-run", is_flag=True, help="Read and count everything, send nothing.")
@json_option
def command(
    file: Path,
    server_url: str,
    maps: tuple[str, ...],
    yes_words: tuple[str, ...],
    no_words: tuple[str, ...],
    form: str | None,
    delimiter: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Import the choices in FILE, a CSV file with a header or JSON Lines.

    Nested JSON members are columns with dots: consents.stats. Columns named
    preferences.ID or category.ID need no --map. An imported grant counts only where the
    subject has not chosen here, from the time it states; without a time it has expired.
    Running the same import again records nothing twice, so one that was interrupted is
    simply run again. Exit code 1 when a row was refused.
    """
    form = form or _form_of(file)
    if len(delimiter) != 1:
        delimiter = _TABS.get(delimiter) or _wrong(
            f"--delimiter {delimiter!r} is not one character"
        )
    plan = _plan(maps, yes_words, no_words)
    server = None if dry_run else server_at(server_url)
    with ExitStack() as stack:
        source = stack.enter_context(file.open(encoding="utf-8-sig", newline=""))
        if form == "csv":
            _check_columns(source, plan, delimiter)
        summary = _import(source, form, delimiter, plan, server, os.path.getsize(file))
    _report(summary, plan, dry_run=dry_run, as_json=as_json)
    if summary.refused_count:
        raise click.exceptions.Exit(FAILED)


_TABS = {"\\t": "\t", "tab": "\t"}


def _wrong(message: str) -> str:
    raise click.UsageError(message)


def _form_of(file: Path) -> str:
    forms = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
    found = forms.get(file.suffix.lower())
    if found is None:
        raise click.UsageError(f"{file.name}: say --format csv or --format jsonl")
    return found


def _plan(maps: tuple[str, ...], yes: tuple[str, ...], no: tuple[str, ...]) -> Plan:
    from consentry.cli.choices import FIELDS, NO, YES, Plan

    mapped: dict[str, str] = {}
    for text in maps:
        column, equals, member = text.rpartition("=")
        if not (column and equals and member):
            raise click.UsageError(f"--map {text}: write it as COLUMN=MEMBER")
        if column in mapped or (member in FIELDS and member in mapped.values()):
            raise click.UsageError(f"--map {text}: this column or member is mapped already")
        mapped[column] = member
    granting, denying = {w.lower() for w in yes}, {w.lower() for w in no}
    if granting & denying:
        raise click.UsageError("a word cannot both grant and deny: see --yes and --no")
    return Plan(mapped, (YES | granting) - denying, (NO | denying) - granting)


def _check_columns(source: IO[str], plan: Plan, delimiter: str) -> None:
    from consentry.cli.choices import header

    try:
        columns = header(source, delimiter)
    except UnicodeDecodeError:
        raise _not_utf8() from None
    if len(set(columns)) < len(columns):
        raise CliError("two columns of the file have one name: rename one", USAGE)
    for column in plan.mapped:
        if column not in columns:
            known = ", ".join(columns)
            raise CliError(f"--map {column}: the file has no such column; it has {known}", USAGE)


def _import(
    source: IO[str], form: str, delimiter: str, plan: Plan, server: Any, size: int
) -> Summary:
    from consentry.cli.choices import read_rows

    summary = Summary()
    bar, task = progress("importing", size)
    with bar:
        try:
            for batch in _batches(read_rows(source, form, delimiter), plan, summary):
                if server is not None:
                    _send(server, batch, summary)
                bar.update(task, completed=min(_position(source), size))
        except UnicodeDecodeError:
            raise _not_utf8() from None
    return summary


def _batches(
    rows: Iterator[Row], plan: Plan, summary: Summary
) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    """Choices with their lines, as many together as one request takes."""
    from consentry.cli.choices import TIME, RowError

    batch: list[tuple[int, dict[str, Any]]] = []
    for row in rows:
        summary.rows += 1
        try:
            if row.flaw is not None:
                raise RowError(row.flaw)
            choice = plan.choice(row.values)
        except RowError as error:
            summary.refuse(row.line, str(error))
            continue
        summary.undated += TIME not in choice
        summary.answers.update(choice["preferences"].items())
        batch.append((row.line, choice))
        if len(batch) == _TOGETHER:
            yield batch
            batch = []
    if batch:
        yield batch


def _send(server: Any, batch: list[tuple[int, dict[str, Any]]], summary: Summary) -> None:
    body = {"choices": [choice for _, choice in batch]}
    try:
        answer = server.post("/v1/imports", body, tries=_TRIES)
    except CliError as error:
        done = summary.recorded + summary.repeated + summary.withheld
        again = f"{done} rows are in; run the same command again to go on" if done else ""
        message = f"{error.message} ({again})" if again else error.message
        raise CliError(message, error.status) from None
    summary.recorded += int(answer.get("recorded", 0))
    summary.repeated += int(answer.get("repeated", 0))
    summary.withheld += int(answer.get("withheld", 0))
    for refusal in answer.get("rejected") or ():
        index = refusal.get("index")
        known = isinstance(index, int) and 0 <= index < len(batch)
        line = batch[index][0] if known else batch[0][0]
        summary.refuse(line, f"{refusal.get('code')}: {refusal.get('message')}")


def _position(source: IO[str]) -> int:
    """How many bytes were read; a text file that is being iterated cannot tell by itself."""
    return int(source.buffer.tell()) if hasattr(source, "buffer") else 0


def _not_utf8() -> CliError:
    return CliError("the file is not UTF-8: save it as UTF-8 and run this again", USAGE)


def _report(summary: Summary, plan: Plan, *, dry_run: bool, as_json: bool) -> None:
    missing = [column for column in plan.mapped if column not in plan.found]
    if missing and summary.rows:
        note(f"no row has the mapped column {', '.join(missing)}")
    if as_json:
        emit(_document(summary, plan, dry_run))
        return
    for line, why in summary.refused[:_MOST_SHOWN]:
        say(f"line {line}: {why}")
    if summary.refused_count > _MOST_SHOWN:
        say(f"and {summary.refused_count - _MOST_SHOWN} more refused rows; --json lists them")
    done = "would be sent" if dry_run else "recorded"
    count = summary.rows - summary.refused_count if dry_run else summary.recorded
    repeated = f", {summary.repeated} were there already" if summary.repeated else ""
    withheld = f", {summary.withheld} name somebody who was erased" if summary.withheld else ""
    refused = f"{summary.refused_count} refused"
    say(f"{summary.rows} rows: {count} {done}{repeated}{withheld}, {refused}")
    for (category, granted), number in sorted(summary.answers.items()):
        say(f"  {category} {'granted' if granted else 'denied'}: {number}")
    if summary.undated:
        say(f"rows without a time: {summary.undated} (their grants count as expired)")
    if plan.ignored:
        say(f"columns that were not used: {', '.join(plan.ignored)} (--map gives them a meaning)")


def _document(summary: Summary, plan: Plan, dry_run: bool) -> dict[str, Any]:
    answers: dict[str, dict[str, int]] = {}
    for (category, granted), number in sorted(summary.answers.items()):
        answers.setdefault(category, {})["granted" if granted else "denied"] = number
    return {
        "dryRun": dry_run,
        "rows": summary.rows,
        "recorded": summary.recorded,
        "repeated": summary.repeated,
        "withheld": summary.withheld,
        "undated": summary.undated,
        "answers": answers,
        "ignoredColumns": list(plan.ignored),
        "rejectedCount": summary.refused_count,
        "rejected": [{"line": line, "message": why} for line, why in summary.refused],
    }
