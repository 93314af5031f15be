"""The store in memory."""

from __future__ import annotations

import pytest

from consentry.core.moment import SECOND
from consentry.ports import Commit, Progress, Store, StoreError, StoreUnavailable
from consentry.store.memory import MemoryStore
from tests.store.conformance import StoreConformance, assert_ledger_is_proven
from tests.store.makers import Clock, account, choice, event, notary, reply


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(notary(), clock=clock)


class TestMemoryStore(StoreConformance):
    async def test_it_fails_once_when_told_to_and_writes_nothing(self, store: MemoryStore) -> None:
        ann = account("ann")
        commit = Commit(records=(choice("r0", ann),), events=(event("m"),), replies=(reply("k"),))
        store.fail_next = StoreUnavailable("the disk is full")
        with pytest.raises(StoreUnavailable, match="full"):
            await store.commit(commit)
        assert not store.available
        assert (store.end, store.facts_of(ann), store.reply_to("k")) == (0, (), None)
        assert_ledger_is_proven(store)
        assert (await store.commit(commit)).positions == (0,)
        assert store.available

    async def test_it_is_available_again_a_second_after_a_failure(
        self, store: MemoryStore, clock: Clock
    ) -> None:
        store.fail_next = StoreUnavailable("the disk is full")
        assert store.available  # nothing failed yet
        with pytest.raises(StoreUnavailable):
            await store.commit(Commit())
        assert not store.available
        clock.time += SECOND
        assert store.available
        store.fail_next = StoreUnavailable("the disk is full")
        assert not store.available  # a try would fail

    async def test_a_worker_can_fail_as_well(self, store: MemoryStore) -> None:
        store.fail_next = StoreUnavailable("the disk is full")
        with pytest.raises(StoreUnavailable):
            await store.record_progress(Progress(destination="ads", position=1))
        assert store.position_for("ads") is None

    async def test_it_cannot_be_copied(self, store: MemoryStore) -> None:
        with pytest.raises(StoreError):
            await store.backup("copy")


def is_a_store(store: MemoryStore) -> Store:
    """mypy checks here that the adapter fits the port."""
    return store
