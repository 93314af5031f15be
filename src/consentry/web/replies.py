"""The shapes of answers, as JSON Schema for the OpenAPI document."""

from __future__ import annotations

from typing import Any

_TEXT = {"type": "string"}
_MAYBE = {"type": ["string", "null"]}
_FLAG = {"type": "boolean"}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
    }


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _map(values: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": values}


_WHY = {
    "enum": [
        None,
        "denied",
        "never_collected",
        "missing",
        "conflict",
        "stale",
        "expired",
        "signal",
        "unverified",
        "prohibited",
    ]
}
_PREFERENCE = _object(
    {
        "state": {"enum": ["granted", "denied", "never_collected", "conflict"]},
        "effective": {"enum": ["granted", "denied"]},
        "why": _WHY,
        "at": _MAYBE,
        "recordId": _MAYBE,
    }
)
_PREFERENCES = _map(_PREFERENCE)
_REASON = {
    "enum": [
        "suppressed",
        "destination_disabled",
        "preference_update",
        "integrations_object",
        "exempt",
        "unmapped",
        "prohibited",
        "consented",
        "filtered_by_end_user_consent",
    ]
}
_VERDICT = _object({"id": _TEXT, "effective": {"enum": ["granted", "denied"]}, "why": _WHY})
_DECISION = _object(
    {
        "decision": {"enum": ["allow", "withhold"]},
        "reason": _REASON,
        "categories": _list(_VERDICT),
        "grounds": _list({"type": "object"}),
    },
    {"destination": _TEXT, "topic": _TEXT, "channel": _TEXT},
)
_ATTEMPT = _object(
    {
        "startedAt": _TEXT,
        "endedAt": _TEXT,
        "grade": _TEXT,
        "status": {"type": ["integer", "null"]},
        "crossed": _FLAG,
        "requestDigest": _MAYBE,
        "responseDigest": _MAYBE,
    }
)
_RECORD = _object(
    {
        "recordId": _TEXT,
        "seq": {"type": "integer"},
        "type": _TEXT,
        "claimedAt": _MAYBE,
        "madeAt": _MAYBE,
        "receivedAt": _TEXT,
        "source": _TEXT,
        "before": _map(_TEXT),
        "after": _map(_TEXT),
        "evidence": {"type": "object"},
        "leafIndex": {"type": "integer"},
    }
)
_ERROR = _object({"code": _TEXT, "message": _TEXT}, {"field": _TEXT})

REPLIES: dict[str, Any] = {
    "Error": _ERROR,
    "Ready": _object({"ready": _FLAG, "enforcing": _FLAG}),
    "Taken": _object(
        {"success": {"const": True}},
        {
            "rejected": _list(
                _object(
                    {
                        "index": {"type": "integer"},
                        "messageId": _MAYBE,
                        "code": _TEXT,
                        "message": _TEXT,
                    }
                )
            )
        },
    ),
    "ChoiceReply": _object(
        {
            "recordId": _TEXT,
            "seq": {"type": "integer"},
            "receivedAt": _TEXT,
            "preferences": _PREFERENCES,
            "unverified": _list(_TEXT),
            "orders": _list(_TEXT),
        }
    ),
    "SubjectReply": _object(
        {
            "subject": _object({"anonymousIds": _list(_TEXT), "userId": _MAYBE}),
            "preferences": _PREFERENCES,
            "topics": _map(_PREFERENCES),
            "signals": {"type": "object"},
            "suppressed": _FLAG,
        },
        {"history": _list(_RECORD), "next": _MAYBE},
    ),
    "SuppressReply": _object({"recordId": _TEXT, "suppressed": _FLAG}),
    "DecisionsReply": _object(
        {
            "decidedAt": _TEXT,
            "policyVersion": _TEXT,
            "items": _list(
                _object({"id": _TEXT}, {"decisions": _list(_DECISION), "error": _ERROR})
            ),
        }
    ),
    "EventReply": _object(
        {
            "messageId": _TEXT,
            "receivedAt": _TEXT,
            "deliveries": _list(
                _object(
                    {
                        "destination": _TEXT,
                        "state": {"enum": ["waiting", "delivered", "withheld", "dead"]},
                        "attempts": _list(_ATTEMPT),
                    }
                )
            ),
        }
    ),
}
