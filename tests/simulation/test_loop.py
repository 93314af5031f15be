"""Virtual time: it passes as fast as it can, and only forwards."""

from __future__ import annotations

import asyncio
import random

import pytest

from consentry.clock import Clock, Timer
from tests.simulation.loop import Deadlock, VirtualLoop

HOUR_S = 3600


@pytest.fixture
def loop():
    made = VirtualLoop(random.Random(0))
    yield made
    made.close()


def test_an_hour_passes_at_once(loop: VirtualLoop) -> None:
    loop.run_until_complete(asyncio.sleep(HOUR_S))
    assert loop.time() == pytest.approx(HOUR_S)


def test_who_waits_for_ever_is_told(loop: VirtualLoop) -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    waiting = loop.create_task(wait())
    with pytest.raises(Deadlock):
        loop.run_until_complete(waiting)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(waiting)


def test_a_busy_loop_makes_long_work_look_long(loop: VirtualLoop) -> None:
    loop.busy_s = 1.0
    before = loop.time()
    assert loop.time() > before


def test_a_wall_that_is_set_back_does_not_turn_the_clock_back() -> None:
    wall, elapsed = [HOUR_S * 10**9], [0]
    clock = Clock(wall_ns=lambda: wall[0], elapsed_ns=lambda: elapsed[0])
    timer = Timer(clock)
    first, began = clock.now(), timer.now()

    wall[0] = 0
    elapsed[0] = 60 * 10**9

    assert clock.now() > first
    assert timer.now() - began == pytest.approx(60 * 10**6, abs=10)
