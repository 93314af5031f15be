"""A server that breaks a promise is found by the check that stands for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.kill import kill_again_and_again
from tests.crash.load import under_load
from tests.crash.mutants import (
    KEYS_FORGOTTEN,
    NOT_ASKED_AGAIN,
    OVERTAKING,
    TOLD_TOO_EARLY,
    mutated,
)

SEED = 20261124


async def test_a_server_that_does_not_ask_again_is_found(tmp_path: Path) -> None:
    environment = mutated(tmp_path, NOT_ASKED_AGAIN)
    with pytest.raises(AssertionError, match="rule='withdrawn'"):
        await under_load(tmp_path, 300, SEED, environment=environment)


async def test_a_server_that_lets_events_overtake_is_found(tmp_path: Path) -> None:
    environment = mutated(tmp_path, OVERTAKING)
    with pytest.raises(AssertionError, match="rule='order'"):
        await under_load(tmp_path, 300, SEED, environment=environment)


async def test_a_server_that_answers_before_it_is_durable_is_found(tmp_path: Path) -> None:
    environment = mutated(tmp_path, TOLD_TOO_EARLY)
    with pytest.raises(AssertionError, match=r"/v1/events/|is not in the history|userId"):
        await kill_again_and_again(tmp_path, 3, SEED, environment=environment)


async def test_a_server_that_forgets_its_replies_is_found(tmp_path: Path) -> None:
    environment = mutated(tmp_path, KEYS_FORGOTTEN)
    with pytest.raises(AssertionError, match=r"Told\(.*201"):
        await under_load(tmp_path, 100, SEED, environment=environment)
