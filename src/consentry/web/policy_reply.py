"""The shape of a workspace's policy document, as JSON Schema."""

from __future__ import annotations

from typing import Any

from consentry.web.shapes import FLAG as _FLAG
from consentry.web.shapes import MAYBE as _MAYBE
from consentry.web.shapes import TEXT as _TEXT
from consentry.web.shapes import listed as _list
from consentry.web.shapes import mapped as _map
from consentry.web.shapes import shaped as _object

_DAYS = {"type": ["integer", "null"], "minimum": 0}
_REGIME = {"enum": ["opt_in", "opt_out", "notice"]}
_ASKED_FOR = _object(
    {
        "id": _TEXT,
        "name": _TEXT,
        "description": _TEXT,
        "essential": _FLAG,
        "regime": _REGIME,
        "default": _FLAG,
        "prohibited": _FLAG,
        "gpc": _FLAG,
        "destinations": _list(_TEXT),
        "tags": _list(_TEXT),
        "since": _MAYBE,
    }
)
_TAG = _object(
    {
        "name": _TEXT,
        "categories": _list(_TEXT),
        "hosts": _list(_TEXT),
        "cookies": _list(_TEXT),
        "revoke": _FLAG,
        "stop": _MAYBE,
        "mode": {"enum": ["basic", "advanced"]},
    }
)
_LAW = _object({"law": _TEXT, "section": _TEXT, "url": _TEXT}, {"until": _TEXT})
_NOTICE = _object(
    {
        "id": _TEXT,
        "version": _TEXT,
        "hash": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "layout": {"enum": ["bar", "box", "modal"]},
        "theme": {"enum": ["auto", "light", "dark"]},
        "privacyUrl": _MAYBE,
        "controller": _TEXT,
        "changed": _list(_TEXT),
    }
)
_SENT: dict[str, Any] = {"id": _TEXT, "name": _TEXT, "channels": _list(_TEXT)}
POLICY = _object(
    {
        "regime": _REGIME,
        "jurisdiction": _MAYBE,
        "ruleVersion": _TEXT,
        "rule": {"oneOf": [{"type": "null"}, _LAW]},
        "notice": _NOTICE,
        "language": _TEXT,
        "direction": {"enum": ["ltr", "rtl"]},
        "languages": _list(_TEXT),
        "texts": _map(_TEXT),
        "ask": _object(
            {
                "required": _FLAG,
                "grantDays": _DAYS,
                "refusalDays": _DAYS,
                "againAfterDays": _DAYS,
            }
        ),
        "categories": _list(_ASKED_FOR),
        "topics": _list(_object(_SENT)),
        "transactional": _list(_object({**_SENT, "why": _TEXT})),
        "gpc": _object({"covers": _list(_TEXT), "honoured": _FLAG, "show": _FLAG}),
        "tags": _list(_TAG),
        "cookie": _object({"domain": _MAYBE, "days": {"type": "number"}}),
        "pagePolicy": {"type": "boolean"},
    }
)
