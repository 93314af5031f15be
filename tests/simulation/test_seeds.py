"""Two hundred seeds, and that a seed is a seed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.driver import run_seed
from tests.simulation.run import run_seeds

CHUNKS, EACH = 10, 20


@pytest.mark.parametrize("first", range(0, CHUNKS * EACH, EACH))
def test_no_promise_is_broken(first: int) -> None:
    report = run_seeds(first, EACH)
    assert not report.broken, "\n\n".join(story for _, story in report.broken)
    # A world in which nothing happens keeps every promise.
    assert report.counts.events > EACH
    assert report.counts.sends > EACH
    assert report.counts.crashes > 0


def test_a_seed_gives_the_same_run_again_in_another_process() -> None:
    code = "from tests.simulation.driver import run_seed; print(*run_seed(7).trace, sep='\\n')"
    found = [
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": order_of_sets},
        )
        for order_of_sets in "12"
    ]
    assert found[0].stdout == found[1].stdout
    assert found[0].stdout.splitlines() == run_seed(7).trace
