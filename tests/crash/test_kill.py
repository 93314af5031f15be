"""Killed again and again: what was acknowledged is there, what was withheld was not sent."""

from __future__ import annotations

from pathlib import Path

from tests.crash.kill import kill_again_and_again

SEED = 20261122


async def test_killed_again_and_again_every_promise_is_kept(tmp_path: Path) -> None:
    found = await kill_again_and_again(tmp_path, cycles=20, seed=SEED)
    print(found)
    # It did something of each kind. How much depends on how much a machine does in half a second.
    assert found.acknowledged > 50
    assert found.owed > 30
    assert found.withheld > 15
    assert found.orders > 30
    assert found.told > 15
