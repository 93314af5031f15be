"""A browser, driven by lines of JSON: one process for all browser tests of a worker.

Starting it takes longer than most tests. Each visitor is a profile of its own, so none knows
another. ``tests/e2e/js/driver.mjs`` is the other end.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.browsers import driven

JS = Path(__file__).parent / "e2e" / "js"


@dataclass
class Page:
    """One tab."""

    browser: Browser
    name: str

    def ask(self, command: str, **more: Any) -> Any:
        return self.browser.ask(command, page=self.name, **more)

    def goto(self, url: str) -> int:
        """Its status."""
        status: int = self.ask("goto", url=url)
        return status

    def starts(self, url: str) -> None:
        """Begin to go there, and do not wait."""
        self.does(f"void setTimeout(() => {{ location = {json.dumps(url)} }})")

    def reload(self) -> None:
        self.ask("reload")

    def eval(self, source: str) -> Any:
        """What an expression gives; a promise is waited for."""
        return self.ask("eval", source=source)

    def does(self, source: str) -> None:
        """Do something after which the page may be loaded anew."""
        self.ask("does", source=source)

    def wait(self, source: str) -> Any:
        """What an expression gives, once that is something true."""
        return self.ask("wait", source=source)

    def click(self, selector: str) -> None:
        self.ask("click", selector=selector)

    def press(self, *keys: str, leaves: bool = False) -> None:
        """Press keys, one after another; ``leaves``: the last one leads to another page."""
        self.ask("press", keys=keys, leaves=leaves)

    def said(self, *kinds: str) -> list[str]:
        """Errors of the page and of its console: ``page``, ``console``, or both.

        What Firefox says by itself, of requests that it did not make, is neither (``browser``).
        """
        found: list[list[str]] = self.ask("said")
        return [text for kind, text in found if kind in (kinds or ("page", "console"))]

    def axe(self) -> list[str]:
        """What axe-core objects to."""
        found: list[str] = self.ask("axe")
        return found

    def shot(self, path: Path, *, whole: bool = False) -> None:
        """Write what is seen, or the whole page, as a WebP file."""
        self.ask("shot", path=str(path), whole=whole)


@dataclass
class Visitor:
    """A profile of its own: cookies and storage of one person's browser."""

    browser: Browser
    name: str

    def tab(self, kind: type[Page] = Page) -> Any:
        """A new tab, as ``kind`` of page."""
        page = kind(self.browser, f"page{next(self.browser.names)}")
        self.browser.ask("page", context=self.name, page=page.name)
        return page

    def open(self, url: str) -> Page:
        page: Page = self.tab()
        page.goto(url)
        return page

    def cookies(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.browser.ask("cookies", context=self.name)
        return found

    def add(self, *cookies: dict[str, Any]) -> None:
        self.browser.ask("add", context=self.name, cookies=cookies)

    def send_gpc(self) -> None:
        """From the next page on the browser sends Global Privacy Control."""
        self.browser.ask("gpc", context=self.name)

    def leave(self) -> None:
        self.browser.ask("close", context=self.name)


@dataclass
class Browser:
    """A running browser."""

    process: subprocess.Popen[str]
    names: Iterator[int] = field(default_factory=itertools.count)

    def newcomer(self, *, gpc: bool = False, script: str | None = None, **options: Any) -> Visitor:
        """Somebody new, who has to be told to leave.

        ``script`` runs before those of every page; ``options`` are those of Playwright's contexts.
        """
        who = Visitor(self, f"visitor{next(self.names)}")
        self.ask("context", context=who.name, gpc=gpc, script=script, options=options)
        return who

    @contextlib.contextmanager
    def visitor(self, **more: Any) -> Iterator[Visitor]:
        """Somebody new (``newcomer``), who leaves at the end."""
        who = self.newcomer(**more)
        try:
            yield who
        finally:
            who.leave()

    def ask(self, command: str, **more: Any) -> Any:
        """One command, and its answer."""
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


BROWSERS = {"chromium": ["chromium"], "firefox": ["firefox-esr", "firefox"]}
"""What a browser's program may be called. ``CONSENTRY_BROWSER`` says which one is driven."""


@contextlib.contextmanager
def launched(
    names: Mapping[str, int] | None = None,
    *,
    digest: str = "",
    third_party_cookies: bool = True,
    preferences: Mapping[str, Any] | None = None,
) -> Iterator[Browser]:
    """Launch it; stop it at the end.

    ``names`` are local ports by ``host:port`` or ``*.domain``; ``digest`` is of the key of a
    certificate that is trusted. Firefox has ``preferences``, and keeps what third parties set
    apart for each site, whatever ``third_party_cookies`` says.
    """
    kind = driven()
    executable = next(filter(None, map(shutil.which, BROWSERS[kind])), None)
    assert executable is not None, f"install {kind}, or run: make test (make test-firefox)"
    told = {
        "browser": kind,
        "executablePath": executable,
        "names": names or {},
        "digest": digest,
        "thirdPartyCookies": third_party_cookies,
        "preferences": preferences or {},
    }
    process = subprocess.Popen(
        ["node", "driver.mjs", json.dumps(told)],
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
