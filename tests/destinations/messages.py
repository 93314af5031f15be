"""Messages for the tests of destinations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from consentry.core.event import PREFERENCE_UPDATE
from consentry.destinations.message import Message

NOON = datetime(2026, 11, 5, 12, tzinfo=UTC)


def at(seconds: float) -> str:
    """RFC 3339, so many seconds after noon."""
    moment = NOON + timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def track(
    message_id: str,
    *,
    made: float = 0,
    received: float | None = None,
    anonymous_id: str | None = "device-1",
    user_id: str | None = None,
    event: str = "Order Completed",
    **members: Any,
) -> Message:
    """A track event; ``made`` and ``received`` are seconds after noon."""
    received = made if received is None else received
    ids = {"anonymousId": anonymous_id, "userId": user_id}
    body = {
        "type": "track",
        "messageId": message_id,
        "event": event,
        "timestamp": at(made),
        **{name: value for name, value in ids.items() if value is not None},
        **members,
    }
    return Message(
        message_id=message_id,
        type="track",
        anonymous_id=anonymous_id,
        user_id=user_id,
        timestamp=at(made),
        received_at=at(received),
        body=body,
        consent={"analytics": True, "advertising": False},
    )


def choice(message_id: str, preferences: dict[str, bool], **members: Any) -> Message:
    """A preference update."""
    context = {"consent": {"categoryPreferences": preferences}}
    return track(message_id, event=PREFERENCE_UPDATE, context=context, **members)
