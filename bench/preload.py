"""Stores with many subjects or many events, made once by the product and kept between runs.

Each subject is a device with one choice on the ledger. The records are what the consent API
would have written: one is made by the product's own flow, and the others differ from it in
subject, id, salt and time. They are committed in groups, with leaves, tree and signature.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import shutil
import time
from pathlib import Path

import msgspec

from bench.server import (
    BUILD,
    CATEGORIES,
    ENVIRONMENT,
    ROOT,
    Needs,
    config,
    consentry,
    post_events,
    sink,
    stop,
)
from consentry.clock import Clock
from consentry.config import load_config
from consentry.core.choice import Answer
from consentry.core.record import Node, NodeKind
from consentry.flow.records import Origin, Said, choice_record
from consentry.flow.subjects import Subjects
from consentry.flow.world import World
from consentry.ledger.entry import Record
from consentry.opening import open_store
from consentry.ports import Commit

GROUP = 5_000
FORMATS = (  # what shapes the stored bytes
    "src/consentry/store/migrations", "src/consentry/store/codec.py",
    "src/consentry/store/pages.py",
    "src/consentry/store/queries/sqlite_write.sql", "src/consentry/store/sqlite_write.py",
    "src/consentry/ledger/entry.py", "src/consentry/core/record.py",
    "src/consentry/core/merkle.py", "bench/preload.py",
)  # fmt: skip


def device(n: int) -> str:
    """The anonymous id of subject ``n``; the load scripts spell it the same."""
    return f"dev-{n:08d}"


def preloaded(subjects: int) -> Path:
    """A folder with a store of so many subjects; made now if there is none of today's format."""
    folder = BUILD / f"store-{_format()}-{subjects}"
    if not folder.exists():
        for stale in BUILD.glob(f"store-*-{subjects}"):
            shutil.rmtree(stale)
        began = time.monotonic()
        partial = BUILD / f"partial-{subjects}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        asyncio.run(_fill(partial, subjects))
        partial.rename(folder)
        print(f"preloaded {subjects:,} subjects in {time.monotonic() - began:.0f} s", flush=True)
    return folder


def _format() -> str:
    """Of everything that shapes the stored bytes: another format, another store."""
    digest = hashlib.sha256()
    for place in map(ROOT.joinpath, FORMATS):
        for file in [place] if place.is_file() else sorted(place.glob("*.*")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def queued(events: int, devices: int, needs: Needs) -> Path:
    """A folder with a store in which so many events wait for every destination."""
    place = hashlib.sha256(config("", needs=needs).encode()).hexdigest()[:8]
    folder = BUILD / f"queue-{_format()}-{place}-{events}"
    if not folder.exists():
        for stale in BUILD.glob(f"queue-*-{events}"):
            shutil.rmtree(stale)
        began = time.monotonic()
        with sink() as receiver:
            receiver.mode("hold")
            with consentry(receiver.base, None, needs) as running:
                post_events(running, "queued", events, devices)
                stop(running.process)
                keep = [f for f in running.folder.iterdir() if f.name.startswith("consentry.db")]
                partial = BUILD / f"partial-queue-{events}"
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
                for file in keep:
                    shutil.copy(file, partial / file.name)
        partial.rename(folder)
        print(f"queued {events:,} events in {time.monotonic() - began:.0f} s", flush=True)
    return folder


async def _fill(folder: Path, subjects: int) -> None:
    (folder / "consentry.toml").write_text(config("http://127.0.0.1:9"))
    os.environ.update(ENVIRONMENT)
    here = Path.cwd()
    os.chdir(folder)
    try:
        given = load_config("consentry.toml")
        clock = Clock()
        store, _ = open_store(given, clock)
    finally:
        os.chdir(here)
    world = World(store, Subjects(store), clock, given.policy, await store.policy_id(given.policy))
    first = _first_record(world)
    for start in range(0, subjects, GROUP):
        numbers = range(start, min(start + GROUP, subjects))
        records = tuple(_like(first, n, clock.now()) for n in numbers)
        await store.commit(Commit(records=records))
    store.close()
    (folder / "consentry.toml").unlink()


def _first_record(world: World) -> Record:
    now = world.clock.now()
    granted = frozenset(CATEGORIES[:5])
    said = Said(
        (Node(NodeKind.DEVICE, device(0)),),
        Answer(granted, frozenset(CATEGORIES) - granted),
        received_at=now,
        made_at=now,
        evidence={
            "action": "save", "surface": "banner", "noticeId": "main", "noticeVersion": "7",
            "language": "en", "page": "https://shop.example/catalogue/3/item-11",
        },
    )  # fmt: skip
    return choice_record(world, said, Origin("website", "public"))


def _like(record: Record, n: int, now: int) -> Record:
    node = Node(NodeKind.DEVICE, device(n))
    record_id = f"rec_{secrets.token_hex(16)}"
    replace = msgspec.structs.replace
    facts = tuple(
        (node, replace(fact, record_id=record_id, received_at=now, made_at=now))
        for _, fact in record.facts
    )
    return replace(
        record,
        record_id=record_id,
        received_at=now,
        made_at=now,
        salt=secrets.token_bytes(32),
        subject=(node,),
        facts=facts,
    )
