"""`make fuzz`: search for inputs that break a promise, and keep those that do.

    python -m tests.fuzz.run [--seconds N] [--seed N] [PARSER ...]

Each parser gets its turn again and again until the time is over. What fails is made as small as
it gets, put into the parser's corpus as ``new-…`` and reported; name it for its situation, mend
the parser, and it stays as a test.
"""

from __future__ import annotations

import argparse
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz import bodies, evidence, headers, outbound, page
from tests.fuzz.parser import Parser

PARSERS: tuple[Parser, ...] = (
    *bodies.PARSERS,
    *headers.PARSERS,
    *evidence.PARSERS,
    *outbound.PARSERS,
    *page.PARSERS,
)
USUAL_S = 180
A_TURN = 200  # examples


@dataclass
class Found:
    """What came of one parser. ``failures`` is by what broke, with the smallest input."""

    examples: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: dict[str, bytes] = field(default_factory=dict)


def search(parser: Parser, found: Found, examples: int, seed_: int) -> None:
    """So many examples; the first that fails, made small, ends the turn."""
    last: list[bytes] = []

    @seed(seed_)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(parser.strategy())
    def turn(data: bytes) -> None:
        last[:] = [data]
        found.examples += 1
        found.outcomes[parser.check(data)] += 1

    try:
        turn()
    except Exception as broken:
        what = _what(broken)
        if what not in found.failures:
            found.failures[what] = smaller(parser, last[0], what)


def smaller(parser: Parser, data: bytes, what: str, tries: int = 1000) -> bytes:
    """The input with as much cut out as leaves it broken in the same way, in so many tries."""
    size = len(data) // 2
    while size:
        at = 0
        while at < len(data) and tries:
            tries -= 1
            less = data[:at] + data[at + size :]
            if _broken(parser, less) == what:
                data = less
            else:
                at += size
        size //= 2
    return data


def _broken(parser: Parser, data: bytes) -> str | None:
    try:
        parser.check(data)
    except Exception as broken:
        return _what(broken)
    return None


def _what(broken: BaseException) -> str:
    place = traceback.extract_tb(broken.__traceback__)[-1]
    return f"{type(broken).__name__} in {place.name}: {str(broken).splitlines()[:1]}"


def report(name: str, found: Found) -> str:
    return (
        f"{name:12} {found.examples:9,} examples {len(found.outcomes):5} outcomes "
        f"{len(found.failures):4} failures"
    )


def main(arguments: Any = None) -> int:
    """Run until the time is over; 1 if anything failed."""
    asked = argparse.ArgumentParser(prog="tests.fuzz.run", description=__doc__)
    asked.add_argument("--seconds", type=float, default=USUAL_S)
    asked.add_argument("--seed", type=int, default=int(time.time()))
    asked.add_argument("parsers", nargs="*", metavar="PARSER")
    options = asked.parse_args(arguments)
    chosen = [p for p in PARSERS if not options.parsers or p.name in options.parsers]
    found = {parser.name: Found() for parser in chosen}
    turn, until = options.seed, time.monotonic() + options.seconds
    while time.monotonic() < until and chosen:
        for parser in chosen:
            if time.monotonic() < until:
                search(parser, found[parser.name], A_TURN, turn)
        turn += 1
    print(f"seed {options.seed}")
    for parser in chosen:
        print(report(parser.name, found[parser.name]))
        for what, data in found[parser.name].failures.items():
            print(f"    {what}\n    kept as {parser.keep(data)}")
    return int(any(one.failures for one in found.values()))


if __name__ == "__main__":
    raise SystemExit(main())
