"""A Chromium without JavaScript, driven by lines of JSON."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.e2e.sdk_world import JS


@dataclass
class Visitor:
    """A page in a profile of its own."""

    browser: Chromium
    name: str

    def do(self, what: str, **more: Any) -> Any:
        return self.browser.ask(what, page=self.name, **more)


class Chromium:
    """One process for a module."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._count = 0
        self._answer()

    def ask(self, what: str, **more: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **more}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the browser ended"
        told = json.loads(line)
        assert "error" not in told, told["error"]
        return told.get("value")

    @contextlib.contextmanager
    def visitor(self, url: str, **context: Any) -> Iterator[Visitor]:
        self._count += 1
        one = Visitor(self, f"v{self._count}")
        one.do("open", url=url, context=context)
        try:
            yield one
        finally:
            one.do("close")


@contextlib.contextmanager
def chromium() -> Iterator[Chromium]:
    path = shutil.which("chromium")
    assert path is not None, "Chromium is missing: make .build/apt"
    process = subprocess.Popen(
        ["node", "pages.mjs", path],
        cwd=JS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Chromium(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
