"""GA4's Measurement Protocol: collect, its validator, and user deletion.

Collect answers 204 to whatever it is sent; a malformed hit is thrown away in silence. Only
``/debug/mp/collect`` says what is wrong, and that one takes nothing over (docs: Measurement
Protocol reference and "Validate events"). Deletion: google.analytics.admin.v1alpha.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from consentry.standin.control import Ids
from consentry.standin.vendor import UNREADABLE, Call, Persons, Reply, split_before

MAX_BODY_BYTES: Final = 130 * 1024
MAX_EVENTS: Final = 25
MAX_PARAMS: Final = 25
MAX_PROPERTIES: Final = 25
MAX_NAME: Final = 40
MAX_VALUE: Final = 100
MAX_AGE_S: Final = 3 * 24 * 3600
_LONGER_VALUES: Final = {"page_location": 1000, "page_referrer": 420, "page_title": 300}
_ROOTS: Final = frozenset({"mp", "debug", "v1alpha", "v1beta"})
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_RESERVED_PREFIXES: Final = ("firebase_", "ga_", "google_")
_RESERVED_EVENTS: Final = frozenset({"session_start", "first_visit", "first_open", "error"})
_CONSENT: Final = frozenset({"ad_user_data", "ad_personalization"})
_DELETION: Final = re.compile(r"/v1(alpha|beta)/properties/\d+:submitUserDeletion")
_DELETION_IDS: Final = ("userId", "clientId", "appInstanceId", "userProvidedData")

Problem = dict[str, str]


class GA4:
    """The GA4 stand-in."""

    name = "ga4"
    notes: Mapping[str, str] = {
        "ok": "Always 204, malformed hits included; those are listed under rejected. A hit that"
        " is equal to an earlier one is kept once, where GA4 would count it twice.",
        "noop": "204 and nothing is taken over; it cannot be told from ok.",
        "partial": "The Measurement Protocol has no such answer; this behaves as ok.",
        "401": "Not a documented answer of collect; sent as something in front of it would.",
        "429": "Not a documented answer of collect; sent as something in front of it would.",
        "5xx": "Not a documented answer of collect; sent as something in front of it would.",
    }

    def __init__(self) -> None:
        self.persons = Persons()

    def split(self, tail: str) -> tuple[str, str]:
        """The instance and the path below it."""
        return split_before(tail, _ROOTS)

    def ids(self, call: Call) -> Ids:
        """Client or app instance ids count as anonymous ids; message ids stand in params."""
        ids = Ids()
        if isinstance(call.body, dict):
            ids.add(
                user=[call.body.get("user_id"), call.body.get("userId")],
                anonymous=[call.body.get(k) for k in ("client_id", "app_instance_id", "clientId")],
            )
            for event in _events(call.body):
                ids.add(message=_message_id(event))
        return ids

    def refuse(self, call: Call, status: int) -> Reply:
        """An error as Google's front end writes it."""
        return _google_error(status, "stand-in mode")

    def answer(self, call: Call) -> Reply:
        """Answer a hit, a validation or a deletion."""
        if _DELETION.fullmatch(call.path):
            return self._delete(call)
        if call.path not in ("/mp/collect", "/debug/mp/collect"):
            return _google_error(404, "There is no such path.")
        if call.method != "POST":
            return _google_error(405, "Use POST.")
        problems = list(_problems(call))
        if call.path == "/debug/mp/collect":
            return Reply.json(200, {"validationMessages": problems})
        if problems:
            self.persons.reject(call, problems[0]["description"])
        elif call.applies:
            self._take(call)
        return Reply(204, content_type=None)

    def _take(self, call: Call) -> None:
        body = call.body
        device = body.get("client_id") or body.get("app_instance_id")
        person = self.persons.person(call.instance, body.get("user_id"), device)
        for event in body["events"]:
            name = _message_id(event) or _digest(body, event)
            if self.persons.seen(call.instance, name):
                continue
            self.persons.remember(call.instance, name)
            person.record(name, {"type": "track", "event": event["name"], "receivedAt": call.at})
        person.consent |= body.get("consent", {})
        for key, held in body.get("user_properties", {}).items():
            person.traits[key] = held["value"]

    def _delete(self, call: Call) -> Reply:
        if not call.bearer():
            return _google_error(401, "A bearer token is required.")
        if call.method != "POST":
            return _google_error(405, "Use POST.")
        given = [
            name for name in _DELETION_IDS if isinstance(call.body, dict) and name in call.body
        ]
        if len(given) != 1 or not isinstance(call.body[given[0]], str) or not call.body[given[0]]:
            return _google_error(400, f"Give one of {', '.join(_DELETION_IDS)}.")
        if call.applies:
            self.persons.person(call.instance, call.body[given[0]]).erase(call.at)
        return Reply.json(200, {"deletionRequestTime": call.at})


def _events(body: dict[str, Any]) -> list[dict[str, Any]]:
    events = body.get("events")
    return [e for e in events if isinstance(e, dict)] if isinstance(events, list) else []


def _message_id(event: dict[str, Any]) -> str | None:
    params = event.get("params")
    if isinstance(params, dict):
        for name in ("message_id", "messageId", "event_id"):
            if isinstance(value := params.get(name), str) and value:
                return value
    return None


def _digest(body: dict[str, Any], event: dict[str, Any]) -> str:
    """A name for an event that has none: equal hits get equal names."""
    told = (body.get("client_id"), body.get("app_instance_id"), body.get("user_id"))
    text = repr((told, body.get("timestamp_micros"), sorted(map(repr, event.items()))))
    return "sha256-" + hashlib.sha256(text.encode()).hexdigest()[:24]


def _problems(call: Call) -> Iterator[Problem]:
    """What the validator would say about a hit, in the order of the body."""
    app = "firebase_app_id" in call.query
    if app == ("measurement_id" in call.query):
        yield _problem("measurement_id", "Give measurement_id or firebase_app_id.", "REQUIRED")
    if not call.query.get("api_secret"):
        yield _problem("api_secret", "api_secret is required.", "REQUIRED")
    if call.oversize or len(call.raw) > MAX_BODY_BYTES:
        yield _problem("", "The body is too large.", "OUT_OF_BOUNDS")
        return
    if call.body is UNREADABLE or not isinstance(call.body, dict):
        yield _problem("", "The body must be a JSON object.", "INVALID")
        return
    body: dict[str, Any] = call.body
    device = "app_instance_id" if app else "client_id"
    if not isinstance(value := body.get(device), str) or not value:
        yield _problem(device, f"{device} is required.", "REQUIRED")
    if not isinstance(body.get("user_id", ""), str):
        yield _problem("user_id", "user_id must be a string.", "INVALID")
    yield from _time_problems(call, body.get("timestamp_micros"))
    yield from _consent_problems(body.get("consent", {}))
    yield from _property_problems(body.get("user_properties", {}))
    events = body.get("events")
    if not isinstance(events, list) or not events:
        yield _problem("events", "events must be a non-empty list.", "REQUIRED")
        return
    if len(events) > MAX_EVENTS:
        text = f"A hit holds at most {MAX_EVENTS} events."
        yield _problem("events", text, "EXCEEDED_MAX_ENTITIES", prefix="")
        return
    for index, event in enumerate(events):
        yield from _event_problems(f"events[{index}]", event)


def _time_problems(call: Call, micros: object) -> Iterator[Problem]:
    if micros is None:
        return
    text = str(micros)
    if isinstance(micros, bool | float) or not (text.isascii() and text.isdigit()):
        yield _problem("timestamp_micros", "timestamp_micros must be whole.", "INVALID")
    elif call.moment.unix_s - int(text) / 1_000_000 > MAX_AGE_S:
        yield _problem("timestamp_micros", "The hit is older than three days.", "OUT_OF_BOUNDS")


def _consent_problems(consent: object) -> Iterator[Problem]:
    if not isinstance(consent, dict):
        yield _problem("consent", "consent must be an object.", "INVALID")
        return
    for name, value in consent.items():
        if name not in _CONSENT or value not in ("GRANTED", "DENIED"):
            text = "consent takes ad_user_data and ad_personalization, GRANTED or DENIED."
            yield _problem(f"consent.{name}", text, "INVALID")


def _property_problems(properties: object) -> Iterator[Problem]:
    if not isinstance(properties, dict):
        yield _problem("user_properties", "user_properties must be an object.", "INVALID")
        return
    if len(properties) > MAX_PROPERTIES:
        text = f"A hit holds at most {MAX_PROPERTIES} user properties."
        yield _problem("user_properties", text, "EXCEEDED_MAX_ENTITIES", prefix="")
    for name, held in properties.items():
        value = held.get("value") if isinstance(held, dict) else None
        if not isinstance(value, str | int | float):
            yield _problem(f"user_properties.{name}", "A value is required.", "INVALID")


def _event_problems(where: str, event: object) -> Iterator[Problem]:
    if not isinstance(event, dict):
        yield _problem(where, "An event must be an object.", "INVALID")
        return
    name, params = event.get("name"), event.get("params", {})
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > MAX_NAME:
        text = f"A name starts with a letter and has at most {MAX_NAME} letters, digits and _."
        yield _problem(where, text, "INVALID", prefix="NAME_")
    elif name.startswith(_RESERVED_PREFIXES) or name in _RESERVED_EVENTS:
        yield _problem(where, "The name is reserved.", "RESERVED", prefix="NAME_")
    if not isinstance(params, dict):
        yield _problem(f"{where}.params", "params must be an object.", "INVALID")
        return
    if len(params) > MAX_PARAMS:
        text = f"An event holds at most {MAX_PARAMS} params."
        yield _problem(f"{where}.params", text, "EXCEEDED_MAX_ENTITIES", prefix="")
    for key, value in params.items():
        at = f"{where}.params.{key}"
        if not _NAME.fullmatch(key) or len(key) > MAX_NAME:
            yield _problem(at, "The param has an invalid name.", "INVALID", prefix="NAME_")
        if key == "items" and isinstance(value, list):
            continue
        if not isinstance(value, str | int | float):
            yield _problem(at, "A param is a string or a number.", "INVALID")
        elif isinstance(value, str) and len(value) > _LONGER_VALUES.get(key, MAX_VALUE):
            yield _problem(at, "The value is too long.", "OUT_OF_BOUNDS")


def _problem(where: str, description: str, code: str, *, prefix: str = "VALUE_") -> Problem:
    return {"fieldPath": where, "description": description, "validationCode": prefix + code}


def _google_error(status: int, message: str) -> Reply:
    name = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 404: "NOT_FOUND"}.get(status)
    name = name or {429: "RESOURCE_EXHAUSTED", 405: "UNIMPLEMENTED"}.get(status, "INTERNAL")
    return Reply.json(status, {"error": {"code": status, "message": message, "status": name}})
