"""Checksums of pages: who gets them, and what becomes of a store that has none or cannot have any."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from consentry.ports import Commit, Reply, StoreError
from consentry.store import pages, sqlite_open
from consentry.store.sqlite import SqliteStore
from consentry.store.sqlite_open import PAGE_BYTES
from tests.store.conformance import put_events, put_records
from tests.store.makers import Clock, account, choice, event, notary

ANN = account("ann")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "store.db")


def opened(path: str) -> SqliteStore:
    return SqliteStore.open(path, notary(), clock=Clock())


async def fill(path: str) -> None:
    """Records, events, and kept replies of which the first is gone: rows have places of their own."""
    with closing(opened(path)) as store:
        for n in range(20):
            await put_records(store, choice(f"r{n}", ANN))
            await put_events(store, *[event(f"m{n}-{i}") for i in range(5)])
            await store.commit(Commit(replies=(Reply(f"k{n}", b"", 201, b"{}"),)))


def without_sums(path: str) -> None:
    """As versions before this one wrote it, with an erasure that has looked at 18 rows."""
    old = f"{path}.old"
    with closing(apsw.Connection(old, vfs="unix")) as db:
        db.execute(f"PRAGMA page_size={PAGE_BYTES}")
        db.execute("ATTACH ? AS now", (path,))
        for made in ("table", "index"):
            sql = "SELECT name, sql FROM now.sqlite_schema WHERE type = ? AND sql NOT NULL"
            for name, create in db.execute(sql, (made,)).fetchall():
                db.execute(create)
                if made == "table":
                    db.execute(f"INSERT INTO main.{name} SELECT * FROM now.{name}")
        db.execute("DELETE FROM reply WHERE key IN ('k0', 'k1')")
        db.execute("INSERT INTO erasure (seq, record_id, asked_at, reply) VALUES (1, 'r1', 1, 18)")
        for header in ("application_id", "user_version"):
            number = db.execute(f"PRAGMA now.{header}").get
            db.execute(f"PRAGMA main.{header}={number}")
    os.replace(old, path)
    assert not sums(path)


def sums(path: str) -> bool:
    with closing(pages.connect(path)) as db:
        return pages.have_sums(db)


async def test_a_store_of_an_earlier_version_gets_its_checksums_once_and_keeps_everything(
    path: str,
) -> None:
    await fill(path)
    without_sums(path)
    with closing(opened(path)) as store:
        assert len(store.facts_of(ANN)) == 20
        assert len(list(store.ledger())) == 20
        assert store.position_of(event("m").source, "m19-4") == 99
        assert store.reply_to("k19") is not None
        (job,) = store.erasures.unfinished()
    assert sums(path)
    assert job.record_id == "r1"
    with closing(pages.connect(path)) as db:
        assert pages.read_all(db) is None
        # Rows are counted anew, so all of them are looked at again; and that is done once.
        assert db.execute("SELECT reply FROM erasure").get == 0
        db.execute("UPDATE erasure SET reply = 7")
    opened(path).close()
    with closing(pages.connect(path)) as db:
        assert db.execute("SELECT reply FROM erasure").get == 7


def test_a_database_larger_than_the_cache_gets_them_in_every_page(path: str) -> None:
    """Its first page, which says that there are checksums, is written after the others."""
    with closing(apsw.Connection(path, vfs="unix")) as db:
        db.execute(f"PRAGMA page_size={PAGE_BYTES}")
        db.execute("CREATE TABLE t (x)")
        db.executemany("INSERT INTO t VALUES (?)", [(bytes([n]) * 9_000,) for n in range(200)])
    with closing(pages.connect(path)) as db:
        db.execute("PRAGMA cache_size=10")
        pages.rebuild(db)
        assert db.execute("PRAGMA page_count").get > 100
    with closing(pages.connect(path)) as db:
        assert pages.have_sums(db)
        assert pages.read_all(db) is None
        assert db.execute("SELECT count(*), sum(length(x)) FROM t").fetchone() == (200, 1_800_000)


async def test_a_rebuilding_that_was_cut_off_is_taken_up_again(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between its two parts, when a large store has room for checksums and none in it."""
    with closing(opened(path)) as store:
        for n in range(40):
            await put_records(store, choice(f"r{n}", ANN))
            await put_events(store, *[event(body=b"x" * 50_000) for _ in range(10)])
    without_sums(path)

    def killed(db: apsw.Connection) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pages, "write_anew", killed)
        patched.setattr(sqlite_open, "CACHE_KIB", 100)
        with pytest.raises(KeyboardInterrupt):
            opened(path)
    with closing(pages.connect(path)) as db:
        assert pages.read_all(db) is not None
    with closing(opened(path)) as store:
        assert len(store.facts_of(ANN)) == 40
    with closing(pages.connect(path)) as db:
        assert pages.read_all(db) is None
        assert db.execute("SELECT count(*) FROM meta WHERE name = 'rebuilding'").get == 0


async def test_a_damaged_store_is_not_sealed(path: str) -> None:
    await fill(path)
    without_sums(path)
    content = bytearray(Path(path).read_bytes())
    page = content.rindex(b"m19-4") // PAGE_BYTES * PAGE_BYTES
    content[page + 8 : page + 40] = bytes(32)  # of its cells it no longer knows where they are
    Path(path).write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        opened(path)
    assert not sums(path)


def test_another_programs_database_is_left_as_it_is(path: str) -> None:
    with closing(apsw.Connection(path, vfs="unix")) as db:
        db.execute("CREATE TABLE t (x)")
    before = Path(path).read_bytes()
    with pytest.raises(StoreError, match="another program"):
        opened(path)
    assert len(Path(path).read_bytes()) == len(before)
    assert not sums(path)


@pytest.fixture
def no_extension(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    pages._checked.cache_clear()
    monkeypatch.setattr(apsw, "__file__", str(tmp_path / "elsewhere" / "apsw.so"))
    yield
    pages._checked.cache_clear()


@pytest.mark.usefixtures("no_extension")
def test_without_the_extension_nothing_is_opened(path: str) -> None:
    with pytest.raises(StoreError, match="install its wheel"):
        opened(path)


async def test_a_page_that_was_altered_is_an_error_in_words(path: str) -> None:
    await fill(path)
    content = bytearray(Path(path).read_bytes())
    content[content.rindex(b"m0-3")] ^= 1
    Path(path).write_bytes(content)
    with pytest.raises(StoreError, match="a page of the file is not what was written"):
        opened(path)


async def test_a_copy_larger_than_the_cache_has_them_in_every_page(path: str) -> None:
    """Also in those that were in the write-ahead log, where pages have none yet."""
    copy = f"{path}.copy"
    with closing(opened(path)) as store:
        for _ in range(40):
            await put_events(store, *[event(body=b"x" * 50_000) for _ in range(10)])
        await store.backup(copy)
    with closing(pages.connect(copy)) as db:
        assert pages.have_sums(db)
        assert pages.read_all(db) is None
        assert db.execute("PRAGMA page_count").get > 1_200
