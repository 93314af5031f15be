"""CPU time of other processes, which cores they run on, and what this machine is.

A figure is CPU time (user + system) of the process under test. It moves with the neighbours
much less than wall-clock time does, and what the load generator costs is not in it.
"""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

_CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = _CORES[0]
LOAD_CORE = _CORES[-1]
"""With one core both are the same; then ratios of CPU time still mean something."""


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used, all its threads together, in nanosecond steps."""
    # clock_getcpuclockid(3): the clock of a process is its id inverted, shifted, plus 2.
    return time.clock_gettime((~pid << 3) | 2)


def tree_s(pid: int) -> float:
    """CPU seconds of a process and its living descendants."""
    return sum(_alive_s(one) for one in family(pid))


def family(pid: int) -> list[int]:
    """A process and its descendants, as they are now."""
    found = [pid]
    for one in found:
        for thread in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += [int(child) for child in thread.read_text().split()]
            except FileNotFoundError:
                continue
    return found


def _alive_s(pid: int) -> float:
    try:
        return cpu_s(pid)
    except OSError:
        return 0.0


def pinned(core: int, command: list[str]) -> list[str]:
    """The command, kept on one core with all that it starts."""
    return ["taskset", "-c", str(core), *command]


def pin(core: int) -> None:
    """Keep this process on one core."""
    os.sched_setaffinity(0, {core})


def memory_mb(pid: int, field: str = "VmRSS") -> float:
    """A size in megabytes (10^6 bytes) from /proc: VmRSS, VmHWM, RssAnon or RssFile."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024 / 1e6
    raise ValueError(field)


def machine() -> dict[str, str | int | float]:
    """What absolute figures describe. ``load`` is how much else ran in the minute before."""
    return {
        "cores": len(_CORES),
        "cpu": _cpu_model(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
