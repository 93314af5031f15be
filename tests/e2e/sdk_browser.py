"""One Chromium for all browser tests, driven by lines of JSON."""

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
    """A page of the shop, in a visitor's profile of its own."""

    browser: Browser
    name: str
    anonymous_id: str = ""

    def start(self, **options: Any) -> str:
        """Load analytics.js; the visitor's anonymousId."""
        self.anonymous_id = self._run("start", options)
        return self.anonymous_id

    def call(self, type_: str, *args: Any) -> str:
        """One call of the SDK; its messageId, once it was handed over or queued."""
        message_id: str = self._run("call", type_, *args)
        return message_id

    def call_at_once(self, calls: list[list[Any]]) -> None:
        """Several calls, none of them waited for."""
        self._run("callAtOnce", calls)

    def choose(self, **categories: bool) -> None:
        """What the visitor answers in the banner."""
        self._run("choose", categories)

    def fetch(self, url: str, init: dict[str, Any]) -> int | str:
        """The status that the page may see, or ``blocked``."""
        found: int | str = self._run("fetch", url, init)
        return found

    def failures(self) -> list[str]:
        """Errors of the page, and events that the SDK gave up on."""
        found: list[str] = self.browser.ask("failures", page=self.name)
        return found

    def leave(self, url: str) -> None:
        """Go to another page, while events may still be waiting in this one."""
        self.browser.ask("leave", page=self.name, url=url)

    def close(self) -> None:
        """The visitor is gone."""
        self.browser.ask("close", page=self.name)

    def _run(self, member: str, *args: Any) -> Any:
        return self.browser.ask("run", page=self.name, member=member, args=args)


@dataclass
class Browser:
    """A running Chromium and the small web server that serves the shop."""

    process: subprocess.Popen[str]
    _names: Iterator[int] = field(default_factory=itertools.count)

    @contextlib.contextmanager
    def page(self, url: str) -> Iterator[Page]:
        """Open the shop as somebody new."""
        opened = Page(self, f"page{next(self._names)}")
        self.ask("open", page=opened.name, url=url)
        try:
            yield opened
        finally:
            opened.close()

    def ask(self, command: str, **more: Any) -> Any:
        """One command, and its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": command, **more}) + "\n")
        self.process.stdin.flush()
        answer = self.read()
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def read(self) -> dict[str, Any]:
        """The next line that it says."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the browser's driver ended"
        found: dict[str, Any] = json.loads(line)
        return found


def executable() -> str:
    """Where Debian's Chromium is."""
    found = shutil.which("chromium")
    assert found is not None, "these tests need Debian's chromium"
    return found


def chromium(shop_port: int) -> contextlib.AbstractContextManager[Browser]:
    """Launch it, with the shop on a port; stop both at the end."""
    return driven("browser.mjs", str(shop_port), executable())


@contextlib.contextmanager
def driven(*program: str) -> Iterator[Browser]:
    """A driver that takes commands once it has said that it is ready; stop it at the end."""
    process = subprocess.Popen(
        ["node", *program],
        cwd=JS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        running = Browser(process)
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
