"""What advertising systems want of an event: its standard name, its worth, its items. Pure.

Names of events are those of Segment's ecommerce spec, in lower case.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consentry.destinations.common import text_at
from consentry.destinations.contact import members
from consentry.destinations.message import Message

MOST_ITEMS = 200
NAMES = {
    "products searched": "Search",
    "product viewed": "ViewContent",
    "product added": "AddToCart",
    "product added to wishlist": "AddToWishlist",
    "checkout started": "InitiateCheckout",
    "payment info entered": "AddPaymentInfo",
    "signed up": "CompleteRegistration",
}
"""What Meta and TikTok call alike."""


def worth(message: Message) -> dict[str, Any]:
    """``value`` (a number) and ``currency`` of what happened, as far as the event says them."""
    properties = members(message, "properties")
    found: dict[str, Any] = {}
    for name in ("value", "revenue", "total", "price"):
        number = properties.get(name)
        if isinstance(number, int | float) and not isinstance(number, bool):
            found["value"] = number
            break
    currency = properties.get("currency")
    if isinstance(currency, str) and len(currency.strip()) == 3:
        found["currency"] = currency.strip().upper()
    return found


def items(message: Message) -> list[dict[str, Any]]:
    """The products of the event that have an id: ``id``, ``quantity`` and ``price`` of each."""
    properties = members(message, "properties")
    listed = properties.get("products")
    found = []
    for product in (listed if isinstance(listed, list) else [properties])[:MOST_ITEMS]:
        if not isinstance(product, Mapping):
            continue
        identity = product.get("product_id") or product.get("sku")
        if not isinstance(identity, str | int) or isinstance(identity, bool):
            continue
        item: dict[str, Any] = {"id": str(identity)}
        for name in ("quantity", "price"):
            number = product.get(name)
            if isinstance(number, int | float) and not isinstance(number, bool):
                item[name] = number
        found.append(item)
    return found


def order_id(message: Message) -> str:
    """The number of the order, or ""."""
    return text_at(message.body, "properties", "order_id")


def browser(message: Message) -> tuple[str, str]:
    """The address and the user agent that the event came with; "" for what it does not say."""
    context = message.body.get("context")
    return text_at(context, "ip"), text_at(context, "userAgent")
