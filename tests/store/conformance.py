"""What ``Store`` means. Every adapter passes this suite.

An adapter's test module derives a class from ``StoreConformance`` and provides the fixtures
``store`` (an open, empty one made with ``notary()`` and ``clock``) and ``clock``. Groups of
events that are committed one after the other must be prunable one by one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from consentry.core import merkle
from consentry.core.moment import DAY, SECOND
from consentry.core.policy import SEGMENT, Category, Mapping, Policy
from consentry.core.record import Fact, FactKind, Merge
from consentry.ledger import checkpoint as checkpoints
from consentry.ledger.entry import leaf_of
from consentry.ports import (
    Attempt,
    Commit,
    Committed,
    Pause,
    Progress,
    Store,
    StoreConflict,
    StoredEvent,
    StoreUnavailable,
    Tally,
)
from tests.store.conformance_erasures import ErasuresConformance
from tests.store.conformance_leaks import LeaksConformance
from tests.store.conformance_orders import OrdersConformance
from tests.store.conformance_outbox import OutboxConformance
from tests.store.makers import (
    KEY,
    LONG_AGO,
    NOW,
    WORKSPACE,
    Clock,
    account,
    attempt,
    choice,
    delivery,
    device,
    email,
    event,
    full_record,
    link,
    merge,
    record,
    reply,
    word,
)

ANN, BEN, DEV, TAB = account("ann"), account("ben"), device("dev"), device("tab")
MAIL = email("ann@shop.example")


async def put_records(store: Store, *records: object) -> Committed:
    return await store.commit(Commit(records=tuple(records)))  # type: ignore[arg-type]


async def put_events(store: Store, *events: StoredEvent) -> Committed:
    return await store.commit(Commit(events=events))


def ids(entries: Iterable[object]) -> list[str]:
    return [entry.record.record_id for entry in entries]  # type: ignore[attr-defined]


def assert_ledger_is_proven(store: Store) -> None:
    """The latest checkpoint is signed and commits to exactly the leaves that are there."""
    entries = list(store.ledger())
    assert [entry.seq for entry in entries] == list(range(len(entries)))
    for entry in entries:
        assert entry.leaf == leaf_of(entry.record, entry.seq, WORKSPACE)
    note = store.checkpoint()
    if not entries:
        assert note is None
        return
    assert note is not None
    head = checkpoints.parse(note, KEY.verify_key)
    assert head.size == len(entries)
    assert head.root == merkle.root([merkle.leaf_hash(entry.leaf) for entry in entries])


class StoreConformance(OrdersConformance, OutboxConformance, LeaksConformance, ErasuresConformance):
    """Derive from it, and every test below runs against the adapter's ``store``."""

    # -- an empty store -------------------------------------------------------------------
    async def test_an_empty_store_knows_nothing(self, store: Store) -> None:
        assert store.available
        assert (store.end, store.newest, store.checkpoint()) == (0, 0, None)
        assert store.facts_of(ANN) == store.links_of(ANN) == store.merges_of("ann") == ()
        assert store.position_of("web", "m") is store.event_at(0) is store.event_at(-1) is None
        assert store.position_for("ads") is store.reply_to("k") is store.notice("00") is None
        assert store.record("r") is store.policy(1) is store.policy(0) is None
        assert not list(store.events_from(0, 10))
        assert not list(store.ledger())
        assert not list(store.deliveries())
        assert not list(store.pauses())
        assert not list(store.attempts_at(0))
        assert not list(store.attempted_from("ads", 0))
        assert not list(store.records_of([ANN]))
        assert not list(store.suppressions())
        assert not list(store.tallies(""))

    async def test_nothing_can_be_committed(self, store: Store) -> None:
        assert await store.commit(Commit()) == Committed((), ())

    # -- records --------------------------------------------------------------------------
    async def test_records_are_numbered_in_the_order_given(self, store: Store) -> None:
        assert (await put_records(store, record("r0"), record("r1"))).seqs == (0, 1)
        assert (await put_records(store, record("r2"))).seqs == (2,)
        assert ids(store.ledger()) == ["r0", "r1", "r2"]
        assert ids(store.ledger(2)) == ["r2"]
        assert ids(store.ledger(3)) == []

    async def test_a_record_comes_back_as_it_was_given(self, store: Store) -> None:
        given = full_record("r0")
        await put_records(store, given)
        entry = store.record("r0")
        assert entry is not None
        assert (entry.seq, entry.record) == (0, given)
        assert entry.leaf == leaf_of(given, 0, WORKSPACE)
        assert store.facts_of(ANN) == (given.facts[0][1],)
        assert store.newest == NOW

    async def test_the_checkpoint_commits_to_every_leaf(self, store: Store) -> None:
        assert_ledger_is_proven(store)
        for n in range(5):
            await put_records(store, *(record(f"r{n}.{m}", ANN) for m in range(n)))
            assert_ledger_is_proven(store)

    async def test_each_checkpoint_extends_the_one_before(self, store: Store) -> None:
        await put_records(store, *(record(f"a{n}") for n in range(3)))
        old = checkpoints.parse(store.checkpoint() or "", KEY.verify_key)
        await put_records(store, *(record(f"b{n}") for n in range(4)))
        new = checkpoints.parse(store.checkpoint() or "", KEY.verify_key)
        hashes = [merkle.leaf_hash(entry.leaf) for entry in store.ledger()]
        proof = merkle.consistency_proof(hashes, old.size, new.size)
        assert merkle.verify_consistency(old.size, new.size, old.root, new.root, proof)

    async def test_facts_are_found_by_every_identifier_of_the_record(self, store: Store) -> None:
        first = choice("r0", ANN, DEV, granted="ads")
        second = choice("r1", DEV, denied="ads")
        await put_records(store, first, second)
        assert [fact.record_id for fact in store.facts_of(ANN)] == ["r0"]
        assert {fact.record_id for fact in store.facts_of(DEV)} == {"r0", "r1"}
        assert store.facts_of(account("dev")) == store.facts_of(device("de")) == ()

    async def test_one_record_may_hold_two_facts_of_one_identifier(self, store: Store) -> None:
        facts = tuple(
            (ANN, Fact(FactKind.SIGNAL, "r0", NOW, signal=name)) for name in ("gpc", "dnt")
        )
        await put_records(store, record("r0", ANN, facts=facts))
        assert {fact.signal for fact in store.facts_of(ANN)} == {"gpc", "dnt"}

    async def test_links_are_seen_from_either_end_once(self, store: Store) -> None:
        await put_records(store, link("r0", (DEV, ANN), (ANN, MAIL)), link("r1", (ANN, DEV)))
        assert set(store.links_of(ANN)) == {DEV, MAIL}
        assert len(store.links_of(ANN)) == 2
        assert store.links_of(DEV) == (ANN,)
        assert store.links_of(MAIL) == (ANN,)
        assert store.links_of(BEN) == ()

    async def test_of_links_those_are_known_that_a_trusted_door_has_said(
        self, store: Store
    ) -> None:
        said = link("r0", (DEV, ANN), (ANN, MAIL))
        await put_records(store, replace(said, trust="public"))
        assert store.trusted_links_of(ANN) == ()
        await put_records(store, replace(link("r1", (ANN, DEV)), trust="server"))
        assert store.trusted_links_of(ANN) == (DEV,)
        assert store.trusted_links_of(DEV) == (ANN,)
        assert store.trusted_links_of(MAIL) == ()
        await put_records(
            store,
            replace(link("r2", (DEV, ANN)), trust="public"),
            replace(link("r3", (DEV, BEN)), trust="admin"),
        )
        assert set(store.trusted_links_of(DEV)) == {ANN, BEN}
        assert set(store.links_of(ANN)) == {DEV, MAIL}

    async def test_merges_are_found_transitively_from_any_member(self, store: Store) -> None:
        await put_records(store, merge("r0", "a", "b"), merge("r1", "c", "d"))
        assert store.merges_of("a") == store.merges_of("b") == (Merge("r0", NOW, "a", "b"),)
        await put_records(store, merge("r2", "b", "c"), merge("r3", "d", "a"))
        for member in "abcd":
            found = store.merges_of(member)
            assert sorted(merged.record_id for merged in found) == ["r0", "r1", "r2", "r3"]
        assert store.merges_of("e") == ()

    async def test_records_are_found_by_whatever_they_name(self, store: Store) -> None:
        await put_records(
            store,
            record("subject", ANN),
            choice("fact", ANN),
            link("link", (DEV, ANN)),
            merge("merge", "ben", "ann"),
            record("stranger", BEN),
        )
        assert ids(store.records_of([ANN])) == ["merge", "link", "fact", "subject"]
        assert ids(store.records_of([DEV])) == ["link"]
        assert ids(store.records_of([TAB])) == ids(store.records_of([])) == []

    async def test_whoever_a_record_names_is_known(self, store: Store) -> None:
        assert not any(map(store.knows, (ANN, DEV, BEN, TAB)))
        await put_records(store, choice("fact", ANN), link("link", (DEV, ANN)))
        assert store.knows(ANN)
        assert store.knows(DEV)
        assert not store.knows(BEN)
        await put_records(store, merge("merge", "ben", "carl"))
        assert store.knows(BEN)
        assert not store.knows(TAB)

    async def test_records_are_listed_in_pages_newest_first(self, store: Store) -> None:
        nodes = [(ANN,), (DEV,), (ANN, DEV), (BEN,), (DEV,), (ANN,)]
        await put_records(store, *(record(f"r{n}", *named) for n, named in enumerate(nodes)))
        assert ids(store.records_of([ANN, DEV])) == ["r5", "r4", "r2", "r1", "r0"]
        page = store.records_of(iter([ANN, DEV]), limit=2)
        assert ids(page) == ["r5", "r4"]
        page = store.records_of([ANN, DEV], before=page[-1].seq, limit=2)
        assert ids(page) == ["r2", "r1"]
        assert ids(store.records_of([ANN, DEV], before=page[-1].seq, limit=2)) == ["r0"]
        assert ids(store.records_of([ANN, DEV], before=0)) == []

    async def test_a_long_ledger_is_read_whole(self, store: Store) -> None:
        await put_records(store, *(record(f"r{n}") for n in range(1203)))
        assert ids(store.ledger()) == [f"r{n}" for n in range(1203)]
        assert_ledger_is_proven(store)

    # -- the suppression list -------------------------------------------------------------
    SUPPRESSIONS: tuple[tuple[str, list[tuple[str, int]], tuple[str, int] | None], ...] = (
        ("suppressed", [("suppress", 1)], ("r0", 1)),
        ("lifted", [("suppress", 1), ("unsuppress", 2)], None),
        ("again", [("suppress", 1), ("unsuppress", 2), ("suppress", 3)], ("r2", 3)),
        ("twice is since the first", [("suppress", 1), ("suppress", 2)], ("r0", 1)),
        ("a tie suppresses", [("suppress", 2), ("unsuppress", 2)], ("r0", 2)),
        ("times count, not places", [("unsuppress", 5), ("suppress", 4)], None),
        ("lifted by an early entry", [("suppress", 7), ("unsuppress", 6)], ("r0", 7)),
        ("only lifted", [("unsuppress", 1)], None),
    )

    @pytest.mark.parametrize(("words", "stands"), [c[1:] for c in SUPPRESSIONS],
                             ids=[c[0] for c in SUPPRESSIONS])  # fmt: skip
    async def test_the_suppression_list_follows_the_latest_word(
        self, store: Store, words: list[tuple[str, int]], stands: tuple[str, int] | None
    ) -> None:
        for n, (kind, at) in enumerate(words):
            await put_records(store, word(f"r{n}", FactKind(kind), at, ANN))
        listed = [(each.record_id, each.since) for _, each in store.suppressions()]
        assert listed == ([] if stands is None else [stands])

    async def test_the_words_of_one_commit_count_like_those_of_several(self, store: Store) -> None:
        suppress, lift = FactKind.SUPPRESS, FactKind.UNSUPPRESS
        await put_records(
            store, word("r0", suppress, 1, ANN, BEN), word("r1", lift, 2, ANN), record("r2", ANN)
        )
        assert [each.node for _, each in store.suppressions()] == [BEN]

    async def test_the_suppression_list_is_paged_and_never_cut_in_a_record(
        self, store: Store
    ) -> None:
        suppress = FactKind.SUPPRESS
        await put_records(
            store,
            word("r0", suppress, 1, ANN),
            record("r1"),
            word("r2", suppress, 2, BEN, DEV, MAIL),
            word("r3", suppress, 3, TAB),
        )
        page = store.suppressions(limit=2)
        assert [(seq, each.node) for seq, each in page[:1]] == [(0, ANN)]
        assert [seq for seq, _ in page] == [0, 2, 2, 2]
        assert {each.node for _, each in page[1:]} == {BEN, DEV, MAIL}
        rest = store.suppressions(after=page[-1][0], limit=2)
        assert [(seq, each.node, each.since, each.record_id) for seq, each in rest] == [
            (3, TAB, 3, "r3")
        ]
        assert not store.suppressions(after=3)
        assert len(store.suppressions()) == 5

    # -- replies and notices --------------------------------------------------------------
    async def test_replies_and_notices_come_back(self, store: Store) -> None:
        answer = reply("k1", b'{"ok":true}')
        await store.commit(Commit(replies=(answer,), notices=(("0a", "We ask."), ("0b", "Ö"))))
        assert store.reply_to("k1") == answer
        assert store.reply_to("k2") is None
        assert (store.notice("0a"), store.notice("0b")) == ("We ask.", "Ö")

    async def test_counts_add_up(self, store: Store) -> None:
        shown = Tally("2026-11-27", "shown", "DE", "1", "de")
        first = Commit(tallies=(shown, shown._replace(times=2), shown._replace(region="FR")))
        await store.commit(first)
        await store.commit(Commit(tallies=(shown, shown._replace(day="2026-11-26", times=9))))
        found = [shown._replace(times=4), shown._replace(region="FR")]
        assert list(store.tallies("2026-11-27")) == found
        assert list(store.tallies("2026-11-01")) == [
            shown._replace(day="2026-11-26", times=9), *found,
        ]  # fmt: skip
        assert list(store.tallies("2026-11-28")) == []

    async def test_what_was_refused_is_not_counted(self, store: Store) -> None:
        shown = Tally("2026-11-27", "shown", "DE", "1", "de")
        await store.commit(Commit(records=(record("r0"),), tallies=(shown,)))
        with pytest.raises(StoreConflict):
            await store.commit(Commit(records=(record("r0"),), tallies=(shown,)))
        assert list(store.tallies("")) == [shown]

    async def test_a_known_notice_stays_as_it_is(self, store: Store) -> None:
        await store.commit(Commit(notices=(("0a", "first"),)))
        await store.commit(Commit(notices=(("0a", "second"), ("0b", "new"))))
        assert (store.notice("0a"), store.notice("0b")) == ("first", "new")

    @pytest.mark.parametrize(
        "second",
        [
            Commit(replies=(reply("k1"),)),
            Commit(records=(record("r0"),)),
            Commit(replies=(reply("new"), reply("new"))),
            Commit(records=(record("new"), record("new"))),
        ],
        ids=["reply", "record", "reply twice", "record twice"],
    )
    async def test_a_commit_that_repeats_an_id_is_refused_whole(
        self, store: Store, second: Commit
    ) -> None:
        await store.commit(Commit(records=(record("r0"),), replies=(reply("k1"),)))
        second = Commit(
            records=(choice("fresh", ANN), *second.records),
            replies=second.replies,
            events=(event("e"),),
            notices=(("0a", "text"),),
        )
        with pytest.raises(StoreConflict):
            await store.commit(second)
        assert store.available
        assert store.record("fresh") is store.record("new") is store.reply_to("new") is None
        assert store.facts_of(ANN) == ()
        assert (store.end, store.notice("0a")) == (0, None)
        assert_ledger_is_proven(store)

    async def test_of_two_answers_to_one_key_at_once_one_wins(self, store: Store) -> None:
        commits = [
            Commit(records=(record(f"r{n}"),), replies=(reply("k", b"%d" % n),)) for n in range(5)
        ]
        results = await asyncio.gather(*map(store.commit, commits), return_exceptions=True)
        won = [n for n, result in enumerate(results) if isinstance(result, Committed)]
        assert len(won) == 1
        assert sum(isinstance(result, StoreConflict) for result in results) == 4
        assert store.reply_to("k") == reply("k", b"%d" % won[0])
        assert ids(store.ledger()) == [f"r{won[0]}"]

    # -- events ---------------------------------------------------------------------------
    async def test_events_come_back_in_order_and_as_they_were(self, store: Store) -> None:
        given = [
            event("m0"),
            event("m1", granted=None, stated=None, made_at=None, nodes=(), name=None),
            event("m2", nodes=(DEV, ANN, MAIL), record_id="r0", body=b"\x00\xff", allowed=1 << 60),
        ]
        assert (await put_events(store, *given[:2])).positions == (0, 1)
        assert (await put_events(store, given[2])).positions == (2,)
        assert [tuple(entry) for entry in store.events_from(0, 10)] == list(enumerate(given))
        assert [store.event_at(n) for n in range(4)] == [*given, None]
        assert (store.end, store.newest) == (3, NOW)

    async def test_an_event_keeps_where_it_was_accepted(self, store: Store) -> None:
        given = [
            event("m0", place=None),
            event("m1", place=""),
            event("m2", place="US-CA", age=15, data=("precise_location",)),
            event("m3", place="?DE", sent_at=NOW),
        ]
        await put_events(store, *given)
        assert [store.event_at(n) for n in range(4)] == given

    async def test_events_are_read_across_groups_and_within(self, store: Store) -> None:
        sizes = [1, 4, 2, 7]
        for size in sizes:
            await put_events(store, *(event() for _ in range(size)))
        assert store.end == 14
        for first in range(15):
            for limit in (1, 3, 100):
                found = [entry.position for entry in store.events_from(first, limit)]
                least = list(range(first, min(first + limit, 14)))
                assert found[: len(least)] == least
                assert found == list(range(first, first + len(found)))
        assert not list(store.events_from(99, 5))

    REPEATS: tuple[tuple[str, list[list[str]], list[list[int | None]]], ...] = (
        ("in the same commit", [["a", "b", "a", "c"]], [[0, 1, None, 2]]),
        ("in the store", [["a", "b"], ["b", "c", "a", "d"]], [[0, 1], [None, 2, None, 3]]),
        ("all of them", [["a", "b"], ["a", "b"], ["c"]], [[0, 1], [None, None], [2]]),
        ("both", [["a"], ["b", "a", "b", "c"]], [[0], [1, None, None, 2]]),
    )

    @pytest.mark.parametrize(("commits", "positions"), [c[1:] for c in REPEATS],
                             ids=[c[0] for c in REPEATS])  # fmt: skip
    async def test_a_repeated_message_id_is_left_out(
        self, store: Store, commits: list[list[str]], positions: list[list[int | None]]
    ) -> None:
        for messages, expected in zip(commits, positions, strict=True):
            committed = await put_events(store, *(event(message) for message in messages))
            assert list(committed.positions) == expected
        kept = [p for expected in positions for p in expected if p is not None]
        log = list(store.events_from(0, 100))
        assert [entry.position for entry in log] == kept == list(range(store.end))
        for entry in log:
            assert store.position_of("web", entry.event.message_id) == entry.position

    async def test_a_repeated_message_id_in_another_commit_at_once_is_left_out(
        self, store: Store
    ) -> None:
        commits = [put_events(store, event("same"), event(f"own-{n}")) for n in range(6)]
        results = await asyncio.gather(*commits)
        shared = [committed.positions[0] for committed in results]
        assert sum(position is not None for position in shared) == 1
        own = [committed.positions[1] for committed in results]
        assert sorted([*(p for p in shared if p is not None), *own]) == list(range(7))  # type: ignore[type-var]
        assert store.end == 7

    async def test_message_ids_are_of_their_source(self, store: Store) -> None:
        committed = await put_events(
            store, event("m"), event("m", source="app"), event("\0m", source="we")
        )
        assert committed.positions == (0, 1, 2)
        assert store.position_of("web", "m") == 0
        assert store.position_of("app", "m") == 1
        assert store.position_of("web", "x") is None

    async def test_a_repeated_event_does_not_keep_its_record_out(self, store: Store) -> None:
        await put_events(store, event("m"))
        again = Commit(records=(record("r0"),), events=(event("m", record_id="r0"),))
        assert await store.commit(again) == Committed((0,), (None,))

    async def test_many_commits_at_once_lose_nothing(self, store: Store) -> None:
        commits = [
            Commit(records=(choice(f"r{n}", ANN),), events=(event(f"a{n}"), event(f"b{n}")))
            for n in range(60)
        ]
        results = await asyncio.gather(*map(store.commit, commits))
        assert sorted(seq for result in results for seq in result.seqs) == list(range(60))
        for n, result in enumerate(results):
            first, second = result.positions
            assert first is not None
            assert second == first + 1
            stored = store.event_at(first)
            assert stored is not None
            assert stored.message_id == f"a{n}"
            assert ids(entry for entry in [store.record(f"r{n}")]) == [f"r{n}"]
        assert len(store.facts_of(ANN)) == 60
        assert_ledger_is_proven(store)

    async def test_what_was_committed_is_seen_at_once(self, store: Store) -> None:
        for n in range(20):
            await store.commit(Commit(records=(choice(f"r{n}", ANN),), events=(event(),)))
            assert len(store.facts_of(ANN)) == store.end == n + 1

    # -- deliveries -----------------------------------------------------------------------
    async def test_a_worker_is_found_where_it_stood(self, store: Store) -> None:
        await store.record_progress(Progress(destination="ads", position=7))
        await store.record_progress(Progress(destination="mail", position=0))
        assert (store.position_for("ads"), store.position_for("mail")) == (7, 0)
        await store.record_progress(Progress(destination="ads", position=9))
        assert (store.position_for("ads"), store.position_for("other")) == (9, None)
        assert list(store.placed()) == ["ads", "mail"]

    async def test_a_destination_that_was_given_up_was_never_seen(self, store: Store) -> None:
        assert list(store.placed()) == []
        for name in ("mail", "ads"):
            await store.record_progress(Progress(destination=name, position=7))
        await store.forget_place("mail")
        await store.forget_place("never there")
        assert (store.position_for("ads"), store.position_for("mail")) == (7, None)
        assert list(store.placed()) == ["ads"]

    async def test_rows_are_put_replaced_and_settled(self, store: Store) -> None:
        first = (delivery("ads", 1), delivery("ads", 2), delivery("ads", 3, grade="noop"))
        await store.record_progress(Progress(destination="ads", position=4, put=first))
        changed = delivery("ads", 2, "dead", attempts=4, detail="refused")
        await store.record_progress(
            Progress(destination="ads", position=4, put=(changed,), settle=(1, 2, 77))
        )
        assert list(store.deliveries()) == [changed, first[2]]

    async def test_rows_are_listed_by_destination_state_and_page(self, store: Store) -> None:
        rows = [
            delivery("ads", 2), delivery("ads", 10, "dead"), delivery("ads", 11),
            delivery("mail", 1, "dead"), delivery("mail", 3),
        ]  # fmt: skip
        for name in ("mail", "ads"):
            put = tuple(row for row in reversed(rows) if row.destination == name)
            await store.record_progress(Progress(destination=name, position=99, put=put))
        assert list(store.deliveries()) == rows
        assert list(store.deliveries("mail")) == rows[3:]
        assert list(store.deliveries(state="dead")) == [rows[1], rows[3]]
        assert list(store.deliveries("ads", "waiting")) == [rows[0], rows[2]]
        assert list(store.deliveries(limit=2)) == rows[:2]
        assert list(store.deliveries(after=("ads", 10), limit=2)) == rows[2:4]
        assert list(store.deliveries("ads", after=("ads", 2))) == rows[1:3]
        assert list(store.deliveries("mail", after=("ads", 11))) == rows[3:]
        assert list(store.deliveries("ads", after=("mail", 1))) == []
        assert list(store.deliveries("other")) == []
        assert list(store.deliveries("ads", "waiting", ("ads", 2), 1)) == [rows[2]]
        counts = [store.count_rows("ads", state) for state in ("waiting", "dead", "other")]
        assert (counts, store.count_rows("other", "dead")) == ([2, 1, 0], 0)

    async def test_attempts_come_back_with_their_destination(self, store: Store) -> None:
        full = Attempt(
            5, NOW, NOW + 1, "withheld", 403, True, "aa", "bb", "told so", b'{"allow":false}'
        )
        await store.record_progress(Progress(destination="ads", position=6, attempts=(full,)))
        await store.record_progress(
            Progress(destination="mail", position=6, attempts=(attempt(5, 1), attempt(6, 1)))
        )
        again = attempt(5, 2, grade="failed_retry")
        await store.record_progress(Progress(destination="ads", position=6, attempts=(again,)))
        expected = [("ads", full), ("mail", attempt(5, 1)), ("ads", again)]
        assert list(store.attempts_at(5)) == expected
        assert list(store.attempts_at(6)) == [("mail", attempt(6, 1))]
        assert list(store.attempts_at(4)) == []

    async def test_attempts_far_apart_are_all_found(self, store: Store) -> None:
        positions = [0, 1, 255, 256, 300, 511, 512, 10_000, 1_000_000]
        made = tuple(attempt(p, n) for n, p in enumerate(positions))
        await store.record_progress(Progress(destination="ads", position=5, attempts=made))
        for given in made:
            assert list(store.attempts_at(given.position)) == [("ads", given)]
            expected = [each for each in made if each.position >= given.position]
            assert list(store.attempted_from("ads", given.position)) == expected
        assert list(store.attempts_at(257)) == list(store.attempted_from("mail", 0)) == []

    async def test_two_attempts_at_one_event_keep_their_order(self, store: Store) -> None:
        made = (attempt(9, 1), attempt(3, 2), attempt(9, 3), attempt(3, 4))
        await store.record_progress(Progress(destination="ads", position=3, attempts=made))
        assert [each for _, each in store.attempts_at(3)] == [made[1], made[3]]
        nine = [each for each in store.attempted_from("ads", 0) if each.position == 9]
        assert nine == [made[0], made[2]]

    async def test_a_pause_holds_until_it_is_ended(self, store: Store) -> None:
        await store.put_pause(Pause("mail", "401", NOW))
        await store.put_pause(Pause("ads", "gone", NOW))
        await store.put_pause(Pause("mail", "403", NOW + 1))
        assert list(store.pauses()) == [Pause("ads", "gone", NOW), Pause("mail", "403", NOW + 1)]
        await store.end_pause("ads")
        await store.end_pause("never paused")
        assert list(store.pauses()) == [Pause("mail", "403", NOW + 1)]

    # -- policies -------------------------------------------------------------------------
    async def test_a_policy_keeps_its_number(self, store: Store) -> None:
        plain = Policy(WORKSPACE)
        rich = Policy(
            WORKSPACE,
            SEGMENT,
            (Category("ads", "Ads", max_age_us=DAY),),
            (Mapping("ga4", "ga4", ("ads",)),),
        )
        numbers = await asyncio.gather(*(store.policy_id(p) for p in (plain, rich, plain, rich)))
        assert numbers[:2] == numbers[2:]
        assert numbers[0] != numbers[1]
        assert await store.policy_id(Policy(WORKSPACE)) == numbers[0]
        assert [store.policy(n) for n in numbers[:2]] == [plain, rich]
        assert store.policy(max(numbers) + 1) is None

    # -- upkeep ---------------------------------------------------------------------------
    async def prune(self, store: Store, before: int = NOW) -> int:
        return await store.prune(events_before=before, attempts_before=before, dead_before=before)

    async def put_old(self, store: Store, count: int = 3) -> None:
        """Events of ten days ago at positions 0, 1, ..., each a group of its own."""
        for n in range(count):
            await put_events(store, event(f"old-{n}", received_at=LONG_AGO))

    def left(self, store: Store) -> list[int]:
        return [entry.position for entry in store.events_from(0, 1000)]

    async def test_old_events_go_and_their_positions_stay_used(self, store: Store) -> None:
        await self.put_old(store)
        newest = store.newest
        assert await self.prune(store) == 3
        assert self.left(store) == []
        assert store.event_at(0) is store.event_at(2) is store.position_of("web", "old-1") is None
        assert (store.end, store.newest) == (3, newest)
        assert (await put_events(store, event("old-1"))).positions == (3,)
        assert self.left(store) == [3]

    async def test_an_event_stays_while_it_is_needed(self, store: Store) -> None:
        await self.put_old(store, 5)
        await put_events(store, event("new"))
        row = delivery("mail", 1, first_at=LONG_AGO, next_at=LONG_AGO)
        await store.record_progress(Progress(destination="mail", position=6, put=(row,)))
        await store.record_progress(Progress(destination="ads", position=3))
        assert await self.prune(store) == 2
        assert self.left(store) == [1, 3, 4, 5]
        assert store.position_of("web", "old-1") == 1
        assert [entry.position for entry in store.events_from(2, 2)] == [3, 4]
        await store.record_progress(Progress(destination="mail", position=6, settle=(1,)))
        await store.record_progress(Progress(destination="ads", position=6))
        assert await self.prune(store) == 3
        assert self.left(store) == [5]

    async def test_a_destination_that_is_no_longer_served_keeps_nothing(self, store: Store) -> None:
        await self.put_old(store, 3)
        rows = tuple(delivery("gone", n, first_at=LONG_AGO, next_at=LONG_AGO) for n in range(2))
        await store.record_progress(Progress(destination="gone", position=2, put=rows))
        kept = delivery("ads", 1, first_at=LONG_AGO, next_at=LONG_AGO)
        await store.record_progress(Progress(destination="ads", position=3, put=(kept,)))
        assert await self.prune(store) == 0
        asked = dict.fromkeys(("events_before", "attempts_before", "dead_before"), NOW)
        assert await store.prune(**asked, destinations=("gone", "ads")) == 0
        assert await store.prune(**asked, destinations=["ads", "new"]) == 2
        assert self.left(store) == [1]
        # Rows go with their events, and what another destination keeps alive keeps them.
        assert list(store.deliveries()) == [kept, rows[1]]
        assert await store.prune(**asked, destinations=()) == 1
        assert list(store.deliveries()) == []

    async def test_a_message_id_is_known_for_a_day_whatever_is_asked(
        self, store: Store, clock: Clock
    ) -> None:
        await put_events(store, event("m", received_at=NOW))
        clock.time = NOW + DAY
        assert await self.prune(store, NOW + 2 * DAY) == 0
        assert (await put_events(store, event("m"))).positions == (None,)
        clock.time = NOW + DAY + SECOND
        assert await self.prune(store, NOW + 2 * DAY) == 1
        assert store.position_of("web", "m") is None

    async def test_dead_rows_go_when_old_and_then_their_events(self, store: Store) -> None:
        await self.put_old(store)
        rows = (
            delivery("ads", 0, "dead", first_at=LONG_AGO, next_at=LONG_AGO),
            delivery("ads", 1, "dead", first_at=LONG_AGO, next_at=NOW),
            delivery("ads", 2, "waiting", first_at=LONG_AGO, next_at=LONG_AGO),
        )
        await store.record_progress(Progress(destination="ads", position=3, put=rows))
        assert await self.prune(store) == 1
        assert list(store.deliveries()) == list(rows[1:])
        assert self.left(store) == [1, 2]

    async def test_old_attempts_go_unless_a_restart_needs_them(self, store: Store) -> None:
        old = -9 * DAY // SECOND
        for made in (attempt(1, old), attempt(2, 0), attempt(5, old)):
            await store.record_progress(Progress(destination="ads", position=4, attempts=(made,)))
        await self.prune(store)
        assert list(store.attempted_from("ads", 0)) == [attempt(2, 0), attempt(5, old)]

    async def test_records_replies_and_notices_never_go(self, store: Store) -> None:
        old = record("r0", ANN, received_at=LONG_AGO)
        await store.commit(Commit(records=(old,), replies=(reply("k"),), notices=(("0a", "t"),)))
        await self.prune(store)
        assert ids(store.records_of([ANN])) == ["r0"]
        assert store.reply_to("k") is not None
        assert store.notice("0a") == "t"
        assert_ledger_is_proven(store)

    # -- the end --------------------------------------------------------------------------
    async def test_a_closed_store_writes_nothing_more(self, store: Store) -> None:
        await put_events(store, event())
        store.close()
        store.close()
        assert not store.available
        with pytest.raises(StoreUnavailable):
            await put_events(store, event())
        with pytest.raises(StoreUnavailable):
            await store.record_progress(Progress(destination="ads", position=1))
