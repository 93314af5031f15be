"""Who may be told: 10,000 questions in one request beside one each, and the memory of a long file.

`POST /v1/decisions` about subjects that are in the store, of one destination: CPU of the server
for each question, all of them in one request against one in each. Beside it `consentry decide`
with a file of 100,000 rows against one of 1,000: what it takes at most must not grow with the file.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from bench import cpu, rows
from bench.preload import device, preloaded
from bench.report import Limit, Result, Row, ratio
from bench.server import ADMIN_KEY, ROOT, Server, consentry

TOGETHER = Limit("CPU a question, 10,000 in one request / one each", "x", 1, 0.5, higher=False)
MEMORY = Limit("memory of `consentry decide`, 100,000 rows / 1,000", "x", 1.2, 1.1, higher=False)
ROW = Row("questions", "who may be told, 100,000 subjects", "itself", (TOGETHER, MEMORY))
SUBJECTS, ASKED, LONG, SHORT = 100_000, 10_000, 100_000, 1_000
_next = count()


def measure(quick: bool) -> Result:
    asked = ASKED // 10 if quick else ASKED
    long = LONG // 10 if quick else LONG
    alone = 500
    with consentry("http://127.0.0.1:9", preloaded(SUBJECTS)) as running:

        def together() -> float:
            return ask(running, [asked])

        def one_each() -> float:
            return ask(running, [1] * alone)

        together()
        one_each()
        left, right = rows.interleaved(rows.rounds(quick), together, one_each)
        base, _ = decide(running, SHORT)
        most, taken = decide(running, long)
    return Result(
        ROW,
        {TOGETHER.name: ratio(left, right), MEMORY.name: most / base},
        {
            "us CPU/question, together": median(left) * 1e6,
            "us CPU/question, one each": median(right) * 1e6,
            "MB at most, long file": most,
            "MB at most, short file": base,
            "s for the long file": taken,
            "rows of the long file": float(long),
        },
    )


def ask(running: Server, sizes: Sequence[int]) -> float:
    """CPU seconds a question, for requests of these sizes over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
    headers = {"Authorization": f"Bearer {ADMIN_KEY}", "Content-Type": "application/json"}
    bodies = [json.dumps({"items": [question() for _ in range(size)]}) for size in sizes]
    before = running.cpu_s()
    for body, size in zip(bodies, sizes, strict=True):
        connection.request("POST", "/v1/decisions", body, headers)
        answer = connection.getresponse()
        raw = answer.read()
        assert answer.status == 200, raw
        assert len(json.loads(raw)["items"]) == size
    used = running.cpu_s() - before
    connection.close()
    return used / sum(sizes)


def question() -> dict[str, Any]:
    """About a subject that was not asked about lately."""
    n = next(_next)
    subject = {"anonymousId": device(n * 7919 % SUBJECTS)}
    return {"id": str(n), "subject": subject, "destinations": ["hook0"]}


def decide(running: Server, size: int) -> tuple[float, float]:
    """Megabytes at most and seconds of `consentry decide` for a file of so many rows."""
    source, kept = running.folder / "audience.csv", running.folder / "kept.csv"
    with source.open("w") as file:
        file.write("anonymous_id,name,city\n")
        file.writelines(f"{device(n)},Somebody {n},Lisbon\n" for n in range(size))
    command = [sys.executable, "-c", _MEASURED, "decide", str(source)]
    command += ["--destination", "hook0", "--output", str(kept), "--server", running.base]
    began = time.monotonic()
    done = subprocess.run(
        cpu.pinned(cpu.LOAD_CORE, command),
        env={**os.environ, "CONSENTRY_ADMIN_KEY": ADMIN_KEY},
        cwd=ROOT,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    taken = time.monotonic() - began
    assert _lines(kept) == size + 1, done.stderr
    return float(done.stdout.split()[-1]), taken


# VmHWM, for ru_maxrss begins with what the parent of the process had.
_MEASURED = """
import os
from bench.cpu import memory_mb
from consentry.cli import main
try:
    main()
finally:
    print(memory_mb(os.getpid(), "VmHWM"))
"""


def _lines(path: Path) -> int:
    with path.open() as file:
        return sum(1 for _ in file)


if __name__ == "__main__":
    rows.main(ROW, measure)
