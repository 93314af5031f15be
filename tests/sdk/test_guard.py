"""The guard in Chromium: what it stops, what it lets through, what it tells, and how much gets by."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest

from tests.browser import Page, Visitor
from tests.running import wait_for
from tests.sdk.site import Site
from tests.sdk.world import KEY, READY, YES, answer, cookie, had_answered, html, policy, tag

pytestmark = [pytest.mark.browser, pytest.mark.node]

GUARD = f"<script src='/sdk/consentry-guard.js' data-key='{KEY}' data-allow='cdn.test'></script>"
TAG = f"<script src='/sdk/consentry.js' data-key='{KEY}'></script>"
TAGS = [
    tag("ads", ["advertising"], hosts=["t.test", "*.t.test"], cookies=["_ad*"], revoke=True),
    tag("maps", ["advertising"], hosts=["adv.test"], mode="advanced"),
    tag("nobody knows why", [], hosts=["lost.test"], mode="advanced"),
]
TO = "http://t.test/"
# Each asks for /{name} of the refused host.
VECTORS: dict[str, str] = {
    "fetch": "fetch('{}').catch(() => 0)",
    "fetch-request": "fetch(new Request('{}')).catch(() => 0)",
    "xhr": "Object.assign(new XMLHttpRequest(), {{}}).constructor && (() => {{ const x = new XMLHttpRequest(); x.open('GET', '{}'); x.send() }})()",
    "beacon": "navigator.sendBeacon('{}', 'x')",
    "websocket": "try {{ new WebSocket('{}'.replace('http', 'ws')) }} catch {{}}",
    "eventsource": "try {{ new EventSource('{}') }} catch {{}}",
    "worker": "try {{ new Worker('{}') }} catch {{}}",
    "font": "try {{ new FontFace('x', 'url({})').load().catch(() => 0) }} catch {{}}",
    "image": "new Image().src = '{}'",
    "image-srcset": "new Image().srcset = '{} 1x'",
    "image-attribute": "document.createElement('img').setAttribute('src', '{}')",
    "image-attribute-ns": "document.createElement('img').setAttributeNS(null, 'src', '{}')",
    "script": "document.head.append(Object.assign(document.createElement('script'), {{src: '{}'}}))",
    "iframe": "document.body.append(Object.assign(document.createElement('iframe'), {{src: '{}'}}))",
    "link": "document.head.append(Object.assign(document.createElement('link'), {{rel: 'stylesheet', href: '{}'}}))",
    "preload": "document.head.append(Object.assign(document.createElement('link'), {{rel: 'preload', as: 'image', href: '{}'}}))",
    "video": "document.createElement('video').src = '{}'",
    "poster": "document.body.append(Object.assign(document.createElement('video'), {{poster: '{}'}}))",
    "object": "document.body.append(Object.assign(document.createElement('object'), {{data: '{}'}}))",
    "embed": "document.body.append(Object.assign(document.createElement('embed'), {{src: '{}'}}))",
    "innerhtml": "document.createElement('div').innerHTML = '<img src={}>'",
    "outerhtml": "document.body.appendChild(document.createElement('i')).outerHTML = '<img src=\"{}\">'",
    "adjacent": "document.body.insertAdjacentHTML('beforeend', '<img alt=\"a > b\" src=\"{}\">')",
    "style-markup": "document.body.insertAdjacentHTML('beforeend', '<p style=\"background: url({})\">x')",
    "fragment": "document.body.append(document.createRange().createContextualFragment('<img src={}>'))",
    "rule": "document.head.appendChild(document.createElement('style')).sheet.insertRule('body {{ background: url({}) }}')",
    "form": "document.body.append(Object.assign(document.createElement('form'), {{action: '{}'}})); document.querySelector('form').submit()",
    "window": "window.open('{}')",
    "frame-fetch": "document.body.appendChild(document.createElement('iframe')).contentWindow.fetch('{}').catch(() => 0)",
}
# Known to get by: said in docs/browser.md, and why CSP is the backstop.
GETS_BY = {
    "import": "import('{}').catch(() => 0)",
    "style-property": "document.body.style.backgroundImage = 'url({})'",
    "frames-list": "document.body.append(document.createElement('iframe')); frames[frames.length - 1].fetch('{}')",
}


def run(page: Page, vectors: dict[str, str]) -> None:
    for name, source in vectors.items():
        page.eval(f"void (() => {{ {source.format(TO + name)} }})()")


def settled(page: Page) -> None:
    page.eval("new Promise((done) => setTimeout(done, 500))")


def test_every_vector_is_stopped_before_and_after_the_policy_and_counted(
    shop: Site, visitor: Visitor
) -> None:
    shop.policy, shop.server = policy(tags=TAGS), "slow"
    shop.pages["shop.test/"] = html("", GUARD + TAG)
    page = visitor.open("http://shop.test/")
    run(page, VECTORS)
    settled(page)
    assert shop.to("t.test") == []  # nobody knows yet, so it waits
    shop.server = "ok"
    page.eval(READY)
    run(page, VECTORS)
    settled(page)
    assert shop.to("t.test") == []
    wait_for(lambda: shop.told("/v1/csp-reports"), what="a report")
    leaks = [leak for body in shop.told("/v1/csp-reports") for leak in body["leaks"]]
    assert {(leak["host"], leak["category"]) for leak in leaks} == {("t.test", "advertising")}
    assert all(leak["count"] >= 1 for leak in leaks)
    assert len(
        {(leak["host"], leak["kind"]) for leak in shop.told("/v1/csp-reports")[0]["leaks"]}
    ) == len(shop.told("/v1/csp-reports")[0]["leaks"])
    told = [one for one in shop.asked if one.path == "/v1/csp-reports"]
    assert not any(b"image-srcset" in one.body for one in told)  # no path, no query
    assert {"fetch", "xhr", "beacon", "image", "script", "frame"} <= {
        leak["kind"] for leak in leaks
    }


def test_how_much_gets_by_is_known(shop: Site, visitor: Visitor) -> None:
    """If one of these is stopped one day, it belongs to the others."""
    shop.policy = policy(tags=TAGS)
    shop.pages["shop.test/"] = html("", GUARD + TAG)
    page = visitor.open("http://shop.test/")
    page.eval(READY)
    run(page, GETS_BY)
    wait_for(lambda: len(set(shop.to("t.test"))) == len(GETS_BY), what="all of them")


def test_the_same_things_pass_once_they_are_granted(shop: Site, visitor: Visitor) -> None:
    shop.policy = policy(tags=TAGS)
    shop.pages["shop.test/"] = html("", GUARD + TAG)
    page = visitor.open("http://shop.test/")
    answer(page, YES)
    quiet = {"form", "window", "worker"}  # these leave the page, and that is another origin's
    passing = {name: source for name, source in VECTORS.items() if name not in quiet}
    run(page, passing)
    missing = {f"/{name}" for name in passing}
    with contextlib.suppress(AssertionError):
        wait_for(lambda: missing <= set(shop.to("t.test")), timeout_s=5)
    assert missing - set(shop.to("t.test")) == set()
    assert page.said() == [] or all(
        "Failed" in s or "WebSocket" in s or "ERR" in s or "MIME" in s for s in page.said()
    )


def test_other_hosts_pass_once_the_policy_is_here(shop: Site, visitor: Visitor) -> None:
    shop.policy, shop.server = policy(tags=TAGS), "slow"
    shop.pages["shop.test/"] = html("", GUARD + TAG)
    page = visitor.open("http://shop.test/")
    page.eval("void (window.image = new Image(), image.src = 'http://other.test/a.gif')")
    page.eval("void fetch('http://other.test/b')")
    page.eval("void fetch('http://cdn.test/now')")
    page.eval("void fetch('/own')")
    page.eval("void navigator.sendBeacon('http://other.test/c', 'x')")
    settled(page)
    assert (shop.to("other.test"), shop.to("cdn.test")) == ([], ["/now"])
    assert "/own" in shop.to("shop.test")
    shop.server = "ok"
    wait_for(lambda: {"/a.gif", "/b", "/c"} == set(shop.to("other.test")), what="what waited")
    page.eval("void fetch('http://adv.test/told')")
    wait_for(lambda: shop.to("adv.test"), what="an advanced tag")
    lost = page.eval("fetch('http://lost.test/x').then(() => 'sent', () => 'stopped')")
    assert lost == "stopped"


def test_unknown_hosts_may_be_denied(shop: Site, visitor: Visitor) -> None:
    shop.policy = policy(tags=TAGS)
    guard = GUARD.replace(" data-key", " data-unknown='deny' data-key")
    shop.pages["shop.test/"] = html("", guard + TAG)
    page = visitor.open("http://shop.test/")
    answer(page, YES)
    assert (
        page.eval("fetch('http://other.test/x').then(() => 'sent', (e) => e.name)") == "TypeError"
    )
    assert page.eval("fetch('http://cdn.test/x').then(() => 'sent')") == "sent"
    assert page.eval("fetch('http://t.test/x').then(() => 'sent')") == "sent"
    assert shop.to("other.test") == []


def test_what_was_held_comes_when_it_is_granted(shop: Site, visitor: Visitor) -> None:
    shop.policy = policy(tags=TAGS)
    held = "<script src='http://t.test/late.js'></script><img src='http://t.test/late.gif'>"
    shop.pages["shop.test/"] = html("<div id='here'></div>", GUARD + TAG)
    page = visitor.open("http://shop.test/")
    page.eval(READY)
    page.eval(f"void (document.querySelector('#here').innerHTML = {json.dumps(held)})")
    page.eval(
        "document.head.append(Object.assign(document.createElement('script'), {src: 'http://t.test/own.js'}))"
    )
    settled(page)
    assert shop.to("t.test") == []
    answer(page, YES)
    wait_for(lambda: {"/late.gif", "/own.js"} <= set(shop.to("t.test")), what="what was held")
    page.wait("window.ran?.includes('/own.js')")


def test_scripts_in_the_page_are_fetched_but_do_not_run(shop: Site, visitor: Visitor) -> None:
    shop.policy = policy(tags=TAGS)
    shop.pages["shop.test/"] = html(f"<script src='{TO}html.js'></script>", GUARD + TAG)
    page = visitor.open("http://shop.test/")
    page.eval(READY)
    settled(page)
    assert page.eval("window.ran") is None
    answer(page, YES)
    page.wait("window.ran?.join() === '/html.js'")


def test_what_a_refused_tag_stores_is_not_kept(shop: Site, visitor: Visitor) -> None:
    shop.policy = policy(tags=TAGS)
    shop.pages["shop.test/"] = html("", GUARD + TAG)
    page = visitor.open("http://shop.test/")
    page.eval(READY)
    page.eval("void (document.cookie = '_ad1=x', document.cookie = 'basket=1')")
    page.eval("void (localStorage.setItem('_ad2', 'x'), localStorage.setItem('mine', 'x'))")
    assert {c["name"] for c in visitor.cookies()} == {"basket"}
    assert page.eval("Object.keys(localStorage)") == ["mine"]
    answer(page, YES)
    page.eval("void (document.cookie = '_ad1=x', localStorage.setItem('_ad2', 'x'))")
    wait_for(lambda: "_ad1" in {c["name"] for c in visitor.cookies()}, what="its cookie")
    page.does("void consentry.withdraw()")
    page.wait("!document.cookie.includes('_ad1') && !localStorage._ad2")
    stopped: Any = page.eval("fetch('http://t.test/after').then(() => 'sent', () => 'stopped')")
    assert stopped == "stopped"


EARLY = (
    "<iframe name=there></iframe>"
    "<form id=plain target=there method=post action='http://t.test/plain'><input name=action value=1>"
    "<button>Send</button></form>"
    "<form id=button target=there method=post action='/own'>"
    "<button formaction='http://t.test/button'>Send</button></form>"
    "<form id=called target=there method=post action='http://t.test/called'></form>"
    "<div id=here></div>"
    "<script>addEventListener('submit', ({target}) => (window.heard ??= []).push(target.id))</script>"
)
PING = "<a href='#x' ping='http://t.test/ping' id=link>x</a>"


@pytest.mark.parametrize("agreed", [True, False], ids=["agreed", "refused"])
def test_what_is_sent_before_the_policy_came_waits_for_it(
    shop: Site, visitor: Visitor, agreed: bool
) -> None:
    """Forms by a button, by a button's own address and by a call; and what a link pings."""
    shop.policy, shop.server = policy(tags=TAGS), "slow"
    shop.pages["shop.test/"] = html(EARLY, GUARD + TAG)
    had_answered(visitor, cookie(*(("advertising", "") if agreed else ("", "advertising"))))
    page = visitor.open("http://shop.test/")
    page.eval(f"void (document.querySelector('#here').innerHTML = {json.dumps(PING)})")
    page.click("#plain button")
    page.click("#plain button")  # impatient, and still sent once
    page.click("#button button")
    page.eval("document.querySelector('#called').submit()")
    page.click("#link")
    settled(page)
    assert shop.to("t.test") == []
    assert page.eval("window.heard") is None
    shop.server = "ok"
    page.eval(READY)
    if agreed:
        # One frame shows one of them: a form that comes next takes the place of the one before.
        wait_for(lambda: {"/called", "/ping"} <= set(shop.to("t.test")), what="what waited")
        posts = [one for one in shop.asked if one.path == "/ping" and one.method == "POST"]
        assert [one.body for one in posts] == [b"PING"]
        assert page.eval("window.heard") == ["plain", "button"]
    settled(page)
    assert shop.to("t.test").count("/plain") <= agreed
    assert agreed or shop.to("t.test") == []


def test_a_form_is_judged_by_where_it_goes(shop: Site, visitor: Visitor) -> None:
    """Not by a field that is called action, nor by a button that has no address of its own."""
    shop.policy = policy(tags=TAGS)
    shop.pages["shop.test/"] = html(EARLY, GUARD + TAG)
    page = visitor.open("http://shop.test/")
    page.eval(READY)
    for form in ("plain", "button"):
        page.click(f"#{form} button")
    page.eval("document.querySelector('#plain').requestSubmit()")
    settled(page)
    assert shop.to("t.test") == []
    answer(page, YES)
    page.click("#plain button")
    wait_for(lambda: shop.to("t.test") == ["/plain"], what="the form")
    page.click("#button button")
    wait_for(lambda: shop.to("t.test") == ["/plain", "/button"], what="the button's own")


def test_markup_of_the_page_that_pings_does_so_once_granted(shop: Site, visitor: Visitor) -> None:
    shop.policy = policy(tags=TAGS)
    shop.pages["shop.test/"] = html("<div id=here></div>", GUARD + TAG)
    page = visitor.open("http://shop.test/")
    page.eval(READY)
    page.eval(f"void (document.querySelector('#here').innerHTML = {json.dumps(PING)})")
    page.click("#link")
    settled(page)
    assert shop.to("t.test") == []
    answer(page, YES)
    page.click("#link")
    wait_for(lambda: shop.to("t.test") == ["/ping"], what="a ping")
