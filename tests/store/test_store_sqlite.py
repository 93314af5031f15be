"""The store in one SQLite file: the port's meaning, and what only a file can do or suffer."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from consentry.core.moment import SECOND
from consentry.core.policy import Policy
from consentry.core.record import FactKind
from consentry.orders import Tried
from consentry.ports import (
    Commit,
    Pause,
    Progress,
    Store,
    StoreError,
    StoreLocked,
    StoreRefused,
    StoreUnavailable,
)
from consentry.store import pages, sqlite_write
from consentry.store.messages import NewestMessages
from consentry.store.recent import Group, RecentGroups
from consentry.store.sqlite import SqliteStore
from consentry.store.sqlite_open import TRUSTED_LINKS
from consentry.store.statements import migrations, queries
from consentry.store.writer import MOST_WAITING_BYTES, GroupWriter
from tests.store.conformance import (
    StoreConformance,
    assert_ledger_is_proven,
    ids,
    put_events,
    put_records,
)
from tests.store.makers import (
    LONG_AGO,
    NOW,
    Clock,
    account,
    attempt,
    choice,
    delivery,
    device,
    event,
    link,
    merge,
    notary,
    order,
    record,
    reply,
    word,
)

ANN, DEV = account("ann"), device("dev")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "store.db")


def open_store(path: str) -> SqliteStore:
    return SqliteStore.open(path, notary(), clock=Clock())


@pytest.fixture
def store(path: str, clock: Clock) -> Iterator[SqliteStore]:
    opened = SqliteStore.open(path, notary(), clock=clock)
    yield opened
    opened.close()


class TestSqliteStore(StoreConformance):
    """All of it again, with a file."""


async def fill(store: Store) -> None:
    """Something of everything."""
    await store.policy_id(Policy("shop"))
    await store.commit(
        Commit(
            records=(
                choice("r0", ANN, DEV, granted="ads"),
                link("r1", (DEV, ANN)),
                merge("r2", "ann", "anne"),
                word("r3", FactKind.SUPPRESS, NOW, ANN),
            ),
            events=(event("m0"), event("m1")),
            replies=(reply("k"),),
            notices=(("0a", "text"),),
        )
    )
    await store.commit(Commit(records=(record("r4"),), events=(event("m2"),)))
    await store.put_pause(Pause("ads", "401", NOW))
    await store.record_progress(
        Progress(
            destination="ads",
            position=2,
            attempts=(attempt(0), attempt(1)),
            put=(delivery("ads", 1, "dead"),),
        )
    )


def everything(store: Store) -> list[object]:
    """What the store answers to every question."""
    return [
        list(store.ledger()), store.checkpoint(), store.newest, store.end,
        store.facts_of(ANN), store.links_of(DEV), store.merges_of("anne"),
        list(store.suppressions()), store.records_of([DEV]), store.record("r2"),
        store.reply_to("k"), store.notice("0a"), list(store.events_from(0, 99)),
        store.position_of("web", "m2"), store.event_at(1), store.position_for("ads"),
        list(store.deliveries()), list(store.attempts_at(1)), store.pauses(), store.policy(1),
        list(store.attempted_from("ads", 0)),
    ]  # fmt: skip


# -- opening ------------------------------------------------------------------------------
async def test_a_store_that_is_opened_again_gives_the_same_answers(path: str) -> None:
    store = open_store(path)
    await fill(store)
    before = everything(store)
    store.close()
    again = open_store(path)
    assert everything(again) == before
    assert await again.policy_id(Policy("shop")) == 1
    assert (await put_events(again, event("m1"), event("m3"))).positions == (None, 3)
    assert (await again.commit(Commit(records=(record("r5"),)))).seqs == (5,)
    assert_ledger_is_proven(again)
    again.close()


async def test_positions_are_not_used_again_after_everything_was_pruned(path: str) -> None:
    store = open_store(path)
    for n in range(3):
        await put_events(store, event(f"old-{n}", received_at=LONG_AGO + n))
    row = delivery("ads", 0, "waiting")
    await store.record_progress(Progress(destination="ads", position=3, put=(row,)))
    await store.prune(events_before=NOW, attempts_before=NOW, dead_before=NOW)
    await store.record_progress(Progress(destination="ads", position=3, settle=(0,)))
    await store.prune(events_before=NOW, attempts_before=NOW, dead_before=NOW)
    store.close()
    again = open_store(path)
    assert (again.end, again.newest, list(again.events_from(0, 9))) == (3, LONG_AGO + 2, [])
    again.close()


def test_a_second_one_is_refused_until_the_first_is_closed(path: str) -> None:
    first = open_store(path)
    with pytest.raises(StoreLocked, match=r"another process serves the store.*stop it first"):
        open_store(path)
    first.close()
    open_store(path).close()


def test_only_the_owner_may_read_its_files(path: str, store: SqliteStore) -> None:
    folder = os.path.dirname(path)
    assert {os.stat(f"{folder}/{name}").st_mode & 0o777 for name in os.listdir(folder)} == {0o600}


def test_a_failed_opening_lets_go_of_the_lock(path: str) -> None:
    Path(path).write_bytes(b"this is no database at all, and it is long enough to see it" * 99)
    for _ in range(2):
        with pytest.raises(StoreError) as caught:
            open_store(path)
        assert not isinstance(caught.value, StoreLocked)


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot open the store"):
        open_store(str(tmp_path / "nowhere" / "store.db"))


REFUSED = [
    ("a later schema", "PRAGMA user_version=99", "schema 99.*knows"),
    ("another program", "PRAGMA application_id=7", "another program"),
    ("a lost record", "DELETE FROM record WHERE seq = 4", "damaged"),
    ("a lost checkpoint", "DELETE FROM checkpoint WHERE size = 5", "damaged"),
    ("a changed root", "UPDATE checkpoint SET root = zeroblob(32)", "damaged"),
    ("unreadable events", "UPDATE event_group SET events = x'c1'", "cannot open"),
    ("a cut frontier", "UPDATE meta SET value = x'00' WHERE name = 'frontier'", "damaged"),
]


@pytest.mark.parametrize(("sql", "message"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED])
async def test_what_is_not_sound_is_not_opened(path: str, sql: str, message: str) -> None:
    store = open_store(path)
    await fill(store)
    store.close()
    db = pages.connect(path)
    db.execute(sql)
    db.close()
    with pytest.raises(StoreError, match=message):
        open_store(path)


async def test_a_record_that_cannot_be_read_is_an_error_and_not_silence(path: str) -> None:
    store = open_store(path)
    await fill(store)
    db = pages.connect(path)
    db.execute("UPDATE fact SET body = x'c1'")
    db.execute("UPDATE record SET body = x'c1' WHERE seq = 1")
    db.close()
    with pytest.raises(StoreError):
        store.facts_of(ANN)
    with pytest.raises(StoreError):
        store.links_of(DEV)
    with pytest.raises(StoreError):
        list(store.ledger())
    store.close()
    with pytest.raises(StoreError):
        store.facts_of(ANN)


# -- the file -----------------------------------------------------------------------------
async def test_a_commit_is_synced_before_it_returns(store: SqliteStore) -> None:
    assert store._write_db.execute("PRAGMA journal_mode").get == "wal"
    assert store._write_db.execute("PRAGMA synchronous").get == 2  # FULL
    assert store._write_db.execute("PRAGMA page_size").get >= 8192


async def test_indexes_hold_no_identifier(path: str, store: SqliteStore) -> None:
    person = account("somebody-very-particular")
    suppress = word("r1", FactKind.SUPPRESS, NOW, person)
    await store.commit(Commit(records=(link("r0", (person, DEV)), suppress)))
    db = pages.connect(path)
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type='table'")]
    holding = {
        table
        for table in tables
        for row in db.execute(f"SELECT * FROM {table}")
        if any(b"particular" in (c if isinstance(c, bytes) else str(c).encode()) for c in row)
    }
    db.close()
    assert holding == {"record"}


def test_queries_and_migrations_load() -> None:
    assert [step.number for step in migrations()] == list(range(1, len(migrations()) + 1))
    for name in ("sqlite_read", "sqlite_write"):
        loaded = queries(name)
        assert all(sql.endswith(";") for sql in loaded.values())
        assert not any("--" in sql for sql in loaded.values())


async def test_every_query_that_a_decision_or_a_worker_runs_uses_an_index(
    path: str, store: SqliteStore
) -> None:
    names = [
        "facts_of", "links_of", "trusted_links_of", "merges_of", "position_of", "group_at", "group_after",
        "deliveries_of", "deliveries_in", "count_rows", "attempts_at", "attempted_from", "seqs_of", "record", "suppressions",
    ]  # fmt: skip
    db = pages.connect(path)
    for name in names:
        sql = queries("sqlite_read")[name]
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", (None,) * _bound(sql))]
        assert not [step for step in plan if step.startswith("SCAN")], (name, plan)
    db.close()


def _bound(sql: str) -> int:
    numbered = [n for n in range(1, 9) if f"?{n}" in sql]
    return max(numbered) if numbered else sql.count("?")


async def test_links_that_were_there_before_it_was_asked_are_known_to_be_trusted(
    path: str, clock: Clock
) -> None:
    store = SqliteStore.open(path, notary(), clock=clock)
    ends = (account("ann"), device("dev"))
    said = link("r0", ends, (account("ben"), device("dev")))
    await put_records(store, msgspec.structs.replace(said, trust="public"))
    await put_records(store, msgspec.structs.replace(link("r1", ends[::-1]), trust="server"))
    store.close()
    db = pages.connect(path)
    db.execute("ALTER TABLE link DROP COLUMN trusted_seq")
    db.execute("DROP TABLE erasure")  # of a later step
    db.execute(f"PRAGMA user_version={TRUSTED_LINKS - 1}")
    db.close()
    store = SqliteStore.open(path, notary(), clock=clock)
    assert store.trusted_links_of(ends[0]) == (ends[1],)
    assert store.trusted_links_of(ends[1]) == (ends[0],)
    assert store.trusted_links_of(account("ben")) == ()
    assert set(store.links_of(ends[1])) == {ends[0], account("ben")}
    store.close()


# -- groups -------------------------------------------------------------------------------
async def test_callers_at_once_share_transactions(store: SqliteStore) -> None:
    await asyncio.gather(*(put_events(store, event(), event()) for _ in range(300)))
    assert store.end == 600
    assert store.transactions < 150


async def test_a_commit_larger_than_a_group_is_one_commit(store: SqliteStore) -> None:
    events = [event(f"m{n}") for n in range(5000)]
    small = [put_events(store, event()) for _ in range(3)]
    committed, *_ = await asyncio.gather(put_events(store, *events), *small)
    first = committed.positions[0]
    assert first is not None
    assert list(committed.positions) == list(range(first, first + 5000))
    assert [e.event for e in store.events_from(first, 5000)] == events


async def test_a_task_that_cannot_be_stored_spoils_only_itself(store: SqliteStore) -> None:
    bad = [event("\ud800"), event(integrations={"a": object()}), event(received_at=1 << 70)]
    commits = [put_events(store, each) for each in (*bad, event("m0"), event("m1"))]
    results = await asyncio.gather(*commits, return_exceptions=True)
    assert all(isinstance(result, StoreRefused) for result in results[:3])
    assert store.available
    assert [e.event.message_id for e in store.events_from(0, 9)] == ["m0", "m1"]


async def test_a_caller_that_goes_away_leaves_the_others_alone(store: SqliteStore) -> None:
    tasks = [asyncio.create_task(put_events(store, event(f"m{n}"))) for n in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results[::2])
    assert not any(isinstance(result, BaseException) for result in results[1::2])
    for n in range(1, 20, 2):
        assert store.position_of("web", f"m{n}") is not None


async def test_too_much_that_waits_is_refused_and_not_kept() -> None:
    held = threading.Event()
    writer = GroupWriter(lambda tasks: [held.wait(10) for _ in tasks], lambda: None)
    first = asyncio.create_task(writer.submit("a", size=MOST_WAITING_BYTES))
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable, match="too much is waiting"):
        await writer.submit("b", size=1)
    held.set()
    assert await first is True
    assert await writer.submit("c", size=1) is True
    writer.close()


class Held:
    """Runs nothing until it is let go; ``groups`` are what it was then given."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()
        self.groups: list[list[object]] = []

    def __call__(self, tasks: Sequence[object]) -> list[object]:
        self.begun.set()
        assert self.go.wait(10)
        self.groups.append(list(tasks))
        return list(tasks)


async def in_groups(asked: list[tuple[str, int, bool]]) -> list[list[object]]:
    """What groups are made of tasks (name, count, urgent) that came while one was written."""
    held = Held()
    writer = GroupWriter(held, lambda: None)
    waiting = [asyncio.create_task(writer.submit("first"))]
    await asyncio.to_thread(held.begun.wait, 10)
    for name, count, urgent in asked:
        waiting.append(asyncio.create_task(writer.submit(name, count, urgent=urgent)))
    await asyncio.sleep(0)
    held.go.set()
    assert await asyncio.gather(*waiting) == ["first", *(name for name, _, _ in asked)]
    writer.close()
    return held.groups[1:]


async def test_what_is_urgent_overtakes_what_waits_and_keeps_its_order() -> None:
    events = [(f"e{n}", 1500, False) for n in range(3)]
    groups = await in_groups([*events, ("c0", 1, True), ("c1", 1, True)])
    assert groups == [["c0", "c1", "e0"], ["e1"], ["e2"]]


async def test_a_flood_of_what_is_urgent_does_not_stop_the_rest() -> None:
    groups = await in_groups([("e0", 900, False), *((f"c{n}", 600, True) for n in range(3))])
    assert groups == [["c0", "e0"], ["c1"], ["c2"]]


async def test_a_choice_is_written_before_events_that_waited(store: SqliteStore) -> None:
    order: list[str] = []

    async def put(name: str, commit: Commit) -> None:
        await store.commit(commit)
        order.append(name)

    many = [Commit(events=tuple(event() for _ in range(1500))) for _ in range(8)]
    tasks = [asyncio.create_task(put("events", commit)) for commit in many]
    tasks.append(asyncio.create_task(put("choice", Commit(records=(choice("r0", ANN),)))))
    await asyncio.gather(*tasks)
    assert order.index("choice") <= 2  # at most what was being written when it came


async def test_close_writes_what_was_queued(path: str) -> None:
    store = open_store(path)
    tasks = [asyncio.create_task(put_events(store, event())) for _ in range(50)]
    await asyncio.sleep(0)
    store.close()
    assert not os.path.exists(f"{path}-wal")
    await asyncio.gather(*tasks)
    again = open_store(path)
    assert again.end == 50
    again.close()


# -- the cache of groups ------------------------------------------------------------------
def test_recent_groups_are_bounded_and_the_least_asked_goes() -> None:
    recent = RecentGroups(most_events=6, most_bytes=1 << 30)
    groups = [Group(first, (event(), event()), 0) for first in (0, 2, 4)]
    for group in groups:
        recent.add(group)
    assert recent.at(0) is recent.at(1) is groups[0]
    recent.add(Group(6, (event(),), 0))
    assert (recent.at(2), recent.at(3)) == (None, None)
    assert recent.at(4) is groups[2]
    assert recent.at(7) is None
    recent.forget(4)
    recent.forget(4)
    assert recent.at(5) is None
    big = Group(10, tuple(event() for _ in range(9)), 0)
    recent.add(big)
    assert recent.at(18) is big
    assert recent.at(0) is None


async def test_events_are_read_from_the_file_when_the_cache_forgot(path: str) -> None:
    store = open_store(path)
    for n in range(40):
        await put_events(store, *(event(f"m{n}-{m}") for m in range(n % 4 + 1)))
    kept = list(store.events_from(0, 1000))
    store.close()
    again = open_store(path)
    assert list(again.events_from(0, 1000)) == kept
    assert list(again.events_from(33, 5)) == kept[33:38]
    assert again.event_at(50) == kept[50].event
    again.close()


# -- message ids --------------------------------------------------------------------------
def key(n: int) -> bytes:
    return n.to_bytes(2, "big") + bytes(14)


def test_keys_move_to_the_table_in_rounds_and_none_is_lost() -> None:
    newest = NewestMessages([], 0, most_keys=1000)
    table: dict[bytes, int] = {}
    indexed_to = end = 0
    rng = random.Random(7)
    for _ in range(300):
        new = [(rng.randbytes(16), end + n) for n in range(rng.randrange(1, 60))]
        due = newest.due(len(new), end)
        table.update(due.rows)
        newest.committed(due, new)
        end += len(new)
        if due.indexed_to is not None:
            assert indexed_to < due.indexed_to <= end
            indexed_to = due.indexed_to
        for message, position in new:
            assert newest.position(message) == position
    assert indexed_to > 5_000
    assert newest.kept <= 1000
    assert newest.kept + len(table) == end
    # What a restart does not read from the log again is in the table.
    assert set(range(indexed_to)) <= set(table.values())


def test_one_large_commit_moves_all_there_is_at_most() -> None:
    newest = NewestMessages([(key(n << 4), n) for n in range(4096)], 4096, most_keys=10)
    due = newest.due(5000, 4096)
    assert len(due.rows) == 4096
    assert due.indexed_to == 4096
    newest.committed(due, [])
    assert newest.kept == 0


def test_a_pruned_key_is_forgotten() -> None:
    newest = NewestMessages([(key(1), 0), (key(2), 1)], 2)
    newest.forget([key(1), key(3), key(1)])
    assert (newest.position(key(1)), newest.position(key(2)), newest.kept) == (None, 1, 1)


async def test_message_ids_are_known_wherever_their_keys_are(path: str) -> None:
    accepted = 0
    for _ in range(3):
        store = SqliteStore.open(path, notary(), clock=Clock(), keys_in_memory=100)
        for _ in range(12):
            given = [event(f"m{accepted + n}") for n in range(17)]
            assert (await put_events(store, *given, *given)).positions == (
                *range(accepted, accepted + 17), *[None] * 17,
            )  # fmt: skip
            accepted += 17
        for n in range(accepted):
            assert store.position_of("web", f"m{n}") == n
        repeated = await put_events(store, *(event(f"m{n}") for n in range(accepted)))
        assert set(repeated.positions) == {None}
        store.close()


# -- when the disk fails ------------------------------------------------------------------
async def test_a_full_disk_refuses_everybody_writes_nothing_and_is_got_over(path: str) -> None:
    store = open_store(path)
    await fill(store)
    before = everything(store)
    pages = store._write_db.execute("PRAGMA page_count").get
    store._write_db.execute(f"PRAGMA max_page_count={pages + 1}")
    big = [
        Commit(records=(choice(f"new-{n}", ANN),), events=(event(f"new-{n}", body=b"x" * 90_000),))
        for n in range(5)
    ]
    results = await asyncio.gather(*map(store.commit, big), return_exceptions=True)
    assert all(isinstance(result, StoreUnavailable) for result in results)
    assert len({id(result) for result in results}) == 5
    assert not store.available
    assert everything(store) == before
    store._write_db.execute("PRAGMA max_page_count=1000000")
    committed = await store.commit(big[0])
    assert (committed.seqs, committed.positions) == ((5,), (3,))
    assert store.available
    assert_ledger_is_proven(store)
    store.close()
    again = open_store(path)
    assert (again.end, again.position_of("web", "new-1")) == (4, None)
    assert_ledger_is_proven(again)
    again.close()


async def test_it_notices_by_itself_that_the_disk_has_room_again(path: str) -> None:
    store = open_store(path)
    pages = store._write_db.execute("PRAGMA page_count").get
    store._write_db.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreUnavailable):
        await put_events(store, event(body=b"x" * 600_000))
    assert not store.available
    store._write_db.execute("PRAGMA max_page_count=1000000")
    async with asyncio.timeout(5):
        while not store.available:
            await asyncio.sleep(0.02)
    store.close()


# -- upkeep -------------------------------------------------------------------------------
async def test_more_is_pruned_than_one_transaction_forgets(path: str, clock: Clock) -> None:
    store = SqliteStore.open(path, notary(), clock=clock)
    groups = 2 * sqlite_write.PRUNE_GROUPS + 3
    for n in range(groups):
        await put_events(store, event(f"m{n}", received_at=LONG_AGO), event(received_at=LONG_AGO))
    await put_events(store, event("new"))
    tasks = [put_events(store, event()) for _ in range(10)]
    pruned, *_ = await asyncio.gather(
        store.prune(events_before=NOW, attempts_before=NOW, dead_before=NOW), *tasks
    )
    assert pruned == 2 * groups
    assert [e.position for e in store.events_from(0, 99)] == list(range(2 * groups, store.end))
    again = await put_events(store, event("m0"), event("new"))
    assert [position is None for position in again.positions] == [False, True]
    store.close()


async def test_more_attempts_at_orders_are_forgotten_than_one_transaction_does(
    path: str, clock: Clock
) -> None:
    store = SqliteStore.open(path, notary(), clock=clock)
    await store.commit(Commit(records=(record("r0"),), orders=(order("a", "r0"),)))
    known = store.orders.order("a")
    assert known is not None
    most = 20 * sqlite_write.PRUNE_GROUPS
    old = tuple(Tried(known, attempt(1, -n)) for n in range(1, 2 * most + 1))
    await store.commit(Commit(tried=(*old, Tried(known, attempt(1, 1)))))
    await store.prune(events_before=NOW, attempts_before=NOW, dead_before=NOW)
    assert [one.started_at for one in store.orders.attempts_of("a")] == [NOW + SECOND]
    store.close()


async def test_a_backup_is_the_store_at_one_moment_while_it_serves(
    tmp_path: Path, store: SqliteStore
) -> None:
    await fill(store)
    target = str(tmp_path / "copy.db")
    writing = [
        store.commit(Commit(records=(record(f"w{n}"),), events=(event(),))) for n in range(50)
    ]
    await asyncio.gather(store.backup(target), *writing)
    assert sorted(os.listdir(tmp_path)) == sorted(
        ["copy.db", "store.db", "store.db-shm", "store.db-wal", "store.db.lock"]
    )
    copy = open_store(target)
    assert ids(copy.ledger())[:5] == ["r0", "r1", "r2", "r3", "r4"]
    assert copy.end - 3 == len(list(copy.ledger())) - 5
    assert_ledger_is_proven(copy)
    copy.close()


async def test_a_backup_never_replaces_a_file(tmp_path: Path, store: SqliteStore) -> None:
    target = tmp_path / "copy.db"
    target.write_text("mine")
    with pytest.raises(StoreError, match="there is a file already"):
        await store.backup(str(target))
    assert target.read_text() == "mine"
    with pytest.raises(StoreError):
        await store.backup(str(tmp_path / "nowhere" / "copy.db"))


# -- kill -9 ------------------------------------------------------------------------------
CHILD = """
import asyncio, sys
from tests.store.makers import Clock, account, choice, event, notary, reply
from consentry.ports import Commit
from consentry.store.sqlite import SqliteStore

async def main(path, name):
    store = SqliteStore.open(path, notary(), clock=Clock())
    async def caller(n):
        for m in range(100_000):
            key = f"{name}-{n}-{m}"
            await store.commit(Commit(
                records=(choice(key, account("ann")),), events=(event(key), event(key + "-b")),
                replies=(reply(key),)))
            sys.stdout.write(key + "\\n")
            sys.stdout.flush()
    await asyncio.gather(*map(caller, range(8)))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_what_was_acknowledged_survives_kill_9(path: str) -> None:
    acknowledged: list[str] = []
    for cycle in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, path, str(cycle)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert child.stdout is not None
        acknowledged += [child.stdout.readline().strip() for _ in range(60 + 37 * cycle)]
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read()
        acknowledged += [line for line in rest.splitlines(keepends=False) if line]
        # A line cut by the signal was not acknowledged in full.
        if rest and not rest.endswith("\n"):
            acknowledged.pop()
        child.stdout.close()
        assert child.wait() == -signal.SIGKILL
        store = open_store(path)
        assert_ledger_is_proven(store)
        recorded = ids(store.ledger())
        assert set(acknowledged) <= set(recorded)
        for key in recorded:  # whole, or not at all: also those that nobody was told of
            position = store.position_of("web", key)
            assert position is not None
            assert store.position_of("web", key + "-b") == position + 1
            assert store.reply_to(key) is not None
        assert len(store.facts_of(ANN)) == len(recorded)
        assert store.end == 2 * len(recorded) == len(store.events_from(0, 1 << 30))
        store.close()
    assert len(acknowledged) >= 180
