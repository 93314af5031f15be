"""The shop of the SDK tests: a page with analytics.js, and one visitor before it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from tests.browser import JS, Browser, Page
from tests.sdk.bundled import bundled
from tests.served import served


class ShopPage(Page):
    """A page of the shop, in a visitor's profile of its own."""

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
        given_up: list[str] = self.eval("window.shop?.failures ?? []")
        return self.said("page") + given_up

    def _run(self, member: str, *args: Any) -> Any:
        return self.eval(f"window.shop.{member}(...{json.dumps(args)})")


def shop_pages() -> contextlib.AbstractContextManager[str]:
    """Serve the shop; its origin."""
    return served(
        {
            "/": ("text/html", (JS / "page.html").read_bytes()),
            "/page.js": ("text/javascript", bundled("page.mjs").encode()),
        }
    )


@contextlib.contextmanager
def shop_page(browser: Browser, url: str) -> Iterator[ShopPage]:
    """Open the shop as somebody new."""
    with browser.visitor() as visitor:
        page: ShopPage = visitor.tab(ShopPage)
        page.goto(url)
        yield page
