"""What ``Store.orders`` means. Every adapter passes this suite, as part of the store's."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

from consentry.core.delivery import Grade
from consentry.core.moment import DAY, SECOND
from consentry.core.order import OrderState, Verb
from consentry.orders import Order, Tried
from consentry.ports import Commit, Store, StoreConflict, StoreError
from tests.store.makers import NOW, account, attempt, device, order, record, reply

ANN, BEN, DEV = account("ann"), account("ben"), device("dev")


async def owe(store: Store, *orders: Order) -> None:
    """Orders with the records that owe them, in one commit."""
    names = dict.fromkeys(one.record_id for one in orders)
    fresh = [name for name in names if store.record(name) is None]
    await store.commit(Commit(records=tuple(map(record, fresh)), orders=orders))


async def change(
    store: Store, order_id: str, attempted: int | None = None, **fields: object
) -> None:
    known = store.orders.order(order_id)
    assert known is not None
    tried = None if attempted is None else attempt(known.number, attempted)
    changed = msgspec.structs.replace(known, **fields)
    await store.commit(Commit(tried=(Tried(changed, tried),)))


def ids(orders: Iterable[Order]) -> list[str]:
    return [one.order_id for one in orders]


class OrdersConformance:
    """Derive from it, and every test below runs against the adapter's ``store``."""

    async def test_a_new_store_owes_nobody(self, store: Store) -> None:
        book = store.orders
        assert book.order("o1") is None
        assert not list(book.waiting("ads"))
        assert not list(book.find())
        assert not list(book.of_record("r0"))
        assert not list(book.attempts_of("o1"))
        assert not list(book.to_read(NOW))
        assert not list(book.open(NOW))
        assert not list(book.overdue(NOW, 3, {"ads"}))
        assert not list(book.drifting())

    async def test_an_order_comes_back_as_given_with_its_place(self, store: Store) -> None:
        given = order(
            "o1", "r1", ANN, DEV, verb=Verb.GRANT, topics=(("news", "email"),), next_at=5,
            attempts=2, grade=Grade.RATE_LIMITED, detail="busy", why="w", first_attempt_at=4,
            superseded_by="o2", ref="job", escalated=1, read_at=9, reads=1, drift=True,
        )  # fmt: skip
        await store.commit(Commit(records=(record("r0"), record("r1")), orders=(given,)))
        known = store.orders.order("o1")
        assert known is not None
        assert known.seq == 1
        assert known.number >= 0
        assert known == msgspec.structs.replace(given, seq=1, number=known.number)

    async def test_what_conflicts_owes_nothing(self, store: Store) -> None:
        await store.commit(Commit(replies=(reply("k"),)))
        with pytest.raises(StoreConflict):
            await store.commit(Commit(replies=(reply("k"),), orders=(order("o1"),)))
        assert store.orders.order("o1") is None

    async def test_an_id_is_given_out_once(self, store: Store) -> None:
        await owe(store, order("o1"))
        with pytest.raises(StoreError):
            await store.commit(Commit(records=(record("r9"),), orders=(order("o1", "r9"),)))
        assert store.record("r9") is None

    async def test_orders_wait_in_the_order_of_the_ledger(self, store: Store) -> None:
        await owe(store, order("b", "r1"), order("x", "r1", destination="mail"), order("a", "r2"))
        await owe(store, order("c", "r3"))
        found = store.orders.waiting("ads")
        assert ids(found) == ["b", "a", "c"]
        assert [one.number for one in found] == sorted(one.number for one in found)
        assert ids(store.orders.waiting("ads", found[0].number)) == ["a", "c"]
        assert ids(store.orders.waiting("ads", limit=2)) == ["b", "a"]
        assert ids(store.orders.waiting("mail")) == ["x"]

    async def test_a_later_order_of_an_older_record_comes_last(self, store: Store) -> None:
        await owe(store, order("a", "r1"), order("b", "r2"))
        again = order("c", "r1", seq=0)
        await store.commit(Commit(orders=(again,)))
        assert ids(store.orders.waiting("ads")) == ["a", "b", "c"]
        assert [one.seq for one in store.orders.waiting("ads")] == [0, 1, 0]

    async def test_what_is_settled_waits_no_more_and_keeps_its_attempts(self, store: Store) -> None:
        await owe(store, order("a", "r1", ANN), order("b", "r2", ANN))
        await change(store, "a", 0, attempts=1, grade=Grade.FAILED_RETRY)
        assert ids(store.orders.waiting("ads")) == ["a", "b"]
        done = {"state": OrderState.TERMINAL, "grade": Grade.CONFIRMED, "terminal_at": NOW}
        await change(store, "a", 1, attempts=2, **done)
        await change(store, "b", state=OrderState.SUPERSEDED, superseded_by="a")
        assert ids(store.orders.waiting("ads")) == []
        tried = store.orders.attempts_of("a")
        assert [one.started_at for one in tried] == [NOW, NOW + SECOND]
        assert not list(store.orders.attempts_of("b"))
        assert ids(store.orders.find(state=OrderState.TERMINAL)) == ["a"]
        assert ids(store.orders.find(state=OrderState.SUPERSEDED)) == ["b"]

    async def test_old_attempts_go_and_the_order_stays_as_it_is(self, store: Store) -> None:
        await owe(store, order("a", "r1", ANN), order("b", "r2", ANN))
        await change(store, "a", -2, attempts=1)
        await change(store, "b", -1, attempts=1)
        await change(store, "a", 1, attempts=2)
        before = store.orders.order("a")
        await store.prune(events_before=NOW, attempts_before=NOW, dead_before=NOW)
        assert [one.started_at for one in store.orders.attempts_of("a")] == [NOW + SECOND]
        assert not list(store.orders.attempts_of("b"))
        assert store.orders.order("a") == before
        assert ids(store.orders.waiting("ads")) == ["a", "b"]

    async def test_what_was_tried_of_nothing_is_nothing(self, store: Store) -> None:
        await store.commit(Commit(tried=(Tried(order("nobody"), attempt(0)),)))
        assert store.orders.order("nobody") is None
        assert not list(store.orders.attempts_of("nobody"))

    async def test_an_outcome_and_where_the_order_stands_are_one_commit(self, store: Store) -> None:
        await owe(store, order("a", "r1"))
        known = store.orders.order("a")
        assert known is not None
        done = msgspec.structs.replace(known, state=OrderState.TERMINAL)
        with pytest.raises(StoreConflict):
            await store.commit(Commit(records=(record("r1"),), tried=(Tried(done),)))
        assert ids(store.orders.waiting("ads")) == ["a"]

    async def test_orders_are_found_by_person_destination_and_state(self, store: Store) -> None:
        await owe(
            store,
            order("a", "r1", ANN, DEV),
            order("b", "r1", ANN, DEV, destination="mail"),
            order("c", "r2", BEN),
        )
        assert ids(store.orders.find()) == ["c", "b", "a"]
        assert ids(store.orders.find(ANN)) == ["b", "a"]
        assert ids(store.orders.find(DEV, "mail")) == ["b"]
        assert ids(store.orders.find(destination="ads")) == ["c", "a"]
        assert ids(store.orders.find(ANN, state=OrderState.TERMINAL)) == []
        newest = store.orders.find(limit=1)
        assert ids(newest) == ["c"]
        assert ids(store.orders.find(before=newest[0].number)) == ["b", "a"]
        assert ids(store.orders.of_record("r1")) == ["a", "b"]

    async def test_it_is_found_by_its_person_after_their_identifiers_went(
        self, store: Store
    ) -> None:
        await owe(store, order("a", "r1", ANN, verb=Verb.ERASE))
        await change(store, "a", nodes=(), named=(), state=OrderState.TERMINAL)
        (found,) = store.orders.find(ANN)
        assert (found.order_id, found.nodes, found.named) == ("a", (), ())

    async def test_open_ones_are_counted_per_destination(self, store: Store) -> None:
        await owe(
            store,
            order("a", "r1", acknowledged_at=NOW - DAY),
            order("b", "r2"),
            order("c", "r3", destination="mail"),
        )
        assert list(store.orders.open(NOW)) == [("ads", 2, NOW - DAY, 1), ("mail", 1, NOW, 0)]
        await change(store, "a", state=OrderState.TERMINAL)
        assert list(store.orders.open(NOW + 1)) == [("ads", 1, NOW, 1), ("mail", 1, NOW, 1)]

    async def test_what_is_open_for_long_is_overdue_until_it_was_said(self, store: Store) -> None:
        await owe(
            store,
            order("a", "r1", acknowledged_at=NOW - DAY),
            order("b", "r2", acknowledged_at=NOW - 2 * DAY),
            order("c", "r3"),
        )
        ads = {"ads"}
        assert ids(store.orders.overdue(NOW, 1, ads)) == ["b", "a"]
        assert ids(store.orders.overdue(NOW, 1, ads, limit=1)) == ["b"]
        assert ids(store.orders.overdue(NOW, 1, {"mail", 'a"b'})) == []
        assert ids(store.orders.overdue(NOW, 1, {"ads", "mail"})) == ["b", "a"]
        assert ids(store.orders.overdue(NOW, 1, set())) == []
        assert ids(store.orders.overdue(NOW, 0, ads)) == []
        await change(store, "b", escalated=1)
        assert ids(store.orders.overdue(NOW, 1, ads)) == ["a"]
        assert ids(store.orders.overdue(NOW, 2, ads)) == ["b", "a"]
        await change(store, "a", state=OrderState.TERMINAL)
        assert ids(store.orders.overdue(NOW, 2, ads)) == ["b"]

    async def test_those_to_be_asked_about_again_come_by_their_time(self, store: Store) -> None:
        await owe(store, order("a", "r1"), order("b", "r2"), order("c", "r3"))
        await change(store, "a", read_at=NOW)
        await change(store, "b", read_at=NOW - 1)
        await change(store, "c", read_at=NOW + 1)
        assert ids(store.orders.to_read(NOW)) == ["b", "a"]
        assert ids(store.orders.to_read(NOW, limit=1)) == ["b"]
        await change(store, "b", read_at=None)
        assert ids(store.orders.to_read(NOW)) == ["a"]

    async def test_those_that_drift_are_listed(self, store: Store) -> None:
        await owe(store, order("a", "r1"), order("b", "r2", destination="mail"), order("c", "r3"))
        await change(store, "a", drift=True)
        await change(store, "b", drift=True)
        assert ids(store.orders.drifting()) == ["b", "a"]
        assert ids(store.orders.drifting("ads")) == ["a"]
        await change(store, "b", drift=False)
        assert ids(store.orders.drifting()) == ["a"]
