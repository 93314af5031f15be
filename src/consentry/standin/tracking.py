"""The Segment event format, which the Segment and RudderStack stand-ins both take.

Rules: Segment's HTTP API and common fields (docs: connections/sources/.../http-api, spec/common).
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

import msgspec

from consentry.standin.control import Ids
from consentry.standin.vendor import Call, Persons

TYPES: Final = frozenset({"track", "identify", "page", "screen", "group", "alias"})
MAX_MESSAGE_ID: Final = 100


def basic_key(call: Call) -> str | None:
    """The user name of a Basic header, which is the write key; None if the shape is wrong."""
    scheme, _, encoded = call.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    return text.partition(":")[0] or None


def items_of(call: Call, single: str | None) -> list[Any] | None:
    """The events in a body; ``single`` is the type that the path names. None: not that form."""
    if not isinstance(call.body, dict):
        return None
    if single is not None:
        return [call.body | {"type": single}]
    batch = call.body.get("batch")
    return batch if isinstance(batch, list) else None


def size_of(item: Any) -> int:
    """Bytes of one event as compact JSON."""
    return len(msgspec.json.encode(item))


def identified(item: dict[str, Any]) -> bool:
    """Whether there is a user id or an anonymous id."""
    return any(isinstance(v := item.get(k), str) and v for k in ("userId", "anonymousId"))


def problem(item: Any) -> str | None:
    """Why an event cannot be taken over, or None."""
    if not isinstance(item, dict):
        return "an event must be an object"
    kind = item.get("type")
    if not isinstance(kind, str) or kind not in TYPES:
        return "unknown type"
    if not identified(item):
        return "userId or anonymousId is required"
    message_id = item.get("messageId")
    if message_id is not None and (
        not isinstance(message_id, str) or not 0 < len(message_id) <= MAX_MESSAGE_ID
    ):
        return f"messageId must be a string of 1 to {MAX_MESSAGE_ID} characters"
    needed = {"track": "event", "group": "groupId", "alias": "previousId"}.get(kind)
    if needed and not (isinstance(value := item.get(needed), str) and value):
        return f"{kind} needs {needed}"
    return None


def take(persons: Persons, call: Call, item: dict[str, Any]) -> None:
    """Take a valid event over into the person's state, once per message id."""
    message_id = item.get("messageId") or persons.name_for_unnamed()
    if persons.seen(call.instance, message_id):
        return
    known = persons.known(call.instance, item.get("userId"))
    if known is not None and known.suppressed:
        persons.reject(call, "the person is suppressed")
        return
    persons.remember(call.instance, message_id)
    person = persons.person(call.instance, item.get("userId"), item.get("anonymousId"))
    kind = item["type"]
    if kind == "identify" and isinstance(traits := item.get("traits"), dict):
        person.traits |= traits
    event = {"type": kind, "receivedAt": call.at}
    if isinstance(name := item.get("event", item.get("name")), str):
        event["event"] = name
    person.record(message_id, event)


def ids_of(items: list[Any] | None) -> Ids:
    """The ids in a list of events."""
    ids = Ids()
    for item in items or []:
        if isinstance(item, dict):
            ids.add(
                message=item.get("messageId"),
                user=item.get("userId"),
                anonymous=item.get("anonymousId"),
            )
            if item.get("type") == "alias":
                ids.add(user=item.get("previousId"))
    return ids
