"""The results as a chart: how many times as good as it must be, each measure on a log scale.

SVG written as text. It follows the reader's light or dark setting through CSS inside it.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from bench import report
from bench.report import Limit, Result

WIDTH, LEFT, RIGHT = 960, 360, 190
TOP, STEP, BAR = 86, 30, 12
STYLE = """
  .page { fill: #ffffff } .ink { fill: #1c1e21 } .soft { fill: #5d646c }
  .grid { stroke: #e3e6e9 } .must { stroke: #1c1e21 } .goal { stroke: #1c1e21; stroke-width: 2.5 }
  .short { fill: #c0492b } .kept { fill: #3b78b8 } .aimed { fill: #2e8b57 } .none { fill: #a9b0b7 }
  text { font: 13px system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif }
  .title { font-size: 17px; font-weight: 600 } .small { font-size: 11px }
  @media (prefers-color-scheme: dark) {
    .page { fill: #15181b } .ink { fill: #e8eaed } .soft { fill: #9aa3ac }
    .grid { stroke: #2c3238 } .must { stroke: #e8eaed } .goal { stroke: #e8eaed }
    .short { fill: #e5734f } .kept { fill: #6aa5e3 } .aimed { fill: #56b87f } .none { fill: #5d646c }
  }
"""


@dataclass(frozen=True, slots=True)
class Mark:
    """One line of the chart. ``score`` is None where there is no figure."""

    label: str
    score: float | None
    aim: float
    said: str
    look: str


def marks(results: Sequence[Result]) -> list[Mark]:
    """One for each measure."""
    return [mark(result, limit) for result in results for limit in result.row.limits]


def mark(result: Result, limit: Limit) -> Mark:
    label = f"{result.row.id} · {limit.name}"
    if result.missing is not None:
        return Mark(label, None, limit.aim_score, "no figure", "none")
    value = result.values[limit.name]
    look = {"short": "short", "must": "kept", "aim": "aimed"}[report.verdict(limit, value)]
    said = f"{report.amount(value, limit.unit)} (must {report.amount(limit.must, limit.unit)})"
    return Mark(label, limit.score(value), limit.aim_score, said, look)


def svg(results: Sequence[Result], subtitle: str) -> str:
    """The chart. The line at 1 is what must be kept; the short stroke of each line is its aim."""
    lines = marks(results)
    scale = Scale(lines)
    height = TOP + STEP * len(lines) + 58
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" aria-labelledby="title">',
        '<title id="title">Benchmark: each measure as a multiple of what it must keep</title>',
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{height}"/>',
        _text(24, 32, "Each measure, as a multiple of what it must keep", "ink title"),
        _text(24, 53, subtitle, "soft small"),
        *scale.grid(len(lines)),
        *(part for n, one in enumerate(lines) for part in _line(n, one, scale)),
        *_legend(TOP + STEP * len(lines) + 40),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


class Scale:
    """Powers of ten, wide enough for every score and every aim."""

    def __init__(self, lines: Sequence[Mark]) -> None:
        seen = [1.0, *(one.aim for one in lines), *(one.score for one in lines if one.score)]
        self.first = math.floor(math.log10(min(seen)) + 1e-9)
        self.last = max(math.ceil(math.log10(max(seen)) - 1e-9), self.first + 1)

    def x(self, score: float) -> float:
        share = (math.log10(max(score, 1e-9)) - self.first) / (self.last - self.first)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def grid(self, count: int) -> list[str]:
        bottom = TOP + STEP * count
        found = []
        for power in range(self.first, self.last + 1):
            x, look = self.x(10.0**power), "must" if power == 0 else "grid"
            found.append(f'<path class="{look}" d="M{x:.1f} {TOP - 6}V{bottom}"/>')
            label = f"{10**power:,}×" if power >= 0 else f"{10.0**power:g}×"
            found.append(_text(x, bottom + 15, label, "soft small", "middle"))
        return found


def _line(n: int, one: Mark, scale: Scale) -> list[str]:
    middle = TOP + STEP * n + STEP / 2
    aim = scale.x(one.aim)
    parts = [_text(LEFT - 14, middle + 4, one.label, "ink", "end")]
    if one.score is not None:
        ends = sorted((scale.x(1.0), scale.x(one.score)))
        wide = max(ends[1] - ends[0], 2.0)
        parts.append(
            f'<rect class="{one.look}" x="{ends[0]:.1f}" y="{middle - BAR / 2:.1f}" '
            f'width="{wide:.1f}" height="{BAR}" rx="2"/>'
        )
    parts.append(f'<path class="goal" d="M{aim:.1f} {middle - 9:.1f}v18"/>')
    parts.append(_text(WIDTH - RIGHT + 16, middle + 4, one.said, "soft small"))
    return parts


def _legend(y: float) -> list[str]:
    parts: list[str] = []
    x = float(LEFT)
    for look, said in (("short", "short"), ("kept", "kept"), ("aimed", "aim reached")):
        parts.append(f'<rect class="{look}" x="{x}" y="{y - 9}" width="12" height="10" rx="2"/>')
        parts.append(_text(x + 18, y, said, "soft small"))
        x += 40 + 7 * len(said)
    parts.append(f'<path class="goal" d="M{x} {y - 11}v14"/>')
    parts.append(_text(x + 10, y, "its aim", "soft small"))
    return parts


def _text(x: float, y: float, said: str, look: str, anchor: str = "start") -> str:
    return (
        f'<text class="{look}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(said)}</text>'
    )


def write() -> None:
    """Draw the last results of every row."""
    lines = report.latest(report.RESULTS)
    results = [
        report.result_of(lines[name], importlib.import_module(f"bench.{name}").ROW)
        for name in report.ROWS
        if name in lines
    ]
    if not results:
        return
    newest = max(lines.values(), key=lambda line: line["date"])
    machine = newest["machine"]
    subtitle = (
        f"{newest['date'][:10]}, commit {newest['commit']}; {machine['cores']} cores, "
        f"{machine['cpu']}, Python {machine['python']}"
    )
    report.CHART.write_text(svg(results, subtitle))
