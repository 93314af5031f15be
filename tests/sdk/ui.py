"""The banner files in a real Chromium, told what to ask, under a strict Content-Security-Policy."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.running import free_port

ROOT = Path(__file__).parents[2]
JS = ROOT / "tests" / "e2e" / "js"
LANG = ROOT / "sdk" / "js" / "lang"

LAYOUTS = ["bar", "box", "modal"]
THEMES = ["light", "dark"]


def category(id_: str, **other: Any) -> dict[str, Any]:
    """A category of the policy document, opt-in unless told otherwise."""
    plain = {"essential": False, "regime": "opt_in", "default": False, "prohibited": False}
    plain |= {"gpc": False, "destinations": [], "tags": []}
    return {"id": id_, "name": "", **plain, **other}


CATEGORIES = [
    category("essential", essential=True, default=True),
    category("functional", tags=["Video player"]),
    category("analytics", destinations=["Warehouse", "Web statistics"], tags=["Web statistics"]),
    category("advertising", gpc=True, destinations=["Ad network"], tags=["Ad pixel"]),
]
TAGS = [
    {"name": "Video player", "categories": ["functional"], "hosts": ["video.example"]},
    {"name": "Web statistics", "categories": ["analytics"], "hosts": ["stats.example"]},
    {"name": "Ad pixel", "categories": ["advertising"], "hosts": ["ads.example", "px.example"]},
]


def given(
    layout: str = "box",
    theme: str = "light",
    language: str = "en",
    categories: list[dict[str, Any]] | None = None,
    categories_now: dict[str, bool] | None = None,
    **other: Any,
) -> dict[str, Any]:
    """What the loader says: the policy document, and what is in force."""
    texts = json.loads((LANG / f"{language}.json").read_text())
    listed = [
        {**c, "name": c["name"] or texts[f"category.{c['id']}.name"]}
        for c in categories or CATEGORIES
    ]
    notice = {"id": "n1", "version": "1", "hash": "h", "layout": layout, "theme": theme}
    gpc = {"covers": ["advertising"], "honoured": False, "show": False}
    policy = {
        "regime": listed[-1]["regime"],
        "jurisdiction": None,
        "ruleVersion": "1",
        "notice": {**notice, "privacyUrl": "/privacy", "changed": []},
        "language": language,
        "direction": texts["direction"],
        "languages": [language],
        "texts": texts,
        "ask": {"required": True, "grantDays": None, "refusalDays": None, "againAfterDays": None},
        "categories": listed,
        "topics": [],
        "gpc": gpc,
        "tags": [{"cookies": [], "revoke": True, "mode": "basic", **tag} for tag in TAGS],
        "cookie": {"domain": None, "days": 365},
    }
    in_force = categories_now or {c["id"]: c["default"] for c in listed}
    said = {"policy": policy, "asking": {"why": "first", "changed": []}, "gpc": False}
    return {
        **said,
        "categories": in_force,
        "answered": False,
        "show": "banner",
        "needs": [],
        **other,
    }


@dataclass
class Page:
    """One page in a profile of its own."""

    browser: Browser
    name: str

    def run(self, code: str) -> Any:
        """The value of a JavaScript expression."""
        return self.browser.ask("run", page=self.name, code=code)

    def press(self, *keys: str) -> None:
        self.browser.ask("press", page=self.name, keys=keys)

    def click(self, name: str) -> None:
        """Click what bears a stable name, at the place where it is visible."""
        self.browser.ask("click", page=self.name, selector=f'[data-consentry="{name}"]:visible')

    def heard(self) -> list[list[Any]]:
        """What the controls told the loader, in order."""
        found: list[list[Any]] = self.run("window.heard")
        return found

    def has(self, name: str) -> bool:
        """Whether something with this stable name is visible."""
        found: bool = self.run(
            f"""[...document.querySelectorAll('[data-consentry="{name}"]')].some(e => e.checkVisibility({{visibilityProperty: true}}))"""
        )
        return found

    def focused(self) -> str:
        """What has the focus: its stable name, its id, else its tag."""
        found: str = self.run(
            "(e => e.dataset.consentry || e.id || e.localName)(document.activeElement)"
        )
        return found

    def axe(self) -> list[str]:
        """What axe-core objects to."""
        found: list[str] = self.browser.ask("axe", page=self.name)
        return found

    def autoconsent(self, rule: dict[str, Any], action: str) -> list[dict[str, Any]]:
        """Let DuckDuckGo's autoconsent loose on the page; what it reported."""
        found: list[dict[str, Any]] = self.browser.ask(
            "autoconsent", page=self.name, rule=rule, action=action
        )
        return found

    def shot(self, path: Path) -> None:
        """Write what is seen as a WebP file."""
        self.browser.ask("shot", page=self.name, path=str(path))


@dataclass
class Browser:
    """A running Chromium."""

    process: subprocess.Popen[str]
    _names: Iterator[int] = field(default_factory=itertools.count)

    @contextlib.contextmanager
    def page(self, told: dict[str, Any], **context: Any) -> Iterator[Page]:
        """Open the page as somebody new; at the end nothing may have gone wrong in it."""
        opened = Page(self, f"page{next(self._names)}")
        self.ask(
            "open", page=opened.name, given=told, context={"reducedMotion": "reduce", **context}
        )
        try:
            yield opened
            noise = self.ask("noise", page=opened.name)
            assert noise == [], noise
        finally:
            self.ask("close", page=opened.name)

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


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Launch it with its pages; stop both at the end."""
    executable = shutil.which("chromium")
    assert executable is not None, "these tests need Debian's chromium"
    process = subprocess.Popen(
        ["node", "ui.mjs", str(free_port()), executable],
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
