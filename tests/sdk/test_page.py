"""A page in Chromium: the answer kept, sent, and heard in other tabs; servers that fail; what waits."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser import Browser, Page, Visitor
from tests.running import ADMIN_KEY, Server, call, wait_for
from tests.sdk.site import Site
from tests.sdk.world import (
    CATEGORIES,
    KEY,
    NO,
    NOTHING_YET,
    READY,
    TRACKED,
    YES,
    answer,
    category,
    cookie,
    had_answered,
    html,
    kept,
    policy,
)

pytestmark = [pytest.mark.browser, pytest.mark.node]


def choices(server: Server, device: str) -> list[dict[str, Any]]:
    """The records of a device, oldest first, once there is one."""

    def told() -> list[dict[str, Any]]:
        path = f"/v1/subjects/anonymous_id:{device}?history=true"
        found: list[dict[str, Any]] = call(server.base, "GET", path, key=ADMIN_KEY).json["history"]
        return sorted(found, key=lambda record: record["seq"])

    found: list[dict[str, Any]] = wait_for(told, what="a record")
    return found


def test_an_answer_is_in_force_kept_and_recorded(
    shop: Site, visitor: Visitor, acme: Server
) -> None:
    shop.policy = policy()
    shop.pages["shop.test/"] = html(TRACKED)
    page = visitor.open("http://shop.test/?email=ada@example.com")
    page.eval(READY)
    assert page.eval(CATEGORIES) == {"necessary": True, **NO}
    page.eval(NOTHING_YET)
    assert (shop.to("a.test"), shop.to("b.test")) == ([], [])
    assert visitor.cookies() == []  # nothing is kept of somebody who has not answered
    answer(page, {"analytics": True, "advertising": False})
    page.wait("window.ran?.length === 1")
    assert page.eval(CATEGORIES) == {"necessary": True, "analytics": True, "advertising": False}
    said = kept(visitor)
    assert (said["g"], said["d"], said["n"]) == ("analytics", "advertising", "main@1")
    (record,) = choices(acme, said["id"])
    assert record["after"] == {"analytics": "granted", "advertising": "denied"}
    evidence = record["evidence"]
    assert evidence["surface"] == "api"
    assert "noticeHash" not in evidence, "no notice of ours was shown"
    assert evidence["page"] == "http://shop.test/"
    page.reload()
    page.wait("window.ran?.length === 1")
    assert shop.to("b.test") == []
    assert len(shop.told("/v1/consent")) == 1


def test_before_the_policy_comes_nothing_is_granted(shop: Site, visitor: Visitor) -> None:
    """Not even what the person granted before: whether that still holds is not known."""
    shop.policy, shop.server = policy(), "slow"
    shop.pages["shop.test/"] = html(TRACKED)
    had_answered(visitor, cookie("analytics,advertising"))
    page = visitor.open("http://shop.test/")
    page.eval(NOTHING_YET)
    assert page.eval(CATEGORIES) == {}
    assert page.eval("consentry.consentModel()") == "opt-in"
    assert (shop.to("a.test"), shop.to("b.test")) == ([], [])
    shop.server = "ok"
    page.wait("window.ran?.length === 2")


@pytest.mark.parametrize("broken", [{}, {"categories": 1}, {"tags": None}, {"cookie": None}])
def test_a_policy_that_is_not_whole_is_none(
    shop: Site, visitor: Visitor, broken: dict[str, Any]
) -> None:
    shop.policy = {**policy(), **broken} if broken else {}
    shop.pages["shop.test/"] = html(TRACKED)
    had_answered(visitor, cookie("analytics,advertising"))
    page = visitor.open("http://shop.test/")
    page.eval(NOTHING_YET)
    assert page.eval(CATEGORIES) == {}
    shop.policy = policy()
    page.wait("window.ran?.length === 2")  # it was asked for again


def test_an_answer_given_while_the_server_is_away_is_sent_later(
    shop: Site, visitor: Visitor, acme: Server
) -> None:
    """It acts at once, survives the page, and is recorded once, with its own time."""
    shop.policy = policy()
    shop.pages["shop.test/"] = html(TRACKED)
    page = visitor.open("http://shop.test/")
    page.eval(READY)
    page.eval("consentry.ready")
    shop.server = "dead"
    answer(page, {"analytics": True})
    page.wait("window.ran?.length === 1")
    wait_for(lambda: shop.told("/v1/consent"), what="an attempt")
    page.goto("http://shop.test/elsewhere.html")
    shop.server = "ok"
    visitor.open("http://shop.test/")
    device = kept(visitor)["id"]
    (record,) = choices(acme, device)
    tries = shop.told("/v1/consent")
    assert len(tries) >= 2
    assert all(body == tries[0] for body in tries)
    keys = {one.headers["idempotency-key"] for one in shop.asked if one.path == "/v1/consent"}
    assert len(keys) == 1
    assert record["claimedAt"][:19] == tries[0]["timestamp"][:19]
    left = [o.headers["consentry-sent-at"] for o in shop.asked if o.path == "/v1/consent"]
    assert tries[0]["timestamp"] <= left[0] < left[-1]


def test_a_request_that_gets_no_reply_holds_up_nothing(shop: Site, visitor: Visitor) -> None:
    shop.policy = policy()
    shop.pages["shop.test/"] = html()
    page = visitor.open("http://shop.test/")
    page.eval(READY)
    shop.unanswered = 1
    answer(page, {"analytics": True})
    wait_for(lambda: shop.told("/v1/consent"), what="an answer on its way")
    page.does("void consentry.withdraw()")
    wait_for(lambda: len(shop.choices()) == 2, what="the withdrawal, though the first still waits")
    page.wait("!Object.keys(localStorage).some((name) => name.startsWith('consentry.queue.'))")
    assert len(shop.told("/v1/consent")) == 3, "and the first is sent again"


def test_nothing_is_asked_again_of_who_refused(shop: Site, visitor: Visitor) -> None:
    shop.policy = policy()
    shop.pages["shop.test/"] = html("<a href='#' data-consentry-open>Privacy</a>")
    had_answered(visitor, cookie("", "analytics,advertising", age_days=100, notice="main@0"))
    visitor.open("http://shop.test/").eval(READY)
    visitor.open("http://shop.test/").eval(NOTHING_YET)
    assert not [path for path in shop.to("shop.test") if "consentry-ui" in path]


def test_two_tabs(shop: Site, visitor: Visitor) -> None:
    shop.policy = policy()
    shop.pages["shop.test/"] = html(TRACKED)
    first, second = visitor.open("http://shop.test/"), visitor.open("http://shop.test/")
    for page in (first, second):
        page.eval(READY)
        page.eval("void (window.heard = [], consentry.onChange((now) => heard.push(now)))")
    answer(first, {"analytics": True})
    second.wait("window.ran?.length === 1")
    assert second.eval("heard") == [{"necessary": True, "analytics": True, "advertising": False}]
    second.does("void consentry.withdraw(['analytics'])")
    first.wait("window.consentry?.getCategories().analytics === false")
    wait_for(lambda: len(shop.choices()) == 2, what="both answers")
    second.wait("window.consentry?.getCategories().analytics === false")
    assert len(shop.choices()) == 2  # whoever only heard of it sends nothing


def test_a_tab_that_sends_does_not_undo_what_another_one_withdrew(
    shop: Site, browser: Browser
) -> None:
    """Its own answer is on the way, and it has not heard yet of what was said in the other."""
    shop.policy = policy()
    shop.pages["shop.test/"] = html(TRACKED)
    deaf = "addEventListener('storage', (event) => window.deaf && event.stopImmediatePropagation())"
    with browser.visitor(script=deaf) as visitor:
        first, second = visitor.open("http://shop.test/"), visitor.open("http://shop.test/")
        for page in (first, second):
            page.eval(READY)
        first.eval("window.deaf = true")
        shop.server = "slow"
        answer(first, {"analytics": True})
        wait_for(lambda: shop.told("/v1/consent"), what="an answer on its way")
        second.wait("consentry.getCategories().analytics")
        second.does("void consentry.withdraw(['analytics'])")
        shop.server = "ok"
        wait_for(lambda: len(shop.choices()) == 2, what="both answers")
        second.wait(
            "!Object.keys(localStorage).some((name) => name.startsWith('consentry.queue.'))"
        )
        for page in (first, second):  # each is loaded anew, since its tag cannot be stopped
            page.wait("window.consentry?.getCategories().analytics === false")
        assert kept(visitor)["g"] == ""


def test_a_withdrawal_that_says_what_was_said_before_is_no_echo(
    shop: Site, browser: Browser
) -> None:
    """Who takes back a later yes leaves the cookie as it once went with a request."""
    shop.policy = policy()
    shop.pages["shop.test/"] = html(TRACKED)
    deaf = "addEventListener('storage', (event) => window.deaf && event.stopImmediatePropagation())"
    with browser.visitor(script=deaf) as visitor:
        first = visitor.open("http://shop.test/")
        first.eval(READY)
        answer(first, {"analytics": True, "advertising": False})
        wait_for(lambda: len(shop.choices()) == 1, what="the first answer")
        second = visitor.open("http://shop.test/")
        second.eval(READY)
        first.eval("window.deaf = true")
        shop.server = "slow"
        answer(first, {"advertising": True})
        wait_for(lambda: len(shop.choices()) == 2, what="a yes on its way")
        second.wait("consentry.getCategories().advertising")
        second.does("void consentry.withdraw(['advertising'])")
        shop.server = "ok"
        for page in (first, second):
            page.wait(
                "!Object.keys(localStorage).some((name) => name.startsWith('consentry.queue.'))"
            )
            page.wait("window.consentry?.getCategories().advertising === false")
        assert kept(visitor)["g"] == "analytics"


def test_a_tab_without_channels_hears_of_it_by_the_storage(shop: Site, browser: Browser) -> None:
    shop.policy = policy()
    shop.pages["shop.test/"] = html(TRACKED)
    with browser.visitor(script="delete window.BroadcastChannel") as visitor:
        first, second = visitor.open("http://shop.test/"), visitor.open("http://shop.test/")
        second.eval(READY)
        answer(first, {"analytics": True})
        second.wait("window.ran?.length === 1")
        second.does("void consentry.withdraw(['analytics'])")
        first.wait("window.consentry?.getCategories().analytics === false")


def test_subdomains_share_the_answer(shop: Site, visitor: Visitor) -> None:
    shop.policy = policy(cookie={"domain": "shop.test", "days": 100})
    shop.replies["/v1/consent/cookies"] = {"expired": []}  # that server knows of no domain
    for host in ("www.shop.test", "blog.shop.test"):
        shop.pages[f"{host}/"] = html(TRACKED)
    had_answered(visitor, cookie("", "analytics,advertising"), host="www.shop.test")
    page = visitor.open("http://www.shop.test/")
    answer(page, {"analytics": True})
    assert kept(visitor)["domain"] == ".shop.test"  # and the one of this host alone is gone
    other = visitor.open("http://blog.shop.test/")
    other.wait("window.ran?.length === 1")
    assert other.eval("consentry.anonymousId") == page.eval("consentry.anonymousId")


def test_a_tab_on_another_subdomain_obeys_while_nobody_looks_at_it(
    shop: Site, visitor: Visitor
) -> None:
    shop.policy = policy(cookie={"domain": "shop.test", "days": 100})
    shop.replies["/v1/consent/cookies"] = {"expired": []}  # that server knows of no domain
    for host in ("www.shop.test", "blog.shop.test"):
        shop.pages[f"{host}/"] = html(TRACKED)
    www, blog = visitor.open("http://www.shop.test/"), visitor.open("http://blog.shop.test/")
    answer(blog, {"analytics": True})
    answer(www, {"analytics": True})
    blog.wait("window.ran?.length === 1")
    www.does("void consentry.withdraw(['analytics'])")
    blog.wait("window.consentry?.getCategories().analytics === false")


def test_two_cookies_that_may_differ_are_no_answer(shop: Site, visitor: Visitor) -> None:
    shop.policy = policy()
    shop.pages["www.shop.test/"] = html(TRACKED)
    for host in ("www.shop.test", ".shop.test"):
        had_answered(visitor, cookie("analytics"), host=host)
    page = visitor.open("http://www.shop.test/")
    page.eval(READY)
    assert page.eval(CATEGORIES) == {"necessary": True, **NO}


BLOCKED = """
for (const name of ["localStorage", "sessionStorage", "indexedDB"])
  Object.defineProperty(window, name, { get() { throw new DOMException("blocked", "SecurityError"); } });
Object.defineProperty(Document.prototype, "cookie", { get: () => "", set() {} });
"""


def test_with_blocked_cookies_and_storage_it_works_in_memory(shop: Site, browser: Browser) -> None:
    shop.policy = policy()
    shop.pages["shop.test/"] = html(TRACKED)
    with browser.visitor(script=BLOCKED) as visitor:
        page = visitor.open("http://shop.test/")
        answer(page, {"analytics": True})
        page.wait("window.ran?.length === 1")
        wait_for(lambda: shop.told("/v1/consent"), what="a choice")
        answer(page, NO)
        page.wait("window.consentry?.getCategories().analytics === false")


# -- Global Privacy Control -----------------------------------------------------------------------
GPC = {"covers": ["advertising"], "honoured": True, "show": True}


def test_the_signal_refuses_and_an_answer_given_after_it_outweighs_it(
    shop: Site, browser: Browser
) -> None:
    shop.policy = policy(gpc={**GPC, "honoured": False})  # its header is not seen by the server
    shop.pages["shop.test/"] = html(TRACKED)
    with browser.visitor() as visitor:
        had_answered(visitor, cookie("analytics,advertising", age_days=1))
        visitor.open("http://shop.test/").wait("window.ran?.length === 2")
        visitor.send_gpc()
        page = visitor.open("http://shop.test/")
        page.wait("window.ran?.length === 1")
        assert page.eval(CATEGORIES)["advertising"] is False
        assert int(kept(visitor)["s"]) > int(kept(visitor)["t"])
        answer(page, YES)
        page.wait("window.ran?.length === 2")
        visitor.open("http://shop.test/").wait("window.ran?.length === 2")


# -- signals --------------------------------------------------------------------------------------
def test_signals_come_in_order(shop: Site, visitor: Visitor) -> None:
    shop.policy = policy()
    head = "<script>window.uetq = []</script><script src='/sdk/consentry.js' data-key='" + KEY
    head += "'></script><script>var dataLayer = window.dataLayer || []; dataLayer.push(['config'])</script>"
    shop.pages["shop.test/"] = html(TRACKED, head)
    page = visitor.open("http://shop.test/")
    page.eval(READY)
    answer(page, {"analytics": True})
    pushed = page.eval("dataLayer.map((one) => 'event' in one ? one : Object.values(one))")
    denied = dict.fromkeys(
        [
            "ad_storage",
            "ad_user_data",
            "ad_personalization",
            "analytics_storage",
            "functionality_storage",
            "personalization_storage",
        ],
        "denied",
    )
    assert pushed[0] == [
        "consent",
        "default",
        {**denied, "security_storage": "granted", "wait_for_update": 500},
    ]
    assert pushed[1] == ["set", "ads_data_redaction", True]
    assert pushed[2] == ["config"]
    assert [one["event"] for one in pushed[3:] if isinstance(one, dict)] == ["consentry_change"] * 2
    assert ["consent", "update", {"analytics_storage": "granted"}] in pushed
    assert page.eval("Object.prototype.toString.call(dataLayer[0])") == "[object Arguments]"
    answer(page, YES)
    ads = {"ad_storage": "granted", "ad_user_data": "granted", "ad_personalization": "granted"}
    last = page.eval("Object.values(dataLayer.filter((one) => one[1] === 'update').at(-1))")
    assert last == ["consent", "update", ads]
    assert page.eval("uetq") == [
        "consent",
        "default",
        {"ad_storage": "denied"},
        "consent",
        "update",
        {"ad_storage": "denied"},
        "consent",
        "update",
        {"ad_storage": "granted"},
    ]
    clarity = page.eval("clarity.q.map((one) => one[1])")
    assert clarity[0] == {"ad_Storage": "denied", "analytics_Storage": "denied"}
    assert clarity[-1] == {"ad_Storage": "granted", "analytics_Storage": "granted"}


# -- what waits -----------------------------------------------------------------------------------
def test_calls_wait_for_the_answer_with_their_own_time(shop: Site, visitor: Visitor) -> None:
    shop.policy = policy()
    shop.pages["shop.test/"] = html()
    page = visitor.open("http://shop.test/")
    page.eval(
        "void (window.went = [], window.taken = [...Array(120).keys()].map((n) => "
        "consentry.when('analytics', (at) => went.push([n, +at, Date.now()]))), "
        "consentry.when(['analytics', 'advertising'], () => went.push('never')))"
    )
    page.eval(READY)
    page.eval(NOTHING_YET)
    assert page.eval("went") == []
    assert page.eval("taken.filter(Boolean).length") == 100
    answer(page, {"analytics": True})
    went = page.eval("went")
    assert [n for n, _, _ in went] == list(range(100))
    assert all(then - at >= 300 for _, at, then in went)
    answer(page, YES)
    assert len(page.eval("went")) == 100  # what was refused once does not come back


def test_calls_are_dropped_when_the_answer_is_no(shop: Site, visitor: Visitor) -> None:
    shop.policy = policy()
    shop.pages["shop.test/"] = html()
    page = visitor.open("http://shop.test/")
    page.eval("void (window.went = 0, consentry.when('analytics', () => went++))")
    answer(page, NO)
    assert page.eval("consentry.when('analytics', () => went++)") is False
    answer(page, YES)
    assert page.eval("went") == 0
    assert page.eval("consentry.when('analytics', () => went++)") is True
    assert page.eval("went") == 1


# -- every regime ---------------------------------------------------------------------------------
@pytest.mark.parametrize("regime", ["opt_in", "opt_out", "notice"])
def test_the_story_of_a_visitor_in_every_regime(shop: Site, visitor: Visitor, regime: str) -> None:
    """First visit, accept, change, withdraw, a new notice, an answer that has run out."""
    silent = regime != "opt_in"
    places = [
        category("necessary", essential=True, default=True),
        *(category(id_, regime=regime, default=silent) for id_ in ("analytics", "advertising")),
    ]

    page = visitor.tab()

    def visit(why: str | None, on: int, version: str = "1", **more: Any) -> Page:
        """Open the shop: why somebody is asked, and how many of the two tags run."""
        shop.asked.clear()
        ask = {"required": not silent, **more}
        shop.policy = policy(regime=regime, categories=places, ask=ask, notice={"version": version})
        page.goto("http://shop.test/")
        page.eval(READY)
        page.wait(f"(window.ran?.length ?? 0) === {on}")
        page.eval(NOTHING_YET)
        page.wait("document.querySelector('[data-consentry=open]')")  # the way back is there always
        asked = page.eval("!!document.querySelector('[data-consentry=banner]')")
        assert asked is (why is not None and not silent), why
        assert len({*shop.to("a.test"), *shop.to("b.test")}) == on  # one may be of the page before
        return page

    shop.pages["shop.test/"] = html(TRACKED)
    page = visit("first", 2 if silent else 0)
    answer(page, YES)
    page.wait("window.ran?.length === 2")
    page = visit(None, 2)
    answer(page, {"advertising": False})
    page.wait(
        "window.consentry?.getCategories().advertising === false && !window.ran?.includes('/b.js')"
    )
    visit(None, 1)
    visit("changed", 1, version="2")
    page = visit("expired", 1 if silent else 0, grantDays=0)
    page.does("void consentry.withdraw()")
    page.wait("window.consentry?.getCategories().analytics === false")
    visit(None, 0)
    visit(None, 0, version="2")  # whoever refused all is left alone
    visit("changed", 0, version="2", againAfterDays=0)
