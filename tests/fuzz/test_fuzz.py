"""Every parser that faces the network: its corpus again, and a few inputs that nobody has seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.parser import CORPUS, Parser
from tests.fuzz.run import PARSERS, Found, search

EXAMPLES = 150  # each; `make fuzz` goes on for minutes
KNOWN = [(parser, path) for parser in PARSERS for path in parser.corpus()]


@pytest.mark.parametrize(
    ("parser", "path"), KNOWN, ids=[f"{parser.name}/{path.name}" for parser, path in KNOWN]
)
def test_the_corpus_breaks_no_promise(parser: Parser, path: Path) -> None:
    parser.check(path.read_bytes())


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_new_inputs_break_no_promise(parser: Parser) -> None:
    found = Found()
    search(parser, found, EXAMPLES, seed_=20261126)
    assert found.failures == {}
    assert found.examples >= EXAMPLES
    assert len(found.outcomes) > 1, "every input came to the same: the inputs are too alike"


def test_every_parser_has_a_corpus_whose_files_are_named() -> None:
    assert {path.name for path in CORPUS.iterdir()} == {parser.name for parser in PARSERS}
    assert all(parser.corpus() for parser in PARSERS)
    unnamed = [path for _, path in KNOWN if path.name.startswith("new-")]
    assert unnamed == [], "name them for their situation"
    assert all(path.stat().st_size <= 16 * 1024 for _, path in KNOWN), "a corpus is small"
