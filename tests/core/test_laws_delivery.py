"""The laws of a delivery's life: what an attempt can make of it, and how long one waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.core.delivery import NEXT, Backoff, Grade, State

from .clauses import holds

chances = st.floats(0, 1, exclude_max=True)
backoffs = st.builds(
    Backoff,
    first_s=st.floats(0.1, 10),
    factor=st.floats(1.1, 4),
    longest_s=st.floats(10, 1000),
)


@holds("L1")
def test_every_grade_leads_to_one_state_and_each_state_is_led_to() -> None:
    assert NEXT.keys() == set(Grade)
    assert set(NEXT.values()) == set(State) == {"waiting", "delivered", "withheld", "dead"}


@holds("L2")
@pytest.mark.parametrize(
    ("state", "grades"),
    [
        (State.DELIVERED, ("confirmed", "job_done", "accepted", "sent_unverifiable")),
        (State.WAITING, ("failed_retry", "rate_limited", "auth_blocked")),
        (State.DEAD, ("noop", "failed_final")),
        (State.WITHHELD, ("gated",)),
    ],
)
def test_what_an_attempt_came_to_decides_where_the_delivery_stands(state, grades) -> None:
    assert {grade for grade, next_ in NEXT.items() if next_ is state} == set(grades)


@holds("L3")
@given(backoffs, st.integers(-3, 10**9), chances)
def test_a_wait_is_between_half_and_the_whole_of_what_it_has_grown_to(
    backoff, attempts, chance
) -> None:
    grown = backoff.first_s
    for _ in range(min(attempts, 33) - 1):
        grown = min(grown * backoff.factor, backoff.longest_s)
    grown = min(grown, backoff.longest_s)

    wait = backoff.delay_s(attempts, chance)

    assert wait == pytest.approx(grown * (0.5 + chance / 2))
    assert 0 < wait <= backoff.longest_s


@holds("L3")
@pytest.mark.parametrize(
    ("attempts", "seconds"),
    [(0, 2), (1, 2), (2, 4), (3, 8), (8, 256), (9, 512), (10, 600), (33, 600), (10**12, 600)],
)
def test_waits_double_from_two_seconds_to_ten_minutes(attempts: int, seconds: float) -> None:
    assert Backoff().delay_s(attempts, 0.0) == seconds / 2
    assert Backoff().delay_s(attempts, 0.5) == seconds * 0.75


@holds("L3")
def test_a_wait_that_grows_slowly_stops_growing_and_never_overflows() -> None:
    slow = Backoff(first_s=1.0, factor=2.0, longest_s=1e300)

    assert slow.delay_s(33, 0.0) == 2.0**32 / 2
    assert slow.delay_s(34, 0.0) == 2.0**32 / 2
    assert slow.delay_s(10**9, 0.0) == 2.0**32 / 2


@holds("L4")
def test_it_is_given_up_after_four_hours() -> None:
    assert Backoff().give_up_after_s == 4 * 3600
