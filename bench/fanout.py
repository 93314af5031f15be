"""Fan-out: events of 1 KB to five local webhooks, requests per CPU second of the server.

Events are accepted while the destination answers nothing, so that a queue stands. Then it answers,
and what the server uses until it is at rest is counted: decisions, signatures, requests, and the
durable record of every attempt. Against aiohttp alone, which most Python programs send with,
with the pool settings of the product: as many requests of that size to the same destination in
the same run.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from statistics import median

from bench import cpu, rows
from bench.report import Limit, Result, Row, ratio
from bench.server import NEEDS, ROOT, Server, Sink, consentry, post_events, sink, stop
from tests.running import wait_for

ROW = Row(
    "fanout",
    "1 KB to five webhooks, requests per server CPU second",
    "aiohttp alone, same pool settings",
    (Limit("requests / bare client", "x", 0.7, 0.85),),
)
LONGEST_S = 120.0
_rounds = count()


def measure(quick: bool) -> Result:
    events = 500 if quick else 1500
    with sink() as receiver, bare_client(receiver) as bare, consentry(receiver.base) as running:

        def ours() -> float:
            return deliver(running, receiver, events)

        def reference() -> float:
            return events * len(NEEDS) / bare(events)

        ours()
        reference()
        left, right = rows.interleaved(rows.rounds(quick), ours, reference)
    return Result(
        ROW,
        {ROW.limits[0].name: ratio(left, right)},
        {
            "requests/CPU s": median(left),
            "us CPU/request": 1e6 / median(left),
            "bare client requests/CPU s": median(right),
            "bare client us CPU/request": 1e6 / median(right),
        },
    )


def deliver(running: Server, receiver: Sink, events: int) -> float:
    """Requests per CPU second for a queue of so many events, each to all five destinations."""
    meant = events * len(NEEDS)
    begun = receiver.count()
    receiver.mode("hold")
    post_events(running, f"fanout-{next(_rounds)}", events, devices=events)  # no order to keep
    before = running.settled_cpu_s()
    held = receiver.held()  # sent before the clock starts
    receiver.mode("ok")
    wait_for(lambda: receiver.count() >= begun + meant, timeout_s=LONGEST_S, what="delivery")
    used = running.settled_cpu_s() - before
    if receiver.count() != begun + meant:
        raise SystemExit(f"{receiver.count() - begun} requests arrived, {meant} were meant")
    return (meant - held) / used


@contextlib.contextmanager
def bare_client(receiver: Sink) -> Iterator[Callable[[int], float]]:
    """A process with nothing but the client library; a call sends, and gives CPU seconds."""
    process = subprocess.Popen(
        cpu.pinned(
            cpu.SERVER_CORE, [sys.executable, "-m", "bench.bare_client", str(receiver.port)]
        ),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip

    def send(events: int) -> float:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{events}\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    try:
        yield send
    finally:
        stop(process)


if __name__ == "__main__":
    rows.main(ROW, measure)
