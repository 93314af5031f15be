"""Both adapters, told the same, answer the same: after any sequence, and after reopening."""

from __future__ import annotations

import asyncio
import tempfile
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.core.leak import Leak, Via
from consentry.core.moment import DAY
from consentry.core.record import Fact, FactKind, Merge, Node
from consentry.outbox import Token
from consentry.ports import Commit, Pause, Progress, Store, StoreError, Tally
from consentry.store.memory import MemoryStore
from consentry.store.sqlite import SqliteStore
from tests.store.makers import (
    NOW,
    Clock,
    account,
    attempt,
    delivery,
    device,
    email,
    event,
    mail,
    notary,
    opt_in,
    record,
    reply,
)

NODES = [account("a"), account("b"), account("c"), device("d"), email("e")]
USERS = ["a", "b", "c", "z"]
NAMES = ["ads", "mail"]
PLACES = range(30)

nodes = st.sampled_from(NODES)
times = st.integers(NOW - 3 * DAY, NOW)
record_ids = st.integers(0, 40).map("r{}".format)


@st.composite
def records(draw: st.DrawFn) -> Any:
    record_id = draw(record_ids)
    at = draw(times)
    facts = st.tuples(nodes, st.builds(Fact, st.sampled_from(FactKind), st.just(record_id), times))
    merged = st.builds(
        Merge, st.just(record_id), st.just(at), st.sampled_from(USERS), st.sampled_from(USERS)
    )
    return record(
        record_id,
        *draw(st.lists(nodes, max_size=2)),
        received_at=at,
        facts=tuple(draw(st.lists(facts, max_size=3))),
        links=tuple(draw(st.lists(st.tuples(nodes, nodes), max_size=2))),
        merge=draw(st.none() | merged),
    )


events = st.builds(
    event, st.integers(0, 40).map("m{}".format), source=st.sampled_from(["web", "app"]),
    received_at=times,
)  # fmt: skip
mails = st.builds(
    mail, st.integers(0, 30).map("m{}".format), nodes, next_at=times, queued_at=times
)  # fmt: skip
opt_ins = st.builds(opt_in, st.integers(0, 30).map("o{}".format), nodes, ends_at=times)
tokens = st.builds(Token, st.sampled_from([b"x", b"y"]), st.sampled_from(["o1", "o2"]), times)
tries = st.tuples(mails, st.none() | tokens)

words = st.sampled_from(["a", "b"])
tallies = st.builds(Tally, words, words, words, words, words, st.integers(1, 9))

commits = st.builds(
    Commit,
    records=st.lists(records(), max_size=3).map(tuple),
    events=st.lists(events, max_size=5).map(tuple),
    replies=st.lists(st.integers(0, 20).map(lambda n: reply(f"k{n}")), max_size=1).map(tuple),
    notices=st.lists(st.tuples(st.sampled_from(["0a", "0b"]), st.text()), max_size=1).map(tuple),
    tallies=st.lists(tallies, max_size=3).map(tuple),
)
rows = st.builds(
    delivery, st.just(""), st.sampled_from(PLACES), st.sampled_from(["waiting", "dead"]),
    first_at=times, next_at=times,
)  # fmt: skip


@st.composite
def progresses(draw: st.DrawFn) -> Progress:
    name = draw(st.sampled_from(NAMES))
    put = draw(st.lists(rows, max_size=3))
    return Progress(
        destination=name,
        position=draw(st.integers(0, 40)),
        attempts=tuple(attempt(p) for p in sorted(draw(st.lists(st.sampled_from(PLACES))))),
        put=tuple(delivery(name, r.position, r.state, first_at=r.first_at, next_at=r.next_at)
                  for r in put),
        settle=tuple(draw(st.lists(st.sampled_from(PLACES), max_size=3))),
    )  # fmt: skip


pauses = st.builds(Pause, st.sampled_from(NAMES), st.text(), times)
leaks = st.builds(
    Leak,
    st.sampled_from(("a.example", "b.example")),
    st.sampled_from(("image", "script")),
    st.sampled_from(("/", "/cart")),
    st.sampled_from(Via),
    st.booleans(),
)
told_leaks = st.dictionaries(leaks, st.integers(1, 5), max_size=4)
owed = st.builds(lambda m, o: Commit(mails=(m,), opt_ins=(o,)), mails, opt_ins)
steps = st.lists(
    commits | commits | owed | tries | told_leaks | progresses() | pauses | st.sampled_from(NAMES),
    max_size=12,
)


async def tell(store: Store, step: object) -> object:
    """What came of one step; a refusal by its kind."""
    try:
        if isinstance(step, Commit):
            return await store.commit(step)
        if isinstance(step, Progress):
            return await store.record_progress(step)
        if isinstance(step, Pause):
            return await store.put_pause(step)
        if isinstance(step, dict):
            return await store.leaks.count("web", step, 9, NOW)
        if isinstance(step, tuple):
            return await store.outbox.put_mail(*step)
        assert isinstance(step, str)
        return await store.end_pause(step)
    except StoreError as error:
        return type(error)


def answers(store: Store) -> dict[str, Any]:
    """Every answer that cannot depend on the adapter; sorted where order is not promised."""

    def by_node(node: Node) -> Any:
        return (
            sorted(map(repr, store.facts_of(node))),
            set(store.links_of(node)),
            store.records_of([node, NODES[0]], before=7, limit=3),
        )

    return {
        "nodes": [by_node(node) for node in NODES],
        "merges": [set(store.merges_of(user)) for user in USERS],
        "ledger": list(store.ledger()),
        "checkpoint": store.checkpoint(),
        "listed": list(store.suppressions(limit=2)) + list(store.suppressions(after=3)),
        "ends": (store.end, store.newest, [store.position_for(name) for name in NAMES]),
        "placed": list(store.placed()),
        "events": [tuple(entry) for entry in store.events_from(0, 1000)],
        "at": [store.event_at(n) for n in PLACES],
        "ids": [store.position_of(s, f"m{n}") for s in ("web", "app") for n in range(41)],
        "replies": [store.reply_to(f"k{n}") for n in range(21)],
        "notices": [store.notice(digest) for digest in ("0a", "0b")],
        "tallies": [list(store.tallies(since)) for since in ("", "b", "c")],
        "rows": list(store.deliveries()) + list(store.deliveries("ads", "dead", ("ads", 4), 2)),
        "counts": [store.count_rows(name, s) for name in NAMES for s in ("waiting", "dead")],
        "attempts": [list(store.attempts_at(n)) for n in PLACES],
        "from": [list(store.attempted_from(name, 9)) for name in NAMES],
        "pauses": list(store.pauses()),
        "leaks": list(store.leaks.since(0)),
        "due": list(store.outbox.mails_due(NOW - DAY, 5)) + list(store.outbox.mails_due(NOW, 99)),
        "mailed": [store.outbox.mails_to(node, NOW - DAY) for node in NODES],
        "ending": list(store.outbox.opt_ins_ending(NOW - DAY, 99)),
        "tokens": [store.outbox.opt_in_for(digest) for digest in (b"x", b"y")],
    }


@settings(max_examples=60, deadline=None)
@given(steps)
def test_the_adapters_agree(told: list[object]) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/store.db"
            memory = MemoryStore(notary(), clock=Clock())
            file = SqliteStore.open(path, notary(), clock=Clock(), keys_in_memory=3)
            try:
                for step in told:
                    assert await tell(file, step) == await tell(memory, step)
                assert answers(file) == answers(memory)
                file.close()
                file = SqliteStore.open(path, notary(), clock=Clock(), keys_in_memory=3)
                assert answers(file) == answers(memory)
            finally:
                file.close()

    asyncio.run(run())
