"""The in-process gate: an event decided for five destinations, one of which is denied.

Against walkerOS' collector in Node, which does the same work: five destinations that do nothing,
one denied by consent, its queue of denied events capped at one. Events per CPU second of either
process.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from statistics import median

from bench import cpu, rows
from bench.peers import JS, Unavailable
from bench.report import Limit, Result, Row
from bench.server import stop

ROW = Row(
    "client",
    "in-process gate, five destinations, one denied",
    "walkerOS collector 4.2.1, queue capped",
    (Limit("events / walkerOS", "x", 20, 50),),
)


def measure(quick: bool) -> Result:
    events = 5_000 if quick else 20_000
    try:
        with walker() as push:
            push(events)
            theirs = median(events / push(events) for _ in range(rows.rounds(quick)))
    except Unavailable as error:
        return Result(ROW, missing=str(error))
    return Result(ROW, {}, {"walkerOS events/CPU s": theirs}, missing=why_not())


def why_not() -> str:
    """Why our side of this row has no figure."""
    if find_spec("consentry.client") is None:
        return "not there yet: consentry.client.Gate"
    return "consentry.client.Gate is there, but this row does not ask it yet"


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
