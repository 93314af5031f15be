"""Choices with 1,000,000 subjects in the store, against the same with 10,000: does it slow down?

Two servers on copies of the two stores, loaded in turn. The ratio is the smaller of two: choices
per second, and choices per CPU second of the server.
"""

from __future__ import annotations

from statistics import median

from bench import rows
from bench.choice import choices
from bench.load import Loaded, loaded
from bench.preload import preloaded
from bench.report import Limit, Result, Row, ratio
from bench.server import Server, consentry

ROW = Row(
    "choice_scale",
    "choices recorded at 1,000,000 subjects",
    "itself at 10,000 subjects",
    (Limit("choices at 1,000,000 / at 10,000", "x", 0.8, 0.95),),
)
LARGE, SMALL = 1_000_000, 10_000


def measure(quick: bool) -> Result:
    nobody = "http://127.0.0.1:9"
    with (
        consentry(nobody, preloaded(LARGE)) as large,
        consentry(nobody, preloaded(SMALL)) as small,
    ):

        def run(running: Server, subjects: int) -> Loaded:
            seconds = rows.seconds(quick)
            return loaded(lambda: choices(running.port, subjects, seconds), running.cpu_s)

        run(large, LARGE)
        run(small, SMALL)
        left, right = rows.interleaved(
            rows.rounds(quick), lambda: run(large, LARGE), lambda: run(small, SMALL)
        )
    wall = ratio([one.per_second for one in left], [one.per_second for one in right])
    used = ratio([one.per_cpu_second for one in left], [one.per_cpu_second for one in right])
    return Result(
        ROW,
        {ROW.limits[0].name: min(wall, used)},
        {
            "ratio by wall clock": wall,
            "ratio by CPU": used,
            "choices/s at 1,000,000": median(one.per_second for one in left),
            "choices/s at 10,000": median(one.per_second for one in right),
            "choices/CPU s at 1,000,000": median(one.per_cpu_second for one in left),
            "choices/CPU s at 10,000": median(one.per_cpu_second for one in right),
        },
    )


if __name__ == "__main__":
    rows.main(ROW, measure)
