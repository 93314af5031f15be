"""What is said to Google Analytics 4, and what is not said at all."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consentry.core.delivery import Grade
from consentry.destinations import ga4
from consentry.destinations.http import Unsendable
from consentry.destinations.message import Message
from consentry.destinations.transport import OutboundClient
from consentry.secret import Secret

from .wire_server import answer, message, serving

NOW = datetime(2026, 11, 22, 10, 5, tzinfo=UTC)


def ga4_options(base_url: str = "https://www.google-analytics.com", **more: Any) -> ga4.Options:
    if "firebase_app_id" not in more:
        more.setdefault("measurement_id", "G-1")
    return ga4.Options(api_secret=(Secret("s&cret"),), base_url=base_url, **more)


def ga4_body(event: Message, **options: Any) -> dict[str, Any]:
    document = json.loads(ga4.request_for([event], ga4_options(**options), NOW).body)
    assert isinstance(document, dict)
    return document


def test_ga4_request() -> None:
    request = ga4.request_for([message()], ga4_options(), NOW)
    assert request.url == (
        "https://www.google-analytics.com/mp/collect?measurement_id=G-1&api_secret=s%26cret"
    )
    assert json.loads(request.body) == {
        "client_id": "anon-1",
        "user_id": "user-1",
        "timestamp_micros": 1_795_341_600_000_000,
        "consent": {"ad_user_data": "DENIED", "ad_personalization": "DENIED"},
        "events": [
            {
                "name": "video_played",
                "params": {
                    "engagement_time_msec": 1,
                    "page_location": "https://shop.example/film",
                    "title": "Film",
                },
            }
        ],
    }


def test_ga4_app_stream_keeps_its_colons() -> None:
    options = ga4_options(firebase_app_id="1:23:web:4f")
    event = message(anonymous_id="0123456789abcdef0123456789ABCDEF")
    request = ga4.request_for([event], options, NOW)
    assert "?firebase_app_id=1:23:web:4f&api_secret=" in request.url
    assert json.loads(request.body)["app_instance_id"] == event.anonymous_id


@pytest.mark.parametrize(
    ("consent", "user_data", "personalization"),
    [
        ({}, "DENIED", "DENIED"),
        ({"advertising": False}, "DENIED", "DENIED"),
        ({"advertising": True}, "GRANTED", "DENIED"),
        ({"personal": True}, "DENIED", "GRANTED"),
        ({"advertising": 1, "personal": "true"}, "DENIED", "DENIED"),
    ],
)
def test_ga4_consent_is_granted_only_by_a_clear_yes(
    consent: dict[str, Any], user_data: str, personalization: str
) -> None:
    body = ga4_body(message(consent=consent), ad_personalization_category="personal")
    assert body["consent"] == {"ad_user_data": user_data, "ad_personalization": personalization}


PRODUCT = {"product_id": "p1", "name": "Shoe", "price": 9.5, "quantity": 2, "category": "Shoes"}
ITEM = {
    "item_id": "p1",
    "item_name": "Shoe",
    "item_category": "Shoes",
    "price": 9.5,
    "quantity": 2,
}
ORDER = {
    "order_id": "o1",
    "revenue": 19,
    "total": 25,
    "tax": 3,
    "currency": "EUR",
    "products": [PRODUCT, {"price": 1}, "no product"],
    "gift": True,
}
ORDER_PARAMS = {
    "transaction_id": "o1",
    "value": 19,
    "tax": 3,
    "currency": "EUR",
    "gift": True,
    "items": [ITEM],
}
EVENTS: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "order completed": (
        {"event": "Order Completed", "properties": ORDER},
        "purchase",
        # `total` is a source of `value`; it is not sent twice
        ORDER_PARAMS,
    ),
    "order refunded": ({"event": "order refunded", "properties": ORDER}, "refund", ORDER_PARAMS),
    "product viewed": (
        {"event": "Product Viewed", "properties": {**PRODUCT, "currency": "EUR"}},
        "view_item",
        {"currency": "EUR", "value": 9.5, "items": [ITEM]},
    ),
    "product added": (
        {"event": "Product Added", "properties": PRODUCT},
        "add_to_cart",
        {"value": 9.5, "items": [ITEM]},
    ),
    "products searched": (
        {"event": "Products Searched", "properties": {"query": "shoe"}},
        "search",
        {"search_term": "shoe"},
    ),
    "camel case": ({"event": "videoPlayed", "properties": {}}, "video_played", {}),
    "property names": (
        {"event": "x", "properties": {"Max Speed": 1, "ga_x": 1, "1st": 1, "z" * 41: 1}},
        "x",
        {"max_speed": 1},
    ),
    "values GA4 would refuse": (
        {"event": "x", "properties": {"none": None, "list": [1], "object": {"a": 1}, "ok": False}},
        "x",
        {"ok": False},
    ),
    "long text": ({"event": "x", "properties": {"t": "a" * 200}}, "x", {"t": "a" * 100}),
    "properties are no object": ({"event": "x", "properties": [1]}, "x", {}),
    "page": (
        {"type": "page", "properties": {"url": "https://a.example/", "title": "T", "path": "/"}},
        "page_view",
        {"page_location": "https://a.example/", "page_title": "T", "path": "/"},
    ),
    "screen": (
        {"type": "screen", "name": "Home", "properties": {}},
        "screen_view",
        {"screen_name": "Home"},
    ),
}


@pytest.mark.parametrize(("body", "name", "params"), EVENTS.values(), ids=list(EVENTS))
def test_ga4_event(body: dict[str, Any], name: str, params: dict[str, Any]) -> None:
    (event,) = ga4_body(message(body={"context": {}, **body}))["events"]
    assert event == {"name": name, "params": {"engagement_time_msec": 1, **params}}


def test_ga4_sends_at_most_25_params_mapped_ones_first() -> None:
    properties = {f"p{n}": n for n in range(40)} | {"order_id": "o1", "products": [PRODUCT]}
    body = ga4_body(message(body={"event": "Order Completed", "properties": properties}))
    params = body["events"][0]["params"]
    assert len(params) == 25
    assert params["transaction_id"] == "o1"
    assert params["items"] == [ITEM]


def test_ga4_session() -> None:
    for session, sent in ((1700, "1700"), ("1700", "1700"), ("abc", None), (True, None)):
        body = ga4_body(message(body={"context": {"sessionId": session}}))
        assert body["events"][0]["params"].get("session_id") == sent


NOW_TEXT = NOW.isoformat()
UNSENDABLE: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no id": ({"anonymous_id": None, "user_id": None}, {}, "client_id"),
    "long user id": ({"user_id": "u" * 257}, {}, "user_id"),
    "app without instance": ({}, {"firebase_app_id": "1:2"}, "app_instance_id"),
    "too old": ({"timestamp": (NOW - timedelta(days=3, seconds=1)).isoformat()}, {}, "three days"),
    "no time": ({"timestamp": "yesterday"}, {}, "unreadable"),
    "no zone": ({"timestamp": "2026-11-22T10:00:00"}, {}, "zone"),
    "long name": ({"body": {"event": "a" * 41}}, {}, "40"),
    "no letter first": ({"body": {"event": "1st"}}, {}, "letter"),
    "no letters at all": ({"body": {"event": "\u8cfc\u5165"}}, {}, "letter"),
    "empty name": ({"body": {"event": ""}}, {}, "letter"),
    "reserved name": ({"body": {"event": "Session Start"}}, {}, "reserved"),
    "reserved prefix": ({"body": {"event": "google thing"}}, {}, "reserved"),
    "name is no text": ({"body": {"event": 1}}, {}, "name"),
    "identify": ({"body": {"type": "identify"}}, {}, "name"),
    "too large": (
        {
            "body": {
                "event": "Cart Viewed",
                "properties": {
                    "products": [dict.fromkeys(("name", "brand", "sku", "variant", "coupon", "category", "position"), "x" * 100)] * 200
                },
            }
        },
        {},
        "130000 bytes",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "options", "says"), UNSENDABLE.values(), ids=list(UNSENDABLE))
def test_ga4_refuses_what_google_would_lose(
    changes: dict[str, Any], options: dict[str, Any], says: str
) -> None:
    with pytest.raises(Unsendable, match=says) as refused:
        ga4_body(message(**changes), **options)
    assert "user-1" not in str(refused.value)


def test_ga4_takes_three_days_back() -> None:
    assert ga4_body(message(timestamp=(NOW - timedelta(days=3)).isoformat()))


async def test_ga4_says_final_without_a_request() -> None:
    client = OutboundClient(allow_private=True)
    async with serving(answer(204)) as server:
        old = message(timestamp="2020-01-01T00:00:00Z")
        attempted = await ga4.send(client, [old], ga4_options(server.url), None)
        assert server.connections == 0
    await client.close()
    assert attempted.outcomes[0].grade is Grade.FAILED_FINAL
    assert "three days" in attempted.outcomes[0].detail
