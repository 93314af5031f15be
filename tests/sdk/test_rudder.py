"""`withConsentry` around RudderStack's real browser SDK: its events say what is granted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.browser import Visitor
from tests.running import wait_for
from tests.sdk.bundled import bundled
from tests.sdk.site import Site
from tests.sdk.world import KEY, READY, YES, answer, html, kept, policy

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
