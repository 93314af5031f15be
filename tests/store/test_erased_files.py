"""Whoever was erased is in no file of the store any more: the bytes are looked for."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from consentry.core.delivery import Grade
from consentry.core.order import OrderState
from consentry.core.record import Node
from consentry.erasures import Shredded
from consentry.flow.shred import Shredder
from consentry.ports import Commit, Progress, StoreError
from consentry.store import pages, sqlite_shred
from consentry.store.sqlite import SqliteStore
from tests.flow.stage import world
from tests.store.conformance_erasures import assert_tree_holds, erasure
from tests.store.makers import (
    NOW,
    Clock,
    account,
    choice,
    delivery,
    device,
    email,
    event,
    link,
    mail,
    notary,
    opt_in,
    order,
    reply,
)

PEOPLE = 60
ERASED = range(0, PEOPLE, 7)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = open_store(tmp_path)
    yield opened
    opened.close()


def open_store(folder: Path) -> SqliteStore:
    return SqliteStore.open(str(folder / "store.db"), notary(), clock=Clock())


def nodes_of(n: int) -> tuple[Node, ...]:
    return (
        account(f"account-number-{n:04}-of-somebody"),
        device(f"device-number-{n:04}-of-somebody"),
        email(f"address-number-{n:04}@shop.example"),
    )


async def crowd(store: SqliteStore, rounds: int = 3) -> None:
    """People who come again and again, so that rows are changed, moved and deleted."""
    for turn in range(rounds):
        for n in range(PEOPLE):
            await store.commit(_visit(n, turn))
        rows = tuple(
            delivery("ads", p, subject_key=f"u:account-number-{p % PEOPLE:04}-of-somebody")
            for p in range(turn * PEOPLE, (turn + 1) * PEOPLE)
        )
        await store.record_progress(Progress(destination="ads", position=0, put=rows))
        settled = tuple(range(0, (turn + 1) * PEOPLE, 2))
        await store.record_progress(Progress(destination="ads", position=0, settle=settled))


def _visit(n: int, turn: int) -> Commit:
    user, dev, address = nodes_of(n)
    name = f"{turn}-{n}"
    done = {"state": OrderState.TERMINAL, "grade": Grade.CONFIRMED}
    body = f'{{"userId":"{user.value}","traits":{{"email":"{address.value}"}}}}'.encode()
    said = choice(f"c{name}", user, dev, granted="ads")
    return Commit(
        records=(said, link(f"l{name}", (dev, user), (user, address))),
        events=(event(f"e{name}", nodes=(dev, user, address), body=body * 3),),
        replies=(reply(f"key of {user.value} {turn}", f'{{"recordId":"c{name}"}}'.encode()),),
        mails=(mail(f"m{name}", address),),
        opt_ins=(opt_in(f"o{name}", address),),
        orders=(order(f"x{name}", f"c{name}", user, dev, subject=(user,), **done),),
    )


def found_in(folder: Path, people: Iterable[int]) -> list[str]:
    """Where bytes of one of their identifiers lie."""
    needles = [node.value.encode() for n in people for node in nodes_of(n)]
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return [f"{name}: {n.decode()}" for name, data in files.items() for n in needles if n in data]


async def erase(store: SqliteStore, *people: int) -> None:
    records = tuple(erasure(f"gone-{n}", *nodes_of(n)) for n in people)
    await store.commit(Commit(records=records))


async def work(store: SqliteStore) -> Shredded:
    """Every job to its end."""
    for job in store.erasures.unfinished():
        part = Shredded()
        while not part.done:
            part = await store.erasures.shred(job.record_id, NOW)
        assert await store.erasures.finish(job.record_id)
    return part


async def test_no_file_holds_a_byte_of_whoever_was_erased(
    store: SqliteStore, tmp_path: Path
) -> None:
    await crowd(store)
    assert found_in(tmp_path, ERASED)
    await erase(store, *ERASED)
    await work(store)
    assert found_in(tmp_path, ERASED) == []
    others = set(range(PEOPLE)) - set(ERASED)
    assert len(found_in(tmp_path, others)) >= 3 * len(others)
    assert_tree_holds(store)
    copy = tmp_path / "copies" / "copy.db"
    copy.parent.mkdir()
    await store.backup(str(copy))
    assert found_in(copy.parent, ERASED) == []


async def test_a_reader_in_the_way_is_said_and_waited_for(
    store: SqliteStore, tmp_path: Path
) -> None:
    await crowd(store, 1)
    await erase(store, 0)
    part = Shredded()
    while not part.done:
        part = await store.erasures.shred("gone-0", NOW)

    reader = pages.connect(str(tmp_path / "store.db"))
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM record").fetchall()
    await store.commit(Commit(records=(choice("new", account("somebody else")),)))
    assert not await store.erasures.finish("gone-0")
    assert [one.record_id for one in store.erasures.unfinished()] == ["gone-0"]
    reader.execute("COMMIT")
    assert await store.erasures.finish("gone-0")
    assert found_in(tmp_path, [0]) == []
    reader.close()


async def test_a_part_is_small(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever came often is erased in many parts; in between others are served."""
    monkeypatch.setattr(sqlite_shred, "RECORDS", 5)
    monkeypatch.setattr(sqlite_shred, "GROUP_BYTES", 1)
    user = account("a regular")
    for n in range(23):
        made = choice(f"r{n}", user, granted="ads")
        await store.commit(Commit(records=(made,), events=(event(nodes=(user,)),)))
    await store.commit(Commit(records=(erasure("gone", user),)))
    parts = []
    while not parts or not parts[-1].done:
        parts.append(await store.erasures.shred("gone", NOW))
        assert (await store.commit(Commit(events=(event(nodes=(account("bob"),)),)))).positions
    assert [p.records for p in parts[:5]] == [5, 5, 5, 5, 3]
    assert sum(p.events for p in parts) == 23
    assert max(p.events for p in parts) == 1
    assert len(parts) < 40, "what comes meanwhile is not looked through"


async def test_a_record_that_cannot_be_read_goes_too(store: SqliteStore, tmp_path: Path) -> None:

    user = account("somebody")
    await store.commit(Commit(records=(choice("r0", user, granted="ads"),)))
    db = pages.connect(str(tmp_path / "store.db"))
    db.execute("UPDATE record SET body = x'ff00ff'")
    db.close()
    await store.commit(Commit(records=(erasure("gone", user),)))
    assert (await store.erasures.shred("gone", NOW)).records == 1
    found = store.record("r0")
    assert found is not None
    assert found.record.erased_by == "gone"


# -- kill -9 ----------------------------------------------------------------------------------------
async def _work_until_killed(folder: str) -> None:
    sqlite_shred.RECORDS, sqlite_shred.GROUP_BYTES = 1, 1
    store = open_store(Path(folder))
    await crowd(store, 2)
    await erase(store, 0, 7)
    print("erasing", flush=True)
    await work(store)
    while True:
        time.sleep(1)


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.1])
async def test_a_job_that_was_killed_is_ended_by_the_next_process(
    tmp_path: Path, after_s: float
) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.store.test_erased_files", str(folder)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"erasing\n"
    time.sleep(after_s)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    store = open_store(folder)
    try:
        for node in nodes_of(7):
            assert [fact.record_id for fact in store.facts_of(node)][-1:] == ["gone-7"]
        await work(store)
        assert found_in(folder, [0, 7]) == []
        assert_tree_holds(store)
        assert not store.erasures.unfinished()
        with pytest.raises(StoreError):
            await store.backup(str(folder / "store.db"))
    finally:
        store.close()


if __name__ == "__main__":
    asyncio.run(_work_until_killed(sys.argv[1]))


async def test_an_erasure_that_does_not_say_of_whom_is_not_called_done(
    store: SqliteStore, tmp_path: Path
) -> None:
    await crowd(store, rounds=1)
    await erase(store, 3)
    db = pages.connect(str(tmp_path / "store.db"))
    db.execute("UPDATE record SET body = x'00' WHERE record_id = 'gone-3'")
    db.close()

    with pytest.raises(StoreError, match="who was erased"):
        await store.erasures.shred("gone-3", NOW)

    assert [job.record_id for job in store.erasures.unfinished()] == ["gone-3"]
    assert store.available
    await erase(store, 4)
    shredder = Shredder(await world(store=store), pause=0)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="cannot be read"):
        await to_its_end(shredder)
    assert [job.record_id for job in store.erasures.unfinished() if not job.erased] == ["gone-3"]


async def to_its_end(shredder: Shredder) -> None:
    while await shredder.step():
        pass
