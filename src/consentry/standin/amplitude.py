"""Amplitude: HTTP V2, the batch upload, and the User Privacy API.

Contract: amplitude.com/docs/apis/analytics/http-v2 and user-privacy. The bodies of 400 and 429
are those that Amplitude's own SDK reads (amplitude-analytics: processor.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from consentry.standin.control import Ids, Mode
from consentry.standin.vendor import UNREADABLE, Call, Persons, Reply, split_before

MAX_EVENTS: Final = 2_000
MAX_BYTES: Final = {"/2/httpapi": 1024 * 1024, "/batch": 20 * 1024 * 1024}
MAX_IDS: Final = 100
MIN_ID_LENGTH: Final = 5
SCHEDULED: Final = timedelta(days=11)  # "10 to 13 days after the batch's first request"
NOTHING: Final = "Nothing scheduled due to invalid amplitude/user ids"
_DELETIONS: Final = "/api/2/deletions/users"


class Amplitude:
    """The Amplitude stand-in. A job is done as soon as it is asked about."""

    name = "amplitude"
    notes: Mapping[str, str] = {
        "noop": "Events: 200 with events_ingested 0. A deletion: nothing is scheduled.",
        "partial": "Events: 400 that lists the first; nothing is taken in, as Amplitude does."
        " A deletion schedules all but the last user.",
        "429": "Every event is listed as throttled.",
    }

    def __init__(self) -> None:
        self.persons = Persons()
        self._jobs: dict[tuple[str, str], list[str]] = {}

    def split(self, tail: str) -> tuple[str, str]:
        """The instance and the path below it."""
        return split_before(tail, frozenset({"2", "batch", "api"}))

    def ids(self, call: Call) -> Ids:
        """The ids of the events, or the users of a deletion."""
        ids = Ids()
        for event in _events(call.body):
            ids.add(
                message=event.get("insert_id"),
                user=event.get("user_id"),
                anonymous=event.get("device_id"),
            )
        if isinstance(call.body, dict):
            ids.add(user=call.body.get("user_ids"))
        return ids

    def refuse(self, call: Call, status: int) -> Reply:
        """The errors of HTTP V2 carry their code in the body; an unknown key is a 400 there."""
        if call.path == _DELETIONS:
            return Reply(status, b"Unauthorized" if status == 401 else b"stand-in mode", None)
        if status == 401:
            return _error(400, "Invalid API key: ***")
        if status == 429:
            places = list(range(len(list(_events(call.body)))))
            more = {"throttled_users": {}, "throttled_devices": {}, "throttled_events": places}
            return _error(429, "Too many requests for some devices and users", **more)
        return _error(status, "stand-in mode")

    def answer(self, call: Call) -> Reply:
        """Answer an upload or a call of the User Privacy API."""
        if call.path == _DELETIONS:
            return self._deletions(call)
        if call.path not in MAX_BYTES:
            return _error(404, "There is no such path.")
        if call.method != "POST":
            return _error(405, "Use POST.")
        return self._upload(call)

    def _upload(self, call: Call) -> Reply:
        body = call.body
        if call.oversize or len(call.raw) > MAX_BYTES[call.path]:
            return _error(413, "Payload too large")
        if body is UNREADABLE or not isinstance(body, dict):
            return _error(400, "Invalid JSON request body")
        if not isinstance(body.get("api_key"), str) or not body["api_key"]:
            return _error(400, "Request missing required field", missing_field="api_key")
        events = body.get("events")
        if not isinstance(events, list) or not events:
            return _error(400, "Request missing required field", missing_field="events")
        if len(events) > MAX_EVENTS:
            return _error(413, "Payload too large")
        if wrong := _wrong(body, events):
            return _error(400, "Invalid field values on some events", **wrong)
        if call.mode is Mode.PARTIAL:
            wrong = {"events_with_invalid_fields": {"time": [0]}}
            return _error(400, "Invalid field values on some events", **wrong)
        taken = len(events) if call.applies else 0
        for event in events[:taken]:
            self._take(call, event)
        told = {"events_ingested": taken, "payload_size_bytes": len(call.raw)}
        at = int(call.moment.unix_s * 1000)
        return Reply.json(200, {"code": 200, **told, "server_upload_time": at})

    def _take(self, call: Call, event: dict[str, Any]) -> None:
        user, device = event.get("user_id"), event.get("device_id")
        told = {"type": "track", "event": event["event_type"]}
        self.persons.keep(call, event.get("insert_id"), told, user=user, device=device)
        changes = event.get("user_properties")
        person = self.persons.known(call.instance, user or device)
        if person and isinstance(changes, dict) and isinstance(changes.get("$set"), dict):
            person.traits |= changes["$set"]

    def _deletions(self, call: Call) -> Reply:
        pair = call.basic()
        if pair is None or not all(pair):
            return Reply(401, b"Unauthorized", None)
        if call.method == "GET":
            first, last = call.query.get("start_day", ""), call.query.get("end_day", "")
            if not (_is_day(first) and _is_day(last)):
                return Reply(400, b"start_day and end_day are required", None)
            return Reply.json(
                200, [self._job(*key, "done") for key in self._found(call, first, last)]
            )
        if call.method != "POST":
            return Reply(405, b"", None)
        body = call.body if isinstance(call.body, dict) else {}
        users = body.get("user_ids")
        if (
            not isinstance(users, list)
            or not 1 <= len(users) <= MAX_IDS
            or not body.get("requester")
        ):
            return Reply(400, b"user_ids (at most 100) and requester are required", None)
        known = [user for user in users if self.persons.known(call.instance, user)]
        if len(known) < len(users) and body.get("ignore_invalid_id") != "true":
            return Reply(400, b"Invalid amplitude/user ids", None)
        if call.mode is Mode.PARTIAL:
            known = known[:-1]
        if call.mode is Mode.NOOP or not known:
            return Reply.json(200, NOTHING)
        return self._schedule(call, known)

    def _schedule(self, call: Call, users: list[str]) -> Reply:
        day = str((datetime.fromtimestamp(call.moment.unix_s, UTC) + SCHEDULED).date())
        for user in users:
            self.persons.person(call.instance, user).erase(call.at)
        self._jobs.setdefault((call.instance, day), []).extend(users)
        return Reply.json(200, [self._job(call.instance, day, "staging", users)])

    def _found(self, call: Call, first: str, last: str) -> Iterator[tuple[str, str]]:
        for instance, day in self._jobs:
            if instance == call.instance and first <= day <= last:
                yield instance, day

    def _job(
        self, instance: str, day: str, status: str, users: list[str] | None = None
    ) -> dict[str, Any]:
        named = self._jobs[(instance, day)] if users is None else users
        rows = [
            {"amplitude_id": n, "requested_on_day": day, "requester": "stand-in"}
            for n, _ in enumerate(named, 1)
        ]
        return {"day": day, "status": status, "amplitude_ids": rows}


def _events(body: object) -> Iterator[dict[str, Any]]:
    events = body.get("events") if isinstance(body, dict) else None
    for event in events if isinstance(events, list) else []:
        if isinstance(event, dict):
            yield event


def _wrong(body: dict[str, Any], events: list[Any]) -> dict[str, Any]:
    """Which events are refused, by the member and the field that say so."""
    options = body.get("options")
    least = options.get("min_id_length") if isinstance(options, dict) else None
    least = least if isinstance(least, int) else MIN_ID_LENGTH
    missing: dict[str, list[int]] = {}
    invalid: dict[str, list[int]] = {}
    short: dict[str, list[int]] = {}
    for place, event in enumerate(events):
        if not isinstance(event, dict) or not event.get("event_type"):
            missing.setdefault("event_type", []).append(place)
            continue
        if not (event.get("user_id") or event.get("device_id")):
            missing.setdefault("user_id", []).append(place)
        for name in ("user_id", "device_id"):
            if event.get(name) is not None and len(str(event[name])) < least:
                short.setdefault(name, []).append(place)
        if not isinstance(event.get("time", 0), int):
            invalid.setdefault("time", []).append(place)
    members = {
        "events_with_missing_fields": missing,
        "events_with_invalid_fields": invalid,
        "events_with_invalid_id_lengths": short,
    }
    return {name: fields for name, fields in members.items() if fields}


def _is_day(text: str) -> bool:
    try:
        return bool(datetime.strptime(text, "%Y-%m-%d"))
    except ValueError:
        return False


def _error(status: int, error: str, **more: Any) -> Reply:
    return Reply.json(status, {"code": status, "error": error, **more})
