"""Segment's events in the names and parameters of GA4. Pure.

The well-known ecommerce events are mapped by the tables below; any other track event
keeps its name in snake_case and its flat properties. What GA4 would reject without saying
so is settled here:

* an event whose name is reserved, over 40 characters or without a leading letter is
  refused (`Unsendable`), because a renamed event would be a different fact;
* a parameter is left out if its value is null, a list or an object, or if its name is
  reserved, over 40 characters or malformed;
* a text over the limit is cut, as GA4 would;
* of more than 25 parameters the first 25 stay, mapped ones before the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from consentry.destinations.http import Unsendable
from consentry.destinations.message import Message

LONGEST_NAME = 40
MOST_PARAMS = 25
MOST_ITEMS = 200
LONGEST_TEXT = 100
LONGEST_TEXT_OF = {"page_location": 1000, "page_referrer": 420, "page_title": 300}

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_RESERVED_PREFIXES = ("_", "firebase_", "ga_", "google_", "gtag.")
RESERVED_EVENTS = frozenset(
    {
        "ad_activeview",
        "ad_click",
        "ad_exposure",
        "ad_query",
        "ad_reward",
        "adunit_exposure",
        "app_clear_data",
        "app_exception",
        "app_install",
        "app_remove",
        "app_store_refund",
        "app_update",
        "app_upgrade",
        "dynamic_link_app_open",
        "dynamic_link_app_update",
        "dynamic_link_first_open",
        "error",
        "first_open",
        "first_visit",
        "in_app_purchase",
        "notification_dismiss",
        "notification_foreground",
        "notification_open",
        "notification_receive",
        "os_update",
        "session_start",
        "user_engagement",
    }
)


@dataclass(frozen=True, slots=True)
class Mapped:
    """A GA4 event: its name, whether it lists items, and where its parameters come from.

    ``params`` gives for each GA4 parameter the Segment properties to try, in order.
    """

    name: str
    items: bool = False
    params: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


_MONEY = {"currency": ("currency",), "value": ("value", "revenue", "total")}
_ORDER = {
    "transaction_id": ("order_id", "checkout_id"),
    **_MONEY,
    "tax": ("tax",),
    "shipping": ("shipping",),
    "coupon": ("coupon",),
    "affiliation": ("affiliation",),
}
_LIST = {"item_list_id": ("list_id",), "item_list_name": ("list", "category")}
_PROMOTION = {
    "promotion_id": ("promotion_id",),
    "promotion_name": ("name",),
    "creative_name": ("creative",),
    "creative_slot": ("position",),
}
_PRODUCT_VALUE = {"currency": ("currency",), "value": ("value", "price")}

# Segment's ecommerce and B2B SaaS specs, names in lower case.
EVENTS: dict[str, Mapped] = {
    "products searched": Mapped("search", params={"search_term": ("query",)}),
    "product list viewed": Mapped("view_item_list", True, _LIST),
    "product clicked": Mapped("select_item", True, _LIST),
    "product viewed": Mapped("view_item", True, _PRODUCT_VALUE),
    "product added": Mapped("add_to_cart", True, _PRODUCT_VALUE),
    "product removed": Mapped("remove_from_cart", True, _PRODUCT_VALUE),
    "product added to wishlist": Mapped("add_to_wishlist", True, _PRODUCT_VALUE),
    "cart viewed": Mapped("view_cart", True, _MONEY),
    "checkout started": Mapped("begin_checkout", True, {**_MONEY, "coupon": ("coupon",)}),
    "payment info entered": Mapped(
        "add_payment_info", True, {**_MONEY, "payment_type": ("payment_method",)}
    ),
    "order completed": Mapped("purchase", True, _ORDER),
    "order refunded": Mapped("refund", True, _ORDER),
    "promotion viewed": Mapped("view_promotion", params=_PROMOTION),
    "promotion clicked": Mapped("select_promotion", params=_PROMOTION),
    "signed up": Mapped("sign_up", params={"method": ("method", "type")}),
    "signed in": Mapped("login", params={"method": ("method",)}),
}
ITEM: dict[str, tuple[str, ...]] = {
    "item_id": ("product_id", "sku"),
    "item_name": ("name",),
    "item_brand": ("brand",),
    "item_category": ("category",),
    "item_variant": ("variant",),
    "price": ("price",),
    "quantity": ("quantity",),
    "coupon": ("coupon",),
    "index": ("position",),
}
PAGE = Mapped(
    "page_view",
    params={"page_location": ("url",), "page_title": ("title",), "page_referrer": ("referrer",)},
)
SCREEN = Mapped("screen_view", params={"screen_name": ("name",)})


def event_for(message: Message) -> dict[str, Any]:
    """``{"name": …, "params": {…}}`` for one track, page or screen event.

    Raises `Unsendable` for other types and for names that GA4 does not take.
    """
    properties = _object(message.body.get("properties"))
    context = _object(message.body.get("context"))
    mapped = _mapped(message)
    if message.type == "page":
        properties = {**_object(context.get("page")), **properties}
    elif message.type == "screen":
        properties = {**_named(message), **properties}
    used = {source for sources in mapped.params.values() for source in sources}
    if mapped.items:
        used.add("products")
        if not isinstance(properties.get("products"), list):
            used.update(source for sources in ITEM.values() for source in sources)
    params = dict(_session(context))
    params.update(_picked(PAGE.params, _object(context.get("page"))))
    params.update(_picked(mapped.params, properties))
    for name, value in properties.items():
        if name not in used:
            params.setdefault(snake_case(name), value)
    kept = dict(_flat(params, MOST_PARAMS - mapped.items))
    if mapped.items and (items := _items(properties)):
        kept["items"] = items
    return {"name": mapped.name, "params": kept}


def _mapped(message: Message) -> Mapped:
    if message.type == "page":
        return PAGE
    if message.type == "screen":
        return SCREEN
    event = message.body.get("event")
    if message.type != "track" or not isinstance(event, str):
        raise Unsendable("name: GA4 takes track events with a name, pages and screens")
    known = EVENTS.get(event.strip().lower())
    if known is not None:
        return known
    name = snake_case(event)
    if len(name) > LONGEST_NAME:
        raise Unsendable(f"name: over {LONGEST_NAME} characters")
    if not _NAME.fullmatch(name):
        raise Unsendable("name: must begin with a letter from a to z")
    if name in RESERVED_EVENTS or name.startswith(_RESERVED_PREFIXES):
        raise Unsendable("name: reserved by GA4")
    return Mapped(name)


def snake_case(name: str) -> str:
    """``Video Played``, ``videoPlayed`` and ``video-played`` as ``video_played``."""
    split = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return re.sub(r"[^a-z0-9]+", "_", split.lower()).strip("_")


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _named(message: Message) -> dict[str, Any]:
    name = message.body.get("name")
    return {"name": name} if isinstance(name, str) else {}


def _session(context: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """GA4 shows an event under its user only with an engagement time; 1 ms claims nothing."""
    session = context.get("sessionId")
    if isinstance(session, int | str) and re.fullmatch(r"[0-9]{1,20}", str(session)):
        yield "session_id", str(session)
    yield "engagement_time_msec", 1


def _picked(
    sources: Mapping[str, tuple[str, ...]], properties: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    for target, names in sources.items():
        for name in names:
            if properties.get(name) is not None:
                yield target, properties[name]
                break


def _flat(params: Mapping[str, Any], most: int) -> Iterator[tuple[str, Any]]:
    """The parameters GA4 takes, at most ``most`` of them."""
    kept = 0
    for name, value in params.items():
        if kept == most:
            return
        if not isinstance(value, str | int | float):  # bool is an int
            continue
        if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
            continue
        if name.startswith(_RESERVED_PREFIXES):
            continue
        kept += 1
        longest = LONGEST_TEXT_OF.get(name, LONGEST_TEXT)
        yield name, value[:longest] if isinstance(value, str) else value


def _items(properties: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The products of a list, or the one product the event is about.

    A product without an id and a name is no item to GA4 and is left out.
    """
    products = properties.get("products")
    listed = products if isinstance(products, list) else [properties]
    items = (dict(_flat(dict(_picked(ITEM, _object(p))), MOST_PARAMS)) for p in listed)
    return [item for item in items if "item_id" in item or "item_name" in item][:MOST_ITEMS]
