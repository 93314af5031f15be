"""The history of a real run under load is legal, and an altered one is not."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.history import History, check, load
from tests.crash.load import under_load

OPERATIONS = 900
SEED = 20261123


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The history of one run, which was found to be as promised."""
    folder = tmp_path_factory.mktemp("load")
    found = asyncio.run(under_load(folder, OPERATIONS, SEED))
    print(found)
    assert found.acknowledged >= OPERATIONS
    assert found.owed > OPERATIONS // 3
    assert found.withheld > OPERATIONS // 3
    return folder / "history.jsonl"


def test_the_history_of_a_run_under_load_is_legal(saved: Path) -> None:
    done = judged(saved)
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith(" 0 violations\n")


def test_a_request_that_came_after_the_withdrawal_is_found(saved: Path, tmp_path: Path) -> None:
    """One line of the real journal says another time."""
    history = load(saved)
    event, late = _late(history)
    lines = [json.loads(line) for line in saved.read_text().splitlines()]
    for line in lines:
        if line["is"] == "send" and line["event"] == event:
            line["start"] = late
    altered = tmp_path / "altered.jsonl"
    altered.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = judged(altered)
    assert done.returncode == 1
    assert f"withdrawn: {event} went to " in done.stdout


def _late(history: History) -> tuple[str, int]:
    """An event that was sent, and a moment just after a withdrawal of its subject's consent."""
    owners = {event.id: event for one in history.operations for event in one.events}
    for one in history.operations:
        for send in history.sends:
            about = set(owners[send.event].nodes)
            denied = any(about & set(said.nodes) for said in one.denies)
            if one.ok is not None and denied and send.start < one.invoke:
                late = History(history.needs, history.operations, [send._replace(start=one.ok + 1)])
                if [violation.rule for violation in check(late)] == ["withdrawn"]:
                    return send.event, one.ok + 1
    raise AssertionError("nobody withdrew anything after something was sent")


def judged(path: Path) -> subprocess.CompletedProcess[str]:
    """`python -m tests.crash.history FILE`."""
    return subprocess.run(
        [sys.executable, "-m", "tests.crash.history", str(path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
