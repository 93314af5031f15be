"""HubSpot: custom events, subscription statuses (v4), contacts and their GDPR deletion.

Contract: HubSpot's public API specifications. An opt-out of all mail outweighs each subscription,
and no call lifts it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

from consentry.standin.control import Ids, Mode
from consentry.standin.people import People, is_email, member, text
from consentry.standin.vendor import Call, Person, Persons, Reply, split_before

_ROOTS: Final = frozenset({"events", "communication-preferences", "crm"})
_STATUS: Final = re.compile(r"/communication-preferences/v4/statuses/([^/]+)(/unsubscribe-all)?")
_CONTACT: Final = re.compile(r"/crm/v3/objects/contacts/([^/]+)")
_STATES: Final = frozenset({"SUBSCRIBED", "UNSUBSCRIBED", "NOT_SPECIFIED"})
_EVENT: Final = re.compile(r"pe\d+_[a-z0-9_]+")


class HubSpot:
    """The HubSpot stand-in."""

    name = "hubspot"
    notes: Mapping[str, str] = {
        "ok": "Every custom event and every subscription type exists.",
        "noop": "A status call answers 200 with empty results; an event and a deletion answer 204"
        " and do nothing, which cannot be told from ok.",
        "partial": "A status call answers 207 with an error and does nothing; the rest as ok.",
    }

    def __init__(self) -> None:
        self.persons = Persons()
        self._people = People(self.persons)
        self._blocked: dict[tuple[str, str], None] = {}

    def split(self, tail: str) -> tuple[str, str]:
        """The instance and the path below it."""
        return split_before(tail, _ROOTS)

    def ids(self, call: Call) -> Ids:
        """Addresses count as user ids; an event's uuid is its message id."""
        ids = Ids()
        ids.add(message=member(call.body, "uuid"), user=member(call.body, "email"))
        if path := _STATUS.fullmatch(call.path):
            ids.add(user=unquote(path[1]))
        if call.path.endswith("/gdpr-delete"):
            ids.add(user=member(call.body, "objectId"))
        return ids

    def refuse(self, call: Call, status: int) -> Reply:
        """HubSpot's error object."""
        category = {401: "INVALID_AUTHENTICATION", 429: "RATE_LIMITS"}.get(status, "INTERNAL")
        return _error(status, category, "stand-in mode")

    def answer(self, call: Call) -> Reply:
        """Check what every call needs, then its own contract."""
        if not call.bearer():
            return self.refuse(call, 401)
        if call.path == "/events/v3/send":
            return self._event(call)
        if call.path == "/crm/v3/objects/contacts/gdpr-delete":
            return self._purge(call)
        if path := _CONTACT.fullmatch(call.path):
            return self._contact(call, unquote(path[1]))
        if path := _STATUS.fullmatch(call.path):
            return self._statuses(call, unquote(path[1]), bool(path[2]))
        return _error(404, "OBJECT_NOT_FOUND", "There is no such path.")

    def _event(self, call: Call) -> Reply:
        if call.method != "POST":
            return _error(405, "METHOD_NOT_ALLOWED", "Use POST.")
        name, email = text(call.body, "eventName"), member(call.body, "email")
        if not _EVENT.fullmatch(name):
            return _invalid("eventName is not a fully qualified name")
        if not is_email(email) and not text(call.body, "objectId") and not text(call.body, "utk"):
            return _invalid("email, objectId or utk is required")
        properties = member(call.body, "properties")
        if not isinstance(properties, dict) or not all(
            isinstance(value, str) for value in properties.values()
        ):
            return _invalid("properties must be strings")
        unique = text(call.body, "uuid") or self.persons.name_for_unnamed()
        if call.applies and is_email(email) and not self.persons.seen(call.instance, unique):
            self.persons.remember(call.instance, unique)
            person = self._people.take(call, {"email": email})
            person.record(unique, {"type": "track", "event": name, "receivedAt": call.at})
        return Reply(204, content_type=None)

    # Subscriptions

    def _statuses(self, call: Call, email: str, everything: bool) -> Reply:
        if not is_email(email):
            return _invalid("subscriberIdString must be an address")
        if call.method == "GET":
            if call.query.get("channel", "EMAIL" if everything else "") != "EMAIL":
                return _invalid("channel must be EMAIL")
            person = self._people.find(call, {"email": email})
            results = _wide(call, email, person) if everything else _held(call, email, person)
            return _results(call, results, "SUCCESS")
        if call.method != "POST":
            return _error(405, "METHOD_NOT_ALLOWED", "Use GET or POST.")
        return self._all(call, email) if everything else self._one(call, email)

    def _all(self, call: Call, email: str) -> Reply:
        if call.query.get("channel") != "EMAIL":
            return _invalid("channel must be EMAIL")
        if call.mode is Mode.PARTIAL:
            return _partly()
        if not call.applies:
            return _results(call, [])
        person = self._people.take(call, {"email": email})
        person.suppressed = True
        verbose = call.query.get("verbose") == "true"
        return _results(call, _wide(call, email, person) if verbose else [])

    def _one(self, call: Call, email: str) -> Reply:
        subscription, state = member(call.body, "subscriptionId"), text(call.body, "statusState")
        if isinstance(subscription, bool) or not isinstance(subscription, int):
            return _invalid("subscriptionId must be a number")
        if state not in _STATES or text(call.body, "channel") != "EMAIL":
            return _invalid("statusState and channel are required")
        if bool(text(call.body, "legalBasis")) != bool(text(call.body, "legalBasisExplanation")):
            return _invalid("legalBasis and legalBasisExplanation belong together")
        if call.mode is Mode.PARTIAL:
            return _partly()
        if not call.applies:
            return _results(call, [])
        person = self._people.take(call, {"email": email})
        if state == "SUBSCRIBED" and person.suppressed:
            return _invalid("the contact has opted out of all e-mail")
        person.consent[str(subscription)] = state
        shown = [s for s in _held(call, email, person) if s["subscriptionId"] == subscription]
        return _results(call, shown)

    # Contacts

    def _contact(self, call: Call, email: str) -> Reply:
        if call.method != "GET" or call.query.get("idProperty") != "email":
            return _invalid("idProperty must be email")
        person = self._people.find(call, {"email": email})
        if person is None:
            return _error(404, "OBJECT_NOT_FOUND", "resource not found")
        shown = {"id": self._people.id_of(call, person), "properties": {"email": email}}
        times = {"createdAt": call.at, "updatedAt": call.at, "archived": False}
        return Reply.json(200, shown | times)

    def _purge(self, call: Call) -> Reply:
        identity = text(call.body, "objectId")
        if call.method != "POST" or not identity:
            return _invalid("objectId is required")
        by_email = text(call.body, "idProperty") == "email"
        person = (
            self._people.find(call, {"email": identity})
            if by_email
            else self._people.by_id(call, identity)
        )
        if call.applies:
            if person is not None:
                self._people.forget(call, person)
            elif by_email:  # so that it can never be brought in
                self._blocked[call.instance, identity] = None
        return Reply(204, content_type=None)


def _held(call: Call, email: str, person: Person | None) -> list[dict[str, Any]]:
    if person is None:
        return []
    return [
        {
            "businessUnitId": 0,
            "channel": "EMAIL",
            "subscriberIdString": email,
            "subscriptionId": int(name),
            "status": "UNSUBSCRIBED" if person.suppressed else state,
            "source": "API",
            "legalBasis": None,
            "legalBasisExplanation": None,
            "setStatusSuccessReason": None,
            "timestamp": call.at,
        }
        for name, state in person.consent.items()
    ]


def _wide(call: Call, email: str, person: Person | None) -> list[dict[str, Any]]:
    status = "UNSUBSCRIBED" if person is not None and person.suppressed else "SUBSCRIBED"
    return [
        {
            "businessUnitId": 0,
            "wideStatusType": "PORTAL_WIDE",
            "subscriberIdString": email,
            "status": status,
            "channel": "EMAIL",
            "timestamp": call.at,
        }
    ]


def _results(call: Call, results: list[dict[str, Any]], status: str = "COMPLETE") -> Reply:
    times = {"startedAt": call.at, "completedAt": call.at}
    return Reply.json(200, {"status": status, "results": results} | times)


def _partly() -> Reply:
    error = {"status": "error", "category": "VALIDATION_ERROR", "message": "stand-in mode"}
    body = {"status": "COMPLETE", "results": [], "numErrors": 1, "errors": [error]}
    return Reply.json(207, body)


def _invalid(message: str) -> Reply:
    return _error(400, "VALIDATION_ERROR", message)


def _error(status: int, category: str, message: str) -> Reply:
    body = {"status": "error", "message": message, "correlationId": "stand-in"}
    return Reply.json(status, body | {"category": category})
