"""How fast the SQLite store is, as ratios to a bare file on the same disk in the same run.

    python bench/store.py [--rounds 5] [--events 20000] [--folder PATH] [--known 0]

Prints, for commits of 1, 10, 100 and 1,000 events: durable events per second of a loop of
append and fdatasync, of the store with one caller, and of the store with 16 callers, and the
median of the rounds' ratios. Then microseconds for the reads of a decision. ``--known`` fills the
store with so many events before, because the index of message ids grows with them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count, islice
from statistics import median

from consentry.core.record import Fact, FactKind, Node, NodeKind
from consentry.ledger.entry import Record, RecordType
from consentry.ledger.notary import Notary
from consentry.ledger.note import SigningKey
from consentry.ports import Commit, StoredEvent
from consentry.store.sqlite import SqliteStore

BODY = b'{"type":"track","properties":{"x":"' + b"y" * 990 + b'"}}'
NOW = 1_790_000_000_000_000
_numbers = count()


def new_event() -> StoredEvent:
    n = next(_numbers)
    return StoredEvent(
        message_id=f"ajs-next-{n:032x}",
        source="web",
        type="track",
        name="Seen",
        nodes=(Node(NodeKind.DEVICE, f"d-{n % 1000}"), Node(NodeKind.ACCOUNT, f"u-{n % 500}")),
        received_at=NOW + n,
        made_at=NOW + n,
        granted=("ads", "analytics"),
        stated=("ads", "analytics", "mail"),
        policy_id=1,
        allowed=7,
        record_id=None,
        integrations=None,
        body=BODY,
        corrected_at=NOW + n,
    )


def new_record(n: int, subjects: int) -> Record:
    node = Node(NodeKind.DEVICE, f"d-{n % subjects}")
    account = Node(NodeKind.ACCOUNT, f"u-{n % subjects}")
    record_id = f"rec_{n:024x}"
    fact = Fact(FactKind.CHOICE, record_id, NOW + n, NOW + n, ("ads",), ("analytics", "mail"))
    return Record(
        record_id=record_id,
        type=RecordType.CHOICE,
        received_at=NOW + n,
        salt=os.urandom(32),
        subject=(node, account),
        after={"ads": "granted", "analytics": "denied", "mail": "denied"},
        facts=((node, fact), (account, fact)),
        links=((node, account),),
    )


def parts(events: list[StoredEvent], size: int) -> Iterator[tuple[StoredEvent, ...]]:
    left = iter(events)
    while part := tuple(islice(left, size)):
        yield part


def bare_file(folder: str, size: int, total: int) -> float:
    """Events per second of a loop that appends ``size`` bodies and waits for the disk."""
    part = BODY * size
    file = os.open(f"{folder}/bare.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_TRUNC)
    started = time.perf_counter()
    for _ in range(total // size):
        os.write(file, part)
        os.fdatasync(file)
    taken = time.perf_counter() - started
    os.close(file)
    return total / taken


async def store_events(store: SqliteStore, size: int, total: int, callers: int) -> float:
    """Events per second that so many callers make durable, each waiting for its own."""
    waiting = parts([new_event() for _ in range(total)], size)

    async def call() -> None:
        for part in waiting:
            await store.commit(Commit(events=part))

    started = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(callers)))
    return total / (time.perf_counter() - started)


def microseconds(call: Callable[[int], object], times: int) -> float:
    """Microseconds for one call: the median of five runs."""
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        for n in range(times):
            call(n)
        taken.append((time.perf_counter() - started) / times * 1e6)
    return median(taken)


async def writes(store: SqliteStore, folder: str, rounds: int, events: int) -> None:
    print("events/commit   bare file/s   store/s (1 caller)  ratio   store/s (16 callers)  ratio")
    for size in (1, 10, 100, 1000):
        total = min(events, size * 1000)
        figures = []
        for _ in range(rounds):
            bare = bare_file(folder, size, total)
            alone = await store_events(store, size, total, 1)
            many = await store_events(store, size, total, 16)
            figures.append((bare, alone, alone / bare, many, many / bare))
        bare, alone, ratio, many, ratio_many = (median(f) for f in zip(*figures, strict=True))
        print(
            f"{size:13,}   {bare:11,.0f}   {alone:18,.0f}  {ratio:5.2f}   "
            f"{many:20,.0f}  {ratio_many:5.2f}"
        )


async def reads(store: SqliteStore) -> None:
    subjects, records = 2_000, 8_000
    given = [new_record(n, subjects) for n in range(records)]
    started = time.perf_counter()
    for first in range(0, records, 50):
        await asyncio.gather(
            *(store.commit(Commit(records=(r,))) for r in given[first : first + 50])
        )
    print(f"records/s, 50 callers: {records / (time.perf_counter() - started):,.0f}")
    nodes = [Node(NodeKind.DEVICE, f"d-{n}") for n in range(subjects)]
    nobody = [Node(NodeKind.DEVICE, f"nobody-{n}") for n in range(subjects)]
    for name, call in (
        ("facts_of, 4 facts", lambda n: store.facts_of(nodes[n])),
        ("facts_of, none", lambda n: store.facts_of(nobody[n])),
        ("links_of, 1 link", lambda n: store.links_of(nodes[n])),
        ("merges_of, none", lambda n: store.merges_of(f"u-{n}")),
        ("position_of, unknown", lambda n: store.position_of("web", f"x-{n}")),
    ):
        print(f"{name:22} {microseconds(call, subjects):6.1f} us")
    taken = 0.0
    for n in range(500):  # the first read after a commit finds the page cache emptied
        await store.commit(Commit(events=(new_event(),)))
        started = time.perf_counter()
        store.facts_of(nodes[n])
        taken += time.perf_counter() - started
    print(f"facts_of after a write {taken / 500 * 1e6:6.1f} us")


async def bench(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        notary = Notary("bench", SigningKey.generate("bench.example/ledger"))
        store = SqliteStore.open(f"{folder}/store.db", notary, clock=lambda: NOW)
        for _ in range(arguments.known // 2000):
            await store.commit(Commit(events=tuple(new_event() for _ in range(2000))))
        await writes(store, folder, arguments.rounds, arguments.events)
        await reads(store)
        store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--known", type=int, default=0)
    parser.add_argument("--folder", default=None, help="where to write; the system's default")
    asyncio.run(bench(parser.parse_args()))


if __name__ == "__main__":
    main()
