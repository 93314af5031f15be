"""Whom an event is about, for systems that know people by their address."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from consentry.core.event import normal_email, normal_phone
from consentry.destinations.http import Unsendable
from consentry.destinations.message import Message

_PLACES = (("traits",), ("properties",), ("context", "traits"))


def email_of(message: Message) -> str | None:
    """The address that the event itself names: in its traits, properties, or context."""
    return next((e for e in map(normal_email, _named(message, "email")) if e), None)


def phone_of(message: Message) -> str | None:
    """The phone number that the event itself names, if it is in E.164 (with a plus)."""
    found = map(normal_phone, _named(message, "phone"))
    return next((phone for phone in found if phone and phone.startswith("+")), None)


def _named(message: Message, field: str) -> Iterator[str]:
    for place in _PLACES:
        holder: Any = message.body
        for name in place:
            holder = holder.get(name) if isinstance(holder, Mapping) else None
        value = holder.get(field) if isinstance(holder, Mapping) else None
        if isinstance(value, str):
            yield value


def members(message: Message, name: str) -> dict[str, Any]:
    """An object member of the event, such as its properties; empty if there is none."""
    value = message.body.get(name)
    return dict(value) if isinstance(value, Mapping) else {}


def event_name(message: Message) -> str:
    """The name of a track event; "Viewed page X" or "Viewed screen X" for the other two."""
    if message.type == "track":
        name = message.body.get("event")
    else:
        title = message.body.get("name")
        name = f"Viewed {message.type}" + (f" {title}" if isinstance(title, str) and title else "")
    if not isinstance(name, str) or not name.strip():
        raise Unsendable("the event has no name")
    return name.strip()


def moment_of(message: Message) -> datetime:
    """When it happened. Raises `Unsendable`."""
    try:
        moment = datetime.fromisoformat(message.timestamp)
    except ValueError:
        raise Unsendable("the timestamp is unreadable") from None
    if moment.tzinfo is None:
        raise Unsendable("the timestamp has no zone")
    return moment


_NOT_PLAIN = re.compile(r"[^a-z0-9]+")


def plain_name(name: str, longest: int) -> str:
    """In lower case, with letters, digits and single underscores, for systems that want no more."""
    plain = _NOT_PLAIN.sub("_", name.lower()).strip("_")[:longest].strip("_")
    if not plain:
        raise Unsendable("the event's name has no letter or digit")
    return plain
