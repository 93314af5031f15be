"""PostHog: capture, and the persons API.

Contract: posthog-python (request.py), posthog.com/docs/api/persons. Events under a distinct id
whose person was deleted are not shown: that id is spent.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from consentry.standin.control import Ids, Mode
from consentry.standin.vendor import Call, Persons, Reply, split_before

MAX_IDS: Final = 1_000
_CAPTURE: Final = frozenset({"/batch", "/i/v0/e", "/e", "/capture"})
_PERSONS: Final = re.compile(r"/api/projects/[^/]+/persons(/(?P<rest>[^?]*))?")


class PostHog:
    """The PostHog stand-in."""

    name = "posthog"
    notes: Mapping[str, str] = {
        "noop": "Capture: 200 with quota_limited. A deletion finds nobody.",
        "partial": "Capture has no such answer and behaves as ok. A deletion finds the person and"
        " reports an error.",
    }

    def __init__(self) -> None:
        self.persons = Persons()
        self._spent: set[tuple[str, str]] = set()

    def split(self, tail: str) -> tuple[str, str]:
        """The instance and the path below it."""
        return split_before(tail, frozenset({"batch", "i", "e", "capture", "api", "flags"}))

    def ids(self, call: Call) -> Ids:
        """The ids of the events, or of a deletion."""
        ids = Ids()
        for event in _events(call):
            ids.add(message=event.get("uuid"), user=event.get("distinct_id"))
        if isinstance(call.body, dict):
            ids.add(user=call.body.get("distinct_ids"))
        return ids

    def refuse(self, call: Call, status: int) -> Reply:
        """An error in PostHog's form."""
        kind = {401: "authentication_error", 429: "throttled_error"}.get(status, "server_error")
        return _error(status, kind, "stand-in mode")

    def answer(self, call: Call) -> Reply:
        """Answer events or a call of the persons API."""
        if call.path.rstrip("/") in _CAPTURE:
            return self._capture(call)
        found = _PERSONS.fullmatch(call.path)
        if found is None:
            return _error(404, "invalid_request", "Endpoint not found.")
        if not call.bearer():
            return _error(401, "authentication_error", "No credentials were provided.")
        rest = (found["rest"] or "").strip("/")
        if call.method == "GET" and not rest:
            identity = call.query.get("distinct_id", "")
            person = self.persons.known(call.instance, identity)
            spent = (call.instance, identity) in self._spent
            results = [] if person is None or spent else [person.shown()]
            return Reply.json(200, {"next": None, "results": results})
        if call.method == "POST" and rest == "bulk_delete":
            return self._delete(call)
        return _error(405, "invalid_request", "Method not allowed.")

    def _capture(self, call: Call) -> Reply:
        body, events = _body(call), list(_events(call))
        if call.method != "POST" or not isinstance(body, dict):
            return _error(400, "validation_error", "The body must be a JSON object.")
        if not (body.get("api_key") or body.get("token")):
            return _error(401, "authentication_error", "API key is missing.")
        for event in events:
            if not event.get("event") or not event.get("distinct_id"):
                return _error(400, "validation_error", "event and distinct_id are required.")
        if call.mode is Mode.NOOP:
            return Reply.json(200, {"status": "Ok", "quota_limited": ["events"]})
        for event in events if call.applies else []:
            self._take(call, event)
        return Reply.json(200, {"status": "Ok"})

    def _take(self, call: Call, event: dict[str, Any]) -> None:
        identity = str(event["distinct_id"])
        if (call.instance, identity) in self._spent:
            self.persons.reject(call, "the distinct id of a deleted person was used again")
            return
        told = {"type": "track", "event": event["event"]}
        self.persons.keep(call, event.get("uuid"), told, user=identity, device=None)
        properties = event.get("properties")
        held = {**event, **(properties if isinstance(properties, dict) else {})}
        if isinstance(changes := held.get("$set"), dict):
            self.persons.person(call.instance, identity).traits |= changes

    def _delete(self, call: Call) -> Reply:
        body = call.body if isinstance(call.body, dict) else {}
        ids = body.get("distinct_ids")
        if not isinstance(ids, list) or not 1 <= len(ids) <= MAX_IDS:
            return _error(400, "validation_error", "distinct_ids: 1 to 1000 are needed.")
        named = [identity for identity in ids if isinstance(identity, str)]
        known = [i for i in named if (call.instance, i) not in self._spent]
        known = [i for i in known if self.persons.known(call.instance, i)]
        failed = known if call.mode is Mode.PARTIAL else []
        if call.mode is Mode.NOOP:
            known = []
        deleted = [identity for identity in known if identity not in failed]
        for identity in deleted:
            self.persons.person(call.instance, identity).erase(call.at)
            self._spent.add((call.instance, identity))
        return Reply.json(
            202,
            {
                "persons_found": len(known),
                "persons_deleted": len(deleted),
                "events_queued_for_deletion": bool(known) and body.get("delete_events") is True,
                "recordings_queued_for_deletion": body.get("delete_recordings") is True,
                "deletion_errors": [{"person_uuid": "stand-in"} for _ in failed],
            },
        )


def _body(call: Call) -> Any:
    """The body, which may be gzipped without a header that says so."""
    if not call.raw.startswith(b"\x1f\x8b"):
        return call.body
    try:
        return msgspec.json.decode(gzip.decompress(call.raw))
    except (OSError, EOFError, zlib.error, msgspec.DecodeError):
        return None


def _events(call: Call) -> Iterator[dict[str, Any]]:
    body = _body(call)
    if not isinstance(body, dict) or "distinct_ids" in body:
        return
    batch = body.get("batch", [body])
    for event in batch if isinstance(batch, list) else []:
        if isinstance(event, dict):
            yield event


def _error(status: int, kind: str, detail: str) -> Reply:
    return Reply.json(status, {"type": kind, "code": kind, "detail": detail, "attr": None})
