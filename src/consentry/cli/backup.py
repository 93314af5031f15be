"""`consentry backup`: a copy of a store while it is served, and the way back."""

from __future__ import annotations

import os
import time
from contextlib import closing

import click

from consentry.cli.group import UNREACHABLE, USAGE, CliError
from consentry.cli.options import config_option, json_option, store_file, store_option
from consentry.cli.output import emit, note, say

_COMPANIONS = ("-wal", "-shm")


@click.group("backup")
def command() -> None:
    """Copy a store while it is served, and restore a copy.

    The key that signs the ledger is a file of its own and is not part of a copy.
    """


@command.command("create")
@click.argument("target", type=click.Path(dir_okay=False))
@config_option
@store_option
@json_option
def create(target: str, config_path: str | None, store_path: str | None, as_json: bool) -> None:
    """Write a consistent, checked copy of the store to the new file TARGET."""
    path = store_file(config_path, store_path)
    end = _records_in(path)
    _copy(path, target)
    _tell(f"copied {path} to {target}", target, as_json)
    if _records_in(target) < end:
        raise CliError(f"{target} holds fewer records than {path} did: do not rely on it")


@command.command("restore")
@click.argument("source", type=click.Path(exists=True, dir_okay=False))
@config_option
@store_option
@click.option("--replace", is_flag=True, help="Set an existing store aside, under a new name.")
@json_option
def restore(
    source: str,
    config_path: str | None,
    store_path: str | None,
    replace: bool,
    as_json: bool,
) -> None:
    """Put the copy SOURCE in the store's place. The server must be stopped.

    Choices and withdrawals that came after the copy was made are not in it.
    """
    from consentry.ports import StoreError
    from consentry.store.lock import StoreLock

    path = store_file(config_path, store_path)
    _records_in(source)
    try:
        lock = StoreLock(path)
    except StoreError as error:
        raise CliError(str(error), UNREACHABLE) from None
    try:
        aside = _set_aside(path, replace)
        try:
            _copy(source, path)
        except BaseException:
            _put_back(path, aside)
            raise
    finally:
        lock.release()
    if aside is not None:
        note(f"the store that was there is now {aside}")
    note("what was chosen or withdrawn after the copy was made is not in it")
    _tell(f"restored {path} from {source}", path, as_json)


def _copy(source: str, target: str) -> None:
    from consentry.ports import StoreError
    from consentry.store.sqlite_open import copy

    if os.path.exists(target):
        raise CliError(f"{target} exists already: name a new file", USAGE)
    try:
        copy(source, target)
    except StoreError as error:
        raise CliError(str(error), UNREACHABLE) from None


def _records_in(path: str) -> int:
    from consentry.cli.ledger_file import LedgerFile

    with closing(LedgerFile(path)) as ledger:
        return ledger.end


def _set_aside(path: str, replace: bool) -> str | None:
    """Where the store that stood at ``path`` is now; None when there was none."""
    if not any(os.path.exists(path + suffix) for suffix in ("", *_COMPANIONS)):
        return None
    if not replace:
        raise CliError(f"there is a store at {path}: --replace sets it aside", USAGE)
    aside = f"{path}.replaced-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    if os.path.exists(aside):
        raise CliError(f"{aside} exists already: try again in a second", USAGE)
    _move(path, aside)
    return aside


def _put_back(path: str, aside: str | None) -> None:
    if aside is not None and not os.path.exists(path):
        _move(aside, path)


def _move(path: str, to: str) -> None:
    """A database with what may stand beside it: a write-ahead log holds committed records.

    Left behind, it would be taken for that of the database which comes in its place.
    """
    for suffix in ("", *_COMPANIONS):
        if os.path.exists(path + suffix):
            os.rename(path + suffix, to + suffix)


def _tell(text: str, path: str, as_json: bool) -> None:
    records, size = _records_in(path), os.path.getsize(path)
    if as_json:
        emit({"path": path, "records": records, "bytes": size})
    else:
        say(f"{text}: {records} records, {size} bytes, checked")
