"""What the browser tests share: a policy document, pages, and what a visitor's cookie says."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import parse_qs, quote

from tests.browser import Page, Visitor
from tests.running import WRITE_KEY

NOW = int(time.time())
DAY_S = 86_400
KEY = WRITE_KEY
TAG = f'<script src="/sdk/consentry.js" data-key="{KEY}"></script>'
READY = "consentry.ready"
YES = {"analytics": True, "advertising": True}
NO = {"analytics": False, "advertising": False}
MARK = "type='text/plain' data-consent"
TRACKED = (
    f"<script {MARK}='analytics' data-src='//a.test/a.js'></script>"
    f"<script {MARK}='advertising' data-src='//b.test/b.js'></script>"
)
NOTHING_YET = "new Promise((done) => setTimeout(done, 300))"
CATEGORIES = "consentry.getCategories()"


def category(id_: str, **more: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "name": id_.title(),
        "description": "",
        "essential": False,
        "regime": "opt_in",
        "default": False,
        "prohibited": False,
        "gpc": False,
        "destinations": [],
        "tags": [],
        **more,
    }


def tag(name: str, categories: list[str], **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "categories": categories,
        "hosts": [],
        "cookies": [],
        "revoke": False,
        "stop": None,
        "mode": "basic",
        **more,
    }


def policy(**more: Any) -> dict[str, Any]:
    """A policy document (decision 0012), in an opt-in place, with some members replaced."""
    ask = {"required": True, "grantDays": 365, "refusalDays": None, "againAfterDays": 180}
    notice = {"id": "main", "version": "1", "hash": "0" * 64, "layout": "bar", "theme": "auto"}
    return {
        "regime": "opt_in",
        "jurisdiction": None,
        "ruleVersion": "test",
        "rule": None,
        "language": "en",
        "direction": "ltr",
        "languages": ["en"],
        "texts": {},
        "topics": [],
        "tags": [],
        "cookie": {"domain": None, "days": 365},
        **more,
        "ask": {**ask, **more.get("ask", {})},
        "notice": {**notice, "privacyUrl": None, "changed": [], **more.get("notice", {})},
        "gpc": {"covers": [], "honoured": False, "show": False, **more.get("gpc", {})},
        "categories": more.get(
            "categories",
            [
                category("necessary", essential=True),
                category("analytics"),
                category("advertising"),
            ],
        ),
    }


def html(body: str = "", head: str = TAG) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Shop</title>{head}'
        f"</head><body>{body}</body></html>"
    )


def cookie(
    granted: str = "",
    denied: str = "",
    *,
    age_days: float = 0,
    notice: str = "main@1",
    **more: Any,
) -> str:
    """The value of the cookie, as a page would have written it."""
    at = int(NOW - age_days * DAY_S)
    members = {"v": 1, "id": "device-1", "n": notice, "t": at, "g": granted, "d": denied, **more}
    return "&".join(f"{name}={quote(str(value), safe='')}" for name, value in members.items())


def had_answered(visitor: Visitor, value: str, host: str = "shop.test") -> None:
    visitor.add({"name": "consentry", "value": value, "domain": host, "path": "/"})


def answer(page: Page, choice: dict[str, bool]) -> None:
    """The person answers, and the page has acted on it."""
    page.does(f"consentry.answer({json.dumps(choice)})")


def kept(visitor: Visitor) -> dict[str, Any]:
    """What the cookie says, and where it holds."""
    (found,) = (c for c in visitor.cookies() if c["name"] == "consentry")
    members = {k: v[0] for k, v in parse_qs(found["value"], keep_blank_values=True).items()}
    return {**members, "domain": found["domain"]}
