"""The banner before a real server: what each regime asks, and each way an answer goes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser import Browser, launched
from tests.browsers import driven
from tests.e2e.asking import acme_with
from tests.running import Server, StandIn
from tests.sdk.person import (
    ANALYTICS,
    CALIFORNIA,
    DE,
    GRANT_DAYS,
    NEW_ZEALAND,
    NO,
    NOTICE,
    SERVER,
    SHOP,
    SIGNAL,
    TAGS,
    UNKNOWN,
    YES,
    Person,
    banner_text,
    categories,
    press,
    ran,
    records,
    seen,
    switch,
)
from tests.sdk.site import Site
from tests.sdk.world import TAG, TRACKED, html

pytestmark = [pytest.mark.browser, pytest.mark.node]

MORE = '[[category]]\nid = "personalization"\nname = "Personalization"\n'


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory, vendors: StandIn) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("acme")
    with acme_with(folder, vendors.base, more=TAGS + NOTICE, tail=SERVER) as running:
        yield running


@pytest.mark.parametrize("place", [DE, UNKNOWN], ids=["DE", "unknown"])
@pytest.mark.parametrize(
    ("presses", "then", "action", "surface"),
    [
        (["accept"], YES, "accept_all", "banner"),
        (["reject"], NO, "reject_all", "banner"),
        (["choose", "save"], NO, "save", "preference_centre"),
    ],
    ids=["accept", "reject", "choose"],
)
def test_where_silence_is_a_no_people_are_asked(
    browser: Browser,
    shop: Site,
    acme: Server,
    place: dict[str, str],
    presses: list[str],
    then: dict[str, bool],
    action: str,
    surface: str,
) -> None:
    with Person(browser, shop, place) as person:
        page = person.visits()
        assert seen(page, "banner")
        assert categories(page) == NO
        assert ran(page) == []
        press(page, *presses)
        assert categories(page) == then
        (record,) = records(acme, person, 1)
        assert {name: state == "granted" for name, state in record["after"].items()} == then
        assert record["evidence"]["action"] == action
        assert record["evidence"]["surface"] == surface
        again = person.visits()
        assert not seen(again, "banner")
        assert seen(again, "open")
        again.wait(f"(window.ran ?? []).length === {2 * then['analytics']}")


def test_an_answer_is_changed_and_withdrawn_by_the_way_back(
    browser: Browser, shop: Site, acme: Server
) -> None:
    with Person(browser, shop, DE) as person:
        page = person.visits()
        press(page, "choose")
        switch(page, "analytics")
        press(page, "save")
        assert categories(page) == ANALYTICS
        page.wait("window.ran?.length === 1")
        later = person.visits()
        press(later, "open")
        switch(later, "advertising")
        press(later, "save")
        assert categories(later) == YES
        later.wait("window.ran?.length === 2")
        page.wait("window.ran?.length === 2")  # the other tab too
        press(later, "open", "reject")
        assert [sorted(r["after"].values()) for r in records(acme, person, 3)] == [
            ["denied", "granted"],
            ["granted", "granted"],
            ["denied", "denied"],
        ]
        assert categories(person.visits()) == NO


@pytest.mark.parametrize(("days", "asked"), [(GRANT_DAYS - 1, False), (GRANT_DAYS + 1, True)])
def test_an_answer_that_ran_out_is_asked_for_again(
    browser: Browser, shop: Site, days: int, asked: bool
) -> None:
    with Person(browser, shop, DE) as first:
        press(first.visits(), "accept")
        with Person(browser, shop, DE, days_later=days, cookie=first.cookie()) as later:
            page = later.visits()
            assert seen(page, "banner") is asked
            assert categories(page) == (NO if asked else YES)
            assert ("no longer valid" in banner_text(page)) is asked


def test_a_new_category_is_asked_about_by_name(browser: Browser, shop: Site, acme: Server) -> None:
    """By who comes with the answer that they gave, and without the old policy in their cache."""
    with Person(browser, shop, DE) as agreed, Person(browser, shop, DE) as refused:
        press(agreed.visits(), "accept")
        records(acme, agreed, 1)
        press(refused.visits(), "reject")
        records(acme, refused, 1)
        yes, no = agreed.cookie(), refused.cookie()
    plain = acme.config.read_text()
    acme.stop()
    acme.config.write_text(plain.replace("[[source]]", f"{MORE}[[source]]", 1))
    acme.start()
    try:
        with Person(browser, shop, DE, cookie=yes) as agreed:
            page = agreed.visits()
            assert seen(page, "banner")
            assert categories(page) == YES  # what was agreed to holds
            assert "New since your last answer: Personalization." in banner_text(page)
        with Person(browser, shop, DE, cookie=no) as refused:
            assert not seen(refused.visits(), "banner")  # a no is not asked again so soon
    finally:
        acme.stop()
        acme.config.write_text(plain)
        acme.start()


@pytest.mark.parametrize("place", [CALIFORNIA, NEW_ZEALAND], ids=["California", "New Zealand"])
def test_where_silence_is_a_yes_nobody_is_stopped_and_everybody_can_refuse(
    browser: Browser, shop: Site, acme: Server, place: dict[str, str]
) -> None:
    with Person(browser, shop, place) as person:
        page = person.visits()
        page.wait("window.ran?.length === 2")
        assert not seen(page, "banner")
        press(page, "open", "reject")
        assert categories(page) == NO
        (record,) = records(acme, person, 1)
        assert set(record["after"].values()) == {"denied"}
        again = person.visits()
        assert categories(again) == NO
        assert ran(again) == []


def test_a_signal_is_honoured_and_said_to_be(browser: Browser, shop: Site) -> None:
    """Also on a page that has a way back of its own."""
    with Person(browser, shop, {**CALIFORNIA, **SIGNAL}) as person:
        shop.pages["shop.test/"] = html(
            TRACKED + "<a href='#' data-consentry-open>Privacy</a>", TAG
        )
        page = person.visits()
        page.wait("window.ran?.length === 1")
        assert categories(page) == ANALYTICS
        assert not seen(page, "banner")
        text = page.eval("document.querySelector('[data-consentry=open]').innerText")
        assert "Opt-out request honored" in text
        press(page, "open")
        assert seen(page, "gpc")
        press(page, "accept")  # a yes to all is none to what the signal refuses
        assert categories(page) == ANALYTICS
        press(page, "open")
        switch(page, "advertising")
        press(page, "save")  # its own switch is
        assert categories(page) == YES


@pytest.mark.skipif(driven() != "firefox", reason="a setting of Firefox: make test-firefox")
def test_the_signal_that_a_browser_sends_by_itself_is_honoured(shop: Site) -> None:
    """Nothing but its setting: the page reads it, and every request says it."""
    on = {"privacy.globalprivacycontrol.enabled": True}
    with (
        launched({"*.test": shop.port}, preferences=on) as firefox,
        Person(firefox, shop, CALIFORNIA) as person,
    ):
        page = person.visits()
        page.wait("window.ran?.length === 1")
        assert page.eval("navigator.globalPrivacyControl") is True
        assert {one.headers.get("sec-gpc") for one in shop.asked} == {"1"}
        assert categories(page) == ANALYTICS
        press(page, "open", "accept")
        assert categories(page) == ANALYTICS
        assert ran(page) == ["/a.js"]


def test_a_page_with_its_own_way_back_loads_nothing_more(browser: Browser, shop: Site) -> None:
    with Person(browser, shop, CALIFORNIA) as person:
        shop.pages["shop.test/"] = html(
            TRACKED + "<a href='#' data-consentry-open>Privacy</a>", TAG
        )
        page = person.visitor.open(SHOP)
        page.wait("window.ran?.length === 2")
        page.eval("new Promise((done) => setTimeout(done, 200))")
        assert not [path for path in shop.to("shop.test") if "consentry-ui" in path]
        page.click("[data-consentry-open]")
        page.wait("document.querySelector('[data-consentry=centre]')")
        page.eval(
            "document.querySelector('[data-consentry=centre]').dispatchEvent("
            "new KeyboardEvent('keydown', {key: 'Escape', bubbles: true}))"
        )
        assert page.eval("document.activeElement.textContent") == "Privacy"
