"""RudderStack as a destination: the data plane and the user suppression API.

The data plane answers ``OK`` or one line of text (rudder-server: gateway/response). The
suppression API follows rudderstack.com/docs/api/user-suppression-api.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from consentry.standin import tracking
from consentry.standin.control import Ids
from consentry.standin.vendor import UNREADABLE, Call, Persons, Reply, split_before

MAX_EVENT_BYTES: Final = 32 * 1024
MAX_BODY_BYTES: Final = 4_000 * 1024
MAX_REGULATIONS: Final = 10_000
PAGE: Final = 50
_ROOTS: Final = frozenset({"v1", "v2"})
_REGULATION_TYPES: Final = frozenset({"suppress", "suppress_with_delete"})
_TOO_LARGE: Final = "Request size exceeds max limit"


class RudderStack:
    """The RudderStack stand-in."""

    name = "rudderstack"
    notes: Mapping[str, str] = {
        "noop": "200 and nothing is taken over; RudderStack's answer cannot be told from ok.",
        "partial": "RudderStack has no such answer; this behaves as ok.",
        "429": "RudderStack documents no Retry-After; it is sent only when asked for.",
    }

    def __init__(self) -> None:
        self.persons = Persons()
        self._regulations: deque[dict[str, Any]] = deque(maxlen=MAX_REGULATIONS)
        self._numbers = itertools.count(1)

    def split(self, tail: str) -> tuple[str, str]:
        """The instance and the path below it."""
        return split_before(tail, _ROOTS)

    def ids(self, call: Call) -> Ids:
        """The ids of the events, or the users of a regulation."""
        if call.path.startswith("/v1/"):
            return tracking.ids_of(tracking.items_of(call, _single(call.path)))
        ids = Ids()
        users = call.body.get("users") if isinstance(call.body, dict) else None
        for user in users if isinstance(users, list) else []:
            if isinstance(user, dict):
                ids.add(user=user.get("userId"))
        return ids

    def refuse(self, call: Call, status: int) -> Reply:
        """One line of text, as the gateway writes it."""
        text = {401: "Invalid Write Key", 429: "Max Requests Limit reached"}
        if call.path.startswith("/v1/"):
            return _line(status, text.get(status, "Internal Server Error"))
        return Reply.json(status, {"message": text.get(status, "Internal Server Error")})

    def answer(self, call: Call) -> Reply:
        """Answer a data plane or a suppression call."""
        if call.path.startswith("/v1/"):
            return self._track(call)
        if call.path == "/v2/regulations":
            return self._regulate(call)
        if call.path.startswith("/v2/regulations/"):
            return self._cancel(call, call.path.rpartition("/")[2])
        return _line(404, "404 page not found")

    def _track(self, call: Call) -> Reply:
        single = _single(call.path)
        if single is None and call.path not in ("/v1/batch", "/v1/import"):
            return _line(404, "404 page not found")
        if call.method != "POST":
            return _line(405, "Invalid HTTP Request Method")
        if tracking.basic_key(call) is None:
            return _line(401, "Failed to read writeKey from header")
        if call.oversize or len(call.raw) > MAX_BODY_BYTES:
            return _line(413, _TOO_LARGE)
        if not call.raw:
            return _line(400, "Request body is nil")
        if call.body is UNREADABLE:
            return _line(400, "Invalid JSON")
        items = tracking.items_of(call, single)
        if not items or not all(isinstance(item, dict) for item in items):
            return _line(400, "Event is not a valid rudder event")
        if len(call.raw) > MAX_EVENT_BYTES and any(
            tracking.size_of(item) > MAX_EVENT_BYTES for item in items
        ):
            return _line(413, _TOO_LARGE)
        if not all(tracking.identified(item) for item in items):
            return _line(400, "Request neither has anonymousId nor userId")
        if call.applies:
            for item in items:
                if reason := tracking.problem(item):
                    self.persons.reject(call, reason)
                else:
                    tracking.take(self.persons, call, item)
        return _line(200, "OK")

    def _regulate(self, call: Call) -> Reply:
        if not call.bearer():
            return Reply.json(401, {"message": "Unauthorized"})
        if call.method == "GET":
            return self._listed(call)
        if call.method != "POST":
            return Reply.json(405, {"message": "Method Not Allowed"})
        body = call.body if isinstance(call.body, dict) else {}
        users = body.get("users")
        kind = body.get("regulationType")
        if not isinstance(kind, str) or kind not in _REGULATION_TYPES:
            return Reply.json(400, {"message": "regulationType is invalid"})
        if not isinstance(users, list) or not users or not all(_is_user(user) for user in users):
            return Reply.json(400, {"message": "users must be objects with a userId"})
        deletes = body["regulationType"] == "suppress_with_delete"
        if deletes and not body.get("destinationIds"):
            return Reply.json(400, {"message": "destinationIds is required"})
        made = [self._regulation(call, user, body) for user in users]
        return Reply.json(201, made)

    def _regulation(self, call: Call, user: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        regulation = {
            "id": f"reg-{next(self._numbers)}",
            "workspaceId": "stand-in",
            "canceled": False,
            "regulationType": body["regulationType"],
            "attributes": user,
        }
        if call.applies:
            self._regulations.append(regulation)
            person = self.persons.person(call.instance, user["userId"])
            person.suppressed = True
            if body["regulationType"] == "suppress_with_delete":
                person.erase(call.at)
        return regulation

    def _listed(self, call: Call) -> Reply:
        """A page of the list; the cursor is the number of regulations before it."""
        cursor = call.query.get("after_cursor", "0")
        start = int(cursor) if cursor.isascii() and cursor.isdigit() and len(cursor) < 9 else 0
        listed = list(self._regulations)
        body: dict[str, Any] = {"data": listed[start : start + PAGE], "paging": {}}
        if start + PAGE < len(listed):
            body["paging"]["next"] = f"/v2/regulations?after_cursor={start + PAGE}"
        return Reply.json(200, body)

    def _cancel(self, call: Call, number: str) -> Reply:
        if not call.bearer():
            return Reply.json(401, {"message": "Unauthorized"})
        found = next((one for one in self._regulations if one["id"] == number), None)
        if call.method != "DELETE" or found is None:
            return Reply.json(404, {"message": "Regulation not found"})
        if call.applies:
            found["canceled"] = True
            user = found["attributes"]["userId"]
            others = (
                one
                for one in self._regulations
                if one["attributes"]["userId"] == user and not one["canceled"]
            )
            self.persons.person(call.instance, user).suppressed = any(others)
        return Reply(204, content_type=None)


def _single(path: str) -> str | None:
    name = path.removeprefix("/v1/")
    return name if name in tracking.TYPES else None


def _is_user(user: object) -> bool:
    return isinstance(user, dict) and isinstance(user.get("userId"), str) and bool(user["userId"])


def _line(status: int, text: str) -> Reply:
    return Reply(status, text.encode(), "text/plain")
