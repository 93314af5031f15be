"""What a withdrawal does in a page that is loaded: its order, what it deletes, what it loads anew."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.browser import Browser, Page, Visitor
from tests.running import wait_for
from tests.sdk.site import Site
from tests.sdk.world import (
    CATEGORIES,
    KEY,
    NO,
    NOTHING_YET,
    READY,
    TAG,
    TRACKED,
    answer,
    cookie,
    had_answered,
    html,
    policy,
    tag,
)

pytestmark = [pytest.mark.browser, pytest.mark.node]
TAGS = [
    tag("stats", ["analytics"], hosts=["a.test"], cookies=["_st*"], revoke=True),
    tag("shared", ["necessary"], cookies=["_st_login"]),
    tag("ads", ["advertising"], hosts=["b.test"], cookies=["_ad", "ad.*"]),
]
# Everything that a withdrawal does is seen from outside, in the order in which it is done.
SEEN = """
window.order = [];
const cookie = Object.getOwnPropertyDescriptor(Document.prototype, "cookie");
Object.defineProperty(Document.prototype, "cookie", { ...cookie, set(text) {
  order.push(text.startsWith("consentry=") ? "persist" : "cookies");
  cookie.set.call(this, text);
} });
const set = Storage.prototype.setItem;
Storage.prototype.setItem = function (name, text) { if (name.startsWith("consentry.queue.")) order.push("tabs"); set.call(this, name, text); };
const real = window.fetch;
window.fetch = (url, init) => { order.push("fetch " + url.replace(/.*\\/v1/, "/v1")); return real(url, init); };
window.dataLayer = { push(item) { if (item[1] === "update") order.push("signals"); } };
window.consentryGuard = () => order.push("guard");
"""


def test_a_withdrawal_keeps_its_order(shop: Site, browser: Browser) -> None:
    shop.policy = policy(tags=TAGS)
    head = (
        "<script src='/sdk/consentry.js'></script><script>"
        f"consentry.init({{key: '{KEY}', revoke: {{stats: () => order.push('hook')}}}})</script>"
    )
    shop.pages["shop.test/"] = html(TRACKED, head)
    with browser.visitor(script=SEEN) as visitor:
        page = visitor.open("http://shop.test/")
        answer(page, {"analytics": True})
        page.wait("window.ran?.length === 1")
        page.eval("document.cookie = '_st1=x'")
        page.eval("order.length = 0")
        page.eval("consentry.onChange(() => order.push('listener'))")
        page.eval("document.addEventListener('consentry:change', () => order.push('event'))")
        page.does("void consentry.withdraw()")
        page.wait(
            "order.includes('fetch /v1/consent/cookies') && order.includes('fetch /v1/consent')"
        )
        first_seen = list(dict.fromkeys(page.eval("order")))
        sent = first_seen.index("fetch /v1/consent")
        assert first_seen[sent:].index("fetch /v1/consent") == 0
        steps = [step for step in first_seen if step != "fetch /v1/consent"]
        assert steps == [
            "persist",
            "tabs",
            "signals",
            "listener",
            "hook",
            "guard",
            "event",
            "cookies",
            "fetch /v1/consent/cookies",
        ]


def put(page: Page, *cookies: str) -> None:
    for text in cookies:
        page.eval(f"void (document.cookie = {json.dumps(text)})")


def test_what_refused_tags_stored_is_deleted_everywhere(shop: Site, visitor: Visitor) -> None:
    shop.policy = policy(tags=TAGS)
    shop.pages["www.shop.test/a/b"] = html(TRACKED)
    page = visitor.open("http://www.shop.test/a/b")
    answer(page, {"analytics": True})
    put(page, "_st1=x", "_st2=x; Domain=shop.test", "_st3=x; Path=/a", "_st4=x; Path=/a/")
    put(page, "_st5=x; Domain=www.shop.test; Path=/a/b", "_st_login=x", "basket=x", "x_st=x")
    page.eval("void (localStorage._st = 1, sessionStorage._st = 1, localStorage.basket = 1)")
    page.eval(
        "new Promise((done) => indexedDB.open('_stdb').onsuccess = ({target}) => "
        "(target.result.close(), done()))"
    )
    page.does("void consentry.withdraw()")
    page.wait("!document.cookie.includes('_st1')")
    page.wait("indexedDB.databases().then((found) => !found.length)")
    left = sorted(c["name"] for c in visitor.cookies())
    assert left == ["_st_login", "basket", "consentry", "x_st"]
    assert page.eval(
        "[...Object.keys(localStorage)].filter((n) => !n.startsWith('consentry'))"
    ) == ["basket"]
    assert page.eval("sessionStorage.length") == 0


def test_a_partitioned_cookie_is_deleted_too(shop: Site, visitor: Visitor) -> None:
    """It is not the one of the same name that has no partition, and its attribute has to be named."""
    shop.policy = policy(tags=TAGS)
    shop.pages["localhost/"] = html(TRACKED)
    page = visitor.open(f"http://localhost:{shop.port}/")
    answer(page, {"analytics": True})
    put(page, "_st1=plain; Secure", "_st1=own; Secure; Partitioned")
    assert len([c for c in visitor.cookies() if c["name"] == "_st1"]) == 2
    page.does("void consentry.withdraw()")
    wait_for(lambda: {c["name"] for c in visitor.cookies()} == {"consentry"}, what="deletion")


def test_a_page_whose_data_layer_fails_withdraws_all_the_same(shop: Site, visitor: Visitor) -> None:
    """Others put their own function in the place of ``push``."""
    shop.policy = policy(tags=TAGS)
    shop.pages["shop.test/"] = html(TRACKED)
    page = visitor.open("http://shop.test/")
    answer(page, {"analytics": True})
    put(page, "_st1=x")
    page.eval("void (window.dataLayer.push = () => { throw new Error('full') })")
    page.does("void consentry.withdraw()")
    page.wait("!document.cookie.includes('_st1')")


def test_what_a_tag_stored_again_is_deleted_by_the_next_page(shop: Site, visitor: Visitor) -> None:
    shop.policy = policy(tags=TAGS)
    shop.pages["shop.test/"] = html()
    had_answered(visitor, cookie("", "analytics,advertising"))
    visitor.add({"name": "ad.id", "value": "x", "domain": "shop.test", "path": "/"})
    page = visitor.open("http://shop.test/")
    page.wait("!document.cookie.includes('ad.id')")


# How a tag came into the page, what the page has to stop it, and whether the page is loaded anew.
GATED = "<script type='text/plain' data-consent='analytics' data-src='//a.test/a.js'></script>"
OWN = "<script>consentry.when('analytics', () => { const one = document.createElement('script'); one.src = '//a.test/a.js'; document.head.append(one) })</script>"
FRAMED = "<script>consentry.when('analytics', () => { const one = document.createElement('iframe'); one.src = '//a.test/video.html'; document.body.append(one); window.ran = ['frame'] })</script>"
INLINE = "<script type='text/plain' data-consent='analytics' data-tag='stats'>(window.ran ??= []).push('inline')</script>"
NAMED = "<script>window.stats = { stopped: 0, stop() { this.stopped += 1 } }</script>"
FAILS = "<script>window.stats = { stop() { throw new Error('no') } }</script>"
RUNNING: dict[str, tuple[str, dict[str, Any], bool]] = {
    "no function": (GATED, {}, True),
    "one that the page does not have": (GATED, {"revoke": True, "stop": "stats.stop"}, True),
    "one that the page has": (GATED + NAMED, {"revoke": True, "stop": "stats.stop"}, False),
    "one that fails": (GATED + FAILS, {"revoke": True, "stop": "stats.stop"}, True),
    "said, and not by name": (GATED, {"revoke": True}, True),
    "said, and it fails": (GATED, {"revoke": True, "init": "() => { throw new Error('no') }"}, True),
    "said by the page": (GATED, {"revoke": True, "init": "() => (window.told = true)"}, False),
    "by a script of the page": (OWN, {}, True),
    "by a script of the page, with a function": (OWN + NAMED, {"revoke": True, "stop": "stats.stop"}, False),
    "a frame of the page's own": (FRAMED, {}, True),
    "without a host": (INLINE, {"hosts": []}, True),
    "without a host, with a function": (INLINE + NAMED, {"hosts": [], "revoke": True, "stop": "stats.stop"}, False),
    "it may run before consent": (GATED, {"mode": "advanced"}, False),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNNING)
def test_the_page_is_loaded_anew_where_a_tag_cannot_be_stopped(
    shop: Site, visitor: Visitor, name: str
) -> None:
    body, more, anew = RUNNING[name]
    said = more.get("init")
    more = {key: value for key, value in more.items() if key != "init"}
    begin = f"consentry.init({{key: '{KEY}', revoke: {{stats: {said}}}}})"
    head = f"<script src='/sdk/consentry.js'></script><script>{begin}</script>" if said else TAG
    shop.policy = policy(tags=[tag("stats", ["analytics"], **{"hosts": ["a.test"], **more})])
    shop.pages["shop.test/"] = html(body, head)
    page = visitor.open("http://shop.test/")
    answer(page, {"analytics": True})
    page.wait("window.ran?.length === 1")
    page.eval("void (window.before = true)")
    page.does("void consentry.withdraw()")
    if anew:
        page.wait("!window.before && window.consentry")
        page.eval(READY)
    else:
        page.eval(NOTHING_YET)
        assert page.eval("window.before")
        if "stop" in more:
            assert page.eval("window.stats.stopped") == 1
    assert page.eval(CATEGORIES)["analytics"] is False
    wait_for(lambda: len(shop.choices()) == 2, what="the withdrawal")
    # Loading anew sends what waits for a reply once more: then either may arrive first.
    assert {said["evidence"]["action"] for said in shop.choices()} == {"save", "withdraw"}


def test_a_refusal_at_first_loads_nothing_anew(shop: Site, visitor: Visitor) -> None:
    shop.policy = policy(tags=TAGS)
    shop.pages["shop.test/"] = html(TRACKED)
    page = visitor.open("http://shop.test/")
    page.eval(READY)
    page.eval("void (window.before = true)")
    answer(page, NO)
    page.eval(NOTHING_YET)
    assert page.eval("window.before")
