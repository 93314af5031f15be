"""The line of a key, in every form that TOML allows."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.config.lines import Lines, Path

CASES: dict[str, tuple[str, Path, int | None]] = {
    "key": ("a = 1\nb = 2", ("b",), 2),
    "nothing there": ("a = 1", ("b",), None),
    "table": ("a = 1\n\n[t]\nb = 2", ("t",), 3),
    "key of a table": ("a = 1\n\n[t]\nb = 2", ("t", "b"), 4),
    "missing key falls back to its table": ("a = 1\n[t]\nb = 2", ("t", "c"), 2),
    "first of an array": ("[[t]]\na = 1\n[[t]]\na = 2", ("t", 0, "a"), 2),
    "second of an array": ("[[t]]\na = 1\n[[t]]\na = 2", ("t", 1, "a"), 4),
    "the array itself": ("x = 1\n[[t]]\n[[t]]", ("t",), 2),
    "table in an array": ("[[t]]\n[[t]]\n[t.u]\na = 1", ("t", 1, "u", "a"), 4),
    "array in an array": ("[[t]]\n[[t.u]]\na = 1\n[[t.u]]\na = 2", ("t", 0, "u", 1, "a"), 5),
    "dotted key": ("[t]\nu.v = 1\n", ("t", "u", "v"), 2),
    "dotted header": ("\n[t.u]\nv = 1\n", ("t",), 2),
    "header with spaces": ("\n[ t . u ]\nv = 1\n", ("t", "u", "v"), 3),
    "quoted key": ('x = 1\n"a.b" = 1', ("a.b",), 2),
    "literal key": ("x = 1\n'a \"b' = 1", ('a "b',), 2),
    "escaped key": ('x = 1\n"a\\"b" = 1', ('a"b',), 2),
    "inside an inline table": ("x = 1\na = { b = 1 }", ("a", "b"), 2),
    "element of a list": ("x = 1\na = [\n 1,\n 2 ]", ("a", 1), 2),
    "after a list over lines": ("a = [\n 1, # ]\n 2\n]\nb = 1", ("b",), 5),
    "after brackets in text": ("a = [\"[\", '{']\nb = 1", ("b",), 2),
    "after a comment with quotes": ("a = 1 # it's \"so\nb = 1", ("b",), 2),
    "after an escaped quote": ('a = "\\"" # "\nb = 1', ("b",), 2),
    "after long text": ('a = """\nb = 5\n\\""" [\n"""\nb = 1', ("b",), 5),
    "after long text that ends in quotes": ('a = """x"""""\nb = 1', ("b",), 2),
    "after long literal text": ("a = '''\nb = 5\\\n'''\nb = 1", ("b",), 4),
    "after an empty text": ('a = ""\nb = 1', ("b",), 2),
    "windows line ends": ("a = 1\r\n\r\n[t]\r\nb = 1\r\n", ("t", "b"), 4),
    "a date and a time": ("a = 2026-01-01 10:00:00\nb = 1", ("b",), 2),
}


@pytest.mark.parametrize("name", CASES)
def test_line(name: str) -> None:
    text, path, line = CASES[name]
    tomllib.loads(text)  # the case is valid TOML

    assert Lines(text).of(path) == line


VALUES = ["1", '"x"', '"""\na = 1\n"""', "'''\n[b]\n'''", "[\n1, # [\n2]", '{ a = "}" }', '"#"']


@given(st.lists(st.tuples(st.sampled_from(VALUES), st.integers(0, 2)), min_size=1, max_size=12))
def test_every_key_is_found_where_it_was_written(written: list[tuple[str, int]]) -> None:
    text = ""
    expected: dict[Path, int] = {}
    for index, (value, blank) in enumerate(written):
        text += "\n" * blank
        expected[("t", index)] = text.count("\n") + 1
        text += "[[t]] # new\n"
        expected[("t", index, "key")] = text.count("\n") + 1
        text += f"key = {value}\n"
    assert len(tomllib.loads(text)["t"]) == len(written)
    lines = Lines(text)

    assert {path: lines.of(path) for path in expected} == expected


@given(st.text(alphabet="ab\"'[]{}=.#\\\n ", max_size=60))
def test_anything_at_all_is_scanned_to_an_end(text: str) -> None:
    line = Lines(text).of(("a",))

    assert line is None or 1 <= line <= text.count("\n") + 1
