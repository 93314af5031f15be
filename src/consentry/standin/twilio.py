"""Twilio: bulk consent.

Contract: twilio-oai (twilio_accounts_v1), twilio.com/docs/messaging/features/
bulk-upsert-consents-api and error 30646. A request that can be read is a 201; each row has a code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from consentry.standin.control import Ids, Mode
from consentry.standin.vendor import Call, Persons, Reply, split_before

MAX_ITEMS: Final = 25
FAILED: Final = 30646
_SOURCES: Final = frozenset({"website", "offline", "opt-in-message", "opt-out-message", "others"})


class Twilio:
    """The Twilio stand-in. A person's key is their number."""

    name = "twilio"
    notes: Mapping[str, str] = {
        "noop": "201, and every row failed.",
        "partial": "201, and the first row failed for a reason that passes.",
    }

    def __init__(self) -> None:
        self.persons = Persons()

    def split(self, tail: str) -> tuple[str, str]:
        """The instance and the path below it."""
        return split_before(tail, frozenset({"v1"}))

    def ids(self, call: Call) -> Ids:
        """The numbers, and the ids that tie rows to answers."""
        ids = Ids()
        for item in _items(call):
            ids.add(message=item.get("correlation_id"), user=item.get("contact_id"))
        return ids

    def refuse(self, call: Call, status: int) -> Reply:
        """An error in Twilio's form."""
        return _error(status, {401: 20003, 429: 20429}.get(status, 20500), "stand-in mode")

    def answer(self, call: Call) -> Reply:
        """Take consent for up to 25 numbers."""
        if call.path != "/v1/Consents/Bulk":
            return _error(404, 20404, "The requested resource was not found")
        if call.method != "POST":
            return _error(405, 20004, "Method not allowed")
        pair = call.basic()
        if pair is None or not pair[0].startswith(("AC", "SK")) or not pair[1]:
            return _error(401, 20003, "Authenticate")
        items = list(_items(call))
        if not 1 <= len(items) <= MAX_ITEMS:
            return _error(400, 20001, "Items: 1 to 25 are needed")
        return Reply.json(201, {"items": [self._row(call, n, it) for n, it in enumerate(items)]})

    def _row(self, call: Call, place: int, item: dict[str, Any]) -> dict[str, Any]:
        fault = _fault(item)
        if call.mode is Mode.NOOP:
            fault = "INVALID_SENDER_ID"
        elif call.mode is Mode.PARTIAL and not place:
            fault = "INTERNAL_SERVER_ERROR"
        if fault is None and call.applies:
            person = self.persons.person(call.instance, item["contact_id"])
            person.suppressed = item["status"] == "opt-out"
            person.consent |= {item["sender_id"]: item["status"]}
        return {
            "correlation_id": item.get("correlation_id"),
            "error_code": FAILED if fault else 0,
            "error_messages": [fault] if fault else [],
        }


def _items(call: Call) -> Iterator[dict[str, Any]]:
    for text in (call.form() or {}).get("Items", []):
        try:
            item = msgspec.json.decode(text)
        except msgspec.DecodeError:
            item = {}
        yield item if isinstance(item, dict) else {}


def _fault(item: dict[str, Any]) -> str | None:
    """Why a row fails, in Twilio's words; None if it does not."""
    told = {name: str(item.get(name, "")) for name in ("contact_id", "correlation_id", "sender_id")}
    if not re.fullmatch(r"\+[1-9][0-9]{1,14}", told["contact_id"]):
        return "INVALID_CONTACT_ID"
    if not re.fullmatch(r"[0-9a-fA-F]{32}", told["correlation_id"]):
        return "INVALID_CORRELATION_ID"
    if not re.fullmatch(r"MG[0-9a-f]{32}|\+[1-9][0-9]{1,14}", told["sender_id"]):
        return "INVALID_SENDER_ID"
    if item.get("status") not in ("opt-in", "opt-out"):
        return "INVALID_STATUS"
    return None if item.get("source") in _SOURCES else "INVALID_SOURCE"


def _error(status: int, code: int, message: str) -> Reply:
    more = f"https://www.twilio.com/docs/errors/{code}"
    return Reply.json(
        status, {"code": code, "message": message, "more_info": more, "status": status}
    )
