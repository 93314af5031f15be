"""The harness: its arithmetic, its table, its chart, its lines, and that one row really runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import chart, cpu, decision, load, report, run, withdrawals
from bench.report import Limit, Result, Row
from bench.server import TEN
from bench.withdrawal import Arrival, order_in

ROOT = Path(__file__).parent.parent.parent
FASTER = Limit("events / floor", "x", must=0.5, aim=2.0)
SMALLER = Limit("RSS MB", "MB", must=500, aim=250, higher=False)
ROW = Row("fast", "how fast", "a floor", (FASTER, SMALLER))
WHERE = {"date": "2026-01-01T00:00:00+00:00", "commit": "c", "machine": {}, "quick": False}


def result(ratio: float, megabytes: float) -> Result:
    return Result(ROW, {FASTER.name: ratio, SMALLER.name: megabytes}, {"events/s": 1.0})


def test_the_ratio_is_the_median_of_the_rounds_not_the_ratio_of_the_medians() -> None:
    assert report.ratio([10.0, 30.0, 100.0], [10.0, 10.0, 1000.0]) == 1.0
    assert report.ratio([10.0, 30.0, 100.0], [5.0, 60.0, 10.0]) == 2.0


def test_rounds_of_unequal_number_are_no_ratio() -> None:
    with pytest.raises(ValueError, match="zip"):
        report.ratio([1.0, 2.0], [1.0])


@pytest.mark.parametrize(
    ("ratio", "megabytes", "must", "aim"),
    [
        (0.5, 500, True, False),
        (0.49, 100, False, False),
        (9.0, 501, False, False),
        (2.0, 250, True, True),
        (2.0, 251, True, False),
    ],
)
def test_a_row_keeps_a_limit_only_if_every_measure_does(
    ratio: float, megabytes: float, must: bool, aim: bool
) -> None:
    found = result(ratio, megabytes)
    assert (found.keeps(), found.keeps(aim=True)) == (must, aim)


def test_a_row_without_a_figure_keeps_nothing() -> None:
    missing = Result(ROW, missing="not there yet")
    assert not missing.keeps()
    assert report.shortfalls([missing, result(1, 400), result(2, 1)]) == (["fast"], ["fast"])


def test_the_score_is_above_one_exactly_when_the_limit_holds() -> None:
    for limit in (FASTER, SMALLER):
        for value in (0.1, 0.5, 1.0, 249.0, 500.0, 501.0):
            assert (limit.score(value) >= 1) == limit.holds(value, limit.must)


def test_a_line_has_every_field_and_comes_back_as_the_result(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    report.append(path, [report.line_of(result(1, 400), WHERE)])
    line = report.latest(path)["fast"]
    assert set(line) == {
        "date", "commit", "machine", "quick", "row", "figures",
        "ratio", "must", "aim", "ok", "aimed", "missing",
    }  # fmt: skip
    assert (line["ok"], line["aimed"]) == (True, False)
    assert report.result_of(line, ROW) == result(1, 400)


def test_the_last_full_run_of_a_row_counts(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    report.append(path, [report.line_of(result(1, 1), WHERE)])
    report.append(path, [report.line_of(result(3, 1), WHERE)])
    report.append(path, [report.line_of(result(9, 1), {**WHERE, "quick": True})])
    assert report.latest(path)["fast"]["ratio"][FASTER.name] == 3
    assert report.latest(path, quick=True)["fast"]["ratio"][FASTER.name] == 9


def test_a_line_from_before_a_measure_changed_gives_no_figure() -> None:
    line = report.line_of(result(1, 1), WHERE)
    del line["ratio"][SMALLER.name]
    assert report.result_of(line, ROW).missing is not None


def test_the_table_says_for_each_measure_what_was_kept() -> None:
    table = report.text_table([result(1.0, 600), Result(ROW, missing="not there yet")])
    lines = [line.split() for line in table.splitlines()]
    assert [line[-1] for line in lines[1:3]] == ["must", "short"]
    assert "not there yet" in table
    columns = {line.count("|") for line in report.markdown_table([result(1, 1)]).splitlines()}
    assert columns == {len(report.HEADINGS) + 1}


def test_the_document_changes_between_its_markers_only() -> None:
    first, last = report.MARKERS
    page = f"before\n{first}\nold\n{last}\nafter\n"
    assert report.between(page, "new") == f"before\n{first}\nnew\n{last}\nafter\n"
    assert report.between(report.between(page, "x"), "old") == page
    with pytest.raises(ValueError, match="has no"):
        report.between("no markers", "new")


def test_the_chart_is_well_formed_and_has_a_line_for_each_measure() -> None:
    results = [result(0.001, 9000), result(20, 1), Result(ROW, missing="a <b> & c")]
    tree = ElementTree.fromstring(chart.svg(results, "on <this> & that machine"))
    name = "{http://www.w3.org/2000/svg}"
    bars = [e.get("class") for e in tree.iter(f"{name}rect") if e.get("rx") and e.get("width")]
    aims = [e for e in tree.iter(f"{name}path") if e.get("class") == "goal"]
    assert bars.count("short") == 2 + 1  # with the legend's
    assert bars.count("aimed") == 2 + 1
    assert len(aims) == 6 + 1
    assert "prefers-color-scheme: dark" in (tree.findtext(f"{name}style") or "")


def test_every_bar_lies_inside_the_chart() -> None:
    lines = chart.marks([result(1e-4, 1), result(1e4, 1e5)])
    scale = chart.Scale(lines)
    for one in lines:
        assert one.score is not None
        for x in (scale.x(one.score), scale.x(one.aim), scale.x(1.0)):
            assert chart.LEFT <= x <= chart.WIDTH - chart.RIGHT


def test_every_row_names_itself_and_has_limits() -> None:
    for name in report.ROWS:
        row = run.row_of(name)
        assert row.id == name
        assert row.limits
        for limit in row.limits:
            assert limit.holds(limit.aim, limit.must), "the aim is within the limit"


def test_the_cpu_clock_of_another_process_counts_what_it_used() -> None:
    spin = "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True)\ninput()"
    child = subprocess.Popen(
        [sys.executable, "-c", spin], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        child.stdout.readline()
        assert 0.2 <= cpu.cpu_s(child.pid) < 5
        assert child.pid in cpu.family(os.getpid())
    finally:
        child.kill()
        child.wait()


def test_load_counts_work_by_the_clock_of_the_server() -> None:
    clock = iter((1.0, 3.0))
    one = load.loaded(lambda: load.Load(400, 4.0, 1.0, 2.0), lambda: next(clock), per_request=100)
    assert (one.per_second, one.per_cpu_second) == (10_000, 20_000)


def test_engines_that_disagree_stop_the_row() -> None:
    side = decision.Side.of(5, decision.AGREED)
    mask = decision.what_may_go(side.rules)
    names = [mapping.name for mapping in side.rules.mappings]
    same = [[name for k, name in enumerate(names) if mask(*asked) >> k & 1] for asked in side.asked]
    decision.agree(side, {"engine": same})
    assert any(same), "some event goes somewhere"
    wrong = [list(one) for one in same]
    wrong[-1] = [name for name in names if name not in wrong[-1]]
    with pytest.raises(SystemExit, match="disagree"):
        decision.agree(side, {"engine": wrong})


def test_a_row_runs_and_its_last_line_is_its_result() -> None:
    """With the policy engines it has figures; without them it says what to do."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.decision", "--quick", "--json"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    line = json.loads(done.stdout.splitlines()[-1])
    assert line["row"] == "decision"
    for size in decision.SIZES:
        assert line["figures"][f"us CPU at {size} destinations"] > 0
    if line["missing"] is None:
        assert set(line["ratio"]) == {limit.name for limit in decision.ROW.limits}
        assert all(value > 0 for value in line["ratio"].values())
    else:
        assert "make bench" in line["missing"]


def arrival(n: int, record: str, seq: int, person: str = "ann") -> Arrival:
    return Arrival(0.0, f"hook{n}", f"{record}-{n}", record, seq, person)


EVERYWHERE = [arrival(n, "r1", 1) for n in range(len(TEN))]


@pytest.mark.parametrize(
    ("arrivals", "instead", "missing"),
    [
        (EVERYWHERE, {}, 0),
        (EVERYWHERE[1:], {}, 1),
        ([], {}, 10),
        ([arrival(0, "r2", 2), *EVERYWHERE[1:]], {("hook0", "r1"): "r2-0"}, 0),
        ([arrival(0, "r2", 2), *EVERYWHERE[1:]], {("hook0", "r1"): "r3-0"}, 1),
        (
            [arrival(0, "r3", 3), *EVERYWHERE[1:]],
            {("hook0", "r1"): "r2-0", ("hook0", "r2-0"): "r3-0"},
            0,
        ),
        ([arrival(0, "r2", 2, "bob"), *EVERYWHERE[1:]], {("hook0", "r1"): "r2-0"}, 1),
        ([arrival(1, "r2", 2), *EVERYWHERE[1:]], {("hook0", "r1"): "r2-1"}, 1),
    ],
)
def test_an_order_is_lost_unless_it_or_one_of_the_same_person_in_its_place_arrived(
    arrivals: list[Arrival], instead: dict[withdrawals.Key, str], missing: int
) -> None:
    assert withdrawals.lost({"r1": "ann"}, arrivals, instead) == missing


def test_an_order_is_overtaken_by_a_later_one_of_its_person_at_its_destination() -> None:
    later, earlier = arrival(0, "r2", 2), arrival(0, "r1", 1)
    assert withdrawals.overtaken([later, earlier]) == 1
    assert withdrawals.overtaken([earlier, later, later]) == 0
    assert withdrawals.overtaken([later, arrival(1, "r1", 1), arrival(0, "r1", 1, "bob")]) == 0


def test_an_event_is_no_order_even_if_it_speaks_of_one() -> None:
    head = b"POST /hook3 HTTP/1.1\r\nContent-Length: 9\r\n\r\n"
    order = (
        b'{"type":"consent.withdrawn","timestamp":"t","data":{"orderId":"o1","recordId":"r1",'
        b'"seq":7,"madeAt":null,"subject":{"anonymousIds":["dev-1"],"userIds":[]}}}'
    )
    event = b'{"type":"event.forwarded","data":' + order + b"}"
    assert order_in(1.0, head + order) == Arrival(1.0, "hook3", "o1", "r1", 7, "dev-1")
    assert order_in(1.0, head + event) is None
