"""OpenAPI 3.1, made from the types that bodies are read with and the handlers' own docstrings."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from starlette.requests import Request

from consentry import __version__
from consentry.core.event import LONGEST_ID, LONGEST_MESSAGE_ID, TYPES
from consentry.core.leak import MOST_REPORTS
from consentry.web import bodies
from consentry.web.call import Answer
from consentry.web.cookies import Refused
from consentry.web.pages import described
from consentry.web.problems import LONGEST_NUMBER, json_response
from consentry.web.replies import REPLIES
from consentry.web.reports import HeldBack
from consentry.web.site import Site

_BODIES: dict[str, type[bodies.Body]] = {
    "/v1/consent": bodies.Consent,
    "/v1/consent/withdraw": bodies.Withdraw,
    "/v1/decisions": bodies.Decisions,
    "/v1/subjects/lookup": bodies.Lookup,
    "/v1/subjects/suppress": bodies.Suppress,
    "/v1/subjects/unsuppress": bodies.Suppress,
    "/v1/subjects/export": bodies.Suppress,
    "/v1/subjects/erase": bodies.Suppress,
    "/v1/notices/noted": bodies.Noted,
    "/v1/imports": bodies.Imports,
    "/v1/deliveries/retry": bodies.Which,
    "/v1/dead-letters/replay": bodies.Which,
    "/v1/propagation/lookup": bodies.OrdersOf,
    "/v1/propagation/retry": bodies.WhichOrders,
    "/v1/propagation/drop": bodies.Dropped,
    "/v1/csp-reports": HeldBack,
    "/v1/consent/cookies": Refused,
    "/v1/links": bodies.LinkFor,
    "/v1/forms": bodies.Form,
}
_REF = "#/components/schemas/{name}"
_ERRORS = ("400", "401", "403", "404", "405", "408", "409", "413", "429", "500", "503")
_TEXT = {"/metrics", "/v1/ledger/checkpoint", "/v1/ledger/key", "/v1/notices/{digest}"}
_LINES = {"/v1/tail", "/v1/ledger", "/v1/subjects/export"}
_EVENTS = {"/v1/stream"}
_POLICY = "/v1/projects/{write_key}/policy"
_SCRIPTS = {"/sdk/{file}"}
_ONCE = {"/v1/consent", "/v1/consent/withdraw", "/v1/subjects/erase"}  # take an Idempotency-Key
_OPEN = {"/healthz", "/readyz", "/metrics", "/openapi.json", "/.well-known/gpc.json"}
_INBOUND = "/v1/inbound/{destination}"  # proven by the vendor's signature, not by a key
_OPEN |= {*_SCRIPTS, *described.OPEN, _INBOUND}
_NUMBER = {"type": "string", "pattern": f"^[0-9]{{1,{LONGEST_NUMBER}}}$"}
_PLACE = {"type": "string", "pattern": f"^[^:]+:[0-9]{{1,{LONGEST_NUMBER}}}$"}
_NAME = {"type": "string"}
_BY = "(day|region|version|language)"
_QUERY: dict[str, dict[str, Any]] = {
    "/v1/subjects/{subject}": {"history": {"enum": ["true", "false"]}, "cursor": _NUMBER},
    "/v1/suppressions": {"cursor": _NUMBER},
    "/v1/deliveries": {
        "destination": _NAME,
        "state": {"enum": ["waiting", "dead"]},
        "cursor": _PLACE,
    },
    "/v1/dead-letters": {"destination": _NAME, "cursor": _PLACE},
    "/v1/propagation/orders": {
        "subject": {"type": "string", "pattern": "^(user_id|anonymous_id):.+$"},
        "destination": _NAME,
        "state": {"enum": ["waiting", "sending", "terminal", "superseded"]},
        "cursor": _NUMBER,
    },
    "/v1/propagation/drift": {"destination": _NAME},
    "/v1/ledger": {"first": _NUMBER},
    "/v1/csp-reports": {"key": _NAME},
    _POLICY: {"language": _NAME},
    "/v1/choices": {
        "since": {"type": "string", "format": "date"},
        "by": {"type": "string", "pattern": f"^{_BY}(,{_BY})*$"},
    },
    "/v1/leaks": {"since": {"type": "string", "format": "date-time"}},
}

# What an answer leads to: the operation, and what it is asked with.
_SAME_SUBJECT = {"subject": "$request.body#/subject", "history": True}
_LOOKUP = {"operationId": "post_v1_subjects_lookup", "requestBody": _SAME_SUBJECT}
_SUPPRESSIONS = {"operationId": "get_v1_suppressions"}
_EVENT = {
    "operationId": "get_v1_events_{message_id}",
    "parameters": {"message_id": "$request.body#/messageId"},
}
_EVENT_OF_BATCH = {
    "operationId": "get_v1_events_{message_id}",
    "parameters": {"message_id": "$request.body#/batch/0/messageId"},
}
_LINKS: dict[str, dict[str, Any]] = {
    "/v1/consent": {"subject": _LOOKUP, "ledger": {"operationId": "get_v1_ledger_checkpoint"}},
    "/v1/consent/withdraw": {"subject": _LOOKUP},
    "/v1/subjects/suppress": {
        "subject": _LOOKUP,
        "suppressions": _SUPPRESSIONS,
        "unsuppress": {
            "operationId": "post_v1_subjects_unsuppress",
            "requestBody": {"subject": "$request.body#/subject"},
        },
    },
    "/v1/subjects/unsuppress": {"subject": _LOOKUP, "suppressions": _SUPPRESSIONS},
    "/v1/subjects/erase": {
        "erasure": {
            "operationId": "get_v1_erasures_{erasure_id}",
            "parameters": {"erasure_id": "$response.body#/erasureId"},
        }
    },
    "/v1/batch": {"event": _EVENT_OF_BATCH},
    **{f"/v1/{name}": {"event": _EVENT} for name in sorted(TYPES)},
}


async def document(site: Site, request: Request) -> Answer:
    """GET /openapi.json."""
    return json_response(describe(), headers={"Cache-Control": "public, max-age=300"})


@cache
def describe() -> dict[str, Any]:
    """The document. Every route of the table is in it."""
    from consentry.web.app import COLD, HOT

    types = [*dict.fromkeys(_BODIES.values()), bodies.Imported]
    _, components = msgspec.json.schema_components(types, ref_template=_REF)
    # At least one identifier; msgspec's types cannot say that.
    components["Subject"]["anyOf"] = [
        {"required": [name], "properties": {name: {"type": "string"}}}
        for name in components["Subject"]["properties"]
    ]
    components = {**components, **_tracking(), **REPLIES}
    paths: dict[str, Any] = {}
    routes = [(m, p, h) for (m, p), h in HOT.items()]
    for method, path, handler in (*routes, *COLD):
        path = path.replace(":path}", "}")
        paths.setdefault(path, {})[method.lower()] = _operation(method, path, handler)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Consentry",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _operation(method: str, path: str, handler: Any) -> dict[str, Any]:
    text = (handler.__doc__ or "A tracking call.").strip().splitlines()[0]
    operation: dict[str, Any] = {
        "summary": text,
        "operationId": f"{method.lower()}_{path.strip('/').replace('/', '_')}",
        "responses": _responses(path),
    }
    parameters = _parameters(path)
    if parameters:
        operation["parameters"] = parameters
    body = _body(method, path)
    if body is not None:
        # What the SDK counts is not read, so anything will do.
        operation["requestBody"] = {"required": path != "/v1/m", "content": body}
    if path not in _OPEN:
        operation["security"] = [{"basic": []}, {"bearer": []}]
    return operation


def _parameters(path: str) -> list[dict[str, Any]]:
    found = [
        {
            "name": part[1:-1],
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1},
        }
        for part in path.split("/")
        if part.startswith("{")
    ]
    found += [
        {"name": name, "in": "query", "schema": schema}
        for name, schema in _QUERY.get(path, {}).items()
    ]
    found += described.parameters(path)
    if path in _ONCE:
        key = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"}
        found.append({"name": "Idempotency-Key", "in": "header", "schema": key})
    if path == "/v1/consent":
        moment = {"type": "string", "format": "date-time"}
        found.append({"name": "Consentry-Sent-At", "in": "header", "schema": moment})
    if path in _EVENTS:
        found.append({"name": "Consentry-Anonymous-Id", "in": "header", "schema": _NAME})
    return found


def _body(method: str, path: str) -> dict[str, Any] | None:
    if method != "POST":
        return None
    if path in described.PAGES or path == described.FORMS:
        return described.body(path)
    if path == "/v1/csp-reports":
        return {
            **_reports(),
            "application/json": {"schema": {"$ref": _REF.format(name="HeldBack")}},
        }
    if path in _BODIES:
        schema: dict[str, Any] = {"$ref": _REF.format(name=_BODIES[path].__name__)}
        return {"application/json": {"schema": schema}}
    if path == _INBOUND:  # whatever the vendor sends
        return {"application/json": {"schema": {}}, "application/x-www-form-urlencoded": {}}
    name = "Batch" if path in ("/v1/batch", "/v1/import", "/v1/b") else "Message"
    if path == "/v1/m":
        name = "Metrics"
    schema = {"$ref": _REF.format(name=name)}
    return {"application/json": {"schema": schema}}


def _reports() -> dict[str, Any]:
    """What browsers send (CSP 3, 5): of a report only some members are read."""
    old: dict[str, Any] = {"type": "object", "required": ["csp-report"]}
    old["properties"] = {"csp-report": {"type": "object"}}
    new = {"type": "array", "items": {"type": "object"}, "maxItems": MOST_REPORTS}
    return {
        "application/csp-report": {"schema": old},
        "application/reports+json": {"schema": new},
    }


def _responses(path: str) -> dict[str, Any]:
    if path in described.OPEN or path == described.FORMS:
        return described.responses(path)
    good: dict[str, Any] = {"description": "Done."}
    if path in _TEXT:
        good["content"] = {"text/plain": {"schema": {"type": "string"}}}
    elif path in _SCRIPTS:
        good["content"] = {
            kind: {"schema": {"type": "string"}} for kind in ("text/javascript", "text/css")
        } | _json({"type": "object"})
    elif path in _EVENTS:
        good["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    elif path in _LINES:
        good["content"] = {"application/x-ndjson": {"schema": {"type": "string"}}}
    else:
        good["content"] = _json(_reply(path))
    if path in _LINKS:
        good["links"] = _LINKS[path]
    responses = {"200": good}
    if path in ("/v1/consent", "/v1/consent/withdraw"):
        responses["201"] = {**good, "description": "Recorded. 200 is the same reply again."}
    if path == "/v1/subjects/erase":
        responses["202"] = {**responses.pop("200"), "description": "Recorded, and owed to others."}
    error = {"description": "Refused.", "content": _json({"$ref": _REF.format(name="Error")})}
    responses.update(dict.fromkeys(_ERRORS, error))
    if path == _POLICY:
        responses["304"] = {"description": "The document that the caller has still holds."}
    if path == "/readyz":
        responses["503"] = {"description": "Not enforcing.", "content": _json(_reply(path))}
    return responses


def _reply(path: str) -> dict[str, Any]:
    names = {
        "/v1/consent": "ChoiceReply",
        "/v1/consent/withdraw": "ChoiceReply",
        "/v1/decisions": "DecisionsReply",
        "/v1/subjects/{subject}": "SubjectReply",
        "/v1/subjects/lookup": "SubjectReply",
        "/v1/subjects/suppress": "SuppressReply",
        "/v1/subjects/unsuppress": "SuppressReply",
        "/v1/subjects/erase": "EraseReply",
        "/v1/erasures/{erasure_id}": "ErasureReply",
        "/v1/events/{message_id}": "EventReply",
        "/v1/suppressions": "SuppressionsReply",
        "/v1/imports": "ImportsReply",
        "/v1/destinations": "DestinationsReply",
        "/v1/deliveries": "DeliveriesReply",
        "/v1/deliveries/retry": "RetryReply",
        "/v1/propagation/orders": "OrdersReply",
        "/v1/propagation/lookup": "OrdersReply",
        "/v1/propagation/status": "PropagationReply",
        "/v1/propagation/drift": "DriftReply",
        "/v1/propagation/retry": "OrdersRetriedReply",
        "/v1/propagation/drop": "OrdersDroppedReply",
        _INBOUND: "InboundReply",
        "/v1/dead-letters": "DeadLettersReply",
        "/v1/dead-letters/replay": "ReplayReply",
        "/v1/projects/{write_key}/settings": "SettingsReply",
        _POLICY: "PolicyReply",
        "/v1/choices": "ChoicesReply",
        "/v1/csp-reports": "ReportsReply",
        "/v1/consent/cookies": "CookiesReply",
        "/v1/leaks": "LeaksReply",
        "/v1/links": "LinksReply",
        "/healthz": "Alive",
        "/readyz": "Ready",
    }
    if path in names:
        return {"$ref": _REF.format(name=names[path])}
    if path.count("/") == 2 and path.startswith("/v1/") and path not in _LINES:
        return {"$ref": _REF.format(name="Taken")}  # the tracking API
    return {"type": "object"}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _tracking() -> dict[str, Any]:
    """Messages are free in their properties, so they are described by hand."""
    identifier = {"type": ["string", "null"], "maxLength": LONGEST_ID}
    message = {
        "type": "object",
        "description": "Segment's common fields; anonymousId or userId is needed.",
        "properties": {
            "type": {"enum": sorted(TYPES)},
            "messageId": {"type": ["string", "null"], "maxLength": LONGEST_MESSAGE_ID},
            "anonymousId": identifier,
            "userId": identifier,
            "previousId": identifier,
            "groupId": identifier,
            "event": {"type": "string"},
            "name": {"type": ["string", "null"]},
            "timestamp": {"type": ["string", "null"], "format": "date-time"},
            "sentAt": {"type": ["string", "null"], "format": "date-time"},
            "context": {"type": "object"},
            "integrations": {"type": "object"},
            "traits": {"type": ["object", "null"]},
            "properties": {"type": ["object", "null"]},
            "writeKey": {"type": "string"},
        },
        "anyOf": [{"required": ["anonymousId"]}, {"required": ["userId"]}],
    }
    return {
        "Message": message,
        "Batch": {
            "type": "object",
            "required": ["batch"],
            "properties": {
                "batch": {"type": "array", "items": {"$ref": _REF.format(name="Message")}},
                "sentAt": {"type": ["string", "null"], "format": "date-time"},
                "context": {"type": ["object", "null"]},
                "integrations": {"type": ["object", "null"]},
                "writeKey": {"type": "string"},
            },
        },
        "Metrics": {"type": "object", "properties": {"series": {"type": "array"}}},
    }
