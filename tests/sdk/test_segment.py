"""`withConsentry` around the real analytics.js, with device-mode destinations that say what they get."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.browser import Page, Visitor
from tests.running import call, wait_for
from tests.sdk.bundled import bundled
from tests.sdk.site import Site
from tests.sdk.world import (
    KEY,
    NO,
    READY,
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

UPDATE = "Segment Consent Preference Updated"
NEEDS = {
    "Ads": ["advertising"],
    "Stats": ["analytics"],
    "Both": ["analytics", "advertising"],
    "Loose": [],
}
PLUGIN = """
window["%(name)s"] = () => {
  const heard = ((window.device ??= {})["%(name)s"] ??= []);
  const hear = (ctx) => { heard.push(ctx.event.event ?? ctx.event.type); return ctx; };
  return { name: "%(name)s", type: "destination", version: "1", isLoaded: () => true,
    load: async () => {}, track: hear, page: hear, identify: hear };
};
"""


@pytest.fixture(scope="module")
def segment() -> str:
    """analytics.js, bundled."""
    return bundled("segment_page.mjs")


def shop_with(shop: Site, segment: str, **more: Any) -> None:
    """A shop with four device-mode destinations; one of them has no category."""
    shop.policy = policy(**more)
    settings = f"/v1/projects/{KEY}/settings"
    found = call(f"http://127.0.0.1:{shop.port}", "GET", settings).json
    found["integrations"]["Segment.io"] |= {"apiHost": "shop.test/v1", "protocol": "http"}
    for name, needs in NEEDS.items():
        found["integrations"][name] = {"consentSettings": {"categories": needs}} if needs else {}
        shop.scripts[f"t.test/{name}.js"] = PLUGIN % {"name": name}
    found["remotePlugins"] = [
        {
            "name": name,
            "creationName": name,
            "libraryName": name,
            "url": f"http://t.test/{name}.js",
            "settings": {},
        }
        for name in NEEDS
    ]
    shop.replies[settings] = found
    shop.scripts["shop.test/segment.js"] = segment
    start = (
        "<script>window.analytics = consentry.withConsentry(new AnalyticsBrowser());"
        f"analytics.load({{writeKey: '{KEY}', cdnURL: 'http://shop.test'}});"
        "analytics.page('Home')</script>"
    )
    shop.pages["shop.test/"] = html(
        "",
        f"<script src='/sdk/consentry.js' data-key='{KEY}'></script>"
        "<script src='/segment.js'></script>" + start,
    )


def sent(shop: Site) -> list[dict[str, Any]]:
    """The messages that reached the server, in order."""
    paths = {"/v1/t", "/v1/p", "/v1/i", "/v1/track", "/v1/page", "/v1/identify"}
    return [one.json for one in list(shop.asked) if one.path in paths and one.method == "POST"]


def names(shop: Site) -> list[str]:
    return [message.get("event") or message["type"] for message in sent(shop)]


def device(page: Page) -> dict[str, list[str]]:
    """What each device-mode destination that is loaded was given."""
    found: dict[str, list[str]] = page.eval("window.device ?? {}")
    return found


def test_opt_in_loads_nothing_before_a_yes_and_page_views_keep_their_time(
    shop: Site, visitor: Visitor, segment: str
) -> None:
    shop_with(shop, segment)
    page = visitor.open("http://shop.test/")
    page.eval(READY)
    page.eval("void analytics.track('Early', {n: 1}, {context: {own: 1}})")
    page.eval("new Promise((done) => setTimeout(done, 500))")
    assert sent(shop) == []
    assert not any("/projects/" in p and "settings" in p for p in shop.to("shop.test"))
    assert not any(c["name"].startswith("ajs") for c in visitor.cookies())
    before = page.eval("new Date().toISOString()")
    answer(page, {"analytics": True})
    wait_for(lambda: len(sent(shop)) == 3, what="three messages")
    # Each is a request of its own, so they may overtake each other.
    assert sorted(names(shop)) == sorted(["page", "Early", UPDATE])
    home, early, update = (sent(shop)[names(shop).index(one)] for one in ("page", "Early", UPDATE))
    assert home["name"] == "Home"
    assert (early["properties"], early["context"]["own"]) == ({"n": 1}, 1)
    assert home["timestamp"] < before
    assert early["timestamp"] < before
    stamp = {"necessary": True, "analytics": True, "advertising": False}
    assert [m["context"]["consent"]["categoryPreferences"] for m in sent(shop)] == [stamp] * 3
    assert update["timestamp"] >= before
    assert device(page) == {"Stats": ["page", "Early", UPDATE]}
    # One device for the choice and for the events.
    device_id = page.eval("analytics.user().then((user) => user.anonymousId())")
    assert device_id == kept(visitor)["id"] == home["anonymousId"]
    again = visitor.open("http://shop.test/")
    wait_for(lambda: len(sent(shop)) == 4, what="another page view")
    assert again.eval("consentry.anonymousId") == sent(shop)[3]["anonymousId"] == device_id


def test_an_id_that_segment_has_already_is_taken(
    shop: Site, visitor: Visitor, segment: str
) -> None:
    shop_with(shop, segment)
    known = {"name": "ajs_anonymous_id", "value": "theirs", "domain": "shop.test", "path": "/"}
    visitor.add(known)
    page = visitor.open("http://shop.test/")
    answer(page, {"analytics": True})
    wait_for(lambda: sent(shop), what="an event")
    assert sent(shop)[0]["anonymousId"] == "theirs" == kept(visitor)["id"]


def test_a_no_drops_what_waited(shop: Site, visitor: Visitor, segment: str) -> None:
    shop_with(shop, segment)
    page = visitor.open("http://shop.test/")
    page.eval(READY)
    answer(page, NO)
    page.eval("void analytics.track('After no')")
    page.eval("new Promise((done) => setTimeout(done, 300))")
    answer(page, YES)
    wait_for(lambda: UPDATE in names(shop), what="the update")
    page.eval("void analytics.track('After yes')")
    wait_for(lambda: "After yes" in names(shop), what="an event")
    assert names(shop) == [UPDATE, "After yes"]


# The hole in Segment's wrapper: what is revoked later is only stamped, in the opt-in model.
@pytest.mark.parametrize("regime", ["opt_in", "opt_out"])
def test_a_revoked_category_stops_destinations_that_are_loaded(
    shop: Site, visitor: Visitor, segment: str, regime: str
) -> None:
    silent = regime == "opt_out"
    categories = [
        category(id_, regime=regime, default=silent) for id_ in ("analytics", "advertising")
    ]
    shop_with(shop, segment, regime=regime, categories=categories, ask={"required": not silent})
    page = visitor.open("http://shop.test/")
    page.eval(READY)
    page.eval("void 0" if silent else f"consentry.answer({json.dumps(YES)})")
    wait_for(lambda: len(device(page)) >= 3, what="destinations")
    page.eval("analytics.track('One')")
    page.does("void consentry.withdraw(['advertising'])")
    page.eval("analytics.track('Two')")
    wait_for(lambda: "Two" in names(shop), what="Two")
    got = device(page)
    assert "Two" in got["Stats"]
    assert "One" in got["Ads"]
    assert "Two" not in got["Ads"] + got["Both"]
    assert UPDATE not in got["Ads"] + got["Both"] or not silent
    assert got.get("Loose", []) == []  # nobody said what it needs
    two = sent(shop)[names(shop).index("Two")]  # requests may overtake each other
    stamp = two["context"]["consent"]["categoryPreferences"]
    assert stamp == {"analytics": True, "advertising": False}
    page.does("void consentry.withdraw()")
    page.eval("void analytics.track('Three')")
    page.eval("new Promise((done) => setTimeout(done, 300))")
    assert not any("Three" in heard for heard in device(page).values())
    assert "Three" not in names(shop)


def test_what_is_refused_is_not_even_loaded(shop: Site, visitor: Visitor, segment: str) -> None:
    shop_with(shop, segment)
    had_answered(visitor, cookie("analytics", "advertising"))
    page = visitor.open("http://shop.test/")
    wait_for(lambda: names(shop) == ["page"], what="the page view")
    assert shop.to("t.test") == ["/Stats.js"]
    assert device(page) == {"Stats": ["page"]}


def test_only_the_tab_that_was_answered_in_tells(
    shop: Site, visitor: Visitor, segment: str
) -> None:
    shop_with(shop, segment)
    had_answered(visitor, cookie("analytics", "advertising"))
    first, second = visitor.open("http://shop.test/"), visitor.open("http://shop.test/")
    wait_for(lambda: names(shop) == ["page"] * 2, what="page views")
    answer(first, YES)
    second.wait("consentry.getCategories().advertising")
    wait_for(lambda: UPDATE in names(shop), what="the update")
    second.eval("new Promise((done) => setTimeout(done, 300))")
    assert names(shop).count(UPDATE) == 1
