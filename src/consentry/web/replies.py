"""The shapes of answers, as JSON Schema for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from consentry.web.policy_reply import POLICY
from consentry.web.shapes import FLAG as _FLAG
from consentry.web.shapes import MAYBE as _MAYBE
from consentry.web.shapes import TEXT as _TEXT
from consentry.web.shapes import listed as _list
from consentry.web.shapes import mapped as _map
from consentry.web.shapes import shaped as _object

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
_TOPICS = _map(
    _map({**_PREFERENCE, "properties": {**_PREFERENCE["properties"], "transactional": _TEXT}})
)
_CHANNELS = _map(
    _object(
        {
            "state": {"enum": ["denied", "never_collected", "conflict"]},
            "at": _MAYBE,
            "recordId": _MAYBE,
        }
    )
)
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
_RULE = _object(
    {
        "id": _TEXT,
        "version": _TEXT,
        "name": _TEXT,
        "rows": _list(_TEXT),
        "laws": _list(_object({"law": _TEXT, "section": _TEXT, "url": _TEXT})),
    }
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
_ORDER = _object(
    {
        "orderId": _TEXT,
        "recordId": _TEXT,
        "destination": _TEXT,
        "verb": {"enum": ["gate", "suppress", "erase", "grant"]},
        "state": {"enum": ["waiting", "sending", "terminal", "superseded"]},
        "grade": _MAYBE,
        "detail": _TEXT,
        "why": _MAYBE,
        "topics": _list(_object({"topic": _TEXT, "channel": _TEXT})),
        "acknowledgedAt": _TEXT,
        "firstAttemptAt": _MAYBE,
        "nextAt": _MAYBE,
        "terminalAt": _MAYBE,
        "supersededBy": _MAYBE,
        "drift": _FLAG,
        "attempts": _list(_ATTEMPT),
    }
)
_SYSTEM = _object(
    {
        "destination": _TEXT,
        "kind": _MAYBE,
        "verb": {"enum": ["gate", "suppress", "erase"]},
        "erases": _FLAG,
        "cannot": _MAYBE,
        "state": {"enum": ["waiting", "sending", "terminal", "superseded"]},
        "grade": _MAYBE,
        "detail": _TEXT,
        "terminalAt": _MAYBE,
        "orders": _list(_TEXT),
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

_COUNT = {"type": "integer", "minimum": 0}
_PAUSE = {"oneOf": [{"type": "null"}, _object({"reason": _TEXT, "since": _TEXT})]}
_DESTINATION = _object(
    {
        "name": _TEXT,
        "kind": _TEXT,
        "categories": _list(_TEXT),
        "match": {"enum": ["all", "any"]},
        "enabled": _FLAG,
        "exempt": _MAYBE,
        "shareConsent": _FLAG,
        "shadow": _FLAG,
        "paused": _PAUSE,
        "waiting": _COUNT,
        "dead": _COUNT,
        "lag": _COUNT,
        "oldestSeconds": {"type": "number", "minimum": 0},
        "proves": _MAYBE,
        "verbs": _list(_TEXT),
    }
)
_ROW = _object(
    {
        "destination": _TEXT,
        "position": _COUNT,
        "messageId": _MAYBE,
        "state": {"enum": ["waiting", "dead"]},
        "attempts": _COUNT,
        "firstAt": _TEXT,
        "nextAt": _MAYBE,
        "grade": _MAYBE,
        "detail": _TEXT,
    }
)
_LEAK = _object(
    {
        "source": _TEXT,
        "host": _TEXT,
        "kind": _TEXT,
        "page": _TEXT,
        "via": {"enum": ["csp", "guard"]},
        "stopped": _FLAG,
        "count": _COUNT,
        "firstAt": _TEXT,
        "lastAt": _TEXT,
        "tags": _list(_TEXT),
        "categories": _list(_TEXT),
    }
)
_SUBJECT = _map(_TEXT)

_COUNTED = ("shown", "closed", "accepted", "refused", "chosen", "changed")

REPLIES: dict[str, Any] = {
    "PolicyReply": POLICY,
    "ChoicesReply": _object(
        {
            "since": _TEXT,
            "by": _list({"enum": ["day", "region", "version", "language"]}),
            "rows": _list(_object(dict.fromkeys(_COUNTED, _COUNT))),
        }
    ),
    "Alive": _object({"status": {"const": "ok"}}),
    "SuppressionsReply": _object(
        {
            "suppressions": _list(
                _object({"subject": _SUBJECT, "since": _TEXT, "recordId": _TEXT})
            ),
            "next": _MAYBE,
        }
    ),
    "CookiesReply": _object({"expired": _list(_TEXT)}),
    "ImportsReply": _object(
        {
            "recorded": _COUNT,
            "repeated": _COUNT,
            "withheld": _COUNT,
            "rejected": _list(_object({"index": _COUNT, "code": _TEXT, "message": _TEXT})),
        }
    ),
    "DestinationsReply": _object({"destinations": _list(_DESTINATION)}),
    "DeliveriesReply": _object({"deliveries": _list(_ROW), "next": _MAYBE}),
    "DeadLettersReply": _object({"deadLetters": _list(_ROW), "next": _MAYBE}),
    "RetryReply": _object({"retried": _COUNT, "resumed": _list(_TEXT)}),
    "ReplayReply": _object({"replayed": _COUNT}),
    "ReportsReply": _object({"counted": _COUNT, "ignored": _COUNT}),
    "LeaksReply": _object({"leaks": _list(_LEAK)}),
    "SettingsReply": _object(
        {
            "integrations": {"type": "object"},
            "plan": {"type": "object"},
            "consentSettings": _object(
                {"allCategories": _list(_TEXT), "hasUnmappedDestinations": {"const": True}}
            ),
            "metrics": {"type": "object"},
        }
    ),
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
                    },
                    {"field": _TEXT},
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
            "unknown": _list(_TEXT),
            "orders": _list(_TEXT),
        },
        {"topics": _TOPICS, "channels": _CHANNELS},
    ),
    "SubjectReply": _object(
        {
            "subject": _object({"anonymousIds": _list(_TEXT), "userId": _MAYBE}),
            "preferences": _PREFERENCES,
            "topics": _TOPICS,
            "channels": _CHANNELS,
            "signals": {"type": "object"},
            "suppressed": _FLAG,
        },
        {"history": _list(_RECORD), "next": _MAYBE},
    ),
    "LinksReply": _object({"url": _TEXT, "expiresAt": _TEXT}, {"headers": _map(_TEXT)}),
    "SuppressReply": _object({"recordId": _TEXT, "suppressed": _FLAG, "orders": _list(_TEXT)}),
    "EraseReply": _object({"erasureId": _TEXT, "orders": _list(_TEXT), "shared": _COUNT}),
    "ErasureReply": _object(
        {
            "erasureId": _TEXT,
            "receivedAt": _TEXT,
            "ours": {"enum": ["erasing", "owed", "erased"]},
            "open": _COUNT,
            "failed": _COUNT,
            "systems": _list(_SYSTEM),
        }
    ),
    "OrdersReply": _object({"orders": _list(_ORDER), "next": _MAYBE}),
    "DriftReply": _object({"drift": _list(_ORDER)}),
    "InboundReply": _object({}, {"taken": _COUNT, "status": _TEXT}),
    "OrdersRetriedReply": _object({"retried": _COUNT}),
    "OrdersDroppedReply": _object({"dropped": _COUNT}),
    "PropagationReply": _object(
        {
            "destinations": _list(
                _object(
                    {
                        "name": _TEXT,
                        "kind": _MAYBE,
                        "removed": _FLAG,
                        "paused": _FLAG,
                        "open": _COUNT,
                        "overdue": _COUNT,
                        "drift": _COUNT,
                        "oldestSeconds": {"type": "number"},
                    }
                )
            )
        }
    ),
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
            "place": _MAYBE,
            "rule": {"oneOf": [{"type": "null"}, _RULE]},
            "deliveries": _list(
                _object(
                    {
                        "destination": _TEXT,
                        "state": {"enum": ["waiting", "delivered", "withheld", "dead"]},
                        "decision": {"oneOf": [{"type": "null"}, _DECISION]},
                        "attempts": _list(_ATTEMPT),
                    }
                )
            ),
        }
    ),
}
