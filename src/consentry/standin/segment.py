"""Segment as a destination: the tracking API and the Public API's regulations.

Tracking answers 200 to everything except oversize bodies and bad JSON; what it does not take
over it does not mention (docs: http-api, Errors). The Public API follows
public-api-sdk-python: DeletionAndSuppressionApi.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Final

from consentry.standin import tracking
from consentry.standin.control import Ids, Mode
from consentry.standin.vendor import UNREADABLE, Call, Persons, Reply, split_before

MAX_EVENT_BYTES: Final = 32 * 1024
MAX_BATCH_BYTES: Final = 500 * 1024
MAX_BATCH_EVENTS: Final = 2_500
MAX_SUBJECT_IDS: Final = 5_000
MAX_REGULATIONS: Final = 10_000
_ROOTS: Final = frozenset({"v1", "regulations", "suppressions"})
_SHORT: Final = {kind[0]: kind for kind in tracking.TYPES}
_REGULATION_TYPES: Final = frozenset(
    {"SUPPRESS_ONLY", "UNSUPPRESS", "SUPPRESS_WITH_DELETE", "SUPPRESS_WITH_DELETE_INTERNAL"}
    | {"DELETE_ONLY", "DELETE_INTERNAL"}
)
_MEDIA_TYPES: Final = ("application/vnd.segment.v1", "application/json", "*/*")


class Segment:
    """The Segment stand-in."""

    name = "segment"
    notes: Mapping[str, str] = {
        "ok": "A regulation is FINISHED at once. A missing or malformed key gets 401, where"
        " Segment documents 200 for an unknown key.",
        "noop": "Tracking: 200 and nothing is taken over. A regulation becomes NOT_SUPPORTED.",
        "partial": "Tracking has no such answer and behaves as ok. A regulation becomes"
        " PARTIAL_SUCCESS with one FAILED stream.",
    }

    def __init__(self) -> None:
        self.persons = Persons()
        self._regulations: dict[str, dict[str, Any]] = {}
        self._numbers = itertools.count(1)

    def split(self, tail: str) -> tuple[str, str]:
        """The instance and the path below it."""
        return split_before(tail, _ROOTS)

    def ids(self, call: Call) -> Ids:
        """The ids of the events, or the subjects of a regulation."""
        if call.path.startswith("/v1/"):
            return tracking.ids_of(tracking.items_of(call, _single(call.path)))
        ids = Ids()
        if isinstance(call.body, dict):
            ids.add(user=call.body.get("subjectIds"))
        return ids

    def refuse(self, call: Call, status: int) -> Reply:
        """An error as the addressed API writes it."""
        code = {401: "unauthorized", 429: "rate-limited"}.get(status, "internal-error")
        if call.path.startswith("/v1/"):
            return _tracking_error(status, code.replace("-", "_"), "stand-in mode")
        return _public_error(status, code, "stand-in mode")

    def answer(self, call: Call) -> Reply:
        """Answer a tracking or a Public API call."""
        if call.path.startswith("/v1/"):
            return self._track(call)
        return self._public(call)

    def _track(self, call: Call) -> Reply:
        single = _single(call.path)
        if single is None and call.path not in ("/v1/batch", "/v1/b", "/v1/import"):
            return _tracking_error(404, "not_found", "There is no such path.")
        if call.method != "POST":
            return _tracking_error(405, "method_not_allowed", "Use POST.")
        limit = MAX_EVENT_BYTES if single else MAX_BATCH_BYTES
        if call.oversize or len(call.raw) > limit:
            return _tracking_error(400, "too_large", f"The body exceeds {limit} bytes.")
        items = tracking.items_of(call, single)
        if call.body is UNREADABLE or items is None:
            return _tracking_error(400, "malformed_json", "The body is not the expected JSON.")
        if tracking.basic_key(call) is None and not _body_key(call):
            return _tracking_error(401, "unauthorized", "A write key is required.")
        if len(call.raw) > MAX_EVENT_BYTES and any(
            tracking.size_of(item) > MAX_EVENT_BYTES for item in items
        ):
            return _tracking_error(400, "too_large", f"An event exceeds {MAX_EVENT_BYTES} bytes.")
        if call.applies:
            self._take_all(call, items)
        return Reply.json(200, {"success": True})

    def _take_all(self, call: Call, items: list[Any]) -> None:
        if len(items) > MAX_BATCH_EVENTS:
            self.persons.reject(call, f"a batch holds at most {MAX_BATCH_EVENTS} events")
            return
        for item in items:
            if reason := tracking.problem(item):
                self.persons.reject(call, reason)
            else:
                tracking.take(self.persons, call, item)

    def _public(self, call: Call) -> Reply:
        root, _, rest = call.path.strip("/").partition("/")
        if root not in _ROOTS:
            return _public_error(404, "not-found", "There is no such path.")
        if not call.bearer():
            return _public_error(401, "unauthorized", "A bearer token is required.")
        if not call.headers.get("accept", "*/*").startswith(_MEDIA_TYPES):
            return _public_error(406, "not-acceptable", "Accept application/vnd.segment.v1+json.")
        if call.method == "POST" and root == "regulations":
            if rest and not rest.startswith("sources/"):
                return _public_error(404, "not-found", "There is no such path.")
            return self._regulate(call)
        if call.method != "GET":
            return _public_error(405, "method-not-allowed", "This path does not take the method.")
        if root == "suppressions" and not rest:
            return self._suppressions(call)
        if root == "regulations" and (found := self._regulations.get(rest)):
            return Reply.json(200, {"data": {"regulation": found}})
        return _public_error(404, "not-found", "There is no such regulation.")

    def _regulate(self, call: Call) -> Reply:
        if call.oversize or not isinstance(call.body, dict):
            return _public_error(422, "validation-failure", "The body must be a JSON object.")
        if not _one_of(_REGULATION_TYPES, call.body.get("regulationType")):
            return _public_error(422, "validation-failure", "unknown type", "regulationType")
        if call.body.get("subjectType") != "USER_ID":
            return _public_error(422, "validation-failure", "must be USER_ID", "subjectType")
        subjects = call.body.get("subjectIds")
        if (
            not isinstance(subjects, list)
            or not 1 <= len(subjects) <= MAX_SUBJECT_IDS
            or not all(isinstance(subject, str) and subject for subject in subjects)
        ):
            text = f"must be 1 to {MAX_SUBJECT_IDS} strings"
            return _public_error(422, "validation-failure", text, "subjectIds")
        regulation = self._regulation(call)
        if call.applies:
            for subject in subjects:
                self._apply(call, subject, call.body["regulationType"])
        return Reply.json(200, {"data": {"regulateId": regulation["id"]}})

    def _apply(self, call: Call, subject: str, kind: str) -> None:
        person = self.persons.person(call.instance, subject)
        if kind.startswith("SUPPRESS"):
            person.suppressed = True
        elif kind == "UNSUPPRESS":
            person.suppressed = False
        if "DELETE" in kind:
            person.erase(call.at)

    def _regulation(self, call: Call) -> dict[str, Any]:
        overall, streams = {
            Mode.NOOP: ("NOT_SUPPORTED", ("NOT_SUPPORTED",)),
            Mode.PARTIAL: ("PARTIAL_SUCCESS", ("FINISHED", "FAILED")),
        }.get(call.mode, ("FINISHED", ("FINISHED",)))
        regulation: dict[str, Any] = {
            "id": f"reg_{next(self._numbers)}",
            "workspaceId": "stand-in",
            "overallStatus": overall,
            "createdAt": call.at,
            "finishedAt": call.at,
            "streamStatus": [
                {
                    "id": "stream_1",
                    "destinationStatus": [
                        {"name": f"Destination {i}", "id": f"dest_{i}", "status": status}
                        | {"errString": "" if status == "FINISHED" else status.lower()}
                        | {"finishedAt": call.at}
                        for i, status in enumerate(streams, 1)
                    ],
                }
            ],
        }
        self._regulations[regulation["id"]] = regulation
        if len(self._regulations) > MAX_REGULATIONS:
            del self._regulations[next(iter(self._regulations))]
        return regulation

    def _suppressions(self, call: Call) -> Reply:
        keys = self.persons.suppressed_ids(call.instance)
        suppressed = [{"subjectType": "USER_ID", "subjectIds": [key]} for key in keys]
        pagination = {"current": "MA==", "totalEntries": len(keys)}
        return Reply.json(200, {"data": {"suppressed": suppressed, "pagination": pagination}})


def _single(path: str) -> str | None:
    name = path.removeprefix("/v1/")
    return name if name in tracking.TYPES else _SHORT.get(name)


def _one_of(known: frozenset[str], value: object) -> bool:
    return isinstance(value, str) and value in known


def _body_key(call: Call) -> bool:
    key = call.body.get("writeKey")
    return isinstance(key, str) and bool(key)


def _tracking_error(status: int, code: str, message: str) -> Reply:
    return Reply.json(status, {"code": code, "message": message})


def _public_error(status: int, kind: str, message: str, field: str | None = None) -> Reply:
    error = {"type": kind, "message": message} | ({"field": field} if field else {})
    return Reply.json(status, {"errors": [error]})
