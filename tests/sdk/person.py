"""Somebody at a place, in front of a shop whose server knows the law there."""

from __future__ import annotations

from typing import Any

from tests.browser import Browser, Page
from tests.running import ADMIN_KEY, Server, call, wait_for
from tests.sdk.site import Site
from tests.sdk.world import DAY_S, READY, TRACKED, had_answered, html, kept

GRANT_DAYS = 30
SERVER = '\ntrusted_proxies = ["127.0.0.0/8"]\nplace_from = "cloudflare"\n'
NOTICE = f'[notice]\nlayout = "box"\ngrant_days = {GRANT_DAYS}\n'
TAGS = """
[[tag]]
name = "stats"
categories = ["analytics"]
hosts = ["a.test"]
revoke = "stats.stop"
[[tag]]
name = "ads"
categories = ["advertising"]
hosts = ["b.test"]
revoke = "ads.stop"
"""
SHOP = "http://shop.test/"
DE = {"cf-ipcountry": "DE"}
CALIFORNIA = {"cf-ipcountry": "US", "cf-region-code": "CA"}
NEW_ZEALAND = {"cf-ipcountry": "NZ"}
SIGNAL = {"sec-gpc": "1"}
UNKNOWN: dict[str, str] = {}
YES = {"analytics": True, "advertising": True}
NO = {"analytics": False, "advertising": False}
ANALYTICS = {"analytics": True, "advertising": False}


class Person:
    """Somebody at a place, in front of the shop."""

    def __init__(
        self,
        browser: Browser,
        shop: Site,
        place: dict[str, str],
        days_later: int = 0,
        cookie: str = "",
    ) -> None:
        shop.pages["shop.test/"] = html(TRACKED)
        shop.added.update(place)
        clock = "window.stats = window.ads = { stop() {} };"
        clock += f"{{ const now = Date.now; Date.now = () => now() + {days_later * DAY_S * 1000} }}"
        self._brought = cookie
        self._visit = browser.visitor(gpc="sec-gpc" in place, script=clock)

    def __enter__(self) -> Person:
        self.visitor = self._visit.__enter__()
        if self._brought:
            self.brings(self._brought)
        return self

    def __exit__(self, *error: Any) -> None:
        self._visit.__exit__(*error)

    def brings(self, cookie: str) -> None:
        """They answered before, as the cookie says."""
        had_answered(self.visitor, cookie)

    def cookie(self) -> str:
        """The answer, as the browser keeps it."""
        (found,) = (c["value"] for c in self.visitor.cookies() if c["name"] == "consentry")
        return str(found)

    def visits(self) -> Page:
        """The shop, once everything that is to be shown is."""
        page = self.visitor.open(SHOP)
        page.eval(READY)
        page.wait("document.querySelector('.consentry-reopen')")
        return page


def seen(page: Page, name: str) -> bool:
    found: bool = page.eval(
        f"!!document.querySelector('[data-consentry={name}]')?.checkVisibility({{visibilityProperty: true}})"
    )
    return found


def press(page: Page, *names: str) -> None:
    for name in names:
        page.click(f"[data-consentry={name}]:visible")


def banner_text(page: Page) -> str:
    found: str = page.eval("document.querySelector('[data-consentry=banner]')?.innerText ?? ''")
    return found


def switch(page: Page, category: str) -> None:
    page.click(f"[data-consentry=switch][value={category}]")


def categories(page: Page) -> dict[str, bool]:
    found: dict[str, bool] = page.eval("consentry.getCategories()")
    return {name: on for name, on in found.items() if name in ("analytics", "advertising")}


def ran(page: Page) -> list[str]:
    found: list[str] = page.eval("window.ran ?? []")
    return sorted(found)


def records(acme: Server, person: Person, count: int) -> list[dict[str, Any]]:
    """What the ledger holds of this device, oldest first, once there is so much of it."""

    def told() -> list[dict[str, Any]] | None:
        path = f"/v1/subjects/anonymous_id:{kept(person.visitor)['id']}?history=true"
        found: list[dict[str, Any]] = call(acme.base, "GET", path, key=ADMIN_KEY).json["history"]
        choices = [record for record in found if record["type"] == "choice"]
        return sorted(choices, key=lambda r: r["seq"]) if len(choices) >= count else None

    found: list[dict[str, Any]] = wait_for(told, what=f"{count} records")
    return found
