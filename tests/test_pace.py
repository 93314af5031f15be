"""The order in which files are begun."""

from __future__ import annotations

from pathlib import Path

from tests.pace import SECONDS, WAITING, in_turns

HERE = Path(__file__).parent


def test_every_file_is_begun_once_the_longest_of_its_kind_first() -> None:
    counts = {"core/a.py": 900, "core/b.py": 2, "e2e/test_sdks.py": 36, "sdk/c.py": 5, "d.py": 1}
    order = in_turns(counts)
    assert sorted(order) == sorted(counts)
    assert order.index("e2e/test_sdks.py") < order.index("sdk/c.py")
    assert order.index("core/a.py") < order.index("core/b.py") < order.index("d.py")
    assert {order[0], order[1]} == {"e2e/test_sdks.py", "core/a.py"}


def test_the_files_that_are_named_are_there() -> None:
    assert not [name for name in SECONDS if not (HERE / name).is_file()]
    assert not [name for name in WAITING if not (HERE / name).is_dir()]
