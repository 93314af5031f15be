"""What several connectors read of an event, and say in headers. Pure; see `contact` too."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from consentry.destinations.contact import moment_of
from consentry.destinations.message import Message
from consentry.secret import Secret

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def object_at(value: object, *names: str) -> Mapping[str, Any]:
    """The object at a path of members; empty where there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def text_at(value: object, *names: str) -> str:
    """The text at a path of members; "" where there is none."""
    *path, last = names
    found = object_at(value, *path).get(last)
    return found if isinstance(found, str) else ""


def traits_of(message: Message) -> dict[str, Any]:
    """What the event says of its person: context.traits, then the traits of an identify."""
    return {
        **object_at(message.body, "context", "traits"),
        **object_at(message.body, "traits"),
    }


def milliseconds_of(message: Message) -> int:
    """Milliseconds since 1970."""
    return (moment_of(message) - _EPOCH) // timedelta(milliseconds=1)


def seconds_of(message: Message) -> int:
    """Seconds since 1970."""
    return (moment_of(message) - _EPOCH) // timedelta(seconds=1)


def page_url(message: Message) -> str:
    """The address of the page, as the event says it."""
    return text_at(message.body, "properties", "url") or text_at(
        message.body, "context", "page", "url"
    )


def click_id(message: Message, name: str) -> str:
    """A click id from the properties, the campaign or the query of the page."""
    for path in (("properties", name), ("context", "campaign", name)):
        if found := text_at(message.body, *path):
            return found
    try:
        query = parse_qs(urlsplit(page_url(message)).query, max_num_fields=100)
    except ValueError:
        return ""
    return query.get(name, [""])[0]


def basic(user: str, password: str = "") -> tuple[str, str]:
    """The header of Basic authentication."""
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return "Authorization", f"Basic {pair}"


def bearer(token: Secret) -> tuple[str, str]:
    """The header of Bearer authentication."""
    return "Authorization", f"Bearer {token.reveal()}"


JSON = ("Content-Type", "application/json")


def at(base_url: str, path: str) -> str:
    """``path`` below ``base_url``."""
    return base_url.rstrip("/") + path
