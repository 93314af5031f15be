"""Mixpanel: /import, /track and /engage, and the deletions of its GDPR API.

Contract: mixpanel/docs, openapi/ingestion and openapi/gdpr, reference/import-events.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from consentry.standin.control import Ids, Mode
from consentry.standin.vendor import UNREADABLE, Call, Persons, Reply, split_before

MAX_EVENTS: Final = 2_000
MAX_BYTES: Final = 10 * 1024 * 1024
MAX_IDS: Final = 2_000
FUTURE_S: Final = 3600
_INSERT_ID: Final = re.compile(r"[A-Za-z0-9-]{1,36}")
_TASKS: Final = "/api/app/data-deletions/v3.0"
_NOBODY: Final = frozenset({"anon", "anonymous", "nil", "none", "null", "n/a", "undefined"})


class Mixpanel:
    """The Mixpanel stand-in. A task has succeeded as soon as it is asked about."""

    name = "mixpanel"
    notes: Mapping[str, str] = {
        "noop": "/import says that it imported none. /engage says 1 and does nothing, which"
        " cannot be told from ok. A deletion is REVOKED when it is asked about.",
        "partial": "/import refuses the first event of a request and takes the others."
        " A deletion is a FAILURE. /engage behaves as ok.",
    }

    def __init__(self) -> None:
        self.persons = Persons()
        self._tasks: dict[str, dict[str, Any]] = {}
        self._numbers = itertools.count(1)

    def split(self, tail: str) -> tuple[str, str]:
        """The instance and the path below it."""
        return split_before(tail, frozenset({"import", "track", "engage", "api"}))

    def ids(self, call: Call) -> Ids:
        """The ids of the events, the profiles or a deletion."""
        ids = Ids()
        for item in _items(call):
            held = item.get("properties")
            properties = held if isinstance(held, dict) else {}
            ids.add(
                message=properties.get("$insert_id"),
                user=[properties.get("$user_id"), item.get("$distinct_id")],
                anonymous=properties.get("$device_id"),
            )
        if isinstance(call.body, dict):
            ids.add(user=call.body.get("distinct_ids"))
        return ids

    def refuse(self, call: Call, status: int) -> Reply:
        """An error of the addressed API."""
        text = {401: "Unauthorized", 429: "Too Many Requests"}.get(status, "Internal Server Error")
        if call.path.startswith(_TASKS):
            return Reply.json(status, {"error": text, "status": "error"})
        return _refusal(status, text)

    def answer(self, call: Call) -> Reply:
        """Answer an import, events, profiles or a deletion."""
        if call.path.startswith(_TASKS):
            return self._deletion(call)
        if call.path not in ("/import", "/track", "/engage"):
            return _refusal(404, "There is no such path.")
        if call.method != "POST":
            return _refusal(405, "Use POST.")
        if call.oversize or len(call.raw) > MAX_BYTES:
            return _refusal(413, "Request Entity Too Large")
        items = list(_items(call))
        if call.path != "/import":
            return self._told(call, items)
        if call.basic() is None:
            return _refusal(401, "Unauthorized")
        if call.body is UNREADABLE and not items:
            return _refusal(400, "the body is not JSON")
        if not items or len(items) > MAX_EVENTS:
            return _refusal(413 if items else 400, "1 to 2000 events")
        return self._import(call, items)

    def _import(self, call: Call, items: list[dict[str, Any]]) -> Reply:
        failed: list[dict[str, Any]] = []
        taken = 0
        for index, item in enumerate(items):
            fault = _fault(call, item)
            if call.mode is Mode.PARTIAL and not index:
                fault = ("properties.time", "'properties.time' is invalid")
            if fault is not None:
                held = item.get("properties")
                identity = held.get("$insert_id") if isinstance(held, dict) else None
                failed.append(
                    {"index": index, "insert_id": identity, "field": fault[0], "message": fault[1]}
                )
            elif call.applies:
                taken += 1
                self._take(call, item)
        if failed and call.query.get("strict") == "1":
            told = {"num_records_imported": taken, "failed_records": failed}
            return _refusal(400, "some data points in the request failed validation", **told)
        return Reply.json(200, {"code": 200, "num_records_imported": taken, "status": "OK"})

    def _take(self, call: Call, item: dict[str, Any]) -> None:
        held = item["properties"]
        if held.get("$ignore"):
            self.persons.reject(call, "$ignore: dropped in silence")
            return
        user = held.get("$user_id") or held.get("distinct_id")
        told = {"type": "track", "event": item["event"]}
        self.persons.keep(
            call, held.get("$insert_id"), told, user=user, device=held.get("$device_id")
        )

    def _told(self, call: Call, items: list[dict[str, Any]]) -> Reply:
        """/track and /engage: 1 if one item is well formed, and no word of what became of it."""
        well = [item for item in items if _fits(call.path, item)]
        if call.applies:
            for item in well:
                if call.path == "/track":
                    self._take(call, item)
                else:
                    self._profile(call, item)
        if not call.query.get("verbose") and not (call.form() or {}).get("verbose"):
            return Reply(200, b"1" if well else b"0", "text/plain")
        error = None if well else "data, missing or empty"
        return Reply.json(200, {"status": int(bool(well)), "error": error})

    def _profile(self, call: Call, item: dict[str, Any]) -> None:
        if "$delete" in item:
            if person := self.persons.known(call.instance, item["$distinct_id"]):
                person.traits = {}
                person.suppressed = True
            return
        changes = item.get("$set")
        if isinstance(changes, dict):
            self.persons.person(call.instance, item["$distinct_id"]).traits |= changes

    def _deletion(self, call: Call) -> Reply:
        if not call.bearer():
            return self.refuse(call, 401)
        if not call.query.get("token"):
            return Reply.json(403, {"error": "token is required", "status": "error"})
        task = call.path.removeprefix(_TASKS).strip("/")
        if task:
            found = self._tasks.get(task)
            if call.method == "DELETE":
                return Reply(204, content_type=None)
            state = {"status": "NOT_FOUND"} if found is None else found
            return Reply.json(200, {"status": "ok", "results": state})
        ids = call.body.get("distinct_ids") if isinstance(call.body, dict) else None
        if call.method != "POST" or not isinstance(ids, list) or not 1 <= len(ids) <= MAX_IDS:
            return Reply.json(400, {"error": "distinct_ids: 1 to 2000", "status": "error"})
        return self._made(call, ids)

    def _made(self, call: Call, ids: list[Any]) -> Reply:
        number = f"task-{next(self._numbers)}"
        state = {Mode.NOOP: "REVOKED", Mode.PARTIAL: "FAILURE"}.get(call.mode, "SUCCESS")
        kind = call.body.get("compliance_type", "GDPR")
        self._tasks[number] = {
            "tracking_id": number,
            "status": state,
            "requesting_user": "stand-in",
            "compliance_type": kind,
            "project_id": 1,
            "date_requested": call.at,
            "distinct_ids": ids,
        }
        if state == "SUCCESS":
            for identity in ids:
                if person := self.persons.known(call.instance, identity):
                    person.erase(call.at)
        return Reply.json(201, {"status": "ok", "results": {"task_id": number}})


def _items(call: Call) -> Iterator[dict[str, Any]]:
    """The items of a JSON list, of a form's ``data``, or of lines of JSON."""
    body = call.body
    if form := call.form():
        try:
            body = msgspec.json.decode(form.get("data", [""])[0])
        except msgspec.DecodeError:
            return
    if body is UNREADABLE and "ndjson" in call.headers.get("content-type", ""):
        try:
            body = [msgspec.json.decode(line) for line in call.raw.splitlines() if line]
        except msgspec.DecodeError:
            return
    for item in body if isinstance(body, list) else [body]:
        if isinstance(item, dict) and ("event" in item or "$distinct_id" in item):
            yield item


def _fits(path: str, item: dict[str, Any]) -> bool:
    if path == "/track":
        held = item.get("properties")
        return isinstance(held, dict) and bool(held.get("token")) and bool(held.get("distinct_id"))
    identity = item.get("$distinct_id")
    return bool(item.get("$token")) and isinstance(identity, str) and bool(identity)


def _fault(call: Call, item: dict[str, Any]) -> tuple[str, str] | None:
    """The field that /import refuses an event for, and its words; None if it takes it."""
    held = item.get("properties")
    if not isinstance(item.get("event"), str) or not item["event"]:
        return "event", "'event' must not be missing or blank"
    if not isinstance(held, dict):
        return "properties", "'properties' is missing"
    time = held.get("time")
    if isinstance(time, bool) or not isinstance(time, int | float):
        return "properties.time", "'properties.time' is invalid: must be specified"
    seconds = time / 1000 if time > 1e11 else time
    if not 31_536_000 <= seconds <= call.moment.unix_s + FUTURE_S:
        return "properties.time", "'properties.time' is invalid: must be a time since 1971"
    identity = held.get("distinct_id")
    if not isinstance(identity, str) or identity.lower() in _NOBODY:
        return "properties.distinct_id", "'properties.distinct_id' is invalid"
    insert_id = held.get("$insert_id")
    if not isinstance(insert_id, str) or not _INSERT_ID.fullmatch(insert_id):
        return "properties.$insert_id", "'properties.$insert_id' is invalid"
    return None


def _refusal(status: int, error: str, **more: Any) -> Reply:
    word = {400: "Bad Request", 401: "Unauthorized"}.get(status, "Error")
    return Reply.json(status, {"code": status, "error": error, "status": word, **more})
