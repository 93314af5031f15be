"""Chromium for the tests of the browser files, driven by lines of JSON."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.sdk_world import JS


@dataclass
class Page:
    """One tab."""

    chrome: Chrome
    name: str

    def goto(self, url: str) -> Page:
        self.chrome.ask("goto", page=self.name, url=url)
        return self

    def reload(self) -> None:
        self.chrome.ask("reload", page=self.name)

    def eval(self, source: str) -> Any:
        """What an expression gives; a promise is waited for."""
        return self.chrome.ask("eval", page=self.name, source=source)

    def wait(self, source: str) -> Any:
        """What an expression gives, once that is something true."""
        return self.chrome.ask("wait", page=self.name, source=source)

    def click(self, selector: str) -> None:
        self.chrome.ask("click", page=self.name, selector=selector)

    def said(self) -> list[str]:
        """Errors of the page and of its console."""
        found: list[str] = self.chrome.ask("said", page=self.name)
        return found


@dataclass
class Visitor:
    """A profile of its own: cookies and storage of one person's browser."""

    chrome: Chrome
    name: str

    def tab(self) -> Page:
        page = Page(self.chrome, f"page{next(self.chrome.names)}")
        self.chrome.ask("page", context=self.name, page=page.name)
        return page

    def open(self, url: str) -> Page:
        return self.tab().goto(url)

    def cookies(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.chrome.ask("cookies", context=self.name)
        return found

    def add(self, *cookies: dict[str, Any]) -> None:
        self.chrome.ask("add", context=self.name, cookies=cookies)

    def send_gpc(self) -> None:
        """From the next page on the browser sends Global Privacy Control."""
        self.chrome.ask("gpc", context=self.name)


@dataclass
class Chrome:
    """A running Chromium."""

    process: subprocess.Popen[str]
    names: Iterator[int] = field(default_factory=itertools.count)

    @contextlib.contextmanager
    def visitor(self, **more: Any) -> Iterator[Visitor]:
        """Somebody new."""
        who = Visitor(self, f"visitor{next(self.names)}")
        self.ask("context", context=who.name, **more)
        try:
            yield who
        finally:
            self.ask("close", context=who.name)

    def ask(self, command: str, **more: Any) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": command, **more}) + "\n")
        self.process.stdin.flush()
        answer = self.read()
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the browser's driver ended"
        found: dict[str, Any] = json.loads(line)
        return found


@contextlib.contextmanager
def chrome(port: int) -> Iterator[Chrome]:
    """Launch it; every name that ends in ``.test`` leads to ``port``."""
    executable = shutil.which("chromium")
    assert executable, "install Chromium, or run: make test"
    process = subprocess.Popen(
        ["node", "drive.cjs", str(port), executable],
        cwd=JS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        running = Chrome(process)
        assert "ready" in running.read()
        yield running
        assert process.stdin is not None
        process.stdin.close()
        process.wait(20)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
