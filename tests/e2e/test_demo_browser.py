"""The demo's pages in a real browser: a walk, who was told, and a system that is down for a while."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser import Browser, Page, Visitor
from tests.e2e.test_demo import demo

pytestmark = [pytest.mark.browser, pytest.mark.node]

BANNER = "[data-consentry=banner]"
# One click on "withdraw": what each of the ten answers, at once.
GRADES = {
    "rudderstack": ("suppress", "accepted"),
    "amplitude": ("gate", "gated"),
    "ga4": ("gate", "gated"),
    "mixpanel": ("suppress", "sent_unverifiable"),
    "segment": ("suppress", "accepted"),
    "klaviyo": ("suppress", "accepted"),
    "sendgrid": ("suppress", "accepted"),
    "mailchimp": ("suppress", "noop"),
    "meta": ("suppress", "accepted"),
    "ads": ("suppress", "confirmed"),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with demo(tmp_path_factory.mktemp("demo")) as running:
        yield running.replace("127.0.0.1", "localhost")


class Pages:
    """The shop and the live view, each in a window of its own, as side by side."""

    def __init__(self, base: str, customer: Visitor, watcher: Visitor) -> None:
        self.base = base
        self.customer = customer
        self.live = watcher.open(f"{base}/live")
        self.live.wait("document.querySelector('#connection').dataset.state === 'live'")
        self.shop = customer.open(f"{base}/")
        self.shop.wait(f"document.querySelector('{BANNER}')")

    def accept(self) -> None:
        self.shop.click(f"{BANNER} [data-consentry=accept]")
        self.shop.wait("document.querySelector('#state .badge.yes')")

    def sign_in(self, name: str) -> None:
        self.shop.eval(f"document.querySelector('#name').value = '{name}'")
        self.shop.click("#sign-in button")
        self.shop.wait("!document.querySelector('#signed-in').hidden")

    def badge(self, event: str, destination: str, badge: str) -> None:
        """Until the live view says this of an event and a system."""
        found = f'.event[data-event="{event}"] [data-destination="{destination}"]'
        self.live.wait(f"document.querySelector('{found}')?.dataset.badge === '{badge}'")

    def withdraw(self) -> None:
        """All: what data is used for, and then what is sent to the account."""
        self.shop.click("#withdraw")
        self.live.wait(f"document.querySelector('{NEWEST}')?.dataset.action === 'withdraw'")

    def nothing_went_wrong(self) -> None:
        assert self.shop.said() == []
        assert self.live.said() == []
        for page in (self.shop, self.live):
            assert page.eval("window.violations") == []
            names = (
                "performance.getEntriesByType('resource').map((one) => new URL(one.name).origin)"
            )
            assert set(page.eval(names)) == {self.base}


@pytest.fixture
def pages(base: str, browser: Browser) -> Iterator[Pages]:
    window = {"viewport": {"width": 1280, "height": 900}}
    with browser.visitor(**window) as customer, browser.visitor(**window) as watcher:
        yield Pages(base, customer, watcher)


NEWEST = "#told > li:has([data-destination=rudderstack])"
"""The newest choice about categories: of topics no system of analytics is told."""


def told(page: Page, state: str = "terminal") -> dict[str, list[list[str]]]:
    """Of the newest choice, per system: verb and grade of each order in a state."""
    return page.eval(  # type: ignore[no-any-return]
        f"Object.fromEntries([...document.querySelector('{NEWEST}').querySelectorAll('.told > li')].map("
        "(row) => [row.dataset.destination, [...row.querySelectorAll('.answer')]"
        f".filter((one) => one.dataset.state === '{state}')"
        ".map((one) => [one.dataset.verb, one.dataset.grade])]))"
    )


def answered(page: Page, systems: int = 10) -> None:
    """Until that many systems have answered the newest choice."""
    rows = ".answer[data-state=terminal]"
    page.wait(
        f"document.querySelector('{NEWEST}')?.querySelectorAll('{rows}').length === {systems}"
    )


def test_one_click_tells_ten_systems_and_shows_what_they_answer(pages: Pages) -> None:
    pages.accept()
    pages.sign_in("Grace")
    pages.withdraw()
    for page in (pages.shop, pages.live):
        answered(page)
        assert {name: tuple(rows[0]) for name, rows in told(page).items()} == GRADES
    row = f"{NEWEST} [data-destination={{}}]"
    said = {
        name: pages.live.eval(f"document.querySelector('{row.format(name)}').innerText")
        for name in GRADES
    }
    assert all(re.search(r"\d ms", text) for text in said.values())
    assert "It is asked again after a minute" in said["rudderstack"]
    assert "It cannot be asked" in said["meta"]
    assert "proves" not in said["mixpanel"]
    assert "Not at all" in said["mixpanel"]
    assert "knows no such person" in said["mailchimp"]
    assert "our own gate, and no further" in said["ga4"]
    assert "says itself that it is done" in said["ads"]
    _word_for_word(pages.live, row)
    _without_proof(pages)
    for page in (pages.shop, pages.live):
        assert page.axe() == []
    pages.nothing_went_wrong()


def _word_for_word(live: Page, row: str) -> None:
    """Opened by the keyboard: the request without its key, and the answer."""
    live.eval(f"document.querySelector('{row.format('mixpanel')} summary').focus()")
    live.press("Enter")
    live.wait(f"document.querySelector('{row.format('mixpanel')} details').open")
    wire = live.eval(f"document.querySelector('{row.format('mixpanel')} .wire').innerText")
    assert "POST /mixpanel/engage" in wire
    assert '"$token": "***"' in wire
    assert '"$distinct_id": "customer-grace"' in wire
    assert "It answered 200" in wire
    wire = live.eval(f"document.querySelector('{row.format('klaviyo')} .wire').textContent")
    assert "customer-grace@shop.example" in wire


def _without_proof(pages: Pages) -> None:
    """Signed out, a no for the account closes our own gate and goes no further."""
    pages.shop.click("#sign-out")
    pages.shop.wait("!document.querySelector('#sign-in').hidden")
    before = pages.live.eval("document.querySelector('#told > li').dataset.record")
    pages.shop.eval("document.querySelector('#name').value = 'Grace'")
    pages.shop.click("#unproven")
    for page in (pages.shop, pages.live):
        page.wait(f"document.querySelector('#told > li').dataset.record !== '{before}'")
        answered(page)
        assert {tuple(rows[0]) for rows in told(page).values()} == {("gate", "gated")}
        text = page.eval("document.querySelector('#told > li').innerText")
        assert text.count("not proven to be this person's: our own gate, and no further") == 10
    # The newest is open, what came before is folded.
    folds = "[...document.querySelectorAll('#told > li > details')].map((one) => one.open)"
    opened, *others = pages.live.eval(folds)
    assert opened
    assert not any(others)


def test_a_system_that_was_stopped_catches_up_by_itself(pages: Pages) -> None:
    card = "#systems [data-destination=segment]"
    pages.accept()
    pages.sign_in("Mary")
    pages.live.eval(f"document.querySelector('{card} button').focus()")
    pages.live.press("Enter")
    pages.live.wait(f"document.querySelector('{card}').dataset.stopped === 'true'")
    pages.withdraw()
    answered(pages.live, 9)
    row = f"{NEWEST} [data-destination=segment]"
    pages.live.wait(f"document.querySelector('{row} .answer').dataset.grade === 'failed_retry'")
    text = pages.live.eval(f"document.querySelector('{row}').innerText")
    assert re.search(r"is tried again by itself at \d\d:\d\d:\d\d", text)
    assert "1 order waits" in pages.live.eval(f"document.querySelector('{card}').innerText")
    assert "Segment" in pages.live.eval("document.querySelector('#systems-state').textContent")
    pages.live.press("Enter")  # whoever pressed the button still stands on it
    answered(pages.live)
    assert {name: tuple(rows[0]) for name, rows in told(pages.live).items()} == GRADES
    text = pages.live.eval(f"document.querySelector('{row}').innerText")
    assert re.search(r"regulation made, at try \d+", text)
    assert "No order waits" in pages.live.eval(f"document.querySelector('{card}').innerText")
    assert pages.live.eval(f"document.querySelector('{card}').dataset.stopped") == "false"
    pages.nothing_went_wrong()


# -- a walk ---------------------------------------------------------------------------------------
def test_walk_through_the_pages(pages: Pages) -> None:
    shop, live = pages.shop, pages.live
    shop.wait("document.querySelector('#trace [data-badge=Withheld]')")
    _first_layer(shop)
    assert _tags(shop) == {"counter": "Not running", "ads": "Not running"}
    assert pages.customer.cookies() == []
    _keyboard(shop)
    second = pages.customer.open(f"{pages.base}/")
    second.wait(f"document.querySelector('{BANNER}')")
    shop.ask("front")
    pages.accept()
    # Tags and their cookies do what was answered, on every open tab.
    for tab in (shop, second):
        _until_tags(tab, "Running")
    assert not second.eval(f"document.querySelector('{BANNER}')")
    assert _cookies(pages) == ["_ads_id", "_count", "consentry"]
    pages.sign_in("Ada")
    shop.click("[data-product=mug]")
    shop.click("#order")
    for name in ("rudderstack", "ga4", "klaviyo", "meta", "ads"):
        pages.badge("Order Completed", name, "Delivered")
    pages.badge("Order Completed", "sendgrid", "Not taken")
    live.click("[data-stop=ads]")
    live.wait(
        "document.querySelector('#systems [data-destination=ads]').dataset.stopped === 'true'"
    )
    shop.click("[data-product=teapot]")
    pages.badge("Product Added", "ads", "Waiting")
    live.wait("document.querySelector('#systems [data-destination=ads] [data-status=none]')")
    kept = live.eval("document.querySelector('#systems [data-destination=ads] .count').innerText")
    shop.click("#withdraw")
    shop.wait("document.querySelector('#status').innerText.includes('Everything is refused')")
    for tab in (shop, second):
        _until_tags(tab, "Not running")
    shop.wait("!document.cookie.includes('_')")
    assert _cookies(pages) == ["consentry"]
    assert second.eval("document.querySelector('#ad').hidden")
    live.click("[data-stop=ads]")
    # A withdrawal stops what is queued.
    pages.badge("Product Added", "ads", "Withheld")
    row = '.event[data-event="Product Added"] .outcome:has([data-destination=ads])'
    assert "asked again before sending" in live.eval(f"document.querySelector('{row}').innerText")
    _records(shop, live)
    after = live.eval("document.querySelector('#systems [data-destination=ads] .count').innerText")
    assert after == kept
    pages.nothing_went_wrong()


def _first_layer(shop: Page) -> None:
    """Refusing is as easy as accepting: one press, and nothing tells the buttons apart but words."""
    looks = shop.eval(
        f"[...document.querySelectorAll('{BANNER} :is([data-consentry=accept], [data-consentry=reject])')]"
        ".map((button) => { const style = getComputedStyle(button);"
        " const { width, height } = button.getBoundingClientRect();"
        " return [button.tagName, Math.round(width), Math.round(height), style.color,"
        " style.backgroundColor, style.borderColor, style.borderWidth, style.fontSize,"
        " style.fontWeight, style.fontFamily].join(' '); })"
    )
    assert len(looks) == 2
    assert len(set(looks)) == 1


def _keyboard(shop: Page) -> None:
    """The banner's own buttons are reached, Enter opens the choices, Escape leads back."""
    reached: list[str] = []
    for _ in range(6):
        shop.press("Tab")
        name = shop.eval("document.activeElement.dataset.consentry ?? ''")
        reached += [name] if name in ("accept", "reject", "choose") else []
    assert sorted(set(reached)) == ["accept", "choose", "reject"]
    shop.eval(f"document.querySelector('{BANNER} [data-consentry=choose]').focus()")
    shop.press("Enter")
    shop.wait("document.querySelector('[data-consentry=centre]')")
    boxes: list[Any] = shop.eval(
        "[...document.querySelectorAll('[data-consentry=switch]')].map((one) => [one.value, one.checked])"
    )
    assert boxes == [["analytics", False], ["email", False], ["advertising", False]]
    shop.press("Escape")
    shop.wait("!document.querySelector('[data-consentry=centre]')")
    assert shop.eval("document.activeElement.dataset.consentry") == "choose"
    assert shop.eval(f"!!document.querySelector('{BANNER}')")


def _tags(page: Page) -> dict[str, str]:
    return page.eval(  # type: ignore[no-any-return]
        "Object.fromEntries([...document.querySelectorAll('#tags [data-tag]')]"
        ".map((tag) => [tag.dataset.tag, tag.textContent]))"
    )


def _until_tags(page: Page, word: str) -> None:
    every = "[...document.querySelectorAll('#tags [data-tag]')].every"
    page.wait(f"{every}((tag) => tag.textContent === '{word}')")


def _cookies(pages: Pages) -> list[str]:
    return sorted(cookie["name"] for cookie in pages.customer.cookies())


def _records(shop: Page, live: Page) -> None:
    device = shop.eval("JSON.parse(localStorage.getItem('consentry-demo')).anonymousId")
    live.eval(
        "(() => { const select = document.querySelector('#subject');"
        f" select.value = '{device}'; select.dispatchEvent(new Event('change')); }})()"
    )
    live.wait(
        f"document.querySelector('#person').dataset.of === '{device}'"
        " && document.querySelectorAll('#history li').length === 4"
    )
    history = live.eval(
        "[...document.querySelectorAll('#history li')].map((one) => one.textContent)"
    )
    assert len(history) == 4, history
    messages, newest, linked, first = history
    assert "Newsletter by e-mail: no answer → refused" in messages
    assert re.search(r"Advertising: allowed → refused.*Pressed\s*withdraw", newest)
    assert "linked to an account" in linked
    assert re.search(r"Advertising: no answer → allowed.*Pressed\s*accept all", first)
    checkpoint = live.eval("document.querySelector('#checkpoint').textContent")
    assert re.search(r"covers \d+ records", checkpoint)


@pytest.mark.parametrize("path", ["/", "/live"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_readable_on_a_narrow_screen(
    base: str, browser: Browser, path: str, scheme: str
) -> None:
    """After the tests above there is something to show: choices, systems, events."""
    with browser.visitor(viewport={"width": 360, "height": 740}, colorScheme=scheme) as visitor:
        page = visitor.open(base + path)
        ready = {
            "/": f"document.querySelector('{BANNER}')",
            "/live": "document.querySelector('#told li')",
        }
        page.wait(ready[path])
        assert (
            page.eval("document.documentElement.scrollWidth") <= 360
        )  # Firefox has its bar beside it
        assert page.axe() == []
