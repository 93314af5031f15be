"""What a fuzzed parser is: a name, how its input is made up, and a check that may not fail.

Every input is bytes, so that a corpus is a folder of files. A check takes one input and gives
the name of the outcome; it raises AssertionError when a promise is broken, and whatever else it
raises is a broken promise too. Time and memory are bounded by counting, never by a clock.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Parser:
    """One parser that faces the network."""

    name: str
    check: Callable[[bytes], str]
    inputs: st.SearchStrategy[bytes]

    @property
    def folder(self) -> Path:
        return CORPUS / self.name

    def corpus(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*") if path.is_file())

    def keep(self, data: bytes) -> Path:
        """Put an input that failed into the corpus, to be named for its situation later."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"new-{hashlib.sha256(data).hexdigest()[:8]}"
        path.write_bytes(data)
        return path

    def strategy(self) -> st.SearchStrategy[bytes]:
        """Inputs made up, and those of the corpus with a few bytes changed."""
        known = [path.read_bytes() for path in self.corpus()]
        return st.one_of(self.inputs, self.inputs, edited(known)) if known else self.inputs


@st.composite
def edited(draw: st.DrawFn, known: list[bytes]) -> bytes:
    """One of the known inputs, with pieces cut out, put in, turned round or taken from another."""
    data = draw(st.sampled_from(known))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        to = min(len(data), at + draw(st.integers(0, 8)))
        other = draw(st.sampled_from(known))
        piece = draw(
            st.one_of(
                st.binary(max_size=4),
                st.sampled_from(TOKENS),
                st.just(data[at:to] * 2),
                st.just(other[at : at + 40]),
            )
        )
        data = data[:at] + piece + data[to:]
    return data


TOKENS = [
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b":", b",", b"\\u0022", b"\\ud83d", b"\xff", b"\0"),
    *(b"null", b"true", b"false", b"NaN", b"1e999", b"-0", b"9" * 25, b"\r\n", b"%00", b"\xc3\xbc"),
]


def calls(limit: int, function: Callable[[], Any]) -> Any:
    """What ``function`` gives. Fails if it makes more than ``limit`` calls of functions."""
    count = 0

    def counted(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        return function()
    finally:
        sys.setprofile(before)
        assert count <= limit, f"{count} calls, where {limit} are enough"
