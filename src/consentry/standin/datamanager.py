"""Google's Data Manager API: events, members of audiences, and the state of requests.

Contract: googleapis, google/ads/datamanager/v1. The state of a request is known at once.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from consentry.standin.control import Ids, Mode
from consentry.standin.vendor import Call, Persons, Reply, split_before

MAX_EVENTS: Final = 2_000
MAX_MEMBERS: Final = 10_000
MAX_DESTINATIONS: Final = 10
MAX_IDENTIFIERS: Final = 10
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_CONSENT: Final = frozenset({"CONSENT_GRANTED", "CONSENT_DENIED", "CONSENT_STATUS_UNSPECIFIED"})
_STATUS: Final = "/v1/requestStatus:retrieve"


class DataManager:
    """The Data Manager stand-in. A person's key is the first hash that names them, else a click."""

    name = "datamanager"
    notes: Mapping[str, str] = {
        "noop": "The request is taken and becomes FAILED.",
        "partial": "The request is taken, all but its last row, and becomes PARTIAL_SUCCESS.",
    }

    def __init__(self) -> None:
        self.persons = Persons()
        self._requests: dict[str, list[dict[str, Any]]] = {}
        self._numbers = itertools.count(1)

    def split(self, tail: str) -> tuple[str, str]:
        """The instance and the path below it."""
        return split_before(tail, frozenset({"v1"}))

    def ids(self, call: Call) -> Ids:
        """Transaction ids and the hashes of people."""
        ids = Ids()
        for row in _rows(call.body):
            ids.add(message=row.get("transactionId"), user=_names(row))
        return ids

    def refuse(self, call: Call, status: int) -> Reply:
        """An error in the form of google.rpc."""
        return _error(status, "stand-in mode")

    def answer(self, call: Call) -> Reply:
        """Answer an ingestion, a removal or a question about a request."""
        if not call.bearer():
            return _error(401, "Request had invalid authentication credentials.")
        if call.path == _STATUS and call.method == "GET":
            found = self._requests.get(call.query.get("requestId", ""))
            if found is None:
                return _error(404, "There is no such request.")
            return Reply.json(200, {"requestStatusPerDestination": found})
        most = {
            "/v1/events:ingest": MAX_EVENTS,
            "/v1/audienceMembers:ingest": MAX_MEMBERS,
            "/v1/audienceMembers:remove": MAX_MEMBERS,
        }.get(call.path)
        if most is None or call.method != "POST":
            return _error(404, "There is no such method.")
        if fault := _fault(call.body, call.path, most):
            return _error(400, fault)
        return self._take(call)

    def _take(self, call: Call) -> Reply:
        rows = list(_rows(call.body))
        taken = len(rows) - (call.mode is Mode.PARTIAL) if call.applies else 0
        for row in rows[:taken]:
            if call.path == "/v1/events:ingest":
                self._event(call, row)
            else:
                for name in _names(row):
                    if person := self.persons.known(call.instance, name):
                        person.suppressed = call.path.endswith("remove")
        number = f"request-{next(self._numbers)}"
        if call.body.get("validateOnly") is not True:
            self._requests[number] = [
                self._state(call, place, rows) for place in call.body["destinations"]
            ]
        return Reply.json(200, {"requestId": number})

    def _event(self, call: Call, row: dict[str, Any]) -> None:
        told = {"type": "track", "event": str(row.get("eventName", "conversion"))}
        user = next(iter(_names(row)), None)
        self.persons.keep(call, row.get("transactionId"), told, user=user, device=None)
        if isinstance(consent := row.get("consent"), dict):
            self.persons.person(call.instance, user).consent |= consent

    def _state(self, call: Call, place: object, rows: list[dict[str, Any]]) -> dict[str, Any]:
        state = {Mode.NOOP: "FAILED", Mode.PARTIAL: "PARTIAL_SUCCESS"}.get(call.mode, "SUCCESS")
        told: dict[str, Any] = {"destination": place, "requestStatus": state}
        if state != "SUCCESS":
            reason = "PROCESSING_ERROR_REASON_INTERNAL_ERROR"
            count = len(rows) if state == "FAILED" else 1
            counts = [{"recordCount": str(count), "reason": reason}]
            told["errorInfo"] = {"errorCounts": counts}
        return told


def _rows(body: object) -> Iterator[dict[str, Any]]:
    for member in ("events", "audienceMembers"):
        rows = body.get(member) if isinstance(body, dict) else None
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, dict):
                yield row


def _identifiers(row: dict[str, Any]) -> list[Any]:
    data = row.get("userData")
    found = data.get("userIdentifiers") if isinstance(data, dict) else None
    return found if isinstance(found, list) else []


def _names(row: dict[str, Any]) -> list[str]:
    """The hashes that name a person, else their clicks."""
    found = [
        value
        for identifier in _identifiers(row)
        if isinstance(identifier, dict)
        for value in identifier.values()
        if isinstance(value, str) and value
    ]
    clicks = row.get("adIdentifiers")
    if not found and isinstance(clicks, dict):
        found = [value for value in clicks.values() if isinstance(value, str) and value]
    return found


def _fault(body: object, path: str, most: int) -> str | None:
    """Why a request is refused as a whole, or None."""
    if not isinstance(body, dict):
        return "Invalid JSON payload received."
    places = body.get("destinations")
    if not isinstance(places, list) or not 1 <= len(places) <= MAX_DESTINATIONS:
        return "destinations: 1 to 10 are needed."
    for place in places:
        account = place.get("operatingAccount") if isinstance(place, dict) else None
        if not isinstance(account, dict) or not account.get("accountType"):
            return "destinations.operatingAccount is required."
        if not place.get("productDestinationId"):
            return "destinations.productDestinationId is required."
    if body.get("encoding") not in ("HEX", "BASE64"):
        return "encoding is required for user data."
    member = "events" if path == "/v1/events:ingest" else "audienceMembers"
    rows = body.get(member)
    if not isinstance(rows, list) or not 1 <= len(rows) <= most:
        return f"{member}: 1 to {most} are needed."
    for row in rows:
        if fault := _row_fault(row, member):
            return f"{member}.{fault}"
    return None


def _row_fault(row: object, member: str) -> str | None:
    if not isinstance(row, dict) or not _names(row):
        return "userData: nobody is named."
    identifiers = _identifiers(row)
    if len(identifiers) > MAX_IDENTIFIERS:
        return "userData.userIdentifiers: at most 10."
    for identifier in identifiers:
        if not isinstance(identifier, dict) or len(identifier) != 1:
            return "userData.userIdentifiers: one of emailAddress, phoneNumber and address."
        (value,) = identifier.values()
        if isinstance(value, str) and not _HASH.fullmatch(value):
            return "userData.userIdentifiers: not hashed, or not in hex."
    consent = row.get("consent")
    if consent is not None and not (
        isinstance(consent, dict) and set(map(str, consent.values())) <= _CONSENT
    ):
        return "consent: Invalid value at 'consent' (ConsentStatus)."
    if member == "events" and not _is_time(row.get("eventTimestamp")):
        return "eventTimestamp is required."
    return None


def _is_time(text: object) -> bool:
    try:
        return isinstance(text, str) and datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _error(status: int, message: str) -> Reply:
    names = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 404: "NOT_FOUND"}
    name = names.get(status) or {429: "RESOURCE_EXHAUSTED"}.get(status, "INTERNAL")
    error = {"code": status, "message": message, "status": name, "details": []}
    return Reply.json(status, {"error": error})
