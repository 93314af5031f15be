"""Every clause of the specification is held by a law, and every law names clauses that exist.

The table of the two is not written anywhere: it is read off the laws themselves.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("enforcement.md", "delivery.md")
MODULES = sorted(
    f"tests.{folder}.{path.stem}"
    for folder in ("config", "core", "flow", "jurisdictions")
    for path in (ROOT / "tests" / folder).glob("test_*.py")
)
CLAUSE = re.compile(r"^- \*\*([A-Z]\d+)\*\* ", re.MULTILINE)


def clauses_of(text: str) -> list[str]:
    return CLAUSE.findall(text)


def laws_in(names: dict[str, object]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each test that pytest will run, with the clauses that it holds."""
    for name, thing in names.items():
        marks = getattr(thing, "pytestmark", ())
        held = [c for mark in marks if mark.name == "holds" for c in mark.args]
        if held:
            assert name.startswith(("test_", "Test")), f"{name} holds a clause, but is never run"
            yield name, tuple(held)


CLAUSES = [c for page in PAGES for c in clauses_of((ROOT / "spec" / page).read_text())]


@pytest.fixture(scope="module")
def laws() -> dict[str, list[str]]:
    """Clause to the laws that hold it."""
    table: dict[str, list[str]] = {}
    for module in MODULES:
        for name, held in laws_in(vars(importlib.import_module(module))):
            for clause in held:
                table.setdefault(clause, []).append(f"{module}::{name}")
    return table


@pytest.mark.parametrize("clause", CLAUSES)
def test_a_law_holds_it(clause: str, laws: dict[str, list[str]]) -> None:
    assert laws.get(clause), f"no law holds {clause}"


def test_laws_hold_only_clauses_that_exist(laws: dict[str, list[str]]) -> None:
    assert {c: laws[c] for c in laws.keys() - set(CLAUSES)} == {}


def test_every_clause_is_numbered_once_and_without_a_gap() -> None:
    assert len(set(CLAUSES)) == len(CLAUSES)
    for letter in {clause[0] for clause in CLAUSES}:
        numbers = [int(c[1:]) for c in CLAUSES if c[0] == letter]
        assert numbers == list(range(1, len(numbers) + 1)), letter


def test_everything_that_the_pages_list_is_a_clause() -> None:
    for page in PAGES:
        text = (ROOT / "spec" / page).read_text()
        assert len(re.findall(r"^- ", text, re.MULTILINE)) == len(clauses_of(text)), page


def test_the_reader_of_clauses_misses_none_and_a_law_that_is_never_run_is_found() -> None:
    def law() -> None: ...

    marked = pytest.mark.holds("R2")(law)

    assert clauses_of("- **R2** A grant\n- **R11** more\nsee **R3** above") == ["R2", "R11"]
    assert list(laws_in({"test_law": marked, "test_other": print})) == [("test_law", ("R2",))]
    with pytest.raises(AssertionError, match="never run"):
        list(laws_in({"law": marked}))
