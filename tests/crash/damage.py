"""One bit of a store's file that is not what was written, and what becomes of the answers."""

from __future__ import annotations

import random
import shutil
import struct
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from click.testing import CliRunner

from consentry.cli import main
from consentry.core.record import Node
from consentry.ledger.notary import Notary
from consentry.opening import signing_key
from consentry.ports import StoreError
from consentry.store import pages
from consentry.store.pages import SUM_BYTES
from consentry.store.sqlite import SqliteStore
from consentry.store.sqlite_open import PAGE_BYTES

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
    with closing(pages.connect(str(path))) as db:
        owners = dict(db.execute("SELECT name, tbl_name FROM sqlite_schema"))
        assert db.execute("PRAGMA page_size").get == PAGE_BYTES
        places = list(db.execute("SELECT name, pageno FROM dbstat"))
    content = path.read_bytes()
    written: dict[str, list[int]] = {}
    for name, page in places:
        offsets = range((page - 1) * PAGE_BYTES, page * PAGE_BYTES)
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


def flipped(store: Path, folder: Path, flip: Flip, *, summed: bool = False) -> Path:
    """A copy in which one bit is the other way round; ``summed``: and its page's checksum is right.

    The first is what a disk does, the second somebody who knows how the file is written.
    """
    copy = copied(store, folder)
    content = bytearray(copy.read_bytes())
    content[flip.offset] ^= 1 << flip.bit
    if summed:
        first = flip.offset - flip.offset % PAGE_BYTES
        last = first + PAGE_BYTES - SUM_BYTES
        content[last : last + SUM_BYTES] = checksum(bytes(content[first:last]))
    copy.write_bytes(content)
    return copy


def checksum(page: bytes) -> bytes:
    """Of all of a page but its last eight bytes (sqlite.org/cksumvfs.html)."""
    left = right = 0
    words = iter(struct.unpack(f"<{len(page) // 4}I", page))
    for one, other in zip(words, words, strict=True):
        left = (left + one + right) & 0xFFFF_FFFF
        right = (right + other + left) & 0xFFFF_FFFF
    return struct.pack("<II", left, right)


def everything(store: Path) -> tuple[str, ...]:
    """Every table that has pages with something in them."""
    with closing(pages.connect(str(store))) as db:
        found = db.execute("SELECT DISTINCT tbl_name FROM sqlite_schema WHERE rootpage > 0")
        return tuple(str(name) for (name,) in found)


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
