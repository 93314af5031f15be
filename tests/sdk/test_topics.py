"""What a signed-in person is sent, shown and changed in the preference centre, before a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser import Browser, Page, Visitor
from tests.e2e.asking import (
    DENIED,
    GRANTED,
    UNKNOWN,
    acme_with,
    choose,
    fresh,
    lookup,
    state,
    token,
)
from tests.running import ADMIN_KEY, Server, StandIn, call, wait_for
from tests.sdk.site import Site
from tests.sdk.world import MARK, NOTHING_YET, READY, html, kept

pytestmark = [pytest.mark.browser, pytest.mark.node]

TOPICS = """
[[topic]]
id = "news"
name = "Newsletter"
channels = ["email", "sms"]
[[topic]]
id = "offers"
name = "Offers"
channels = ["email"]
[[tag]]
name = "deaf"
categories = ["advertising"]
hosts = ["b.test"]
"""
DEAF = f"<script {MARK}='advertising' data-src='//b.test/b.js'></script>"
SHOWN = "document.querySelector('[data-consentry=topics]')"


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory, vendors: StandIn) -> Iterator[Server]:
    with acme_with(tmp_path_factory.mktemp("acme"), vendors.base, more=TOPICS) as running:
        yield running


def signed_in(shop: Site, visitor: Visitor, user: str, body: str = "", proof: str = "") -> Page:
    """A page of the shop that says who is signed in, as soon as it can."""
    who = f"consentry.identify({json.dumps(user)}, {json.dumps(proof or token(user))})"
    shop.pages["shop.test/"] = html(f"{body}<script>{who}</script>")
    page = visitor.open("http://shop.test/")
    page.eval(READY)
    return page


def centre(page: Page, *, topics: bool = True) -> None:
    page.eval("consentry.open()")
    page.wait(SHOWN if topics else "document.querySelector('[data-consentry=centre]')")


def switch(page: Page, topic: str, channel: str) -> None:
    page.click(f"[data-consentry=topic][name={topic}][value={channel}]")


def press(page: Page, name: str) -> None:
    page.click(f"[data-consentry=centre] [data-consentry={name}]")


def switches(page: Page) -> dict[str, bool]:
    found: dict[str, bool] = page.eval(
        """Object.fromEntries([...document.querySelectorAll('[data-consentry=topic]')].map(
        (input) => [`${input.name} ${input.value}`, input.checked]))"""
    )
    return found


def held(server: Server, **subject: str) -> dict[str, Any]:
    """Every topic and channel, as the operator sees it."""
    topics = lookup(server, subject)["topics"]
    return {f"{t} {c}": state(by, c) for t, by in topics.items() for c in by}


def settled(server: Server, user: str, count: int) -> list[dict[str, Any]]:
    """The records that name topics of an account, oldest first, once there are so many."""

    def told() -> list[dict[str, Any]] | None:
        path = f"/v1/subjects/user_id:{user}?history=true"
        found = call(server.base, "GET", path, key=ADMIN_KEY).json["history"]
        named = [r for r in found if any(key.startswith("topic:") for key in r["after"])]
        return sorted(named, key=lambda r: r["seq"]) if len(named) >= count else None

    found: list[dict[str, Any]] = wait_for(told, what=f"{count} records")
    return found


def test_a_signed_in_person_sees_and_changes_what_they_are_sent(
    shop: Site, visitor: Visitor, acme: Server
) -> None:
    user = fresh("ada")
    choose(acme, {"userId": user}, {}, topics={"news": {"email": True}})
    page = signed_in(shop, visitor, user)
    centre(page)
    assert switches(page) == {"news email": True, "news sms": False, "offers email": False}
    switch(page, "news", "email")
    switch(page, "offers", "email")
    press(page, "save")
    record = settled(acme, user, 2)[1]
    assert held(acme, userId=user) == {
        "news email": DENIED,
        "news sms": DENIED,
        "offers email": GRANTED,
    }
    evidence = record["evidence"]
    assert (evidence["action"], evidence["surface"]) == ("save", "preference_centre")
    assert evidence["noticeKnown"] is True
    text = call(acme.base, "GET", f"/v1/notices/{evidence['noticeHash']}", key=ADMIN_KEY).body
    for word in ("Newsletter", "Offers", "What we may send you", "SMS"):
        assert word in str(text)
    centre(page)
    assert switches(page) == {"news email": False, "news sms": False, "offers email": True}


def test_a_topic_is_the_accounts_and_not_the_devices(
    shop: Site, visitor: Visitor, acme: Server
) -> None:
    """Who uses this browser next is sent nothing because of it."""
    ada, ben = fresh("ada"), fresh("ben")
    page = signed_in(shop, visitor, ada)
    centre(page)
    switch(page, "news", "sms")
    press(page, "save")
    settled(acme, ada, 1)
    device = kept(visitor)["id"]
    assert set(held(acme, anonymousId=device).values()) == {UNKNOWN}
    again = signed_in(shop, visitor, ben)
    centre(again)
    assert set(switches(again).values()) == {False}
    assert set(held(acme, userId=ben).values()) == {UNKNOWN}


@pytest.mark.parametrize(
    ("button", "then"),
    [
        ("reject", {"news email": DENIED, "news sms": DENIED, "offers email": DENIED}),
        ("accept", {"news email": GRANTED, "news sms": GRANTED, "offers email": UNKNOWN}),
    ],
)
def test_reject_is_a_no_to_topics_and_accept_no_yes_to_them(
    shop: Site, visitor: Visitor, acme: Server, button: str, then: dict[str, Any]
) -> None:
    """But what was switched on by hand is a yes, whichever button ends it."""
    user = fresh("ada")
    choose(acme, {"userId": user}, {}, topics={"news": {"email": True}})
    page = signed_in(shop, visitor, user)
    centre(page)
    switch(page, "news", "sms")
    press(page, button)
    settled(acme, user, 2)
    assert held(acme, userId=user) == then


def test_accept_alone_says_nothing_of_topics(shop: Site, visitor: Visitor, acme: Server) -> None:
    user = fresh("ada")
    page = signed_in(shop, visitor, user)
    centre(page)
    press(page, "accept")
    wait_for(lambda: shop.choices(), what="the answer")
    page.eval(NOTHING_YET)
    assert len(shop.choices()) == 1
    assert set(held(acme, userId=user).values()) == {UNKNOWN}


def test_nobody_is_shown_anything_who_is_not_signed_in(shop: Site, visitor: Visitor) -> None:
    shop.pages["shop.test/"] = html()
    page = visitor.open("http://shop.test/")
    centre(page, topics=False)
    page.eval(NOTHING_YET)
    assert not page.eval(f"!!{SHOWN}")
    assert shop.told("/v1/subjects/lookup") == []
    press(page, "save")
    wait_for(lambda: shop.choices(), what="the answer")
    assert "topics" not in shop.choices()[0]


def test_what_cannot_be_read_is_not_shown(shop: Site, visitor: Visitor) -> None:
    """A proof of somebody else, and a server that is away."""
    user = fresh("ada")
    page = signed_in(shop, visitor, user, proof=token(fresh("ben")))
    centre(page, topics=False)
    wait_for(lambda: shop.told("/v1/subjects/lookup"), what="a look")
    page.eval(NOTHING_YET)
    assert not page.eval(f"!!{SHOWN}")
    press(page, "close")
    page = signed_in(shop, visitor, user)
    shop.server = "dead"
    centre(page, topics=False)
    page.eval(NOTHING_YET)
    assert not page.eval(f"!!{SHOWN}")
    assert page.eval("!!document.querySelector('[data-consentry=centre] [data-consentry=save]')")


def test_without_topics_nothing_is_asked(shop: Site, visitor: Visitor, acme: Server) -> None:
    path = "/v1/projects/wk_website/policy"
    shop.policy = {**call(acme.base, "GET", path).json, "topics": []}
    page = signed_in(shop, visitor, fresh("ada"))
    centre(page, topics=False)
    page.eval(NOTHING_YET)
    assert shop.told("/v1/subjects/lookup") == []
    assert not page.eval(f"!!{SHOWN}")


CUT = """{
  const real = window.fetch;
  window.fetch = (url, init) => window.cut && String(url).endsWith("/v1/consent")
    ? Promise.reject(new TypeError("cut")) : real(url, init);
}"""


def test_what_is_on_its_way_is_shown_as_it_was_said(
    shop: Site, browser: Browser, acme: Server
) -> None:
    """Else who saves once more would take it back."""
    user = fresh("ada")
    with browser.visitor(script=CUT) as visitor:
        page = signed_in(shop, visitor, user)
        page.eval("void (window.cut = true)")
        centre(page)
        switch(page, "news", "sms")
        press(page, "save")
        centre(page)
        assert switches(page) == {"news email": False, "news sms": True, "offers email": False}
        page.eval("void (window.cut = false)")
        settled(acme, user, 1)
        assert held(acme, userId=user)["news sms"] == GRANTED


def test_a_page_that_is_loaded_anew_waits_for_who_is_signed_in(
    shop: Site, browser: Browser, acme: Server
) -> None:
    """Without the proof the yes would count for nobody."""
    user = fresh("ada")
    late = (
        f"setTimeout(() => consentry.identify({json.dumps(user)}, {json.dumps(token(user))}), 700)"
    )
    with browser.visitor(script=CUT) as visitor:
        page = signed_in(shop, visitor, user, DEAF)
        centre(page)
        press(page, "accept")
        page.wait("window.ran?.length === 1")
        wait_for(lambda: shop.choices(), what="the first answer")
        shop.pages["shop.test/"] = html(f"{DEAF}<script>{late}</script>")
        page.eval("void (window.before = window.cut = true)")
        centre(page)
        page.click("[data-consentry=switch][value=advertising]")
        switch(page, "news", "email")
        press(page, "save")
        page.wait("!window.before && window.consentry")
        settled(acme, user, 1)
        assert held(acme, userId=user)["news email"] == GRANTED


def test_who_signs_in_meanwhile_is_not_answered_for(
    shop: Site, visitor: Visitor, acme: Server
) -> None:
    ada, ben = fresh("ada"), fresh("ben")
    page = signed_in(shop, visitor, ada)
    centre(page)
    switch(page, "news", "email")
    page.eval(f"consentry.identify({json.dumps(ben)}, {json.dumps(token(ben))})")
    press(page, "save")
    wait_for(lambda: shop.choices(), what="the answer")
    page.eval(NOTHING_YET)
    for user in (ada, ben):
        assert set(held(acme, userId=user).values()) == {UNKNOWN}


def test_a_channel_is_stopped_for_topics_that_come_later_too(
    shop: Site, visitor: Visitor, acme: Server
) -> None:
    user = fresh("ada")
    choose(acme, {"userId": user}, {}, topics={"news": {"email": True, "sms": True}})
    page = signed_in(shop, visitor, user)
    centre(page)
    page.click("[data-consentry=stop][value=email]")
    page.wait("document.activeElement.getAttribute('role') === 'status'")
    assert switches(page) == {"news email": False, "news sms": True, "offers email": False}
    wait_for(
        lambda: lookup(acme, {"userId": user})["channels"]["email"]["state"] == "denied",
        what="the refusal",
    )
    assert held(acme, userId=user)["news email"] == DENIED
    assert held(acme, userId=user)["news sms"] == GRANTED
    record = settled(acme, user, 2)[-1]
    assert record["evidence"]["action"] == "withdraw"
    assert record["evidence"]["noticeKnown"] is True


def test_to_withdraw_all_is_to_withdraw_what_is_sent_too(
    shop: Site, visitor: Visitor, acme: Server
) -> None:
    user = fresh("ada")
    choose(acme, {"userId": user}, {}, topics={"news": {"email": True, "sms": True}})
    page = signed_in(shop, visitor, user)
    page.eval("consentry.withdraw(['advertising'])")
    page.eval("consentry.withdraw()")
    settled(acme, user, 2)
    assert set(held(acme, userId=user).values()) == {DENIED}
    said = [one["subject"] for one in shop.choices() if "channels" in one]
    assert said == [{"userId": user}], "of the account, and once"
    centre(page)
    assert set(switches(page).values()) == {False}
    words = page.eval("document.querySelector('[data-consentry=channels]').innerText")
    assert "page.channels" not in words


def test_a_channel_that_was_stopped_is_off_while_the_server_is_away(
    shop: Site, visitor: Visitor, acme: Server
) -> None:
    user = fresh("ada")
    choose(acme, {"userId": user}, {}, topics={"news": {"email": True, "sms": True}})
    page = signed_in(shop, visitor, user)
    centre(page)
    page.eval("(() => { const real = fetch; window.fetch = (url, init) => /v1.consent$/.test(url) ? Promise.reject() : real(url, init) })()")  # fmt: skip
    page.click("[data-consentry=stop][value=sms]")
    page.wait("document.activeElement.getAttribute('role') === 'status'")
    press(page, "close")
    centre(page)
    assert switches(page) == {"news email": True, "news sms": False, "offers email": False}
