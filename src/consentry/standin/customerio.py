"""Customer.io: the Track API, version 2 (entity, batch) and version 1 (customers).

Contract: customerio 3.2.0 and Customer.io's documentation. A suppressed identifier is deleted and
blocked; one that is only deleted comes back with the next call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

from consentry.standin.control import Ids, Mode
from consentry.standin.people import People, is_email, member, text
from consentry.standin.tracking import basic_key
from consentry.standin.vendor import Call, Persons, Reply, split_before

MAX_ENTITY_BYTES: Final = 32 * 1024
MAX_BATCH_BYTES: Final = 500 * 1024
_ROOTS: Final = frozenset({"api"})
_CUSTOMER: Final = re.compile(r"/api/v1/customers/([^/]+)(/events|/suppress|/unsuppress)?")
_NAMED: Final = frozenset({"event", "page", "screen"})
_ACTIONS: Final = _NAMED | {"identify", "delete", "suppress", "unsuppress"}


class CustomerIO:
    """The Customer.io stand-in."""

    name = "customerio"
    notes: Mapping[str, str] = {
        "noop": "200 and nothing is taken over; it cannot be told from ok.",
        "partial": "Of a batch only the first is taken over, and 207 names the others; one entity"
        " by itself is as ok.",
    }

    def __init__(self) -> None:
        self.persons = Persons()
        self._people = People(self.persons)
        self._blocked: dict[tuple[str, str, str], None] = {}

    def split(self, tail: str) -> tuple[str, str]:
        """The instance and the path below it."""
        return split_before(tail, _ROOTS)

    def ids(self, call: Call) -> Ids:
        """Ids and addresses count as user ids."""
        ids = Ids()
        held = member(call.body, "batch")
        for entity in held if isinstance(held, list) else [call.body]:
            for sort in ("id", "email"):
                ids.add(user=member(entity, "identifiers", sort))
        if path := _CUSTOMER.fullmatch(call.path):
            ids.add(user=unquote(path[1]))
        return ids

    def refuse(self, call: Call, status: int) -> Reply:
        """The error object."""
        said = {401: "Unauthorized request", 429: "Too many requests"}
        return _errors(status, said.get(status, "Internal error"))

    def answer(self, call: Call) -> Reply:
        """Check what every call needs, then its own contract."""
        if basic_key(call) is None:
            return self.refuse(call, 401)
        if path := _CUSTOMER.fullmatch(call.path):
            return self._customer(call, unquote(path[1]), path[2] or "")
        if call.path not in ("/api/v2/entity", "/api/v2/batch"):
            return _errors(404, "not found")
        if call.method != "POST":
            return _errors(405, "method not allowed")
        if call.path.endswith("batch"):
            return self._batch(call)
        if len(call.raw) > MAX_ENTITY_BYTES:
            return _errors(400, "request body too large")
        reason = _reason(call.body)
        if reason:
            return _errors(400, reason)
        self._take(call, call.body)
        return Reply.json(200, {})

    def _batch(self, call: Call) -> Reply:
        entities = member(call.body, "batch")
        if len(call.raw) > MAX_BATCH_BYTES or not isinstance(entities, list) or not entities:
            return _errors(400, "batch is required, and at most 500 KB")
        errors = []
        for index, entity in enumerate(entities):
            reason = _reason(entity)
            if call.mode is Mode.PARTIAL and index:
                reason = "stand-in mode"
            if reason:
                errors.append({"batch_index": index, "reason": "invalid", "message": reason})
            else:
                self._take(call, entity)
        return Reply.json(207, {"errors": errors}) if errors else Reply.json(200, {})

    def _take(self, call: Call, entity: dict[str, Any]) -> None:
        if not call.applies:
            return
        names = {sort: v for sort in ("id", "email") if (v := text(entity, "identifiers", sort))}
        action, attributes = entity["action"], member(entity, "attributes")
        if action == "unsuppress":
            for sort, value in names.items():
                self._blocked.pop((call.instance, sort, value), None)
            return
        if any((call.instance, sort, value) in self._blocked for sort, value in names.items()):
            self.persons.reject(call, "the identifier is suppressed")
            return
        person = self._people.find(call, names)
        if action in ("delete", "suppress"):
            if action == "suppress":
                for sort, value in names.items():
                    self._blocked[call.instance, sort, value] = None
            if person is not None:
                person.suppressed = action == "suppress"
                self._people.forget(call, person)
            return
        held = dict(attributes) if isinstance(attributes, dict) else {}
        if person is None and held.pop("_update", False):
            return
        held.pop("_update", None)
        also = {"email": held["email"]} if is_email(held.get("email")) else {}
        person = self._people.take(call, names | (also if action == "identify" else {}))
        if action == "identify":
            for name, value in held.items():
                consent = name == "unsubscribed" or name.startswith("cio_subscription_preferences.")
                (person.consent if consent else person.traits)[name] = value
            return
        message = self.persons.name_for_unnamed()
        event = {"type": "track", "event": entity["name"], "receivedAt": call.at}
        person.record(message, event)

    def _customer(self, call: Call, identity: str, what: str) -> Reply:
        """Version 1, as the SDK speaks it."""
        who = {"email": identity} if is_email(identity) else {"id": identity}
        body = call.body if isinstance(call.body, dict) else {}
        entity: dict[str, Any] = {"type": "person", "identifiers": who}
        if what == "/events" and call.method == "POST":
            attributes = body.get("data") or {}
            entity |= {"action": "event", "name": body.get("name"), "attributes": attributes}
        elif what in ("/suppress", "/unsuppress") and call.method == "POST":
            entity |= {"action": what[1:]}
        elif not what and call.method in ("PUT", "DELETE"):
            action = "identify" if call.method == "PUT" else "delete"
            entity |= {"action": action, "attributes": body}
        else:
            return _errors(405, "method not allowed")
        if reason := _reason(entity):
            return _errors(400, reason)
        self._take(call, entity)
        return Reply.json(200, {})


def _reason(entity: object) -> str | None:
    """Why an entity breaks the contract."""
    action = text(entity, "action")
    if text(entity, "type") != "person" or action not in _ACTIONS:
        return "type must be person, with one of its actions"
    identifiers = member(entity, "identifiers")
    if not isinstance(identifiers, dict) or len(identifiers) != 1:
        return "exactly one identifier is required"
    if not any(text(identifiers, sort) for sort in ("id", "email", "cio_id")):
        return "id, email or cio_id is required"
    if action in _NAMED and not text(entity, "name"):
        return "name is required"
    stamp = member(entity, "timestamp")
    if stamp is not None and (isinstance(stamp, bool) or not isinstance(stamp, int)):
        return "timestamp must be a Unix time"
    return None


def _errors(status: int, reason: str) -> Reply:
    return Reply.json(status, {"errors": [{"reason": "invalid", "message": reason}]})
