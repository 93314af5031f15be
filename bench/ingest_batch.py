"""POST /v1/batch of 100 events, answered once they are durable: events per server CPU second.

Against a bare loop that appends records of 100 such events to a file and waits for the disk
(write, fdatasync), in events per second of wall clock, on the same disk in the same run. Its rate
is that of the quickest tenth of its appends: a neighbour that writes must not make us look better.
"""

from __future__ import annotations

import json
import os
import time
from statistics import median

from bench import rows
from bench.ingest_single import delivered_us
from bench.load import Load, Loaded, loaded, wrk
from bench.report import Limit, Result, Row, ratio
from bench.server import BASIC, consentry, event, pause_all, sink, workplace

ROW = Row(
    "ingest_batch",
    "batches of 100, durable, events per server CPU second",
    "append + fdatasync of 100-event records, events/s",
    (Limit("durable events / bare loop", "x", 0.25, 0.45),),
)
CONNECTIONS = 8
DEVICES = "5000"
BATCH = 100


def measure(quick: bool) -> Result:
    with sink() as receiver, workplace() as folder, consentry(receiver.base) as running:
        pause_all(running, receiver)

        def ours(seconds: float = rows.seconds(quick)) -> Loaded:
            return loaded(lambda: _load(running.port, seconds), running.cpu_s, BATCH)

        def reference() -> float:
            quick_rate, mean_rate = bare_loop(str(folder / "bare.log"), rows.seconds(quick))
            means.append(mean_rate)
            return quick_rate

        means: list[float] = []
        ours(1.0)
        left, right = rows.interleaved(rows.rounds(quick), ours, reference)
    rate = [one.per_cpu_second for one in left]
    figures: dict[str, float | str] = {
        "events/CPU s": median(rate),
        "us CPU/event": 1e6 / median(rate),
        "events/s": median(one.per_second for one in left),
        "bare loop events/s, quickest tenth": median(right),
        "bare loop events/s, all": median(means),
        "p50 ms": median(one.p50_ms for one in left),
        "p99 ms": median(one.p99_ms for one in left),
    }
    if not quick:
        figures["us CPU/event when all is delivered too"] = delivered_us(_load, BATCH)
    return Result(ROW, {ROW.limits[0].name: ratio(rate, right)}, figures)


def _load(port: int, seconds: float) -> Load:
    return wrk(port, "batch.lua", DEVICES, BASIC, connections=CONNECTIONS, seconds=seconds)


def bare_loop(path: str, seconds: float) -> tuple[float, float]:
    """Events per second of a loop of append and fdatasync: of its quickest tenth, and of all."""
    record = b"".join(json.dumps(event(f"bare-{n:08d}")).encode() for n in range(BATCH))
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_TRUNC)
    try:
        taken: list[float] = []
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            os.write(file, record)
            os.fdatasync(file)
            taken.append(time.perf_counter() - began)
    finally:
        os.close(file)
    taken.sort()
    quickest = taken[: max(1, len(taken) // 10)]
    return BATCH * len(quickest) / sum(quickest), BATCH * len(taken) / sum(taken)


if __name__ == "__main__":
    rows.main(ROW, measure)
