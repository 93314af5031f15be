"""A no outlives what goes wrong: cookies that nobody can read, servers and files that do not come, other tabs."""

from __future__ import annotations

import json
import time
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
    YES,
    answer,
    category,
    cookie,
    had_answered,
    html,
    kept,
    policy,
    tag,
)

pytestmark = [pytest.mark.browser, pytest.mark.node]

OPT_OUT = [
    category("necessary", essential=True, default=True),
    *(category(id_, regime="opt_out", default=True) for id_ in ("analytics", "advertising")),
]
BANNER = "document.querySelector('[data-consentry=banner]')"
PLACE = "document.querySelector('[data-consentry=placeholder]')"
FRAME = '<iframe data-consent="advertising" data-src="http://b.test/video.html"></iframe>'
WITHDRAW = "void consentry.withdraw()"


def opt_out(**more: Any) -> dict[str, Any]:
    return policy(regime="opt_out", categories=OPT_OUT, ask={"required": False}, **more)


def on(page: Page) -> list[str]:
    """What is in force, but for what always is."""
    page.eval(READY)
    page.eval(NOTHING_YET)
    return [id_ for id_, held in page.eval(CATEGORIES).items() if held and id_ != "necessary"]


def shop_of(shop: Site, visitor: Visitor, body: str = TRACKED, **more: Any) -> Page:
    shop.policy = more.pop("policy", None) or policy(**more)
    shop.pages["shop.test/"] = html(body)
    return visitor.open("http://shop.test/")


# -- the cookie -----------------------------------------------------------------------------------
@pytest.mark.parametrize("how", ["two", "ahead", "broken"])
def test_a_refusal_that_cannot_be_read_is_no_yes_where_silence_is(
    shop: Site, visitor: Visitor, how: str
) -> None:
    shop.policy = opt_out()
    shop.pages["www.shop.test/"] = html(TRACKED)
    value = cookie("", "analytics,advertising", age_days=-3 if how == "ahead" else 0)
    for host in ("www.shop.test", ".shop.test")[: 2 if how == "two" else 1]:
        had_answered(visitor, "v=1&g=%" if how == "broken" else value, host=host)
    page = visitor.open("http://www.shop.test/")
    assert on(page) == []
    assert shop.to("a.test") + shop.to("b.test") == []
    answer(page, {"analytics": True})
    page.reload()
    assert on(page) == ["analytics"], "the new answer stands alone, and the rest stays refused"
    assert kept(visitor)["d"] == "advertising"


def test_a_signal_that_is_gone_goes_on_refusing(shop: Site, visitor: Visitor) -> None:
    signal = {"covers": ["advertising"], "show": True}
    had_answered(visitor, cookie("analytics,advertising", age_days=2, s=int(time.time()) - 86_400))
    page = shop_of(shop, visitor, gpc=signal)
    assert on(page) == ["analytics"]
    assert kept(visitor)["s"], "and is not forgotten"
    answer(page, YES)
    assert on(page) == ["analytics", "advertising"], "an answer given after it outweighs it"


def test_a_no_that_does_not_fit_into_a_cookie_leaves_no_older_yes_there(
    shop: Site, visitor: Visitor
) -> None:
    ids = [f"category-{n}-{'x' * 80}" for n in range(60)]
    had_answered(visitor, cookie(ids[0]))
    page = shop_of(shop, visitor, categories=[category(one) for one in ids])
    assert on(page) == [ids[0]]
    page.does("consentry.answer(Object.fromEntries(Object.keys(consentry.getCategories()).map((id) => [id, false])))")  # fmt: skip
    page.eval("dispatchEvent(new Event('pageshow'))")  # the cookie is looked at again
    assert on(page) == []
    assert visitor.cookies() == []


def test_a_signal_outweighs_a_yes_that_a_fast_clock_has_dated_ahead(
    shop: Site, browser: Browser
) -> None:
    """The clock was an hour fast when they agreed. Then it was set right, and the signal turned on."""
    shop.policy = policy(gpc={"covers": ["advertising"], "honoured": False, "show": True})
    shop.pages["shop.test/"] = html()
    with browser.visitor() as visitor:
        had_answered(visitor, cookie("advertising", age_days=-1 / 24))
        visitor.send_gpc()
        page = visitor.open("http://shop.test/")
        page.eval(READY)
        assert page.eval("consentry.getCategories().advertising") is False


def test_the_header_alone_is_the_signal(shop: Site, visitor: Visitor) -> None:
    """Some browsers, and proxies, send it and tell no script."""
    signal = {"covers": ["advertising"], "honoured": True, "show": True}
    had_answered(visitor, cookie("analytics,advertising", age_days=2))
    page = shop_of(shop, visitor, gpc=signal)
    assert on(page) == ["analytics"]
    assert int(kept(visitor)["s"]) > int(kept(visitor)["t"])
    wait_for(lambda: shop.told("/v1/notices/noted"), what="the note")
    assert shop.told("/v1/notices/noted")[0]["anonymousId"] == "device-1"


def test_silence_is_no_answer(shop: Site, visitor: Visitor) -> None:
    """What was on by default, and nobody touched, is not said yes to: not by a withdrawal, not by saving."""
    page = shop_of(shop, visitor, policy=opt_out())
    page.eval(READY)
    page.does("void consentry.withdraw(['advertising'])")
    wait_for(shop.choices, what="the withdrawal")
    assert shop.choices()[0]["preferences"] == {"advertising": False}
    assert (kept(visitor)["g"], kept(visitor)["d"]) == ("", "advertising")
    page.wait("window.consentry?.getCategories().advertising === false")
    page.eval("void consentry.open()")
    page.wait("document.querySelector('[data-consentry=centre]')")
    page.click("[data-consentry=save]")
    wait_for(lambda: len(shop.choices()) == 2, what="what was saved")
    assert shop.choices()[1]["preferences"] == {"advertising": False}
    assert shop.choices()[1]["evidence"]["surface"] == "preference_centre"
    shop.policy = policy()
    page.reload()
    assert on(page) == []
    page.wait(BANNER)


def test_a_tab_in_which_silence_granted_hears_of_a_no_on_another_subdomain(
    shop: Site, visitor: Visitor
) -> None:
    shop.policy = opt_out(cookie={"domain": "shop.test", "days": 100})
    shop.replies["/v1/consent/cookies"] = {"expired": []}  # that server knows of no domain
    for host in ("www.shop.test", "blog.shop.test"):
        shop.pages[f"{host}/"] = html(TRACKED)
    www, blog = visitor.open("http://www.shop.test/"), visitor.open("http://blog.shop.test/")
    blog.wait("window.ran?.length")
    www.eval(READY)
    www.does("void consentry.withdraw(['analytics'])")
    blog.wait("window.consentry?.getCategories().analytics === false")


def test_a_yes_to_an_old_notice_does_not_cover_what_grew(shop: Site, visitor: Visitor) -> None:
    page = shop_of(shop, visitor)
    answer(page, YES)  # in a tab that was open before the notice changed
    shop.policy = policy(notice={"version": "2", "changed": ["advertising"]})
    assert on(visitor.open("http://shop.test/")) == ["analytics"]


def test_a_refusal_is_made_to_last(shop: Site, visitor: Visitor) -> None:
    """By the page on every visit; by the server where it can, for browsers that forget what scripts wrote."""
    had_answered(visitor, cookie("analytics", "advertising", age_days=100))
    assert [c["expires"] for c in visitor.cookies()] == [-1]
    on(shop_of(shop, visitor))
    wait_for(lambda: visitor.cookies()[0]["expires"] > time.time() + 364 * 86_400, what="renewal")
    page = visitor.open("http://shop.test/")
    page.eval(READY)
    page.eval("void (document.cookie = document.cookie.replace(/g=[^&]*/, 'g='))")  # for a session
    page.reload()
    wait_for(lambda: visitor.cookies()[0]["expires"] > time.time() + 364 * 86_400, what="renewal")
    wait_for(lambda: shop.told("/v1/consent/cookies"), what="the server, asked for a cookie")
    assert kept(visitor)["g"] == ""


# -- servers and files that do not come -----------------------------------------------------------
def test_a_withdrawal_before_the_policy_is_kept_at_once(shop: Site, visitor: Visitor) -> None:
    had_answered(visitor, cookie("analytics,advertising"))
    shop.server = "dead"
    page = shop_of(shop, visitor)
    page.does("void consentry.withdraw(['advertising'])")
    assert (kept(visitor)["g"], kept(visitor)["d"]) == ("analytics", "advertising,!")
    page.does(WITHDRAW)
    assert kept(visitor)["g"] == ""
    shop.server = "ok"
    page = visitor.open("http://shop.test/")
    assert on(page) == []
    wait_for(shop.choices, what="the withdrawal, told by the next page")
    assert shop.choices()[0]["preferences"] == NO
    # A reply may bring the older cookie back for a moment: it refuses as much.
    wait_for(lambda: kept(visitor)["d"] == "analytics,advertising", what="what was told")
    assert kept(visitor)["g"] == ""


@pytest.mark.parametrize("how", ["missing", "stalled"])
def test_without_the_second_file_nothing_is_loaded_and_a_withdrawal_is_sent(
    shop: Site, visitor: Visitor, how: str
) -> None:
    had_answered(visitor, cookie("analytics,advertising"))
    getattr(shop, how).add("/sdk/consentry-more.js")
    try:
        shop.policy, shop.pages["shop.test/"] = policy(), html(TRACKED)
        page = visitor.open("http://shop.test/before.html")
        page.eval("void (location.href = '/')")  # a file that never comes holds up its load event
        page.wait("window.consentry")
        assert on(page) == ["analytics", "advertising"]
        assert page.eval("window.ran") is None, "what cannot be loaded is withheld"
        page.does(WITHDRAW)
        wait_for(shop.choices, what="the withdrawal")
        assert shop.choices()[0]["preferences"] == NO
        assert kept(visitor)["g"] == ""
        assert page.eval(
            "Object.keys(localStorage).filter((n) => n.startsWith('consentry.queue')).length"
        )
    finally:
        getattr(shop, how).clear()


def test_what_stands_between_does_not_swallow_a_choice(shop: Site, visitor: Visitor) -> None:
    """A firewall's 403, a page of a deployment: only the server itself may say never."""
    page = shop_of(shop, visitor, "")
    page.eval(READY)
    for status in (403, 404, 200):
        shop.between["/v1/consent"] = status
        answer(page, {"analytics": status == 403})
        wait_for(lambda: len(shop.choices()) >= 1, what="an attempt")
    shop.between.clear()
    page.reload()
    stored = "Object.keys(localStorage).filter((n) => n.startsWith('consentry.queue')).length"
    page.wait(f"{stored} === 0")
    assert [one["preferences"]["analytics"] for one in shop.choices()] == [True, False, False]


def test_a_token_that_cannot_be_had_holds_up_no_withdrawal(shop: Site, visitor: Visitor) -> None:
    page = shop_of(shop, visitor)
    page.eval(READY)
    page.eval("consentry.identify('ada', () => Promise.reject(new Error('the session ended')))")
    answer(page, NO)
    wait_for(shop.choices, what="the refusal")
    assert shop.choices()[0]["subject"]["userId"] == "ada"
    sent = next(one for one in shop.asked if one.path == "/v1/consent")
    assert "consentry-subject-token" not in sent.headers


# -- other tabs -----------------------------------------------------------------------------------
def test_no_tab_overwrites_what_another_one_has_to_say(shop: Site, visitor: Visitor) -> None:
    """The server is away. One tab says yes, one is opened, the first one says no and is closed."""
    shop.policy = policy()
    shop.pages["shop.test/"] = html()
    first = visitor.open("http://shop.test/")
    first.eval(READY)
    shop.between["/v1/consent"] = 503
    answer(first, YES)
    second = visitor.open("http://shop.test/")
    second.eval(READY)
    first.does(WITHDRAW)
    first.goto("http://shop.test/gone.html")
    shop.between.clear()
    stored = "Object.keys(localStorage).filter((n) => n.startsWith('consentry.queue')).length"
    second.wait(f"{stored} === 0")
    assert [one["preferences"] for one in shop.choices()] == [YES, NO]
    assert kept(visitor)["g"] == ""


def test_a_busy_tab_does_not_act_on_an_old_yes(shop: Site, visitor: Visitor) -> None:
    busy = shop_of(shop, visitor)
    busy.eval(READY)
    shop.pages["shop.test/other"] = html()
    other = visitor.open("http://shop.test/other")
    other.eval(READY)
    busy.eval(
        "void setTimeout(() => { const end = Date.now() + 1500; while (Date.now() < end); }, 100)"
    )
    other.eval("new Promise((done) => setTimeout(done, 400))")
    answer(other, YES)
    other.does(WITHDRAW)
    # Firefox shows a tab the cookies of another a moment later: it may be loaded anew, and no more than that.
    other.eval("new Promise((done) => setTimeout(done, 2000))")
    assert shop.to("a.test") + shop.to("b.test") == []
    assert kept(visitor)["g"] == ""


# -- once -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("guarded", [False, True], ids=["gate", "guard"])
def test_once_is_once_and_ends_with_a_refusal(shop: Site, visitor: Visitor, guarded: bool) -> None:
    guard = f"<script src='/sdk/consentry-guard.js' data-key='{KEY}'></script>"
    shop.policy = policy(tags=[tag("video", ["advertising"], hosts=["b.test"])])
    shop.pages["shop.test/"] = html(FRAME, guard * guarded + TAG)
    page = visitor.open("http://shop.test/")
    page.wait(PLACE)
    page.click("[data-consentry=once]")
    wait_for(lambda: shop.to("b.test") == ["/video.html"], what="the frame")
    page.does(WITHDRAW)
    page.wait("!document.querySelector('iframe').hasAttribute('src')")
    page.wait(PLACE)
    if guarded:
        page.eval("void dispatchEvent(new Event('pagehide'))")
        assert shop.told("/v1/csp-reports") == []


# -- a page that lies open ------------------------------------------------------------------------
LATER = "const real = Date.now; Date.now = () => real() + (window.later ?? 0) * 1000;"


def test_a_page_that_lies_open_takes_the_policy_of_now(shop: Site, browser: Browser) -> None:
    shop.policy = policy()
    shop.pages["shop.test/"] = html(TRACKED)
    with browser.visitor(script=LATER) as visitor:
        had_answered(visitor, cookie("analytics,advertising", age_days=10))
        page = visitor.open("http://shop.test/")
        assert on(page) == ["analytics", "advertising"]
        shop.policy = policy(notice={"version": "2", "changed": ["advertising"], "hash": "1" * 64})
        page.eval("void (window.later = 301)")
        page.eval("void document.dispatchEvent(new Event('visibilitychange', { bubbles: true }))")
        page.wait("window.consentry?.getCategories().advertising === false")
        page.wait(BANNER)


def test_a_grant_ends_in_a_page_that_lies_open(shop: Site, browser: Browser) -> None:
    with browser.visitor(script=LATER) as visitor:
        had_answered(visitor, cookie("analytics,advertising", age_days=364))
        page = shop_of(shop, visitor, "")
        assert on(page) == ["analytics", "advertising"]
        page.eval("void (window.later = 2 * 86400)")
        page.eval("void document.dispatchEvent(new Event('visibilitychange', { bubbles: true }))")
        page.wait("window.consentry?.getCategories().analytics === false")


def streamed(**states: str) -> str:
    told = {
        id_: {"state": "denied", "effective": "denied", "why": why}
        if why
        else {"state": "granted", "effective": "granted", "why": None}
        for id_, why in states.items()
    }
    return f"event: preferences\\ndata: {json.dumps(told)}\\n\\n"


# A stream that the test speaks through; without a word it is half-open.
STREAM = """
window.streams = [];
const asked = window.fetch;
window.fetch = (url, init) => {
  if (!String(url).endsWith("/v1/stream")) return asked(url, init);
  const body = new ReadableStream({ start: (to) => {
    streams.push((text) => to.enqueue(new TextEncoder().encode(text)));
    init.signal?.addEventListener("abort", () => to.error(init.signal.reason));
  } });
  return Promise.resolve(new Response(body));
};
"""


def test_a_stream_that_has_gone_silent_is_opened_anew(shop: Site, browser: Browser) -> None:
    with browser.visitor(script=LATER + STREAM) as visitor:
        page = shop_of(shop, visitor)
        page.eval(READY)
        page.eval("consentry.identify('ada', 'token')")
        page.wait("streams.length === 1")
        page.eval("void dispatchEvent(new Event('online'))")
        page.eval(NOTHING_YET)
        assert page.eval("streams.length") == 1, "it is heard of"
        page.eval("void (window.later = 60)")
        page.eval("void dispatchEvent(new Event('online'))")
        page.wait("streams.length === 2")


def test_what_an_update_left_out_is_refused_on_every_device(shop: Site, browser: Browser) -> None:
    with browser.visitor(script=STREAM) as visitor:
        had_answered(visitor, cookie("analytics,advertising", age_days=1))
        page = shop_of(shop, visitor)
        page.eval(READY)
        page.eval("consentry.identify('ada', 'token')")
        page.wait("streams.length === 1")
        page.eval(f"streams[0]('{streamed(analytics='', advertising='missing')}')")
        page.wait("window.consentry?.getCategories().advertising === false")
        assert kept(visitor)["g"] == "analytics"


def test_what_silence_granted_and_the_account_refused_does_not_come_back(
    shop: Site, browser: Browser
) -> None:
    """Not with the next page either, which has to be told again."""
    with browser.visitor(script=STREAM) as visitor:
        page = shop_of(shop, visitor, policy=opt_out())
        assert on(page) == ["analytics", "advertising"]
        assert visitor.cookies() == []
        page.eval("consentry.identify('ada', 'token')")
        page.wait("streams.length === 1")
        page.eval(f"streams[0]('{streamed(analytics='', advertising='denied')}')")
        page.wait("window.consentry?.getCategories().advertising === false")
        asked = len(shop.to("b.test"))
        assert on(visitor.open("http://shop.test/")) == ["analytics"]
        assert len(shop.to("b.test")) == asked
        assert shop.choices() == []


def test_a_yes_on_its_way_is_not_undone_by_what_the_server_knew_before(
    shop: Site, browser: Browser
) -> None:
    with browser.visitor(script=STREAM) as visitor:
        page = shop_of(shop, visitor)
        page.eval(READY)
        page.eval("consentry.identify('ada', 'token')")
        page.wait("streams.length === 1")
        shop.between["/v1/consent"] = 503
        answer(page, YES)
        page.eval(f"streams[0]('{streamed(analytics='denied', advertising='denied')}')")
        page.eval(NOTHING_YET)
        assert on(page) == ["analytics", "advertising"]
        shop.between.clear()
        page.eval(f"streams[0]('{streamed(analytics='', advertising='denied')}')")
        page.wait(
            "window.consentry?.getCategories().advertising === false"
        )  # it was newer after all


# -- whom the server keeps out --------------------------------------------------------------------
def test_a_yes_opens_the_servers_policy_in_the_same_visit(shop: Site, visitor: Visitor) -> None:
    shop.headers["Content-Security-Policy"] = "script-src 'self'"
    page = shop_of(shop, visitor, tags=[tag("stats", ["analytics"], hosts=["a.test"])])
    page.eval(READY)
    del shop.headers["Content-Security-Policy"]  # as the next page has it
    page.eval("void consentry.answer({analytics: true})")
    page.wait("window.ran?.length === 1")


def test_whoever_refused_some_is_asked_about_the_rest_alone(shop: Site, visitor: Visitor) -> None:
    had_answered(visitor, cookie("analytics", "advertising", notice="main@0", age_days=10))
    page = shop_of(shop, visitor)
    page.wait(BANNER)
    page.click("[data-consentry=accept]")
    wait_for(shop.choices, what="the answer")
    assert shop.choices()[0]["preferences"] == {"analytics": True}
    assert (kept(visitor)["g"], kept(visitor)["d"]) == ("analytics", "advertising")
