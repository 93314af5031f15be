"""`withConsentry` around RudderStack's real browser SDK: its events say what is granted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.browser import Page, Visitor
from tests.running import wait_for
from tests.sdk.bundled import bundled
from tests.sdk.site import Site
from tests.sdk.world import KEY, READY, YES, answer, category, html, kept, policy, tag

pytestmark = [pytest.mark.browser, pytest.mark.node]

SOURCE = {
    "source": {
        "id": "s",
        "name": "shop",
        "writeKey": KEY,
        "enabled": True,
        "workspaceId": "w",
        "destinations": [],
        "config": {
            "statsCollection": {"errors": {"enabled": False}, "metrics": {"enabled": False}}
        },
    },
    "updatedAt": "2026-11-27T00:00:00.000Z",
}
START = (
    "<script>window.rudder = consentry.withConsentry(new RudderAnalytics());"
    f"rudder.load('{KEY}', 'http://shop.test', {{ getSourceConfig: () => ({json.dumps(SOURCE)}),"
    "  useBeacon: false, loadIntegration: false, sendAdblockPage: false });"
    "rudder.page('Home')</script>"
)


def sent(shop: Site) -> list[dict[str, Any]]:
    """The events that reached the server, in order."""
    posts = [one for one in list(shop.asked) if one.method == "POST"]
    return [one.json for one in posts if one.path in ("/v1/page", "/v1/track")]


def lists(event: dict[str, Any]) -> tuple[list[str], list[str]]:
    said = event["context"]["consentManagement"]
    return sorted(said["allowedConsentIds"]), sorted(said["deniedConsentIds"])


def test_its_events_say_what_is_granted(shop: Site, visitor: Visitor) -> None:
    shop.policy = policy()
    shop.scripts["shop.test/rudder.js"] = bundled("rudder_page.mjs")
    head = f"<script src='/sdk/consentry.js' data-key='{KEY}'></script>"
    shop.pages["shop.test/"] = html("", f"{head}<script src='/rudder.js'></script>{START}")
    page = visitor.open("http://shop.test/")
    page.eval(READY)
    page.eval("new Promise((done) => setTimeout(done, 500))")
    assert sent(shop) == []
    assert visitor.cookies() == []
    before = page.eval("new Date().toISOString()")
    answer(page, {"analytics": True})
    wait_for(
        lambda: any(e["name"] == "Home" for e in sent(shop) if "name" in e), what="the page view"
    )
    home = next(e for e in sent(shop) if e.get("name") == "Home")
    assert lists(home) == (["analytics", "necessary"], ["advertising"])
    assert home["originalTimestamp"] < before
    assert home["anonymousId"] == kept(visitor)["id"]
    answer(page, YES)
    page.eval("void rudder.track('Bought')")
    wait_for(lambda: any(e.get("event") == "Bought" for e in sent(shop)), what="an event")
    bought = next(e for e in sent(shop) if e.get("event") == "Bought")
    assert lists(bought) == (["advertising", "analytics", "necessary"], [])


def device(name: str, *needs: str, **more: str) -> dict[str, Any]:
    """A device-mode destination as RudderStack's configuration has it."""
    entry = {"provider": "custom", "consents": [{"consent": id_} for id_ in needs], **more}
    return {
        "id": name,
        "name": name,
        "enabled": True,
        "config": {"connectionMode": "device", "consentManagement": [entry] if needs else []},
        "destinationDefinition": {"name": name.upper(), "displayName": name},
    }


DEVICES = [
    device("Hotjar", "advertising"),
    device("Heap.io", "analytics"),
    device("Criteo", "analytics", "advertising", resolutionStrategy="or"),
    device("Chartbeat"),
]
FILES = {"Hotjar": "Hotjar", "Heap.io": "Heap", "Criteo": "Criteo", "Chartbeat": "Chartbeat"}
VENDOR = """window.%(file)s_RS = { %(file)s: class {
  init() { (window.ran ??= {})["%(name)s"] = []; }
  isLoaded() { return true; }
  isReady() { return true; }
  track({ message }) { window.ran["%(name)s"].push(message.event); }
} };"""


def with_devices(shop: Site, visitor: Visitor, options: str = "", settings: str = "{}") -> Page:
    """A page with four destinations in it, everything granted, each running that may have events."""
    shop.scripts["shop.test/rudder.js"] = bundled("rudder_page.mjs")
    for name, file in FILES.items():
        text = VENDOR % {"name": name, "file": file}
        shop.scripts[f"shop.test/vendors/{file}.min.js"] = text
    source = {**SOURCE, "source": {**SOURCE["source"], "destinations": DEVICES}}  # type: ignore[dict-item]
    start = START.replace(json.dumps(SOURCE), json.dumps(source))
    start = start.replace("loadIntegration: false", "destSDKBaseURL: 'http://shop.test/vendors'")
    start = start.replace("new RudderAnalytics()", f"new RudderAnalytics(), {settings}")
    begin = f"<script>consentry.init({{key: '{KEY}'{options}}})</script>"
    head = f"<script src='/sdk/consentry.js'></script>{begin}<script src='/rudder.js'></script>"
    shop.pages["shop.test/"] = html("", head + start)
    page = visitor.open("http://shop.test/")
    answer(page, YES)
    page.wait(f"Object.keys(window.ran ?? {{}}).length === {4 if 'allow' in settings else 3}")
    return page


def heard(page: Page, event: str) -> list[str]:
    """Who of the destinations got an event that is sent now."""
    page.eval(f"void rudder.track('{event}')")
    page.wait(f"ran.Criteo.includes('{event}')")  # it may have all of them
    page.eval("new Promise((done) => setTimeout(done, 50))")
    names: list[str] = page.eval(
        f"Object.entries(ran).filter(([, all]) => all.includes('{event}')).map(([name]) => name)"
    )
    return sorted(names)


def test_a_destination_that_runs_gets_nothing_after_a_refusal(shop: Site, visitor: Visitor) -> None:
    """Where the page is not loaded anew; one without categories is not even loaded."""
    page = with_devices(shop, visitor, ", reload: false")
    page.wait("rudder.track('ready') === undefined && ran.Hotjar.includes('ready')")
    assert heard(page, "all") == ["Criteo", "Heap.io", "Hotjar"]
    assert not [path for path in shop.to("shop.test") if "Chartbeat" in path]
    page.eval("consentry.withdraw(['advertising'])")
    assert heard(page, "no ads") == ["Criteo", "Heap.io"]
    page.eval("void rudder.track('forced', null, { integrations: { Hotjar: true } })")
    assert heard(page, "after") == ["Criteo", "Heap.io"]
    assert "forced" not in page.eval("ran.Hotjar")
    page.eval("consentry.answer({advertising: true})")
    assert heard(page, "again") == ["Criteo", "Heap.io", "Hotjar"]


def test_one_without_categories_gets_events_where_the_page_says_so(
    shop: Site, visitor: Visitor
) -> None:
    page = with_devices(shop, visitor, settings="{ allowUnmapped: true }")
    page.wait("rudder.track('ready') === undefined && ran.Hotjar.includes('ready')")
    assert heard(page, "all") == ["Chartbeat", "Criteo", "Heap.io", "Hotjar"]


@pytest.mark.parametrize(
    ("withdrawn", "options", "anew"),
    [
        ("advertising", "", True),
        ("functional", "", False),
        ("advertising", ", revoke: {Hotjar: () => (window.stopped = true)}", False),
        ("advertising", ", reload: false", False),
    ],
    ids=["runs on", "another category", "can be stopped", "told not to"],
)
def test_the_page_is_loaded_anew_where_a_destination_of_it_runs_on(
    shop: Site, visitor: Visitor, withdrawn: str, options: str, anew: bool
) -> None:
    """In the tab that was answered in, and in the other one."""
    shop.policy = policy(
        tags=[tag("Hotjar", ["advertising"], revoke=True)],
        categories=[category(id_) for id_ in ("analytics", "advertising", "functional")],
    )
    first = with_devices(shop, visitor, options)
    answer(first, {"functional": True})
    other = visitor.open("http://shop.test/")
    other.wait("Object.keys(window.ran ?? {}).length === 3")
    for page in (first, other):
        page.eval("void (window.before = true)")
    first.eval(f"consentry.withdraw(['{withdrawn}'])")
    for page in (first, other):
        if anew:
            page.wait("!window.before && window.consentry")
            page.eval(READY)
            page.wait("Object.keys(window.ran ?? {}).length === 2")
            assert "Hotjar" not in page.eval("Object.keys(ran)")
        else:
            page.wait(f"consentry.getCategories().{withdrawn} === false")
            page.eval("new Promise((done) => setTimeout(done, 300))")
            assert page.eval("window.before")


def test_with_nothing_granted_it_sends_nothing(shop: Site, visitor: Visitor) -> None:
    page = with_devices(shop, visitor, ", reload: false")
    page.eval("void rudder.track('before')")
    wait_for(lambda: any(e.get("event") == "before" for e in sent(shop)), what="an event")
    page.eval("void consentry.withdraw()")
    page.wait("consentry.getCategories().analytics === false")
    page.eval("void rudder.track('after')")
    page.eval("new Promise((done) => setTimeout(done, 500))")
    assert not any(e.get("event") == "after" for e in sent(shop))
