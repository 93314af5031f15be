"""What every row's file shares: its command line, and rounds that interleave two sides."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import TypeVar

from bench.report import Result, Row, cells, line_of

T = TypeVar("T")
U = TypeVar("U")


def rounds(quick: bool) -> int:
    """Of each side."""
    return 2 if quick else 5


def seconds(quick: bool) -> float:
    """Of load in one round."""
    return 1.0 if quick else 2.0


def interleaved(
    count: int, ours: Callable[[], T], reference: Callable[[], U]
) -> tuple[list[T], list[U]]:
    """Run both sides in turn; who is first alternates, so that a drift favours neither."""
    left: list[T] = []
    right: list[U] = []
    for n in range(count):
        if n % 2 == 0:
            left.append(ours())
            right.append(reference())
        else:
            right.append(reference())
            left.append(ours())
    return left, right


def main(row: Row, measure: Callable[[bool], Result]) -> None:
    """Run one row by itself: ``python -m bench.ROW [--quick] [--json]``."""
    parser = argparse.ArgumentParser(description=f"{row.what}; against {row.against}")
    parser.add_argument("--quick", action="store_true", help="a short run, for development")
    parser.add_argument("--json", action="store_true", help="the last line is the result as JSON")
    arguments = parser.parse_args()
    result = measure(arguments.quick)
    for _, name, _, figure, must, aim, kept in cells(result):
        print(f"{name}: {figure}  (must {must}, aim {aim}: {kept})")
    for name, value in result.figures.items():
        shown = value if isinstance(value, str) else f"{value:,.4g}"
        print(f"  {name}: {shown}")
    if arguments.json:
        print(json.dumps(line_of(result, {}), ensure_ascii=False))
    sys.stdout.flush()
