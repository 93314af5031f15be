"""`consentry ledger`: prove that nothing was altered, and hand the proof to others."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consentry.cli.group import CONFIGURATION, FAILED, UNREACHABLE, USAGE, CliError
from consentry.cli.options import (
    config_option,
    json_option,
    output_option,
    server_at,
    server_url_option,
    store_file,
    store_option,
)
from consentry.cli.output import emit, new_file, note, progress, say

if TYPE_CHECKING:
    from consentry.cli.ledger_file import LedgerFile
    from consentry.ledger.note import VerifyKey
    from consentry.ledger.verify import Entry, Fault, Report

PUBLIC_KEY = ".vkey"  # a public key that somebody put beside the store
_FILE = click.Path(exists=True, dir_okay=False)


@click.group("ledger")
def command() -> None:
    """Verify and export the ledger."""


@command.command("verify")
@config_option
@store_option
@click.option("--export", "export_path", type=_FILE, help="Check an exported file instead.")
@click.option(
    "--key",
    "key_texts",
    multiple=True,
    metavar="VKEY",
    help="The public key, as text or as a file. Without it, the one beside the store.",
)
@click.option(
    "--checkpoint",
    "checkpoint_paths",
    multiple=True,
    type=_FILE,
    help="A checkpoint you saved earlier: the ledger must still extend it.",
)
@json_option
def verify_command(
    config_path: str | None,
    store_path: str | None,
    export_path: str | None,
    key_texts: tuple[str, ...],
    checkpoint_paths: tuple[str, ...],
    as_json: bool,
) -> None:
    """Prove that no record was altered, moved or removed.

    Reads the store's file, also while it is served, or an exported file. A ledger that was
    cut off at its end looks whole: give a --checkpoint that you saved elsewhere to find out.
    Exit code 1 when anything is wrong.
    """
    saved = [_text_of(path) for path in checkpoint_paths]
    extra: list[Fault] = []
    if export_path is not None:
        if config_path is not None or store_path is not None:
            raise click.UsageError("give --export, or a store, not both")
        if not key_texts:
            raise click.UsageError("an exported file is checked with --key VKEY")
        report = _verify_export(export_path, _keys(key_texts), saved)
    else:
        path = store_file(config_path, store_path)
        keys = _keys(key_texts) or [_key_beside(path)]
        report, extra = _verify_store(path, keys, saved)
    _print_report(report, extra, as_json=as_json, with_saved=bool(saved))
    if not report.sound or extra:
        raise click.exceptions.Exit(FAILED)


def _verify_store(path: str, keys: list[VerifyKey], saved: list[str]) -> tuple[Report, list[Fault]]:
    from consentry.cli.ledger_file import LedgerFile
    from consentry.cli.ledger_index import IndexCheck
    from consentry.ledger.verify import verify

    with closing(LedgerFile(path)) as ledger:
        bar, _ = progress("checking pages", None)
        with bar:
            ledger.read_all()
        if not ledger.checked:
            note("its pages have no checksums yet: they get them when this version serves it")
        index = IndexCheck(ledger)

        def entries() -> Iterator[Entry]:
            for entry in ledger.entries():
                if entry.record is not None:
                    index.take(entry.seq, entry.record)
                yield entry

        bar, task = progress("checking records", ledger.end)
        with bar:
            report = verify(
                entries(),
                ledger.notes(),
                keys,
                saved=saved,
                on_leaf=lambda seen: bar.update(task, completed=seen),
            )
        return report, index.finish(ledger.end)


def _verify_export(path: str, keys: list[VerifyKey], saved: list[str]) -> Report:
    from consentry.ledger.verify import verify

    def entries(size: int) -> Iterator[Entry]:
        for line in _export_lines(path):
            if "checkpoint" not in line:
                size += 1
                yield _exported_entry(path, line)

    notes = (str(line["checkpoint"]) for line in _export_lines(path) if "checkpoint" in line)
    bar, task = progress("checking leaves", None)
    with bar:
        return verify(
            entries(0),
            notes,
            keys,
            saved=saved,
            on_leaf=lambda seen: bar.update(task, completed=seen),
        )


def _export_lines(path: str) -> Iterator[dict[str, Any]]:
    """The lines of an exported file. One that cannot be read is a CliError naming it."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                value = None
            if not isinstance(value, dict):
                raise _bad_line(path, number)
            yield {**value, "": number}


def _exported_entry(path: str, line: dict[str, Any]) -> Entry:
    from consentry.ledger.verify import Entry

    seq, leaf = line.get("seq"), line.get("leaf")
    if type(seq) is not int or seq < 0 or not isinstance(leaf, str):
        raise _bad_line(path, line[""])
    return Entry(
        seq,
        leaf.encode("utf-8", "surrogatepass"),
        record_id=_text(line.get("recordId")),
        type=_text(line.get("type")),
    )


def _bad_line(path: str, number: int) -> CliError:
    return CliError(f"{path}, line {number}: this is no line of an export: it was altered", FAILED)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _print_report(report: Report, extra: list[Fault], *, as_json: bool, with_saved: bool) -> None:
    faults = [*report.faults, *extra]
    count = report.count + len(extra)
    root = None if report.root is None else report.root.hex()
    if as_json:
        emit(
            {
                "sound": count == 0,
                "leaves": report.leaves,
                "checkpoints": report.heads,
                "savedCheckpoints": report.saved,
                "marks": report.marks,
                "root": root,
                "faultCount": count,
                "faults": [{"seq": f.seq, "message": f.message} for f in faults],
            }
        )
        return
    for fault in faults:
        say(str(fault))
    if count > len(faults):
        say(f"and {count - len(faults)} more")
    kept = f"{report.leaves} records, {report.heads} signed checkpoints"
    if report.marks:
        say(
            f"{report.marks} records are marks: an erasure took identifiers out of them, so that what"
        )
        say("they said cannot be compared; their leaves, and the erasures they name, were")
    if count:
        say(f"NOT SOUND: {count} faults in {kept}")
        say("keep what you have as it is, and compare it with a backup")
        return
    say(f"sound: {kept}, root {root}")
    if with_saved:
        say(f"it extends the {report.saved} checkpoints you saved")
    else:
        say("a ledger that was cut off at its end looks like this too: save what")
        say("`consentry ledger checkpoint` prints elsewhere, and give it with --checkpoint")


# -- keys -----------------------------------------------------------------------------------


def _keys(texts: Iterable[str]) -> list[VerifyKey]:
    return [_key(text) for text in texts]


def _key(text: str) -> VerifyKey:
    """A public key, from its text or a file that holds it; a private key gives its public half."""
    from consentry.ledger.note import NoteError, SigningKey, VerifyKey

    found = _text_of(text) if os.path.isfile(text) else text
    try:
        if found.startswith("PRIVATE+KEY+"):
            return SigningKey.from_text(found.strip()).verify_key
        return VerifyKey.from_text(found.strip())
    except NoteError as error:
        raise CliError(f"--key: {error}: give name+id+key or a file with it", USAGE) from None


def _key_beside(path: str) -> VerifyKey:
    """The store's own key: whoever altered the store could have altered it too, so it is said."""
    from consentry.opening import key_path

    beside = (path + PUBLIC_KEY, str(key_path(Path(path))))
    found = next((name for name in beside if os.path.isfile(name)), None)
    if found is None:
        raise CliError(
            f"there is no key beside {path}: give the public key with --key", CONFIGURATION
        )
    note(f"checked with the key in {found}: --key takes one that you kept elsewhere")
    return _key(found)


def _text_of(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return file.read(1_000_001)


# -- export -----------------------------------------------------------------------------------


@command.command("export")
@config_option
@store_option
@server_url_option
@click.option("--first", type=click.IntRange(min=0), default=0, help="Begin at this seq.")
@output_option
@click.option("--json", "as_json", is_flag=True, help="JSON Lines; it is the only format.")
def export_command(
    config_path: str | None,
    store_path: str | None,
    server_url: str,
    first: int,
    output_path: str | None,
    as_json: bool,
) -> None:
    """Write the ledger's leaves as JSON Lines, and last the checkpoint that signs them.

    A leaf holds no identifier. Whoever gets the file can check it with nothing of ours but
    the public key: consentry ledger verify --export FILE --key VKEY. Asks the server, or
    reads the file that --config or --store names.
    """
    offline = config_path is not None or store_path is not None
    with ExitStack() as stack:
        if offline:
            ledger = stack.enter_context(closing(_opened(store_file(config_path, store_path))))
            lines = _lines_of_file(ledger, first)
        else:
            lines = _lines_of_server(server_at(server_url), first)
        out = sys.stdout if output_path is None else stack.enter_context(new_file(output_path))
        for line in lines:
            out.write(json.dumps(line, separators=(",", ":")) + "\n")
    if output_path is not None:
        note(
            f"wrote {output_path}: check it with `consentry ledger verify --export {output_path} --key VKEY`"
        )


@command.command("checkpoint")
@config_option
@store_option
@server_url_option
@json_option
def checkpoint_command(
    config_path: str | None, store_path: str | None, server_url: str, as_json: bool
) -> None:
    """Print the latest signed checkpoint, to be saved where this machine cannot alter it.

    Given to `ledger verify --checkpoint` later, it shows that nothing of today was removed.
    """
    if config_path is not None or store_path is not None:
        with closing(_opened(store_file(config_path, store_path))) as ledger:
            signed = ledger.newest_note()
        if signed is None:
            raise CliError("the ledger is empty: there is no checkpoint yet")
    else:
        signed = server_at(server_url).text("/v1/ledger/checkpoint")
    if as_json:
        emit({"checkpoint": signed})
    else:
        click.echo(signed, nl=False)


def _opened(path: str) -> LedgerFile:
    from consentry.cli.ledger_file import LedgerFile

    return LedgerFile(path)


def _lines_of_file(ledger: LedgerFile, first: int) -> Iterator[dict[str, Any]]:
    signed = ledger.newest_note()
    size = _size_of(signed)
    for entry in ledger.entries(first):
        if entry.seq >= size:
            break
        yield {
            "seq": entry.seq,
            "recordId": entry.record_id,
            "type": entry.type,
            "leaf": entry.leaf.decode("utf-8", "surrogateescape"),
        }
    if signed is not None:
        yield {"checkpoint": signed}


def _lines_of_server(server: Any, first: int) -> Iterator[dict[str, Any]]:
    """The checkpoint is asked for first, so that it covers every leaf that is written."""
    signed: str = server.text("/v1/ledger/checkpoint")
    size, came = _size_of(signed), 0
    if size > first:
        for line in server.lines("/v1/ledger", first=first):
            if line.get("seq") != first + came:
                raise CliError("the server left out a record: verify its store", UNREACHABLE)
            yield line
            came += 1
            if first + came == size:
                break
    if came < size - first:
        raise CliError("the server's answer was cut off: export again", UNREACHABLE)
    yield {"checkpoint": signed}


def _size_of(signed: str | None) -> int:
    """How many leaves a checkpoint says it covers; it is verified by whoever checks the file."""
    lines = (signed or "").split("\n")
    text = lines[1] if len(lines) > 1 else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 19 else 0
