"""``python -m tests.simulation.run --seed N [--count N] [--steps N] [--jobs N]``: many seeds.

One seed runs here and tells its story when it breaks; many are shared among the cores. Exit
code 1 when a promise was broken, with the command that plays the failing run again.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field

from tests.simulation.driver import STEPS, run_seed
from tests.simulation.process import Parts
from tests.simulation.world import Counts, Simulation

LAST = 40  # lines of the story that are shown
CHUNK = 50
MOST_SHOWN = 3
HASH_SEED = "0"  # as `make test` has it


@dataclass
class Report:
    """What a number of seeds came to. ``broken`` pairs a seed with its story."""

    seeds: int = 0
    counts: Counts = field(default_factory=Counts)
    broken: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Report) -> None:
        self.seeds += other.seeds
        self.counts.add(other.counts)
        self.broken += other.broken

    def __str__(self) -> str:
        counts = ", ".join(f"{value} {name}" for name, value in vars(self.counts).items())
        return f"{self.seeds} seeds, {counts}, {len(self.broken)} violations"


def run_seeds(first: int, count: int, steps: int = STEPS, parts: Parts | None = None) -> Report:
    """Run seeds one after another; what breaks is in the report, not raised."""
    report = Report()
    for seed in range(first, first + count):
        report.seeds += 1
        try:
            report.counts.add(run_seed(seed, steps, parts).counts)
        except Exception as broken:  # whatever it is, this seed did not hold
            report.broken.append((seed, story_of(seed, steps, broken)))
    return report


def story_of(seed: int, steps: int, broken: Exception) -> str:
    """What broke, the end of the story, and how to play it again."""
    sim: Simulation | None = getattr(broken, "simulation", None)
    story = [] if sim is None else sim.trace[-LAST:]
    again = f"python -m tests.simulation.run --seed {seed} --steps {steps}"
    return "\n".join([*story, f"seed {seed}: {type(broken).__name__}: {broken}", again])


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.run", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=1, help="how many seeds from there on")
    parser.add_argument("--steps", type=int, default=STEPS, help="actions in each run")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    given = parser.parse_args(arguments)
    report = Report()
    began = told = time.monotonic()
    for part in _parts(given.seed, given.count, given.steps, given.jobs):
        report.add(part)
        if time.monotonic() - told > 10:
            told = time.monotonic()
            broken = " ".join(str(seed) for seed, _ in report.broken)
            print(f"{report.seeds} of {given.count} seeds, broken: {broken or 'none'}")
            sys.stdout.flush()
    for _, story in report.broken[:MOST_SHOWN]:
        print(f"\n{story}\n")
    if len(report.broken) > MOST_SHOWN:
        print("also broken:", *(seed for seed, _ in report.broken[MOST_SHOWN:]))
    print(f"{report} ({time.monotonic() - began:.0f} s)")
    return 1 if report.broken else 0


def _parts(first: int, count: int, steps: int, jobs: int) -> Iterator[Report]:
    if count <= CHUNK or jobs == 1:
        for seed in range(first, first + count):
            yield run_seeds(seed, 1, steps)
        return
    with ProcessPoolExecutor(jobs) as pool:
        chunks = [
            pool.submit(run_seeds, seed, min(CHUNK, first + count - seed), steps)
            for seed in range(first, first + count, CHUNK)
        ]
        for chunk in as_completed(chunks):
            yield chunk.result()


def _with_one_order_of_sets() -> None:
    """A seed is a seed only where sets are gone through in the same order in every process."""
    if os.environ.get("PYTHONHASHSEED") != HASH_SEED:
        again = [sys.executable, "-m", "tests.simulation.run", *sys.argv[1:]]
        os.execve(sys.executable, again, {**os.environ, "PYTHONHASHSEED": HASH_SEED})


if __name__ == "__main__":
    _with_one_order_of_sets()
    sys.exit(main())
