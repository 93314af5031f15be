"""Meta: the Conversions API's events, and the users of audiences.

Contract: Segment's action-destinations (facebook-conversions-api, facebook-custom-audiences),
facebook-python-business-sdk. Meta states its errors in ``error.code``; a wrong token and too many
calls are a 400.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from consentry.standin.control import Ids, Mode
from consentry.standin.vendor import UNREADABLE, Call, Persons, Reply

MAX_EVENTS: Final = 1_000
MAX_ROWS: Final = 10_000
MAX_AGE_S: Final = 7 * 24 * 3600
SOURCES: Final = frozenset(
    {"email", "website", "app", "phone_call", "chat", "physical_store", "system_generated"}
    | {"business_messaging", "other"}
)
_VERSION: Final = re.compile(r"v[0-9]+\.[0-9]+")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_HASHED: Final = ("em", "ph", "external_id")


class Meta:
    """The Meta stand-in. A person's key is the hash of their address, else of another id."""

    name = "meta"
    notes: Mapping[str, str] = {
        "noop": "Events: events_received 0. Audiences: every row is invalid.",
        "partial": "Events: one less than was sent is received, and taken over."
        " Audiences: the last row is invalid.",
        "401": "HTTP 400 with code 190.",
        "429": "HTTP 400 with code 80003.",
    }

    def __init__(self) -> None:
        self.persons = Persons()
        self._numbers = itertools.count(1)

    def split(self, tail: str) -> tuple[str, str]:
        """The instance and the path below it, which begins with a version."""
        first, _, rest = tail.lstrip("/").partition("/")
        if _VERSION.fullmatch(first) or not rest:
            return "", tail
        return first, "/" + rest

    def ids(self, call: Call) -> Ids:
        """Event ids, and the first hash of each person."""
        ids = Ids()
        for event in _events(call.body):
            ids.add(message=event.get("event_id"), user=_key(event.get("user_data")))
        for row in _rows(call.body) or ():
            ids.add(user=[value for value in row if value])
        return ids

    def refuse(self, call: Call, status: int) -> Reply:
        """An error in the form of the Graph API."""
        if status == 401:
            return self._error(400, 190, "Invalid OAuth 2.0 Access Token")
        if status == 429:
            return self._error(400, 80003, "There have been too many calls to this ad-account.")
        return self._error(500, 2, "An unexpected error has occurred.", is_transient=True)

    def answer(self, call: Call) -> Reply:
        """Answer events, or users of an audience."""
        version, _, path = call.path.strip("/").partition("/")
        node, _, edge = path.partition("/")
        if not _VERSION.fullmatch(version) or not node:
            return self._error(400, 2500, "Unknown path components")
        if not call.bearer() and not call.query.get("access_token"):
            return self._error(400, 190, "An access token is required")
        if call.body is UNREADABLE or not isinstance(call.body, dict):
            return self._error(400, 100, "Invalid parameter")
        if edge == "events" and call.method == "POST":
            return self._events(call)
        wanted = "usersofanyaudience" if node.startswith("act_") else "users"
        if edge == wanted and call.method in ("POST", "DELETE"):
            return self._users(call, node)
        return self._error(400, 100, "Unsupported request")

    def _events(self, call: Call) -> Reply:
        events = call.body.get("data")
        if not isinstance(events, list) or not 1 <= len(events) <= MAX_EVENTS:
            return self._error(400, 100, "data must hold 1 to 1000 events")
        for place, event in enumerate(events):
            if fault := _fault(call, event):
                return self._error(400, 100, f"data[{place}]: {fault}", error_subcode=2804003)
        taken = len(events) - (call.mode is Mode.PARTIAL) if call.applies else 0
        for event in events[:taken]:
            told = {"type": "track", "event": event["event_name"]}
            name = event.get("event_id")
            named = f"{event['event_name']} {name}" if name else None
            self.persons.keep(call, named, told, user=_key(event["user_data"]), device=None)
        trace = {"messages": [], "fbtrace_id": f"trace-{next(self._numbers)}"}
        return Reply.json(200, {"events_received": taken, **trace})

    def _users(self, call: Call, node: str) -> Reply:
        rows, schema = _rows(call.body), _schema(call.body)
        if rows is None or schema is None or not 1 <= len(rows) <= MAX_ROWS:
            return self._error(400, 100, "payload must hold a schema and 1 to 10000 rows of it")
        for row in rows:
            for name, value in zip(schema, row, strict=True):
                if name != "EXTERN_ID" and value and not _HASH.fullmatch(value):
                    return self._error(400, 100, f"{name} must be a SHA-256 in hex, or empty")
        invalid = sum(not any(row) for row in rows)
        if call.mode is Mode.NOOP:
            invalid = len(rows)
        elif call.mode is Mode.PARTIAL:
            invalid = max(invalid, 1)
        if call.applies:
            for value in itertools.chain(*rows[: len(rows) - (call.mode is Mode.PARTIAL)]):
                if value and (person := self.persons.known(call.instance, value)):
                    person.suppressed = call.method == "DELETE"
        told = {"num_received": len(rows), "num_invalid_entries": invalid}
        samples: dict[str, str] = {}
        return Reply.json(
            200,
            {"audience_id": node, "session_id": str(next(self._numbers)), **told}
            | {"invalid_entry_samples": samples},
        )

    def _error(self, status: int, code: int, message: str, **more: Any) -> Reply:
        error = {"message": message, "type": "OAuthException", "code": code, **more}
        error["fbtrace_id"] = f"trace-{next(self._numbers)}"
        return Reply.json(status, {"error": error})


def _events(body: object) -> Iterator[dict[str, Any]]:
    events = body.get("data") if isinstance(body, dict) else None
    for event in events if isinstance(events, list) else []:
        if isinstance(event, dict):
            yield event


def _payload(body: object) -> dict[str, Any]:
    payload = body.get("payload") if isinstance(body, dict) else None
    return payload if isinstance(payload, dict) else {}


def _schema(body: object) -> list[str] | None:
    schema = _payload(body).get("schema")
    several = schema if isinstance(schema, list) else [schema]
    names = [name for name in several if isinstance(name, str)]
    return names if len(names) == len(several) else None


def _rows(body: object) -> list[list[str]] | None:
    rows, schema = _payload(body).get("data"), _schema(body)
    if not isinstance(rows, list) or schema is None:
        return None
    for row in rows:
        if not isinstance(row, list) or len(row) != len(schema):
            return None
        if not all(isinstance(value, str) for value in row):
            return None
    return rows


def _key(user: object) -> str | None:
    """The hash that stands for a person: of the address, else of what else there is."""
    if not isinstance(user, dict):
        return None
    for name in (*_HASHED, "fbp", "fbc", "client_ip_address"):
        value = user.get(name)
        first = value[0] if isinstance(value, list) and value else value
        if isinstance(first, str) and first:
            return first
    return None


def _fault(call: Call, event: object) -> str | None:
    """Why an event fails its request, or None."""
    if not isinstance(event, dict) or not isinstance(event.get("event_name"), str):
        return "event_name is required"
    time = event.get("event_time")
    if isinstance(time, bool) or not isinstance(time, int):
        return "event_time must be whole seconds"
    if call.moment.unix_s - time > MAX_AGE_S:
        return "event_time is older than seven days"
    user = event.get("user_data")
    if _key(user) is None:
        return "user_data must name a person"
    for name in _HASHED:
        for value in user.get(name, []) if isinstance(user, dict) else []:
            if not isinstance(value, str) or not _HASH.fullmatch(value):
                return f"user_data.{name} must be hashed"
    if str(event.get("action_source")) not in SOURCES:
        return "action_source is required"
    if event["action_source"] == "website" and not (
        isinstance(user, dict) and user.get("client_user_agent")
    ):
        return "a website event needs client_user_agent"
    return None
