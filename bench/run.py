"""All rows of the benchmark, one after the other: `make bench`.

    python -m bench.run [--only ROW …] [--quick]     measure, keep the results, draw the chart
    python -m bench.run --write-docs                 fill the table of docs/performance.md

Each row runs in a process of its own. A row that falls short fails nothing: it is said.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

from bench import chart, report
from bench.cpu import machine
from bench.report import Result, Row

LONGEST_S = 600


def row_of(name: str) -> Row:
    """The row that a module measures."""
    row: Row = importlib.import_module(f"bench.{name}").ROW
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure; ratios inside one run are the results.")
    parser.add_argument("--only", nargs="+", choices=report.ROWS, default=list(report.ROWS))
    parser.add_argument("--quick", action="store_true", help="a short run; kept, but not drawn")
    parser.add_argument("--write-docs", action="store_true", help="write the last results down")
    arguments = parser.parse_args()
    if arguments.write_docs:
        write_docs()
        return 0
    return measure(arguments.only, arguments.quick)


def measure(names: list[str], quick: bool) -> int:
    """Run the rows; 1 when one of them broke."""
    where: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "quick": quick,
    }
    if where["machine"]["load"] > 1:
        print("other programs are busy on this machine: wall-clock figures will show it")
    results: list[Result] = []
    broken: list[str] = []
    began = time.monotonic()
    for name in names:
        print(f"== {name}", flush=True)
        line = run(name, quick)
        if line is None:
            broken.append(name)
            continue
        report.append(report.RESULTS, [{**where, **line}])
        results.append(report.result_of(line, row_of(name)))
    if not quick:
        chart.write()
    print(f"\n{len(results)} rows in {time.monotonic() - began:.0f} s\n")
    print(report.text_table(results) if results else "no results")
    tell(results, broken)
    return 1 if broken else 0


def run(name: str, quick: bool) -> dict[str, Any] | None:
    """One row in a process of its own; its result as a line, or None if it broke."""
    command = [sys.executable, "-m", f"bench.{name}", "--json", *(["--quick"] if quick else [])]
    began = time.monotonic()
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, timeout=LONGEST_S, check=False
        )
    except subprocess.TimeoutExpired:
        print(f"{name} did not end in {LONGEST_S} s", flush=True)
        return None
    *shown, last = done.stdout.splitlines() or [""]
    if done.returncode != 0:
        print("\n".join([*shown, last, f"{name} ended with {done.returncode}"]), flush=True)
        return None
    print("\n".join(shown), f"\n  ({time.monotonic() - began:.0f} s)", flush=True)
    line: dict[str, Any] = json.loads(last)
    return line


def tell(results: list[Result], broken: list[str]) -> None:
    """Which rows fall short, in one line each."""
    short, below = report.shortfalls(results)
    print(f"\nshort of what they must keep: {', '.join(short) or 'none'}")
    print(f"kept, but short of their aim: {', '.join(below) or 'none'}")
    if broken:
        print(f"broken, without a result: {', '.join(broken)}")


def commit() -> str:
    """The commit that was measured; with a plus sign when files differ from it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=False, cwd=report.HERE
        )
        return done.stdout.strip()

    found = git("rev-parse", "--short=10", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", "../src")
    return f"{found or 'unknown'}{'+' if changed else ''}"


def write_docs() -> None:
    """The table of docs/performance.md, from the last results of each row."""
    lines = report.latest(report.RESULTS)
    results = [report.result_of(lines[name], row_of(name)) for name in report.ROWS if name in lines]
    found = [line["machine"] for line in lines.values()]
    newest = max(lines.values(), key=lambda line: line["date"], default=None)
    said = report.markdown_table(results)
    if newest is not None:
        m = found[-1]
        busiest = max(one.get("load", 0.0) for one in found)
        said += (
            f"\n\nMeasured {newest['date'][:10]} at {newest['commit']}: {m['cores']} cores of "
            f"{m['cpu']}, Linux {m['kernel']}, Python {m['python']}. "
            f"The load of other programs before a run was up to {busiest}."
        )
    report.DOCS.write_text(report.between(report.DOCS.read_text(), said))
    print(f"wrote {report.DOCS.name}")


if __name__ == "__main__":
    sys.exit(main())
