"""The banner files in a real Chromium, told what to ask, under a strict Content-Security-Policy."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.browser import JS, Browser, Page
from tests.served import served

ROOT = Path(__file__).parents[2]
DIST = ROOT / "sdk" / "js" / "dist"
LANG = ROOT / "sdk" / "js" / "lang"
POLICY = "default-src 'self'; frame-src 'none'; require-trusted-types-for 'script'"

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


TOPICS = [
    {"id": "news", "name": "Newsletter", "channels": ["email", "sms", "post"]},
    {"id": "readings", "name": "Readings", "channels": ["email", "push"]},
]
HELD = {"news": {"email": "granted", "sms": "denied", "post": "denied"}, "readings": {}}


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


def signed_in(told: dict[str, Any]) -> dict[str, Any]:
    """The same before somebody whom the server knows, of whom it says ``HELD``."""
    policy = {**told["policy"], "topics": TOPICS}
    return {**told, "policy": policy, "user": {"id": "ada", "token": "token"}}


class UiPage(Page):
    """The page that shows the controls, in a profile of its own."""

    def run(self, code: str) -> Any:
        """The value of a JavaScript expression."""
        return self.eval(code)

    def click(self, name: str) -> None:
        """Click what bears a stable name, at the place where it is visible."""
        super().click(f'[data-consentry="{name}"]:visible')

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

    def autoconsent(self, rule: dict[str, Any], action: str) -> list[dict[str, Any]]:
        """Let DuckDuckGo's autoconsent loose on the page; what it reported."""
        found: list[dict[str, Any]] = self.ask("autoconsent", rule=rule, action=action)
        return found


@dataclass
class Ui:
    """Where the page is served."""

    browser: Browser
    url: str

    @contextlib.contextmanager
    def page(self, told: dict[str, Any], **options: Any) -> Iterator[UiPage]:
        """Open the page as somebody new; at the end nothing may have gone wrong in it."""
        script = f"window.given = {json.dumps(told)}"
        with self.browser.visitor(
            script=script, **{"reducedMotion": "reduce", **options}
        ) as visitor:
            page: UiPage = visitor.tab(UiPage)
            page.goto(self.url)
            page.run("window.ready.then(() => 0)")
            if told["show"] == "centre" and "user" in told:
                page.wait("document.querySelector('[data-consentry=topics]')")
            yield page
            noise = page.said() + page.run("window.violations")
            assert noise == [], noise


@contextlib.contextmanager
def pages(browser: Browser) -> Iterator[Ui]:
    """Serve the page with the files that are committed, under the policy."""
    held = {topic: {c: {"effective": e} for c, e in by.items()} for topic, by in HELD.items()}
    files = {
        "/": ("text/html", (JS / "ui" / "page.html").read_bytes()),
        "/page.css": ("text/css", (JS / "ui" / "page.css").read_bytes()),
        "/page.js": ("text/javascript", (JS / "ui" / "page.js").read_bytes()),
        "/consentry-ui.js": ("text/javascript", (DIST / "consentry-ui.js").read_bytes()),
        "/consentry-ui.css": ("text/css", (DIST / "consentry-ui.css").read_bytes()),
        "/v1/subjects/lookup": ("application/json", json.dumps({"topics": held}).encode()),
    }
    with served(files, {"Content-Security-Policy": POLICY}) as url:
        yield Ui(browser, f"{url}/")
