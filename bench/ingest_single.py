"""POST /v1/track, one event of about 1 KB per request, answered once it is durable.

Against an nginx of one worker that answers `return 200` and reads nothing, under the same load.
Requests per CPU second of the serving process. The five destinations are paused, so that this
is ingest alone; the figures also tell what it costs when everything is delivered as well.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from bench import cpu, rows
from bench.load import Load, Loaded, loaded, wrk
from bench.report import Limit, Result, Row, ratio
from bench.server import BASIC, consentry, nginx, pause_all, sink

ROW = Row(
    "ingest_single",
    "one event per request, durable, per server CPU second",
    "nginx `return 200`",
    (Limit("durable requests / nginx", "x", 0.12, 0.20),),
)
CONNECTIONS = 64
DEVICES = "5000"


def measure(quick: bool) -> Result:
    with sink() as receiver, nginx() as (port, master), consentry(receiver.base) as running:
        pause_all(running, receiver)

        def ours(seconds: float = rows.seconds(quick)) -> Loaded:
            return loaded(lambda: _load(running.port, seconds), running.cpu_s)

        def reference(seconds: float = rows.seconds(quick)) -> Loaded:
            return loaded(lambda: _load(port, seconds), lambda: cpu.tree_s(master))

        ours(1.0)
        reference(1.0)
        left, right = rows.interleaved(rows.rounds(quick), ours, reference)
    rate = [one.per_cpu_second for one in left]
    floor = [one.per_cpu_second for one in right]
    figures: dict[str, float | str] = {
        "requests/CPU s": median(rate),
        "nginx requests/CPU s": median(floor),
        "us CPU/request": 1e6 / median(rate),
        "requests/s": median(one.per_second for one in left),
        "nginx requests/s": median(one.per_second for one in right),
        "p50 ms": median(one.p50_ms for one in left),
        "p99 ms": median(one.p99_ms for one in left),
    }
    if not quick:
        figures["us CPU/event when all is delivered too"] = delivered_us(_load)
    return Result(ROW, {ROW.limits[0].name: ratio(rate, floor)}, figures)


def _load(port: int, seconds: float) -> Load:
    return wrk(port, "track.lua", DEVICES, BASIC, connections=CONNECTIONS, seconds=seconds)


def delivered_us(load: Callable[[int, float], Load], per_request: int = 1) -> float:
    """CPU microseconds for each event when the destinations take what they may have."""
    with sink() as receiver, consentry(receiver.base) as running:
        before = running.cpu_s()
        done = load(running.port, 1.0)
        used = running.settled_cpu_s() - before
    return used / (done.requests * per_request) * 1e6


if __name__ == "__main__":
    rows.main(ROW, measure)
