"""Which orders may start: laws over any history, then what a person would ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from consentry.core.delivery import Grade, Outcome
from consentry.core.moment import SECOND
from consentry.core.order import Verb
from consentry.flow.order_lane import FAILURES_UNTIL_ILL, OrderLane, Turn, covers
from consentry.orders import Order
from tests.store.makers import account, device
from tests.store.makers import order as make

A, B, D = account("a"), account("b"), device("d")
VERBS = [Verb.SUPPRESS, Verb.GRANT, Verb.ERASE]
PEOPLE = [(A,), (B,), (D,), (A, D), (B, D)]
TOPICS = [(), (("news", "email"),), (("news", "email"), ("sales", "sms"))]
FAILED = Outcome(Grade.FAILED_RETRY, 503)
DONE = Outcome(Grade.CONFIRMED, 200)


def order(number: int, *nodes: Any, verb: Verb = Verb.SUPPRESS, **fields: Any) -> Order:
    return make(f"o{number}", "r", *nodes, verb=verb, number=number, **fields)


def together(one: Order, other: Order) -> bool:
    return not set(one.nodes).isdisjoint(other.nodes)


def yes(_: Order) -> bool:
    return True


class Machine(RuleBasedStateMachine):
    """Orders come, are tried, fail, and end. ``open`` is what the lane has been handed and not
    been told is over; ``flying`` what it has let go."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.lane = OrderLane(batch_max=2)
        self.open: dict[int, Order] = {}
        self.flying: dict[int, Order] = {}
        self.leaving: dict[int, Order] = {}
        self.untrue: set[int] = set()
        self.number = 0

    def holds(self, order: Order) -> bool:
        return order.number not in self.untrue

    @rule(
        people=st.sampled_from(PEOPLE), verb=st.sampled_from(VERBS), topics=st.sampled_from(TOPICS),
        wait=st.integers(0, 3), skip=st.integers(1, 3),
    )  # fmt: skip
    def comes(self, people: Any, verb: Verb, topics: Any, wait: int, skip: int) -> None:
        self.number += skip
        topics = () if verb is Verb.ERASE else topics
        at = self.now + wait * SECOND
        fresh = order(self.number, *people, verb=verb, topics=topics, next_at=at)
        self.open[fresh.number] = fresh
        self.lane.admit([fresh])

    @rule(data=st.data())
    def changes(self, data: st.DataObject) -> None:
        if self.open:
            self.untrue ^= {data.draw(st.sampled_from(sorted(self.open)))}

    @rule(passes=st.integers(0, 5))
    def looks(self, passes: int) -> None:
        self.now += passes * SECOND
        turn = self.lane.take(self.now, self.holds)
        self.check(turn)

    def check(self, turn: Turn) -> None:
        for left in turn.left:
            gone = self.open[left.order.number]
            assert gone.verb is not Verb.ERASE, "an erasure is never superseded"
            assert gone.number not in self.flying
            if left.by is None:
                assert not self.holds(gone)
            else:
                (by,) = [o for o in self.open.values() if o.order_id == left.by]
                assert by.number > gone.number
                assert covers(by, gone)
                assert self.holds(by)
            self.leaving[gone.number] = gone
        for one in turn.batch:
            assert one == self.open[one.number]
            assert one.next_at <= self.now or not self.lane.ill
            earlier = [o for o in self.open.values() if o.number < one.number and together(o, one)]
            assert not earlier, "for one person orders go in ledger order"
            assert not any(together(other, one) for other in self.flying.values())
            assert one.verb is Verb.ERASE or self.holds(one)
            self.flying[one.number] = one
        assert len({(o.verb, o.topics) for o in turn.batch}) <= 1

    @rule(data=st.data(), outcome=st.sampled_from([DONE, FAILED]), wait=st.integers(0, 3))
    def ends(self, data: st.DataObject, outcome: Outcome, wait: int) -> None:
        if not self.flying:
            return
        number = data.draw(st.sampled_from(sorted(self.flying)))
        gone = self.flying.pop(number)
        self.lane.heard(outcome, self.now, 0.5)
        if outcome is DONE:
            del self.open[number]
            self.lane.settle(number)
        else:
            again = msgspec.structs.replace(gone, next_at=self.now + wait * SECOND)
            self.open[number] = again
            self.lane.put_back(again)

    @rule(data=st.data(), written=st.booleans())
    def is_left_out(self, data: st.DataObject, written: bool) -> None:
        if not self.leaving:
            return
        number = data.draw(st.sampled_from(sorted(self.leaving)))
        del self.leaving[number]
        if written:
            del self.open[number]
            self.lane.settle(number)
        else:
            self.lane.again(number, self.now)

    @invariant()
    def nothing_is_lost(self) -> None:
        assert len(self.lane) == len(self.open)
        assert self.lane.flying == frozenset(self.flying)

    def teardown(self) -> None:
        """Whatever was going on: when everything succeeds, everything ends."""
        for number in sorted(self.flying):
            del self.open[number]
            self.lane.settle(number)
        for number in sorted(self.leaving):
            del self.open[number]
            self.lane.settle(number)
        self.flying.clear()
        self.leaving.clear()
        for _ in range(4 * len(self.open) + 4):
            if not self.open:
                break
            self.now += 3600 * SECOND
            self.check(turn := self.lane.take(self.now, self.holds))
            for gone in (*turn.batch, *(left.order for left in turn.left)):
                del self.open[gone.number]
                self.lane.settle(gone.number)
            self.flying.clear()
            self.leaving.clear()
            self.lane.heard(DONE, self.now, 0.5)
        assert not self.open
        assert self.lane.next_due() is None


TestOrderLane = Machine.TestCase
TestOrderLane.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def numbers(turn: Turn) -> list[int]:
    return [one.number for one in turn.batch]


def lane_of(*orders: Order, batch_max: int = 1) -> OrderLane:
    lane = OrderLane(batch_max)
    lane.admit(orders)
    return lane


def test_different_persons_go_side_by_side_and_one_in_order() -> None:
    first, second = order(1, A, verb=Verb.ERASE), order(2, A, verb=Verb.ERASE)
    lane = lane_of(first, second, order(3, B))
    assert numbers(lane.take(0, yes)) == [1]
    assert numbers(lane.take(0, yes)) == [3]
    assert lane.take(0, yes) == Turn()
    lane.settle(1)
    assert numbers(lane.take(0, yes)) == [2]


def test_what_nobody_can_say_is_not_lost() -> None:
    lane = lane_of(order(1, A), order(2, B), order(3, D), batch_max=3)
    asked: list[int] = []

    def unreadable(one: Order) -> bool:
        asked.append(one.number)
        if len(asked) > 1:
            raise RuntimeError("the store cannot be read")
        return True

    for _ in range(2):
        asked.clear()
        with pytest.raises(RuntimeError):
            lane.take(0, unreadable)
    assert numbers(lane.take(0, yes)) == [1, 2, 3]


def test_who_is_linked_is_one_person() -> None:
    lane = lane_of(order(1, D, verb=Verb.ERASE), order(2, A, D), order(3, A))
    assert numbers(lane.take(0, yes)) == [1]
    assert lane.take(0, yes) == Turn()


def test_a_newer_choice_takes_the_place_of_one_that_waits_for_a_retry() -> None:
    waits = order(1, A, next_at=3600 * SECOND)
    lane = lane_of(waits)
    assert lane.take(0, yes) == Turn()
    lane.admit([order(2, A, verb=Verb.GRANT)])
    (left,) = lane.take(0, yes).left
    assert (left.order.number, left.by) == (1, "o2")
    lane.settle(1)
    assert numbers(lane.take(0, yes)) == [2]


def test_a_refusal_stays_owed_while_the_newer_yes_does_not_hold() -> None:
    holds: Callable[[Order], bool] = lambda one: one.verb is Verb.SUPPRESS  # noqa: E731
    lane = lane_of(order(1, A), order(2, A, verb=Verb.GRANT))
    assert numbers(lane.take(0, holds)) == [1]
    lane.settle(1)
    (left,) = lane.take(0, holds).left
    assert (left.order.number, left.by) == (2, None)


def test_what_names_fewer_or_says_less_takes_nobodys_place() -> None:
    whole = order(1, A, D)
    for later in (
        order(2, A),
        order(2, A, D, topics=(("news", "email"),)),
        order(2, A, D, verb=Verb.ERASE),
    ):
        assert not covers(later, whole)
    assert covers(order(2, A, D, verb=Verb.GRANT), whole)


def test_what_an_erasure_owes_gives_way_to_an_erasure_alone() -> None:
    first, second = (msgspec.structs.replace(order(n, A, D), erasure=True) for n in (1, 2))
    assert covers(second, order(1, A, D))
    assert not covers(order(2, A, D), first)
    assert not covers(order(2, A, D, verb=Verb.GRANT), first)


def test_orders_alike_go_together() -> None:
    other = order(3, D, verb=Verb.GRANT)
    lane = lane_of(order(1, A), order(2, B), other, order(4, account("c")), batch_max=3)
    assert numbers(lane.take(0, yes)) == [1, 2, 4]
    assert numbers(lane.take(0, yes)) == [3]


def test_a_destination_that_is_back_is_told_everything_at_once() -> None:
    people = [account(str(n)) for n in range(FAILURES_UNTIL_ILL + 3)]
    lane = lane_of(*(order(n, node) for n, node in enumerate(people)))
    now = 0
    for _ in range(FAILURES_UNTIL_ILL):
        (tried,) = lane.take(now, yes).batch
        lane.heard(FAILED, now, 0.5)
        lane.put_back(msgspec.structs.replace(tried, next_at=now + 3600 * SECOND))
    assert lane.ill
    assert lane.take(now, yes) == Turn()  # one now and then
    due = lane.next_due()
    assert due is not None
    assert due <= 30 * SECOND
    (tried,) = lane.take(due, yes).batch
    lane.heard(DONE, due, 0.5)
    lane.settle(tried.number)
    assert not lane.ill
    caught_up = 0
    while turn := lane.take(due, yes).batch:
        caught_up += len(turn)
    assert caught_up == len(people) - 1


def test_who_asks_for_time_is_given_it() -> None:
    lane = lane_of(order(1, A), order(2, B))
    (tried,) = lane.take(0, yes).batch
    busy = Outcome(Grade.RATE_LIMITED, 429, retry_after_s=7.0)
    lane.heard(busy, 0, 0.5)
    lane.put_back(msgspec.structs.replace(tried, next_at=7 * SECOND))
    assert lane.take(0, yes) == Turn()
    assert lane.next_due() == 7 * SECOND
    assert numbers(lane.take(7 * SECOND, yes)) != []


def test_one_that_is_tried_again_by_hand_goes_before_later_ones() -> None:
    lane = lane_of(order(5, A, verb=Verb.ERASE))
    lane.admit([order(2, A)])
    assert numbers(lane.take(0, yes)) == [2]
    assert lane.take(0, yes) == Turn()
