"""What a destination is told of an event."""

from __future__ import annotations

from typing import Any

from consentry.core.event import Event, delivered_body


def told(event: Event) -> dict[str, Any]:
    """What a destination is told of it."""
    return delivered_body(
        event.message,
        event.type,
        event.message_id,
        received_at=event.received_at,
        corrected_at=event.corrected_at,
        sent_at=event.sent_at,
        stamp=event.stamp,
        integrations=event.integrations,
    )
