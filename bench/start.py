"""A cold start: from starting the process to its first 200, on a folder without a store.

The program's files are in the page cache; the store, its key and the first record are made. Wall
clock by nature: it describes this machine. The CPU time of the start stands beside it, and how long
an interpreter takes that does nothing.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

from bench import cpu, rows
from bench.report import Limit, Result, Row
from bench.server import WRITE_KEY, Server, config, event, start, stop, workplace
from tests.running import call, free_port

HEALTH = Limit("s to the first 200 of /healthz", "s", 1.0, 0.4, higher=False)
TRACK = Limit("s to the first 200 of /v1/track", "s", 1.0, 0.4, higher=False)
ROW = Row("start", "cold start of `consentry serve`", "-", (HEALTH, TRACK))
LONGEST_S = 30.0


def measure(quick: bool) -> Result:
    taken = [once() for _ in range(2 if quick else 7)]
    bare = [bare_interpreter() for _ in range(3)]
    health, track, used = (median(one) for one in zip(*taken, strict=True))
    return Result(
        ROW,
        {HEALTH.name: health, TRACK.name: track},
        {"CPU s of a start": used, "s of an interpreter that does nothing": median(bare)},
    )


def once() -> tuple[float, float, float]:
    """Seconds to either answer, and CPU seconds used by then."""
    with workplace() as folder:
        (folder / "consentry.toml").write_text(config("http://127.0.0.1:9"))
        began = time.perf_counter()
        running = start(folder, free_port())
        try:
            _until(lambda: call(running.base, "GET", "/healthz").status == 200, running)
            health = time.perf_counter() - began
            _until(lambda: _tracks(running), running)
            return health, time.perf_counter() - began, running.cpu_s()
        finally:
            stop(running.process)


def _tracks(running: Server) -> bool:
    answer = call(running.base, "POST", "/v1/track", event("start-1"), basic=WRITE_KEY)
    return answer.status == 200


def _until(answers: Callable[[], bool], running: Server) -> None:
    """Ask every two milliseconds; a connection that is refused costs next to nothing."""
    deadline = time.monotonic() + LONGEST_S
    while time.monotonic() < deadline:
        if running.process.poll() is not None:
            raise SystemExit((running.folder / "server.log").read_text())
        with contextlib.suppress(ConnectionError):
            socket.create_connection(("127.0.0.1", running.port), 1).close()
            if answers():
                return
        time.sleep(0.002)
    raise TimeoutError("the server did not answer")


def bare_interpreter() -> float:
    """Wall-clock seconds of an interpreter that does nothing."""
    began = time.perf_counter()
    subprocess.run(cpu.pinned(cpu.SERVER_CORE, [sys.executable, "-c", "pass"]), check=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    rows.main(ROW, measure)
