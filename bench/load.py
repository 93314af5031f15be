"""The load generator: wrk, on a core of its own, with a script that makes each request unique."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import cpu

LUA = Path(__file__).parent / "lua"
_runs = iter(range(1 << 30))


class LoadFailed(Exception):
    """The server did not answer as it should under load. The message says what was seen."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of wrk did: requests answered, and seconds of wall clock."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def wrk(
    port: int,
    script: str,
    *arguments: str,
    connections: int = 64,
    seconds: float = 2.0,
    core: int = cpu.LOAD_CORE,
) -> Load:
    """Load a server of this machine. Raises LoadFailed on any answer but a success.

    ``script`` is a file in bench/lua; it gets a word that no other run has, then ``arguments``.
    """
    unique = f"{next(_runs):06x}"
    command = [
        *("wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "20s"),
        *("-s", str(LUA / script), f"http://127.0.0.1:{port}/", "--", unique, *arguments),
    ]
    done = subprocess.run(
        cpu.pinned(core, command), capture_output=True, text=True, check=False, cwd=LUA
    )
    if done.returncode != 0 or not done.stdout:
        raise LoadFailed(f"wrk ended with {done.returncode}: {done.stderr}{done.stdout}")
    seen = json.loads(done.stdout.strip().splitlines()[-1])
    errors = {name: count for name, count in seen["errors"].items() if count}
    if errors or not seen["requests"]:
        raise LoadFailed(f"{seen['requests']} answered, errors: {errors or 'none'}")
    return Load(seen["requests"], seen["us"] / 1e6, seen["p50"] / 1000, seen["p99"] / 1000)


@dataclass(frozen=True, slots=True)
class Loaded:
    """One round: how much work was answered, per second and per CPU second of the server."""

    per_second: float
    per_cpu_second: float
    p50_ms: float = 0.0
    p99_ms: float = 0.0


def loaded(run: Callable[[], Load], spent_s: Callable[[], float], per_request: int = 1) -> Loaded:
    """Run the load; ``spent_s`` reads the server's CPU clock. Work is counted in ``per_request``."""
    before = spent_s()
    load = run()
    used = spent_s() - before
    return Loaded(
        load.per_second * per_request, load.requests * per_request / used, load.p50_ms, load.p99_ms
    )
