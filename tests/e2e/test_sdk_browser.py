"""analytics.js from npm in Chromium, with Segment's consent wrapper, against a real server.

The shop is served from another origin than the server, so CORS and its preflight are real.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser import Browser
from tests.e2e.sdk_browser import ShopPage, shop_page, shop_pages
from tests.e2e.sdk_calls import UPDATE, YES
from tests.e2e.sdk_proxy import Fault
from tests.e2e.sdk_world import ANALYTICS, BOTH, NOTHING, SLOW_KEY, World, waiting, world
from tests.running import WRITE_KEY, call, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.node]

CRM = frozenset({"crm"})
BATCHING = {"deliveryStrategy": {"strategy": "batching", "config": {"size": 20, "timeout": 100}}}
STRATEGIES = [pytest.param({}, id="standard"), pytest.param(BATCHING, id="batching")]
SHORT_PATHS = {"track": "/v1/t", "identify": "/v1/i", "page": "/v1/p", "screen": "/v1/s"}
SHORT_PATHS |= {"group": "/v1/g", "alias": "/v1/a"}


@pytest.fixture(scope="module")
def shop() -> Iterator[str]:
    with shop_pages() as origin:
        yield origin


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, shop: str) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("browser"), origin=shop) as running:
        yield running


@pytest.fixture
def here(shared: World) -> World:
    shared.reset()
    return shared


@pytest.fixture
def page(browser: Browser, shop: str) -> Iterator[ShopPage]:
    with shop_page(browser, shop) as opened:
        yield opened
        assert opened.failures() == []


def start(here: World, page: ShopPage, **options: Any) -> str:
    """Load analytics.js from the server's own settings."""
    plain: dict[str, Any] = {
        "writeKey": WRITE_KEY,
        "cdnURL": here.proxy.base,
        "model": None,
        "categories": {},
    }
    return page.start(**{**plain, **options})


def arrived(here: World, count: int) -> None:
    """Wait until the server has taken so many messages."""

    def taken() -> bool:
        ids = {m["messageId"] for e in here.proxy.posts if e.status == 200 for m in e.messages}
        return len(ids) >= count

    wait_for(taken, what=f"{count} messages taken")


def stranger(here: World, anonymous_id: str, context: dict[str, Any] | None = None) -> None:
    """The same device speaks without the wrapper: what the ledger says decides."""
    message = {
        "type": "track",
        "event": "Probe",
        "messageId": f"probe-{len(here.proxy.sent)}-{anonymous_id}",
        "anonymousId": anonymous_id,
        "context": context or {},
    }
    answer = call(here.proxy.base, "POST", "/v1/track", message, basic=WRITE_KEY)
    assert answer.status == 200, answer.body


@pytest.mark.parametrize("segment", STRATEGIES)
@pytest.mark.parametrize("model", ["opt-in", "opt-out"])
def test_a_visitor_chooses_and_changes_her_mind(
    here: World, page: ShopPage, model: str, segment: dict[str, Any]
) -> None:
    nothing = {"analytics": False, "advertising": False}
    visitor = start(here, page, model=model, segment=segment, categories=nothing)
    page.call("page")
    page.call("track", "Viewed", {"sku": "tee"})
    stranger(here, visitor)
    arrived(here, 3)
    expected = [NOTHING, NOTHING, NOTHING]
    here.check(expected)

    page.choose(analytics=True, advertising=False)
    arrived(here, 4)
    expected += [ANALYTICS | CRM]
    here.check(expected, changed=frozenset(range(3)))
    page.call("track", "Chosen")
    arrived(here, 5)
    stranger(here, visitor)
    stranger(here, visitor, YES)
    expected += [ANALYTICS] * 3
    here.check(expected, changed=frozenset(range(3)))

    page.choose(analytics=False, advertising=False)
    arrived(here, 8)
    expected += [NOTHING | CRM]
    page.call("track", "Refused")
    arrived(here, 9)
    stranger(here, visitor)
    stranger(here, visitor, YES)
    expected += [NOTHING] * 3
    here.check(expected, changed=frozenset(range(7)))

    choices = [r for r in here.history(f"anonymous_id:{visitor}") if r["type"] == "choice"]
    assert [r["after"] for r in choices] == [
        {"analytics": "granted", "advertising": "denied"},
        {"analytics": "denied", "advertising": "denied"},
    ]
    updates = [m["messageId"] for m in here.proxy.sent if m.get("event") == UPDATE]
    assert [r["evidence"]["messageId"] for r in choices] == updates


@pytest.mark.parametrize("segment", STRATEGIES)
def test_every_call_type(here: World, page: ShopPage, segment: dict[str, Any]) -> None:
    yes = {"analytics": True, "advertising": True}
    start(here, page, model="opt-in", segment=segment, categories=yes)
    page.call("page", "Home")
    page.call("track", "Viewed", {"price": 9.5, "title": "Tee \u2615"})
    page.call("screen", "Start")
    page.call("group", "g1", {"seats": 3})
    page.call("identify", "u-browser", {"plan": "pro"})
    page.call("alias", "u-browser-new", "u-browser")
    arrived(here, 6)
    here.check([BOTH] * 6)
    loaded = [e.path for e in here.proxy.exchanges if e.method == "GET"]
    assert loaded == [f"/v1/projects/{WRITE_KEY}/settings"]
    assert {e.status for e in here.proxy.exchanges} == {200, 204}
    sent = here.proxy.posts
    assert {e.headers["content-type"].partition(";")[0] for e in sent} == {"text/plain"}
    if segment:
        assert {e.path for e in sent} == {"/v1/b"}
    else:
        assert [e.path for e in sent] == [SHORT_PATHS[e.messages[0]["type"]] for e in sent]


def test_the_browser_asks_once_per_path(here: World, page: ShopPage, shop: str) -> None:
    """A retry, which brings another header, costs no second preflight."""
    start(here, page)
    here.proxy.fail(Fault.UNAVAILABLE)
    for n in range(3):
        page.call("track", f"E{n}")
    arrived(here, 3)
    here.check([NOTHING] * 3)
    asked = [e for e in here.proxy.exchanges if e.method == "OPTIONS"]
    assert [(e.path, e.status) for e in asked] == [("/v1/t", 204)]
    assert asked[0].answer_headers["access-control-allow-origin"] == shop
    retried = [e for e in here.proxy.posts if "x-retry-count" in e.headers]
    assert len(retried) == 1


def test_another_site_may_not_use_the_key(here: World, browser: Browser, shop: str) -> None:
    """Neither with a preflight nor with the plain request that needs none."""
    message = {"type": "track", "event": "Forged", "anonymousId": "somebody", "context": YES}
    body = json.dumps({"writeKey": WRITE_KEY, "batch": [message]})
    plain = {"method": "POST", "body": body, "headers": {"content-type": "text/plain"}}
    signed = {**plain, "headers": {"authorization": "Basic d2tfd2Vic2l0ZTo="}}
    with shop_page(browser, shop.replace("127.0.0.1", "localhost")) as page:
        settings = f"{here.proxy.base}/v1/projects/{WRITE_KEY}/settings"
        assert page.fetch(settings, {}) == "blocked"
        assert page.fetch(f"{here.proxy.base}/v1/b", signed) == "blocked"
        assert page.fetch(f"{here.proxy.base}/v1/b", plain) == "blocked"
        assert page.failures() == []
    (only,) = here.proxy.posts
    assert only.status == 403
    assert all(ids == [] for ids in here.taken().values())


@pytest.mark.parametrize("segment", STRATEGIES)
def test_the_browser_waits_as_long_as_it_was_asked_to(
    here: World, page: ShopPage, segment: dict[str, Any]
) -> None:
    """Five events may come at once, then one every two seconds; none is lost."""
    key = f"{SLOW_KEY}_{'batching' if segment else 'standard'}"
    yes = {"analytics": True, "advertising": True}
    start(here, page, writeKey=key, model="opt-in", segment=segment, categories=yes)
    page.call_at_once([["track", f"E{n}"] for n in range(5)])
    arrived(here, 5)
    page.call_at_once([["track", "E5"]])
    arrived(here, 6)
    refused = [e for e in here.proxy.posts if e.status == 429]
    (again,) = (e for e in here.proxy.posts if e.started_s > refused[-1].ended_s)
    assert len(refused) == 1
    assert refused[0].answer_headers["access-control-expose-headers"] == "Retry-After"
    wait_s = int(refused[0].answer_headers["retry-after"])
    assert wait_s >= 1  # left alone, the SDK would be back after some tenths of a second
    assert again.started_s - refused[0].ended_s >= wait_s - 0.05
    here.check([BOTH] * 6)


@pytest.mark.parametrize("fault", [Fault.LOST_ANSWER, Fault.UNAVAILABLE])
@pytest.mark.parametrize("segment", STRATEGIES)
def test_a_retry_delivers_once(
    here: World, page: ShopPage, segment: dict[str, Any], fault: Fault
) -> None:
    yes = {"analytics": True, "advertising": True}
    start(here, page, model="opt-in", segment=segment, categories=yes)
    here.proxy.fail(fault)
    page.call("track", "Ordered")
    arrived(here, 1)
    first, second = here.proxy.posts
    assert [m["messageId"] for m in first.messages] == [m["messageId"] for m in second.messages]
    here.check([BOTH])


def test_what_waits_in_a_page_is_sent_when_the_visitor_leaves(
    here: World, page: ShopPage, shop: str
) -> None:
    slow = {"strategy": "batching", "config": {"size": 20, "timeout": 600_000}}
    yes = {"analytics": True, "advertising": False}
    start(here, page, model="opt-in", segment={"deliveryStrategy": slow}, categories=yes)
    page.call("track", "Read")
    page.call("track", "Left")
    assert here.proxy.posts == []
    page.goto(f"{shop}/elsewhere")
    arrived(here, 2)
    here.check([ANALYTICS] * 2)


def test_a_withdrawal_stops_what_the_page_has_queued(here: World, page: ShopPage) -> None:
    yes = {"analytics": True, "advertising": True}
    visitor = start(here, page, model="opt-in", categories=yes)
    here.vendors.mode("webhook", "5xx")
    page.call("track", "Ordered")
    arrived(here, 1)
    sent = here.proxy.sent[0]["messageId"]
    for destination in ("ads", "warehouse"):
        waiting(here, sent, destination)
    here.withdraw({"anonymousId": visitor})
    here.vendors.mode("webhook", "ok")
    # "mirror" and "rudder" were not in 5xx mode: they had the event before the withdrawal.
    here.check([NOTHING | {"mirror", "rudder"}], changed=frozenset({0}))


def test_a_signed_in_visitor(here: World, page: ShopPage) -> None:
    """A page cannot grant for an account: the device's choice counts, the account's does not."""
    yes = {"analytics": True, "advertising": True}
    visitor = start(here, page, model="opt-in", categories=yes)
    account = f"account-{visitor}"
    page.call("identify", account)
    page.choose(analytics=True, advertising=True)
    arrived(here, 2)
    here.check([BOTH, BOTH])
    here.withdraw({"userId": account}, "advertising")
    page.choose(analytics=True, advertising=True)
    arrived(here, 3)
    page.call("track", "Ordered")
    arrived(here, 4)
    here.check([BOTH, BOTH, ANALYTICS | CRM, ANALYTICS], changed=frozenset({0, 1}))
