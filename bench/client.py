"""The in-process gate: an event decided for five destinations, one of which is denied.

Against walkerOS' collector in Node, which does the same work: five destinations that do nothing,
one denied by consent, its queue of denied events capped at one. Events per CPU second of either
process.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import count
from statistics import median
from typing import Any

from bench import cpu, rows
from bench.peers import JS, Unavailable
from bench.report import Limit, Result, Row, ratio
from bench.server import CATEGORIES, NEEDS, event, stop
from consentry.client import Gate
from consentry.core.policy import Category, Mapping, Policy

ROW = Row(
    "client",
    "in-process gate, five destinations, one denied",
    "walkerOS collector 4.2.1, queue capped",
    (Limit("events / walkerOS", "x", 20, 50),),
)


def measure(quick: bool) -> Result:
    events = 5_000 if quick else 20_000
    ours = gate()
    try:
        with walker() as push:
            push(events)
            ours(events)
            left, right = rows.interleaved(
                rows.rounds(quick), lambda: events / ours(events), lambda: events / push(events)
            )
    except Unavailable as error:
        return Result(ROW, missing=str(error))
    figures: dict[str, float | str] = {
        "events/CPU s": median(left),
        "us CPU/event": 1e6 / median(left),
        "walkerOS events/CPU s": median(right),
    }
    return Result(ROW, {ROW.limits[0].name: ratio(left, right)}, figures)


def gate() -> Callable[[int], float]:
    """Our gate in this process; a call pushes so many events, and gives CPU seconds.

    Every event is another dictionary with another id and its own consent object.
    """
    categories = tuple(Category(name) for name in CATEGORIES)
    mappings = tuple(Mapping(f"d{n}", "webhook", needs) for n, needs in enumerate(NEEDS))
    kept = Gate(Policy("bench", categories=categories, mappings=mappings))
    received = [0] * len(NEEDS)

    def adder(place: int) -> Callable[[dict[str, Any]], None]:
        def add(_event: dict[str, Any]) -> None:
            received[place] += 1

        return add

    for n in range(len(NEEDS)):
        kept.add(f"d{n}", adder(n))
    made = count()
    total = 0

    def push(events: int) -> float:
        nonlocal total
        given = [_event(next(made)) for _ in range(events)]
        before = time.process_time()
        for one in given:
            kept.push(one)
        used = time.process_time() - before
        total += events
        if received != [total] * 4 + [0]:
            raise SystemExit(f"delivered {received} of {total}")
        return used

    return push


def _event(n: int) -> dict[str, Any]:
    preferences = {name: name != NEEDS[-1][0] for name in CATEGORIES}
    made = event(f"gate-{n}", f"dev-{n:08d}")
    return {**made, "context": {**made["context"], "consent": {"categoryPreferences": preferences}}}


@contextlib.contextmanager
def walker() -> Iterator[Callable[[int], float]]:
    """A collector in Node; a call pushes so many events, and gives CPU seconds."""
    if not (JS / "node_modules" / "@walkeros" / "collector").is_dir():
        raise Unavailable("npm packages are missing: run `make bench`, or `npm ci` in bench/js")
    process = subprocess.Popen(
        cpu.pinned(cpu.SERVER_CORE, ["node", "walker.mjs"]),
        cwd=JS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    total = 0

    def push(events: int) -> float:
        nonlocal total
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{events}\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise Unavailable("walkerOS ended; its error is above")
        seen = json.loads(line)
        total += events
        if seen["received"] != [total] * 4 + [0]:
            raise Unavailable(f"walkerOS delivered {seen['received']} of {total}")
        return float(seen["seconds"])

    try:
        yield push
    finally:
        stop(process)


if __name__ == "__main__":
    rows.main(ROW, measure)
