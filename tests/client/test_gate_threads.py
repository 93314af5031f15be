"""One gate, several threads."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from consentry.client import Gate
from tests.client.gates import ALL, FILTERED, Kept, policy, track

PEOPLE = 40
ROUNDS = 60


@pytest.fixture(autouse=True)
def often() -> Iterator[None]:
    """Threads take turns some hundred times as often as they do by themselves."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def test_what_was_withdrawn_before_a_push_began_is_withheld_in_every_thread() -> None:
    gate = Gate(policy())
    for name in ("warehouse", "ads", "support"):
        gate.add(name, lambda event: None)
    withdrawn: set[str] = set()
    pushed = threading.Barrier(4)

    def push() -> list[str]:
        """Events of everybody, again and again; those that went to ads after a withdrawal."""
        wrong = []
        pushed.wait(30)
        for _ in range(ROUNDS):
            for n in range(PEOPLE):
                known = f"a-{n}" in withdrawn
                result = gate.push(track(f"a-{n}", **ALL))
                if known and "ads" in result.delivered:
                    wrong.append(f"a-{n}")
        return wrong

    def withdraw() -> None:
        pushed.wait(30)
        for n in range(PEOPLE):
            gate.record({"anonymousId": f"a-{n}"}, {"advertising": False})
            withdrawn.add(f"a-{n}")

    with ThreadPoolExecutor(4) as pool:
        pushing = [pool.submit(push) for _ in range(3)]
        pool.submit(withdraw).result(60)
        assert [one.result(60) for one in pushing] == [[], [], []]

    counts, all_of_them = gate.counts, 3 * PEOPLE * ROUNDS
    assert counts.delivered["warehouse"] == counts.delivered["support"] == all_of_them
    assert counts.delivered.get("ads", 0) + counts.withheld["ads"] == all_of_them
    assert all(
        gate.push(track(f"a-{n}", **ALL)).withheld == {"ads": FILTERED} for n in range(PEOPLE)
    )


@pytest.mark.parametrize("pushed_before", [0, 1])
def test_a_withdrawal_in_another_thread_stops_a_push_that_is_under_way(pushed_before: int) -> None:
    gate = Gate(policy())
    begun, recorded = threading.Event(), threading.Event()

    def wait(event: Any) -> None:
        if event["anonymousId"] == "a-1":
            begun.set()
            assert recorded.wait(30)

    gate.add("warehouse", wait)
    kept = Kept(gate, "ads", "support")
    for _ in range(pushed_before):  # of somebody else, by the same consent object
        gate.push(track("a-0", **ALL))
    kept.events = {name: [] for name in kept.events}

    with ThreadPoolExecutor(1) as pool:
        pushing = pool.submit(gate.push, track(**ALL))
        assert begun.wait(30)
        gate.record({"anonymousId": "a-1"}, {"advertising": False})
        recorded.set()
        result = pushing.result(30)

    assert (result.delivered, result.withheld) == (("warehouse", "support"), {"ads": FILTERED})
    assert kept.called == ["support"]


def test_no_count_is_lost() -> None:
    gate = Gate(policy())
    gate.add("warehouse", lambda event: None)
    event = track(analytics=True)

    def push() -> None:
        for _ in range(20_000):
            gate.push(event)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(push) for _ in range(4)]:
            done.result(60)

    assert gate.counts.delivered == {"warehouse": 80_000}
