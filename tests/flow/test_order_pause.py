"""How long an order waits for a system that is down, and how soon it hears that it is back."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.core.delivery import Grade, Outcome
from consentry.core.moment import SECOND
from consentry.core.order import Verb
from consentry.core.record import Node, NodeKind
from consentry.flow.order_lane import BACKOFF, FAILURES_UNTIL_ILL, SOONEST_S, OrderLane, pause_s
from consentry.orders import Order

FAILED = Outcome(Grade.FAILED_RETRY, 503)
DONE = Outcome(Grade.ACCEPTED, 200)
CHANCES = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 10_000), st.floats(0, 10**8), CHANCES, st.sampled_from(Grade))
def test_a_pause_has_bounds(attempts: int, down_s: float, chance: float, grade: Grade) -> None:
    waits = pause_s(Outcome(grade), attempts, down_s, chance)
    assert SOONEST_S / 2 <= waits <= BACKOFF.longest_s
    assert pause_s(Outcome(grade, retry_after_s=7200.0), attempts, down_s, chance) == 7200


@pytest.mark.parametrize("grade", [Grade.RATE_LIMITED, Grade.AUTH_BLOCKED])
def test_who_answers_no_is_left_alone_for_longer_each_time(grade: Grade) -> None:
    waits = [pause_s(Outcome(grade), attempts, 1.0, 0.0) for attempts in range(1, 14)]
    assert waits == [min(2.0**n, BACKOFF.longest_s / 2) for n in range(13)]


def test_a_clock_that_was_set_forward_makes_no_long_outage_of_a_short_one() -> None:
    assert pause_s(FAILED, 1, 30 * 86_400.0, 0.999) <= 2


def _owed(number: int) -> Order:
    who = (Node(NodeKind.ACCOUNT, f"u{number}"),)
    return Order(
        order_id=f"o{number}",
        record_id="r",
        destination="crm",
        verb=Verb.SUPPRESS,
        acknowledged_at=0,
        subject=who,
        nodes=who,
        named=who,
        number=number,
    )


def _outage(down_s: float, orders: int, chance: float) -> tuple[float, int]:
    """Seconds from the end of an outage until everything was told, and how often it was tried."""
    lane, now, tries, told = OrderLane(), 0, 0, 0
    lane.admit(_owed(n) for n in range(orders))
    while told < orders:
        batch = () if lane.ill and lane.flying else lane.take(now, lambda _: True).batch
        if not batch:
            due = lane.next_due()
            assert due is not None
            now = max(due, now + 1)
            continue
        (order,) = batch
        outcome = FAILED if now < down_s * SECOND else DONE
        lane.heard(outcome, now, chance)
        if outcome is DONE:
            told += 1
            lane.settle(order.number)
            continue
        tries += 1
        first = order.first_attempt_at
        since = now if first is None else first
        wait_s = pause_s(FAILED, order.attempts + 1, (now - since) / SECOND, chance)
        lane.put_back(
            msgspec.structs.replace(
                order,
                attempts=order.attempts + 1,
                first_attempt_at=since,
                next_at=now + int(wait_s * SECOND),
            )
        )
    return now / SECOND - down_s, tries


@given(st.floats(0.1, 86_400), st.sampled_from([1, 3, 2 * FAILURES_UNTIL_ILL]), CHANCES)
def test_what_was_down_has_caught_up_a_tenth_of_the_time_later(
    down_s: float, orders: int, chance: float
) -> None:
    late_s, tries = _outage(down_s, orders, chance)
    assert late_s <= max(SOONEST_S, down_s / 10) + 0.001
    assert tries <= 86_400 / 15 + 20 * orders + 60


def test_a_minute_is_caught_up_within_six_seconds() -> None:
    late_s, tries = _outage(60, 1, 0.999)
    assert late_s <= 6
    assert tries <= 40
