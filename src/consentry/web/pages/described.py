"""What OpenAPI says of pages and forms: bodies are forms, answers are HTML."""

from __future__ import annotations

from typing import Any

from consentry.core.event import LONGEST_ID
from consentry.web.pages.fields import MULTIPART, URLENCODED

FORMS = "/v1/forms"
PAGES = frozenset({"/preferences", "/unsubscribe", "/confirm"})
STYLE = "/pages.css"
OPEN = frozenset({*PAGES, STYLE})
_TEXT = {"type": "string"}
_HTML = {"text/html": {"schema": _TEXT}}
_ERROR = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
_REFUSED = ("400", "403", "405", "408", "409", "410", "413", "429", "500", "503")
_LANGUAGE = {"name": "language", "in": "query", "schema": _TEXT}
_TOKEN = {"name": "t", "in": "query", "schema": _TEXT, "description": "what stands in a link"}
_SEEN = {"type": "string", "description": "the hash of what stood on the page"}

_FIELDS: dict[str, dict[str, Any]] = {
    "/preferences": {
        "do": {"enum": ["save", "withdraw", "request"]},
        "shown": {"type": "array", "items": _TEXT},
        "on": {"type": "array", "items": _TEXT},
        "was": {"type": "array", "items": _TEXT, "description": "which were on as it was shown"},
        "seen": _SEEN,
        "email": _TEXT,
        "proof": _TEXT,
        "lang": _TEXT,
    },
    "/unsubscribe": {
        "do": {"enum": ["all", "messages"]},
        "seen": _SEEN,
        "List-Unsubscribe": {"const": "One-Click", "description": "RFC 8058"},
        "lang": _TEXT,
    },
    "/confirm": {"do": {"const": "confirm"}, "seen": _SEEN, "lang": _TEXT},
    FORMS: {
        "writeKey": _TEXT,
        "email": {"type": "string", "maxLength": LONGEST_ID},
        "phone": {"type": "string", "maxLength": LONGEST_ID},
        "topic": {"type": "array", "items": _TEXT, "description": "news, or news:sms"},
        "form": {"type": "string", "maxLength": 100},
        "redirect": {"type": "string", "description": "on one of the source's origins"},
        "language": _TEXT,
        "noticeId": _TEXT,
        "noticeVersion": _TEXT,
        "noticeText": _TEXT,
        "page": _TEXT,
        "website": {"type": "string", "description": "hidden from people; leave it empty"},
    },
}


def parameters(path: str) -> list[dict[str, Any]]:
    """What a page's query may hold."""
    return [_TOKEN, _LANGUAGE] if path in PAGES else []


def body(path: str) -> dict[str, Any]:
    """A form, as browsers and mail programs send it."""
    schema = {"type": "object", "properties": _FIELDS[path]}
    kinds = {kind: {"schema": schema} for kind in (URLENCODED, MULTIPART)}
    if path == FORMS:
        return {"application/json": {"schema": {"$ref": "#/components/schemas/Form"}}, **kinds}
    return kinds


def responses(path: str) -> dict[str, Any]:
    """Refusals are pages too; what the route table refuses is JSON."""
    refused = {"description": "Refused.", "content": {**_HTML, **_ERROR}}
    if path == STYLE:
        good = {"description": "Done.", "content": {"text/css": {"schema": _TEXT}}}
        return {"200": good, "405": refused}
    found = dict.fromkeys(_REFUSED, refused)
    if path == FORMS:
        status = {"type": "object", "properties": {"status": {"const": "requested"}}}
        content = {"application/json": {"schema": status}, **_HTML}
        found["202"] = {"description": "Asked, if that may be.", "content": content}
        found["303"] = {"description": "Back to the site of the form."}
        found["401"] = refused
    else:
        found["200"] = {"description": "A page.", "content": _HTML}
    return found
