"""One bit of a store's file that is not what was written, and what becomes of the answers."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import msgspec
from click.testing import CliRunner

from consentry.cli import main
from consentry.core.record import Node
from consentry.ledger.notary import Notary
from consentry.opening import signing_key
from consentry.ports import StoreError
from consentry.store.sqlite import SqliteStore

LEDGER = ("record", "record_node", "fact", "link", "merge", "suppression", "checkpoint")
"""The tables that hold records, and what decisions read of them; their indexes as well."""


@dataclass(frozen=True, slots=True)
class Flip:
    """Bit ``bit`` of the byte at ``offset``, which belongs to ``table``."""

    table: str
    offset: int
    bit: int


def flips(path: Path, tables: tuple[str, ...], count: int, chance: random.Random) -> list[Flip]:
    """As many for each table, anywhere in its pages where something is written."""
    with apsw.Connection(str(path)) as db:
        owners = dict(db.execute("SELECT name, tbl_name FROM sqlite_schema"))
        size = db.execute("PRAGMA page_size").get
        pages = list(db.execute("SELECT name, pageno FROM dbstat"))
    db.close()
    content = path.read_bytes()
    written: dict[str, list[int]] = {}
    for name, page in pages:
        offsets = range((page - 1) * size, page * size)
        written.setdefault(owners.get(name, name), []).extend(n for n in offsets if content[n])
    return [
        Flip(table, chance.choice(written[table]), chance.randrange(8))
        for table in tables
        for _ in range(count)
    ]


def copied(store: Path, folder: Path) -> Path:
    """A copy of a store with its keys, in a folder that holds nothing else."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for beside in ("", ".keys", ".vkey"):
        shutil.copy(f"{store}{beside}", folder)
    return folder / store.name


def flipped(store: Path, folder: Path, flip: Flip) -> Path:
    """A copy in which one bit is the other way round."""
    copy = copied(store, folder)
    with copy.open("r+b") as file:
        file.seek(flip.offset)
        (byte,) = file.read(1)
        file.seek(flip.offset)
        file.write(bytes([byte ^ 1 << flip.bit]))
    return copy


def found_by_verify(store: Path) -> bool:
    """Whether `consentry ledger verify` says that something is wrong, in so many words."""
    done = CliRunner().invoke(main, ["ledger", "verify", "--store", str(store)])
    assert done.exit_code in (0, 1, 4), (done.exit_code, done.output, done.exception)
    assert done.exit_code != 4 or "cannot be read" in done.output or "no store" in done.output
    return done.exit_code != 0


def answers(store: Path, nodes: list[Node]) -> Any:
    """What the store tells of these identifiers and of its ledger; None if it says it is damaged."""
    try:
        opened = SqliteStore.open(str(store), Notary("Acme", signing_key(store, "Acme")), clock=int)
    except StoreError:
        return None
    try:
        return _told(opened, nodes)
    except StoreError:
        return None
    finally:
        opened.close()


def _told(store: SqliteStore, nodes: list[Node]) -> dict[str, Any]:
    return {
        "ledger": [
            (one.seq, msgspec.msgpack.encode(one.record), one.leaf) for one in store.ledger()
        ],
        "facts": [store.facts_of(node) for node in nodes],
        "links": [store.links_of(node) for node in nodes],
        "merges": [store.merges_of(node.value) for node in nodes],
        "history": [[one.seq for one in store.records_of([node])] for node in nodes],
        "suppressions": list(store.suppressions()),
        "checkpoint": store.checkpoint(),
        "newest": store.newest,
    }
