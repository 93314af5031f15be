"""Everything together: the real policy, the real controls, the real stream, two devices."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.browser import Browser, Page, Visitor
from tests.browsers import driven
from tests.e2e.asking import acme_with, fresh, token
from tests.running import ADMIN_KEY, Server, StandIn, call, wait_for
from tests.sdk.site import Site
from tests.sdk.world import KEY, MARK, NOTHING_YET, READY, TAG, TRACKED, YES, answer, html, kept

pytestmark = [pytest.mark.browser, pytest.mark.node]

TAGS = """
[[tag]]
name = "stats"
categories = ["analytics"]
hosts = ["a.test"]
cookies = ["_st*"]
revoke = "stats.stop"
[[tag]]
name = "ads"
categories = ["advertising"]
hosts = ["b.test"]
cookies = ["_ad*", "_adshop", "_admaps /maps"]
"""
FRAME = "<iframe width=300 height=200 data-consent='advertising' data-src='//b.test/video.html'></iframe>"
PLACE = "document.querySelector('[data-consentry=placeholder]')"
IN_TIME_S = 1.0
ROUNDS = 30
"""So many questions to the server take about as long on a machine that has nothing else to do."""


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory, vendors: StandIn) -> Iterator[Server]:
    with acme_with(tmp_path_factory.mktemp("acme"), vendors.base, more=TAGS) as running:
        yield running


def history(server: Server, device: str) -> list[dict[str, object]]:
    path = f"/v1/subjects/anonymous_id:{device}?history=true"
    found: list[dict[str, object]] = call(server.base, "GET", path, key=ADMIN_KEY).json["history"]
    return found


def test_a_first_visit_is_asked_and_what_was_pressed_is_what_happens(
    shop: Site, visitor: Visitor, acme: Server
) -> None:
    shop.pages["shop.test/"] = html(TRACKED)
    page = visitor.open("http://shop.test/")
    page.wait("document.querySelector('[data-consentry=banner]')")
    assert (shop.to("a.test"), shop.to("b.test")) == ([], [])
    page.click("[data-consentry=accept]")
    page.wait("window.ran?.length === 2")
    device = kept(visitor)["id"]
    record = wait_for(lambda: history(acme, device), what="a record")[0]
    evidence = record["evidence"]
    assert isinstance(evidence, dict)
    assert (evidence["action"], evidence["surface"]) == ("accept_all", "banner")
    said = {
        name: evidence[name] for name in ("layout", "language", "page", "noticeKnown", "browser")
    }
    assert said == {
        "layout": "bar",
        "language": "en",
        "page": "http://shop.test/",
        "noticeKnown": True,
        "browser": {"chromium": "bot"}.get(
            driven(), "Firefox"
        ),  # that it is headless is said by one
    }
    assert "noticeContradicts" not in evidence
    text = call(acme.base, "GET", f"/v1/notices/{evidence['noticeHash']}", key=ADMIN_KEY)
    assert text.status == 200  # what was shown can be read for ever
    page.reload()
    page.wait("window.ran?.length === 2")
    page.eval("consentry.open()")
    page.wait("document.querySelector('[data-consentry=centre]')")
    page.click("[data-consentry=centre] [data-consentry=reject]")
    page.wait("!window.ran && window.consentry")  # a tag without a revoke: loaded anew
    page.eval(READY)
    assert page.eval("consentry.getCategories().analytics") is False
    wait_for(lambda: len(history(acme, device)) == 2, what="the refusal")
    assert not page.eval("document.querySelector('[data-consentry=banner]')")
    paths = {one.path for one in shop.asked}
    assert "/v1/notices/noted" in paths


def test_a_frame_is_asked_for_in_its_place(shop: Site, visitor: Visitor) -> None:
    shop.pages["shop.test/"] = html(FRAME)
    page = visitor.open("http://shop.test/")
    page.wait("document.querySelector('[data-consentry=placeholder]')")
    page.click("[data-consentry=reject]")
    assert shop.to("b.test") == []
    page.click("[data-consentry=once]")
    wait_for(lambda: shop.to("b.test") == ["/video.html"], what="the frame")
    assert page.eval("consentry.getCategories().advertising") is False
    page.reload()
    page.wait("document.querySelector('[data-consentry=placeholder]')")
    page.click("[data-consentry=always]")
    wait_for(lambda: shop.to("b.test") == ["/video.html"] * 2, what="the frame again")
    assert page.eval("document.querySelector('iframe').checkVisibility()")
    assert kept(visitor)["g"] == "advertising"


def test_the_server_expires_what_no_script_can(shop: Site, visitor: Visitor) -> None:
    """On every domain above the page, on every path above it, and where an entry states a path."""
    shop.pages["www.shop.test/shop/bag"] = html(TRACKED)
    for name, domain, path in (
        ("_st1", "www.shop.test", "/"),
        ("_st2", ".shop.test", "/"),
        ("_adshop", ".shop.test", "/shop"),
        ("_admaps", "www.shop.test", "/maps"),
        ("session", "www.shop.test", "/shop"),
    ):
        visitor.add({"name": name, "value": "x", "domain": domain, "path": path, "httpOnly": True})
    page = visitor.open("http://www.shop.test/shop/bag")
    answer(page, {"analytics": True})
    page.wait("window.ran?.length === 1")
    page.does("void consentry.withdraw()")
    wait_for(
        lambda: {c["name"] for c in visitor.cookies()} == {"session", "consentry"}, what="expiry"
    )


def test_the_server_expires_a_partitioned_cookie(shop: Site, visitor: Visitor) -> None:
    shop.headers["Set-Cookie"] = "_st1=own; Path=/; Secure; HttpOnly; Partitioned"
    shop.pages["localhost/"] = html()
    page = visitor.open(f"http://localhost:{shop.port}/")
    assert [c["name"] for c in visitor.cookies()] == ["_st1"]
    answer(page, {"analytics": False})
    wait_for(lambda: [c["name"] for c in visitor.cookies()] == ["consentry"], what="expiry")


TEMPLATE = (
    "<template data-consent='advertising'><p id=caption>A film</p>"
    "<iframe width=300 height=200 src='//b.test/video.html'></iframe>{}</template>"
)
GUARD = f"<script src='/sdk/consentry-guard.js' data-key='{KEY}'></script>"


@pytest.mark.parametrize("head", [TAG, GUARD + TAG], ids=["gate", "guard"])
def test_a_frame_in_a_template_is_asked_for_in_its_place(
    shop: Site, visitor: Visitor, head: str
) -> None:
    shop.pages["shop.test/"] = html(TEMPLATE.format(""), head)
    page = visitor.open("http://shop.test/")
    page.wait(PLACE)
    assert "b.test" in page.eval(f"{PLACE}.innerText")
    assert page.eval(f"{PLACE}.getBoundingClientRect().width") == 300
    page.click("[data-consentry=reject]")
    assert shop.to("b.test") == []
    page.click("[data-consentry=once]")
    wait_for(lambda: shop.to("b.test") == ["/video.html"], what="the frame")
    assert page.eval("document.querySelector('#caption').checkVisibility()")
    page.eval(NOTHING_YET)
    assert page.eval("document.querySelector('iframe').hasAttribute('src')")
    answer(page, {"analytics": True})  # once ends with the next answer
    page.wait("!document.querySelector('iframe')")
    page.wait(PLACE)
    page.click("[data-consentry=always]")
    wait_for(lambda: shop.to("b.test") == ["/video.html"] * 2, what="the frame again")
    assert kept(visitor)["g"] == "analytics,advertising"


def test_a_template_with_a_script_is_not_loaded_once(shop: Site, visitor: Visitor) -> None:
    shop.pages["shop.test/"] = html(TEMPLATE.format("<script src='//a.test/a.js'></script>"))
    page = visitor.open("http://shop.test/")
    page.wait(PLACE)
    text = page.eval(f"{PLACE}.innerText")
    assert "b.test, a.test" in text
    assert not page.eval("document.querySelector('[data-consentry=once]')")
    assert page.eval("!!document.querySelector('[data-consentry=always]')")


def test_a_first_refusal_expires_what_was_there_before_anybody_was_asked(
    shop: Site, visitor: Visitor
) -> None:
    shop.pages["www.shop.test/"] = html()
    at = {"domain": ".shop.test", "path": "/", "httpOnly": True}
    visitor.add({"name": "_ad1", "value": "x", **at})
    page = visitor.open("http://www.shop.test/")
    page.eval(READY)
    page.eval("new Promise((done) => setTimeout(done, 300))")
    assert shop.told("/v1/consent/cookies") == []
    page.click("[data-consentry=reject]")
    wait_for(lambda: {c["name"] for c in visitor.cookies()} == {"consentry"}, what="expiry")


def signed_in(page: Page, user: str) -> None:
    page.eval(READY)
    page.eval(f"consentry.identify('{user}', '{token(user)}')")


def round_s(page: Page) -> float:
    """How long a page waits for the server now: a busy machine is slow at everything."""
    started = time.monotonic()
    page.eval(f"fetch('/v1/projects/{KEY}/policy', {{cache: 'no-store'}}).then((r) => r.text())")
    return time.monotonic() - started


def test_two_devices(shop: Site, browser: Browser, acme: Server) -> None:
    """A tab open on the laptop obeys a withdrawal made on the phone."""
    shop.pages["shop.test/"] = html(TRACKED)
    user = fresh("ada")
    with browser.visitor() as laptop, browser.visitor() as phone:
        here, there = laptop.open("http://shop.test/"), phone.open("http://shop.test/")
        for page in (here, there):
            signed_in(page, user)
            answer(page, YES)
            page.wait("window.ran?.length === 2")
        wait_for(lambda: [one.path for one in shop.asked].count("/v1/stream") >= 2, what="streams")
        wait_for(lambda: len(shop.choices()) == 2, what="choices")
        before = shop.to("shop.test").count("/")
        busy_s = ROUNDS * round_s(here)
        started = time.monotonic()
        there.does("void consentry.withdraw(['advertising'])")
        here.wait("window.consentry && consentry.getCategories().advertising === false")
        assert time.monotonic() - started < max(IN_TIME_S, busy_s)
        wait_for(lambda: shop.to("shop.test").count("/") >= before + 1, what="loaded anew")
        here.wait("window.ran?.length === 1")
        said = kept(laptop)
        assert (said["g"], said["d"]) == ("analytics", "advertising")


def test_in_a_sandbox_a_withdrawal_is_whole(shop: Site, visitor: Visitor) -> None:
    """There are no cookies, and whoever so much as names a storage gets an exception."""
    shop.headers["Content-Security-Policy"] = "sandbox allow-scripts"
    shop.pages["localhost/"] = html(TRACKED)
    page = visitor.open(f"http://localhost:{shop.port}/")
    answer(page, YES)
    page.wait("window.ran?.length === 2")
    page.eval("void (window.before = true)")
    page.does("void consentry.withdraw()")
    page.wait("!window.before && window.consentry")  # a tag without a revoke: loaded anew
    page.eval(READY)
    assert page.eval("consentry.getCategories().advertising") is False


STRICT = "default-src 'self'; script-src 'nonce-abc'; style-src 'self'"


def test_a_strict_policy_is_not_violated_once(shop: Site, visitor: Visitor) -> None:
    """With the controls, the gate and a withdrawal."""
    shop.headers["Content-Security-Policy"] = STRICT
    gated = MARK.replace("type", "nonce='abc' type", 1)
    shop.pages["shop.test/"] = html(
        f"<script {gated}='analytics' data-src='/own.js'></script>",
        f"<script nonce='abc' src='/sdk/consentry.js' data-key='{KEY}'></script>",
    )
    page = visitor.open("http://shop.test/")
    page.wait("document.querySelector('[data-consentry=banner]')")
    page.click("[data-consentry=choose]")
    page.wait("document.querySelector('[data-consentry=centre]')")
    page.click("[data-consentry=centre] [data-consentry=accept]")
    page.wait("window.ran?.length === 1")
    page.eval("void (window.before = true)")
    assert page.eval("window.violations") == []
    page.does("void consentry.withdraw()")
    page.wait("!window.before && window.consentry")
    page.eval(READY)
    assert page.eval("window.violations") == []
    assert page.said() == []


def test_the_module_does_the_same(shop: Site, visitor: Visitor) -> None:
    module = (
        "<script type='module'>import { init, onChange } from '/sdk/consentry.mjs';"
        f"window.heard = []; onChange((now) => heard.push(now)); init({{ key: '{KEY}' }});</script>"
    )
    shop.pages["shop.test/"] = html(TRACKED, module)
    page = visitor.open("http://shop.test/")
    page.wait("document.querySelector('[data-consentry=banner]')")
    page.click("[data-consentry=accept]")
    page.wait("window.ran?.length === 2")
    assert page.eval("heard.length") == 1


def test_it_speaks_the_language_of_the_page(shop: Site, visitor: Visitor) -> None:
    shop.pages["shop.test/"] = html().replace('lang="en"', 'lang="de"')
    page = visitor.open("http://shop.test/")
    page.wait("document.querySelector('[data-consentry=banner]')")
    assert (
        page.eval("document.querySelector('[data-consentry=reject]').textContent")
        == "Alle ablehnen"
    )


def test_a_file_that_could_not_be_loaded_is_tried_again(shop: Site, visitor: Visitor) -> None:
    shop.missing.add("/sdk/consentry-ui.js")
    shop.pages["shop.test/"] = html(TRACKED)
    page = visitor.open("http://shop.test/")
    page.eval(READY)
    wait_for(lambda: "/sdk/consentry-ui.js" in shop.to("shop.test"), what="an attempt")
    page.eval("new Promise((done) => setTimeout(done, 200))")
    assert page.eval("consentry.getCategories().analytics") is False
    shop.missing.clear()
    page.eval("consentry.open()")
    page.wait("document.querySelector('[data-consentry=centre]')")
