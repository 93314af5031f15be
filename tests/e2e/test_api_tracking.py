"""The tracking API as SDKs use it, against the real server."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.asking import BOTH, acme_with, fresh, message, send, states
from tests.running import ADMIN_KEY, BACKEND_KEY, WRITE_KEY, Answer, Server, StandIn, call, wait_for

SHOP = "https://shop.example"
SHORT = {
    "t": "track",
    "i": "identify",
    "p": "page",
    "s": "screen",
    "g": "group",
    "a": "alias",
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, vendors: StandIn) -> Iterator[Server]:
    """A public source for one origin, a second one that is limited, and proxies."""
    with acme_with(
        tmp_path_factory.mktemp("shop"),
        vendors.base,
        website=f'origins = ["{SHOP}"]',
        more='[[source]]\nname = "slow"\nwrite_key = "wk_slow"\nrate_limit = 1\n',
        tail='trusted_proxies = ["127.0.0.1/32", "10.0.0.0/8"]\n',
    ) as running:
        yield running


def post(server: Server, path: str, body: Any, **more: Any) -> Answer:
    return call(server.base, "POST", path, body, **more)


def arrived(vendors: StandIn, message_id: str, instance: str = "warehouse") -> Any:
    """The event as a destination got it."""
    for entry in vendors.journal():
        data = entry["body"]["data"]
        if data["messageId"] == message_id and entry["path"] == f"/webhook/{instance}":
            return data
    return None


# -- paths ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", [*SHORT, *SHORT.values()])
def test_each_path_takes_messages_of_its_type(shop: Server, vendors: StandIn, path: str) -> None:
    type_ = SHORT.get(path, path)
    one = message(type_, stamp={"analytics": True})
    del one["type"]  # the path names it
    assert post(shop, f"/v1/{path}", one, basic=WRITE_KEY).json == {"success": True}
    assert states(shop, one["messageId"]) == {"warehouse": "delivered", "ads": "withheld"}
    assert arrived(vendors, one["messageId"])["type"] == type_


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/import", "/v1/b"])
def test_batches(shop: Server, path: str) -> None:
    batch = [message(type_, stamp=BOTH) for type_ in SHORT.values()]
    assert post(shop, path, {"batch": batch}, basic=WRITE_KEY).json == {"success": True}
    for one in batch:
        assert states(shop, one["messageId"]) == {"warehouse": "delivered", "ads": "delivered"}


def test_what_the_batch_says_holds_for_each_message(shop: Server, vendors: StandIn) -> None:
    free, bound = message(), message(stamp=BOTH, integrations={"warehouse": True})
    body = {
        "batch": [free, bound],
        "context": {"consent": {"categoryPreferences": BOTH}, "app": {"name": "shop"}},
        "integrations": {"warehouse": True, "ads": False},
    }
    assert post(shop, "/v1/batch", body, basic=WRITE_KEY).status == 200
    for one in (free, bound):
        found = shop.event(one["messageId"])
        assert {n: d["state"] for n, d in found.items()} == {
            "warehouse": "delivered",
            "ads": "withheld",
        }
        assert found["ads"]["decision"]["reason"] == "integrations_object"
        assert arrived(vendors, one["messageId"])["context"]["app"] == {"name": "shop"}


def test_an_empty_batch_is_taken(shop: Server) -> None:
    assert send(shop).json == {"success": True}


def test_metrics_of_the_sdk_are_accepted_and_forgotten(shop: Server) -> None:
    series = {"series": [{"type": "Counter", "metric": "x", "value": 1, "tags": {}}]}
    headers = {"Content-Type": "text/plain"}
    assert post(shop, "/v1/m", series, headers=headers).json == {"success": True}


# -- who speaks -----------------------------------------------------------------------------------
def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


KEYS: dict[str, tuple[dict[str, str], Any, int, str | None]] = {
    "Basic": (basic("wk_website:"), None, 200, None),
    "Basic without the colon": (basic("wk_website"), None, 200, None),
    "in the body": ({}, WRITE_KEY, 200, None),
    "Basic and body agree": (basic("wk_website:"), WRITE_KEY, 200, None),
    "a secret as Bearer": ({"Authorization": f"Bearer {BACKEND_KEY}"}, None, 200, None),
    "a secret as Basic": (basic(f"{BACKEND_KEY}:"), None, 200, None),
    "a secret in the body": ({}, BACKEND_KEY, 200, None),
    "an OAuth token beside the body": ({"Authorization": "Bearer ey.j"}, WRITE_KEY, 200, None),
    "an OAuth token alone": ({"Authorization": "Bearer ey.j"}, None, 401, "unknown_key"),
    "header and body differ": (basic("wk_website:"), "wk_slow", 400, "key_conflict"),
    "unknown": (basic("wk_nobody:"), None, 401, "unknown_key"),
    "unknown in the body": ({}, "wk_nobody", 401, "unknown_key"),
    "the admin key is no source": ({"Authorization": f"Bearer {ADMIN_KEY}"}, None, 401, None),
    "missing": ({}, None, 401, "missing_key"),
    "empty": (basic(":"), "", 401, "missing_key"),
    "unreadable Basic": ({"Authorization": "Basic ***"}, None, 401, "unauthorized"),
    "another scheme": ({"Authorization": "Digest x"}, None, 401, "unauthorized"),
    "a number as key": ({}, 7, 400, "invalid_type"),
}


@pytest.mark.parametrize("case", KEYS)
def test_keys(shop: Server, case: str) -> None:
    headers, body_key, status, code = KEYS[case]
    one = message(stamp={"analytics": True})
    if body_key is not None:
        one["writeKey"] = body_key
    answer = post(shop, "/v1/track", one, headers=headers)
    assert answer.status == status, answer.body
    if status == 200:
        assert answer.json == {"success": True}
        assert states(shop, one["messageId"])["warehouse"] == "delivered"
        return
    # Old SDKs read payload['code'] of every refusal.
    assert answer.json["message"]
    assert answer.json["code"] == (code or answer.json["code"])
    assert shop.admin("GET", f"/v1/events/{one['messageId']}").status == 404


def test_an_unknown_key_in_the_segment_profile_is_answered_as_segment_does(
    tmp_path_factory: pytest.TempPathFactory, vendors: StandIn
) -> None:
    folder = tmp_path_factory.mktemp("segment")
    with acme_with(folder, vendors.base, workspace='enforcement = "segment"') as server:
        lost, kept = message(), message()
        assert post(server, "/v1/track", lost, basic="wk_nobody").json == {"success": True}
        send(server, kept)
        assert states(server, kept["messageId"]) == {"warehouse": "delivered", "ads": "delivered"}
        assert server.admin("GET", f"/v1/events/{lost['messageId']}").status == 404


def test_neither_keys_nor_transport_members_are_delivered(shop: Server, vendors: StandIn) -> None:
    one = message(stamp=BOTH, writeKey=WRITE_KEY, _metadata={"bundled": []})
    assert post(shop, "/v1/t", one).status == 200
    states(shop, one["messageId"])
    found = arrived(vendors, one["messageId"])
    assert not {"writeKey", "_metadata"} & found.keys()


# -- bodies ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("type_", ["text/plain", "text/plain;charset=UTF-8", None])
def test_browsers_send_plain_text(shop: Server, type_: str | None) -> None:
    one = message(stamp=BOTH, writeKey=WRITE_KEY, userId=None)
    headers = {"Content-Type": type_} if type_ else {}
    assert post(shop, "/v1/t", one, headers=headers).status == 200
    assert states(shop, one["messageId"])["ads"] == "delivered"


def test_gzip(shop: Server) -> None:
    one = message(stamp=BOTH)
    body = gzip.compress(json.dumps({"batch": [one], "writeKey": WRITE_KEY}).encode())
    assert post(shop, "/v1/batch", body, headers={"Content-Encoding": "gzip"}).status == 200
    assert states(shop, one["messageId"])["ads"] == "delivered"


FORWARDED = {
    "one hop": ("203.0.113.9", "203.0.113.9"),
    "through a trusted proxy": ("203.0.113.9, 10.1.2.3", "203.0.113.9"),
    "what the caller made up is not believed": ("1.2.3.4, 203.0.113.9", "203.0.113.9"),
    "a hop that is no address": ("203.0.113.9, <b>, 10.1.2.3", "10.1.2.3"),
    "nothing but what is no address": ("unknown", "127.0.0.1"),
    "no proxy": (None, "127.0.0.1"),
}


@pytest.mark.parametrize("case", FORWARDED)
def test_the_address_is_filled_in_when_asked_for(shop: Server, vendors: StandIn, case: str) -> None:
    said, expected = FORWARDED[case]
    one = message(stamp=BOTH)
    one["context"]["direct"] = True
    headers = {"X-Forwarded-For": said} if said else None
    send(shop, one, headers=headers)
    states(shop, one["messageId"])
    assert arrived(vendors, one["messageId"])["context"]["ip"] == expected


# -- from other origins ---------------------------------------------------------------------------
@pytest.mark.parametrize("path", ["t", "track", "batch", "consent", "consent/withdraw"])
def test_preflight(shop: Server, path: str) -> None:
    asked = {
        "Origin": SHOP,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    answer = call(shop.base, "OPTIONS", f"/v1/{path}", headers=asked)
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert answer.headers["vary"] == "Origin"
    assert {"POST", "GET", "OPTIONS"} <= set(
        answer.headers["access-control-allow-methods"].split(", ")
    )
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert {"authorization", "content-type", "x-retry-count"} <= set(allowed)
    assert int(answer.headers["access-control-max-age"]) >= 600


def test_answers_to_an_allowed_origin_say_that_it_may_read_them(shop: Server) -> None:
    answer = post(shop, "/v1/t", message(), basic=WRITE_KEY, headers={"Origin": SHOP})
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert answer.headers["access-control-expose-headers"] == "Retry-After"


def test_another_origin_may_not_use_the_key(tmp_path_factory: Any, vendors: StandIn) -> None:
    only = f'origins = ["{SHOP}"]'
    with acme_with(tmp_path_factory.mktemp("only"), vendors.base, website=only) as server:
        evil = {"Origin": "https://evil.example"}
        answer = post(server, "/v1/t", message(), basic=WRITE_KEY, headers=evil)
        assert (answer.status, answer.json["code"]) == (403, "origin_not_allowed")
        assert "access-control-allow-origin" not in answer.headers
        asked = {**evil, "Access-Control-Request-Method": "POST"}
        preflight = call(server.base, "OPTIONS", "/v1/t", headers=asked)
        assert "access-control-allow-origin" not in preflight.headers
        choice = {"subject": {"anonymousId": fresh("dev")}, "preferences": BOTH}
        assert post(server, "/v1/consent", choice, basic=WRITE_KEY, headers=evil).status == 403


def test_the_settings_of_a_key_are_for_its_own_origins(shop: Server) -> None:
    def allowed(key: str, origin: str) -> bool:
        answer = call(shop.base, "GET", f"/v1/projects/{key}/settings", headers={"Origin": origin})
        return "access-control-allow-origin" in answer.headers

    assert allowed(WRITE_KEY, SHOP)
    assert not allowed(WRITE_KEY, "https://evil.example")
    assert allowed("wk_slow", "https://any.example")
    assert not allowed("wk_nobody", SHOP)


def test_the_admin_api_is_not_for_pages(shop: Server) -> None:
    answer = call(shop.base, "GET", "/v1/destinations", key=ADMIN_KEY, headers={"Origin": SHOP})
    assert "access-control-allow-origin" not in answer.headers


def test_settings(shop: Server) -> None:
    path = f"/v1/projects/{WRITE_KEY}/settings"
    answer = call(shop.base, "GET", path, headers={"Origin": SHOP})
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == SHOP
    host = shop.base.removeprefix("http://")
    integrations = answer.json["integrations"]
    assert integrations["Segment.io"] == {
        "apiKey": WRITE_KEY,
        "apiHost": f"{host}/v1",
        "protocol": "http",
    }
    assert integrations["ads"]["consentSettings"]["categories"] == ["advertising", "analytics"]
    assert integrations["warehouse"]["consentSettings"]["categories"] == ["analytics"]
    assert answer.json["consentSettings"] == {
        "allCategories": ["analytics", "advertising"],
        "hasUnmappedDestinations": True,
    }
    assert answer.json["plan"]["track"]["__default"] == {"enabled": True, "integrations": {}}
    assert answer.json["metrics"]["sampleRate"] == 0


@pytest.mark.parametrize("key", ["wk_nobody", BACKEND_KEY, ADMIN_KEY])
def test_only_public_keys_have_settings(shop: Server, key: str) -> None:
    answer = call(shop.base, "GET", f"/v1/projects/{key}/settings")
    assert (answer.status, answer.json["code"]) == (404, "unknown_key")


# -- time -----------------------------------------------------------------------------------------
HOUR = timedelta(hours=1)
YEARS = timedelta(days=3650)
CLOCKS: dict[str, tuple[timedelta | None, timedelta | None, timedelta]] = {
    # the client's timestamp and sentAt, seen from now; what the delivered timestamp must be
    "no times": (None, None, timedelta(0)),
    "no sentAt: taken as it is": (-HOUR, None, -HOUR),
    "a clock an hour ahead": (HOUR - timedelta(seconds=10), HOUR, timedelta(seconds=-10)),
    "a clock an hour behind": (-HOUR - timedelta(seconds=10), -HOUR, timedelta(seconds=-10)),
    "queued for an hour": (-HOUR, timedelta(0), -HOUR),
    "years ahead without sentAt": (YEARS, None, timedelta(0)),
    "years ahead of its own sentAt": (YEARS, timedelta(0), timedelta(0)),
    "years ahead, both": (YEARS - timedelta(seconds=10), YEARS, timedelta(seconds=-10)),
}


@pytest.mark.parametrize("case", CLOCKS)
def test_clocks_are_corrected(shop: Server, vendors: StandIn, case: str) -> None:
    claimed, sent, expected = CLOCKS[case]
    now = datetime.now(UTC)
    one = message(stamp=BOTH)
    body: dict[str, Any] = {"batch": [one]}
    if claimed is not None:
        one["timestamp"] = (now + claimed).isoformat()
    if sent is not None:
        body["sentAt"] = (now + sent).isoformat()
    assert post(shop, "/v1/batch", body, basic=WRITE_KEY).status == 200
    states(shop, one["messageId"])
    found = arrived(vendors, one["messageId"])
    corrected = datetime.fromisoformat(found["timestamp"])
    assert abs(corrected - (now + expected)) < timedelta(seconds=5)
    assert found.get("originalTimestamp") == one.get("timestamp")
    assert abs(datetime.fromisoformat(found["receivedAt"]) - now) < timedelta(seconds=5)


# -- again and again ------------------------------------------------------------------------------
def test_a_repeated_message_is_delivered_once(shop: Server, vendors: StandIn) -> None:
    one = message(stamp=BOTH)
    send(shop, one, one)
    send(shop, one)
    send(shop, one, headers={"X-Retry-Count": "2"})
    last = message(stamp=BOTH, anonymousId=one["anonymousId"])
    send(shop, last)
    states(shop, last["messageId"])  # in order, so nothing of the first is still to come
    assert vendors.received("warehouse").count(one["messageId"]) == 1


def test_a_message_id_belongs_to_its_source(shop: Server, vendors: StandIn) -> None:
    one = message(stamp=BOTH)
    send(shop, one)
    send(shop, one, key=BACKEND_KEY)
    wait_for(lambda: vendors.received("warehouse").count(one["messageId"]) == 2)


def test_without_a_message_id_each_is_its_own(shop: Server, vendors: StandIn) -> None:
    device = fresh("dev")
    for _ in range(2):
        one = message(stamp=BOTH, anonymousId=device)
        del one["messageId"]
        send(shop, one)
    last = message(stamp=BOTH, anonymousId=device)
    send(shop, last)
    states(shop, last["messageId"])
    ids = [
        entry["body"]["data"]["messageId"]
        for entry in vendors.journal()
        if entry["path"] == "/webhook/warehouse" and entry["ids"]["anonymousIds"] == [device]
    ]
    assert len(ids) == len(set(ids)) == 3


def test_over_its_rate_a_source_is_told_when_to_come_back(shop: Server) -> None:
    taken = [message() for _ in range(10)]  # ten seconds' worth may come at once
    send(shop, *taken, key="wk_slow")
    refused = message()
    answer = post(shop, "/v1/t", refused, basic="wk_slow", headers={"Origin": SHOP})
    assert (answer.status, answer.json["code"]) == (429, "rate_limited")
    assert 1 <= int(answer.headers["retry-after"]) <= 300
    assert answer.headers["access-control-expose-headers"] == "Retry-After"
    assert shop.admin("GET", f"/v1/events/{refused['messageId']}").status == 404
    assert shop.admin("GET", f"/v1/events/{taken[0]['messageId']}").status == 200
    send(shop, message())  # the others go on
    # and a flood of events keeps nobody from withdrawing
    body = {"subject": {"anonymousId": fresh("dev")}}
    assert post(shop, "/v1/consent/withdraw", body, key="wk_slow").status == 201


def test_choices_are_limited_by_themselves(shop: Server) -> None:
    body = {"subject": {"anonymousId": fresh("dev")}, "writeKey": "wk_slow"}
    found = [post(shop, "/v1/consent/withdraw", body).status for _ in range(30)]
    assert 429 in found
