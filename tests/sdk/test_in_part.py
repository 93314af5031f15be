"""An answer for some categories says nothing of the others: they stay as they are, unasked too."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.browser import Browser, Visitor
from tests.running import ADMIN_KEY, Server, call, wait_for
from tests.sdk.site import Site
from tests.sdk.world import READY, answer, cookie, had_answered, html, kept, policy

pytestmark = [pytest.mark.browser, pytest.mark.node]

BANNER = "document.querySelector('[data-consentry=banner]')"
PLACE = "document.querySelector('[data-consentry=placeholder]')"
FRAMES = (
    "<iframe width=300 height=200 data-consent=analytics data-src='//a.test/video.html'></iframe>"
    "<script type='text/plain' data-consent=advertising data-src='//b.test/b.js'></script>"
)


def history(server: Server, device: str) -> list[dict[str, Any]]:
    path = f"/v1/subjects/anonymous_id:{device}?history=true"
    found: list[dict[str, Any]] = call(server.base, "GET", path, key=ADMIN_KEY).json["history"]
    return found


def test_always_on_a_placeholder_answers_for_what_it_names(
    shop: Site, visitor: Visitor, acme: Server
) -> None:
    shop.pages["shop.test/"] = html(FRAMES)
    page = visitor.open("http://shop.test/")
    page.wait(BANNER)
    page.wait(PLACE)
    page.click("[data-consentry=always]")
    wait_for(lambda: shop.to("a.test") == ["/video.html"], what="the frame")
    said = kept(visitor)
    assert (said["g"], said["d"]) == ("analytics", "")
    assert page.eval(f"!!{BANNER}"), "the rest is still asked about"
    (told,) = wait_for(lambda: history(acme, said["id"]), what="a record")
    assert told["after"] == {"analytics": "granted"}
    evidence = told["evidence"]
    members = ("action", "surface", "layout", "language", "host", "noticeKnown")
    said_of = {name: evidence[name] for name in members}
    assert said_of == {
        "action": "save",
        "surface": "placeholder",
        "layout": "placeholder",
        "language": "en",
        "host": "a.test",
        "noticeKnown": True,
    }
    assert "noticeContradicts" not in evidence
    text = call(acme.base, "GET", f"/v1/notices/{evidence['noticeHash']}", key=ADMIN_KEY)
    assert "To load it, we need your yes to" in str(text.body)

    page.reload()
    page.wait(BANNER)
    wait_for(lambda: len(shop.to("a.test")) == 2, what="the frame again")
    assert not page.eval(f"!!{PLACE}")
    assert shop.to("b.test") == []
    page.click("[data-consentry=accept]")
    page.wait("window.ran?.length === 1")
    wait_for(lambda: len(history(acme, said["id"])) == 2, what="the answer to the banner")
    page.reload()
    page.wait("window.ran?.length === 1")
    assert not page.eval(f"!!{BANNER}")


def test_what_is_withdrawn_makes_no_other_grant_younger(shop: Site, visitor: Visitor) -> None:
    shop.policy = policy()
    shop.pages["shop.test/"] = html(FRAMES)
    had_answered(visitor, cookie("analytics,advertising", age_days=100))
    page = visitor.open("http://shop.test/")
    page.wait("window.ran?.length === 1")
    before = kept(visitor)
    page.does("void consentry.withdraw(['analytics'])")
    after = wait_for(lambda: kept(visitor) if kept(visitor)["d"] else None, what="the cookie")
    assert (after["g"], after["d"], after["t"]) == ("advertising", "analytics", before["t"])
    assert wait_for(shop.choices, what="a choice")[0]["preferences"] == {"analytics": False}


def test_a_yes_of_now_holds_where_the_time_of_older_ones_would_undo_it(
    shop: Site, browser: Browser
) -> None:
    """The signal came between them. The older yes is let go and asked about again."""
    covers = {"covers": ["advertising"], "honoured": True, "show": True}
    shop.policy = policy(gpc=covers)
    shop.pages["shop.test/"] = html(FRAMES)
    with browser.visitor() as visitor:
        had_answered(visitor, cookie("analytics", "advertising", age_days=10))
        visitor.send_gpc()
        page = visitor.open("http://shop.test/")
        page.eval(READY)
        answer(page, {"advertising": True})
        page.wait("window.ran?.length === 1")
        assert (kept(visitor)["g"], kept(visitor)["d"]) == ("advertising", "")
        found = {"necessary": True, "analytics": False, "advertising": True}
        assert page.eval("consentry.getCategories()") == found


def test_a_call_waits_for_what_is_unasked_and_not_for_what_was_refused(
    shop: Site, visitor: Visitor
) -> None:
    shop.policy = policy()
    shop.pages["shop.test/"] = html()
    page = visitor.open("http://shop.test/")
    answer(page, {"analytics": False})
    waits = [
        page.eval(f"consentry.when({json.dumps(ids)}, () => (window.went ??= []).push(1))")
        for ids in ("analytics", ["analytics", "advertising"], "advertising")
    ]
    assert waits == [False, False, True]
    answer(page, {"advertising": True})
    assert page.eval("went") == [1]


@pytest.mark.parametrize("choice", [{}, {"necessary": False}, {"nobody": True}], ids=str)
def test_an_answer_that_names_nothing_to_answer_is_none(
    shop: Site, visitor: Visitor, choice: dict[str, bool]
) -> None:
    shop.policy = policy()
    shop.pages["shop.test/"] = html()
    page = visitor.open("http://shop.test/")
    page.eval(READY)
    answer(page, choice)
    assert visitor.cookies() == []
    assert page.eval("!!consentry.getCategories().necessary")
