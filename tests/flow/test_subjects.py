"""What is remembered of a subject is what a fresh look at the store would find."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from consentry.core.moment import SECOND
from consentry.core.policy import Category, Policy, Regime, Settings
from consentry.core.preference import Found, Standing, Why
from consentry.core.record import Fact, FactKind, Merge, Node
from consentry.flow.subjects import Key, Subjects
from consentry.ledger.entry import Record, RecordType
from consentry.ports import Commit, StoreUnavailable
from consentry.store.memory import MemoryStore
from tests.store.makers import Clock, account, device, email, notary, record

CATEGORIES = ("ad", "analytics")
STRICT_POLICY = Policy(
    "shop",
    Settings(max_age_us=20 * SECOND),
    tuple(Category(name) for name in CATEGORIES),
)
LAX_POLICY = replace(STRICT_POLICY, settings=Settings(regime=Regime.NOTICE))
NODES = (device("d1"), device("d2"), account("u1"), account("u2"), email("e@shop.example"))
KEYS: tuple[Key, ...] = (
    (device("d1"),),
    (device("d2"), account("u1")),
    (device("d1"), account("u2")),
    (account("u1"),),
    (email("e@shop.example"),),
    (device("d1"), email("e@shop.example")),
)
nodes = st.sampled_from(NODES)
keys = st.sampled_from(KEYS)
policies = st.sampled_from((STRICT_POLICY, LAX_POLICY))
answers = st.frozensets(st.sampled_from(CATEGORIES))


def write(store: MemoryStore, *records: Record) -> None:
    asyncio.run(store.commit(Commit(records=records)))


def new_store() -> MemoryStore:
    return MemoryStore(notary(), clock=Clock())


def heard(standing: Standing) -> tuple[dict[str, Found], bool]:
    return standing.found, standing.suppressed


class SubjectsMachine(RuleBasedStateMachine):
    """Records come and go through; everything remembered is compared with a fresh fold."""

    @initialize()
    def begin(self) -> None:
        self.store = new_store()
        self.subjects = Subjects(self.store)
        self.now = 100 * SECOND
        self.count = 0
        self.kept: dict[Key, tuple[int, Standing]] = {}  # with the epoch in which it was found

    def next_id(self) -> str:
        self.count += 1
        self.now += SECOND
        return f"r{self.count:03d}"

    def said(self, node: Node, fact: Fact) -> Record:
        return record(fact.record_id, node, received_at=fact.received_at, facts=((node, fact),))

    # -- records ------------------------------------------------------------------------
    @rule(node=nodes, granted=answers, denied=answers, age=st.integers(0, 15), ok=st.booleans())
    def choice(
        self, node: Node, granted: frozenset[str], denied: frozenset[str], age: int, ok: bool
    ) -> None:
        record_id = self.next_id()
        fact = Fact(
            FactKind.CHOICE,
            record_id,
            self.now,
            self.now - age * SECOND,
            tuple(sorted(granted - denied)),
            tuple(sorted(denied)),
        )
        self.commit(self.said(node, fact), ok)

    @rule(node=nodes, present=st.booleans(), ok=st.booleans())
    def signal(self, node: Node, present: bool, ok: bool) -> None:
        fact = Fact(
            FactKind.SIGNAL,
            self.next_id(),
            self.now,
            denied=("ad",) if present else (),
            signal="gpc",
            present=present,
        )
        self.commit(self.said(node, fact), ok)

    @rule(
        node=nodes,
        kind=st.sampled_from((FactKind.SUPPRESS, FactKind.UNSUPPRESS)),
        ok=st.booleans(),
    )
    def word(self, node: Node, kind: FactKind, ok: bool) -> None:
        self.commit(self.said(node, Fact(kind, self.next_id(), self.now)), ok)

    @rule(left=nodes, right=nodes, ok=st.booleans())
    def link(self, left: Node, right: Node, ok: bool) -> None:
        if left != right:
            self.commit(
                record(
                    self.next_id(),
                    type=RecordType.IDENTIFY,
                    received_at=self.now,
                    links=((left, right),),
                ),
                ok,
            )

    @rule(ok=st.booleans())
    def merge(self, ok: bool) -> None:
        record_id = self.next_id()
        merged = Merge(record_id, self.now, "u2", "u1")
        self.commit(
            record(record_id, type=RecordType.ALIAS, received_at=self.now, merge=merged), ok
        )

    def commit(self, written: Record, ok: bool) -> None:
        before = {key: self.subjects.standing(key, STRICT_POLICY, self.now) for key in KEYS}
        with self.subjects.in_flight([written]):
            self.in_flight(written, before)
            if ok:
                write(self.store, written)
            else:
                self.store.fail_next = StoreUnavailable("the disk is full")
                with pytest.raises(StoreUnavailable):
                    write(self.store, written)
        for key in KEYS:
            self.compare(key, STRICT_POLICY, self.now)
            if not ok:
                after = self.subjects.standing(key, STRICT_POLICY, self.now)
                assert heard(after) == heard(before[key])

    def in_flight(self, written: Record, before: dict[Key, Standing]) -> None:
        """Nobody gains by what is not durable, and a denial in it counts already."""
        assert self.subjects.epoch == 0
        for key in KEYS:
            now = self.subjects.standing(key, STRICT_POLICY, self.now)
            assert now.suppressed >= before[key].suppressed
            for category in CATEGORIES:
                was, found = before[key].of(category), now.of(category)
                assert found.block is not None or was.block is None
                assert found.signal is not None or was.signal is None
                assert found.grant is None or was.grant is not None
                assert found.covers_from >= was.covers_from
            for node, fact in written.facts:
                if node in key and fact.kind is FactKind.CHOICE:
                    assert all(now.of(c).block is not None for c in fact.denied)
                if node in key and fact.kind is FactKind.SUPPRESS:
                    assert now.suppressed

    # -- questions ----------------------------------------------------------------------
    @rule(key=keys, policy=policies)
    def ask(self, key: Key, policy: Policy) -> None:
        self.compare(key, policy, self.now)

    @rule(key=keys, policy=policies, ago=st.integers(1, 30))
    def ask_as_of_earlier(self, key: Key, policy: Policy, ago: int) -> None:
        """A request that came earlier may be decided later; it must not leave its view behind."""
        self.compare(key, policy, self.now - ago * SECOND)
        self.compare(key, policy, self.now)

    @rule(key=keys)
    def keep(self, key: Key) -> None:
        standing = self.subjects.standing(key, STRICT_POLICY, self.now)
        self.kept[key] = self.subjects.epoch, standing

    @invariant()
    def what_was_kept_holds_while_the_epoch_is_the_same(self) -> None:
        for key, (epoch, standing) in self.kept.items():
            if epoch == self.subjects.epoch and standing.holds_at(self.now):
                fresh = Subjects(self.store).standing(key, STRICT_POLICY, self.now)
                assert heard(standing) == heard(fresh)

    @rule(seconds=st.integers(1, 15))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds * SECOND

    def compare(self, key: Key, policy: Policy, as_of: int) -> None:
        fresh = Subjects(self.store).standing(key, policy, as_of)
        assert heard(self.subjects.standing(key, policy, as_of)) == heard(fresh)


TestSubjects = SubjectsMachine.TestCase
TestSubjects.settings = settings(max_examples=3 * settings().max_examples)


def choice_at(at: int, *of: Node, granted: str = "", denied: str = "") -> Record:
    fact = Fact(FactKind.CHOICE, f"at{at}", at, at, tuple(granted.split()), tuple(denied.split()))
    return record(fact.record_id, *of, received_at=at, facts=tuple((node, fact) for node in of))


def test_a_standing_of_an_earlier_moment_does_not_hide_a_denial_that_came_since() -> None:
    store = new_store()
    subjects = Subjects(store)
    key = (device("d1"),)
    write(store, choice_at(10 * SECOND, *key, denied="ad"))

    subjects.standing(key, STRICT_POLICY, 5 * SECOND)

    assert subjects.standing(key, STRICT_POLICY, 11 * SECOND).of("ad").block is not None


def test_a_standing_of_now_does_not_lend_its_grant_to_an_event_accepted_before() -> None:
    store = new_store()
    subjects = Subjects(store)
    key = (device("d1"),)
    write(store, choice_at(10 * SECOND, *key, granted="ad"))

    subjects.standing(key, STRICT_POLICY, 11 * SECOND)

    assert subjects.standing(key, STRICT_POLICY, 9 * SECOND).of("ad").grant is None


def test_a_link_in_flight_does_not_lift_the_devices_denial_but_once_written_does() -> None:
    store = new_store()
    subjects = Subjects(store)
    here, there = device("d1"), account("u1")
    write(store, choice_at(10 * SECOND, here, denied="ad"))
    write(store, choice_at(20 * SECOND, there, granted="ad"))
    linking = record("l1", type=RecordType.IDENTIFY, links=((here, there),))

    def block() -> object:
        return subjects.standing((here,), STRICT_POLICY, 21 * SECOND).of("ad").block

    with subjects.in_flight([linking]):
        assert block() is not None
        write(store, linking)
    assert block() is None


def test_an_address_that_is_named_alone_speaks_for_itself_and_for_nobody_else() -> None:
    store = new_store()
    subjects = Subjects(store)
    address = email("e@shop.example")
    write(store, choice_at(10 * SECOND, address, granted="ad"))
    write(store, record("l1", type=RecordType.IDENTIFY, links=((account("u1"), address),)))

    def granted(*key: Node) -> bool:
        return subjects.standing(key, STRICT_POLICY, 11 * SECOND).of("ad").grant is not None

    assert granted(address)
    assert not granted(account("u1"))
    assert not granted(account("u1"), address)


def test_records_of_the_same_request_count_in_full_but_only_for_it() -> None:
    store = new_store()
    subjects = Subjects(store)
    key = (device("d1"),)
    own = choice_at(10 * SECOND, *key, granted="ad", denied="analytics")
    with subjects.in_flight([own]):
        with_it = subjects.standing_with(key, STRICT_POLICY, 10 * SECOND, [own])
        others = subjects.standing(key, STRICT_POLICY, 10 * SECOND)

    assert with_it.of("ad").grant is not None
    assert with_it.of("analytics").block is not None
    assert others.of("ad").grant is None
    assert others.of("analytics").block is not None


def test_what_is_durable_counts_in_full_even_before_its_writer_knows() -> None:
    """Found by simulation: a stamp renewed a grant that its own event had recorded as expired."""
    store = new_store()
    subjects = Subjects(store)
    key = (device("d1"),)
    old = Fact(FactKind.CHOICE, "r1", 50 * SECOND, 10 * SECOND, granted=("ad",))
    written = record("r1", *key, received_at=50 * SECOND, facts=((key[0], old),))

    def silent() -> Why:
        return subjects.standing(key, STRICT_POLICY, 50 * SECOND).of("ad").silent

    assert silent() is Why.NEVER_COLLECTED
    with subjects.in_flight([written]):
        assert silent() is Why.NEVER_COLLECTED
        write(store, written)
        assert silent() is Why.EXPIRED
    assert silent() is Why.EXPIRED
