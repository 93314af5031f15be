"""TikTok: Events API 2.0, and the mapping of people to audiences.

Contract: Segment's action-destinations (tiktok-conversions, tiktok-audiences) and
rudder-transformer (tiktok_ads, tiktok_audience). Every answer is HTTP 200; ``code`` says the rest.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from consentry.standin.control import Ids, Mode
from consentry.standin.vendor import Call, Persons, Reply, split_before

MAX_EVENTS: Final = 1_000
MAX_ROWS: Final = 10_000
OK, PARTIAL, NO_PERMISSION, INVALID, NO_SUCH = 0, 20001, 40001, 40002, 40007
RATE, WRONG_TOKEN, BROKEN = 40100, 40105, 50000
_TRACK: Final = "/open_api/v1.3/event/track/"
_MAPPING: Final = "/open_api/v1.3/segment/mapping/"
_SCHEMAS: Final = frozenset({"EMAIL_SHA256", "PHONE_SHA256", "IDFA_SHA256", "GAID_SHA256"})
_HASH: Final = re.compile(r"[0-9a-f]{64}")


class TikTok:
    """The TikTok stand-in. A person's key is the hash of their address, else of another id."""

    name = "tiktok"
    notes: Mapping[str, str] = {
        "noop": "Code 20001, and nothing is taken over: TikTok has no code for it.",
        "partial": "Code 20001; all but the last is taken over.",
        "401": "HTTP 200 with code 40105.",
        "429": "HTTP 200 with code 40100.",
        "5xx": "HTTP 200 with code 50000.",
    }

    def __init__(self) -> None:
        self.persons = Persons()
        self._numbers = itertools.count(1)

    def split(self, tail: str) -> tuple[str, str]:
        """The instance and the path below it."""
        return split_before(tail, frozenset({"open_api"}))

    def ids(self, call: Call) -> Ids:
        """Event ids, and the first hash of each person."""
        ids = Ids()
        for event in _events(call.body):
            ids.add(message=event.get("event_id"), user=_key(event))
        for row in _rows(call.body) or ():
            ids.add(user=[cell.get("id") for cell in row])
        return ids

    def refuse(self, call: Call, status: int) -> Reply:
        """The code that stands for a status."""
        code = {401: WRONG_TOKEN, 429: RATE}.get(status, BROKEN)
        return self._said(code, "stand-in mode")

    def answer(self, call: Call) -> Reply:
        """Answer events, or a change of audiences."""
        if call.method != "POST" or call.path not in (_TRACK, _MAPPING):
            return self._said(NO_SUCH, "There is no such path.")
        if not call.headers.get("access-token"):
            return self._said(WRONG_TOKEN, "Access token is incorrect or has been revoked.")
        if not isinstance(call.body, dict):
            return self._said(INVALID, "The body must be a JSON object.")
        if call.path == _TRACK:
            return self._track(call)
        return self._map(call)

    def _track(self, call: Call) -> Reply:
        body = call.body
        events = list(_events(body))
        if body.get("event_source") not in ("web", "app", "offline", "crm"):
            return self._said(INVALID, "event_source: Missing data for required field.")
        if not isinstance(body.get("event_source_id"), str) or not body["event_source_id"]:
            return self._said(INVALID, "event_source_id: Missing data for required field.")
        if not 1 <= len(events) <= MAX_EVENTS:
            return self._said(INVALID, "data: 1 to 1000 events.")
        for place, event in enumerate(events):
            if fault := _fault(event):
                return self._said(INVALID, f"data.{place}.{fault}")
        taken = len(events) - (call.mode is Mode.PARTIAL) if call.applies else 0
        for event in events[:taken]:
            told = {"type": "track", "event": event["event"]}
            named = f"{event['event']} {event['event_id']}" if event.get("event_id") else None
            self.persons.keep(call, named, told, user=_key(event), device=None)
        return self._done(call)

    def _map(self, call: Call) -> Reply:
        body, rows = call.body, _rows(call.body)
        if body.get("action") not in ("add", "delete"):
            return self._said(INVALID, "action: must be add or delete.")
        schema = body.get("id_schema")
        if not isinstance(schema, list) or not schema or not set(map(str, schema)) <= _SCHEMAS:
            return self._said(INVALID, "id_schema: unknown.")
        if not isinstance(body.get("advertiser_ids"), list) or not body["advertiser_ids"]:
            return self._said(INVALID, "advertiser_ids: Missing data for required field.")
        if rows is None or not 1 <= len(rows) <= MAX_ROWS:
            return self._said(INVALID, "batch_data: 1 to 10000 rows of id_schema.")
        for cell in itertools.chain(*rows):
            if cell and not (_HASH.fullmatch(str(cell.get("id"))) and cell.get("audience_ids")):
                return self._said(INVALID, "batch_data: an id is a SHA-256 with its audiences.")
        if call.applies:
            for cell in itertools.chain(*rows[: len(rows) - (call.mode is Mode.PARTIAL)]):
                if person := self.persons.known(call.instance, cell.get("id")):
                    person.suppressed = body["action"] == "delete"
        return self._done(call)

    def _done(self, call: Call) -> Reply:
        if call.mode in (Mode.PARTIAL, Mode.NOOP):
            return self._said(PARTIAL, "Partial success")
        return self._said(OK, "OK")

    def _said(self, code: int, message: str) -> Reply:
        told = {"code": code, "message": message, "data": {}}
        return Reply.json(200, told | {"request_id": f"request-{next(self._numbers)}"})


def _events(body: object) -> Iterator[dict[str, Any]]:
    events = body.get("data") if isinstance(body, dict) else None
    for event in events if isinstance(events, list) else []:
        if isinstance(event, dict):
            yield event


def _rows(body: object) -> list[list[dict[str, Any]]] | None:
    rows = body.get("batch_data") if isinstance(body, dict) else None
    schema = body.get("id_schema") if isinstance(body, dict) else None
    if not isinstance(rows, list) or not isinstance(schema, list):
        return None
    for row in rows:
        if not isinstance(row, list) or len(row) != len(schema):
            return None
        if not all(isinstance(cell, dict) for cell in row):
            return None
    return rows


def _key(event: dict[str, Any]) -> str | None:
    user = event.get("user")
    for name in ("email", "phone", "external_id", "ttclid", "ttp", "ip"):
        value = user.get(name) if isinstance(user, dict) else None
        if isinstance(value, str) and value:
            return value
    return None


def _fault(event: dict[str, Any]) -> str | None:
    """The field that an event is refused for, or None."""
    if not isinstance(event.get("event"), str) or not event["event"]:
        return "event: Missing data for required field."
    time = event.get("event_time")
    if isinstance(time, bool) or not isinstance(time, int):
        return "event_time: Not a valid integer."
    if _key(event) is None:
        return "user: must name a person."
    for name in ("email", "phone", "external_id"):
        value = event["user"].get(name)
        if value is not None and not _HASH.fullmatch(str(value)):
            return f"user.{name}: must be hashed."
    return None
