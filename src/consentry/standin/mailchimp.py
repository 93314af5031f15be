"""Mailchimp: members of audiences, their events, and permanent deletion.

Contract: mailchimp-marketing 3.0.80 and the marketing API. Who unsubscribed by themselves is in
compliance state: a call cannot subscribe them. The control plane has no such person, so an
address that begins with ``left-`` left by itself. Who was deleted for good is never taken again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

from consentry.standin.control import Ids
from consentry.standin.people import is_email, member, text
from consentry.standin.tracking import basic_key
from consentry.standin.vendor import Call, Person, Persons, Reply, split_before

_ROOTS: Final = frozenset({"3.0"})
_MEMBER: Final = re.compile(
    r"/3\.0/lists/([^/]+)/members/([0-9a-f]{32})(/events|/actions/delete-permanent)?"
)
_STATUSES: Final = frozenset({"subscribed", "unsubscribed", "cleaned", "pending", "transactional"})
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{2,30}")
LEFT: Final = "left-"


class Mailchimp:
    """The Mailchimp stand-in."""

    name = "mailchimp"
    notes: Mapping[str, str] = {
        "ok": "Every audience and every interest exists. An address that begins with left- is in"
        " compliance state.",
        "noop": "A member is answered as it was; an event and a deletion answer 204 and do nothing.",
        "partial": "Mailchimp has no such answer for one member; this behaves as ok.",
    }

    def __init__(self) -> None:
        self.persons = Persons()
        self._forgotten: dict[tuple[str, str, str], None] = {}

    def split(self, tail: str) -> tuple[str, str]:
        """The instance and the path below it."""
        return split_before(tail, _ROOTS)

    def ids(self, call: Call) -> Ids:
        """Addresses and the hashes of members count as user ids."""
        ids = Ids()
        ids.add(user=member(call.body, "email_address"))
        if path := _MEMBER.fullmatch(call.path):
            ids.add(user=path[2])
        return ids

    def refuse(self, call: Call, status: int) -> Reply:
        """A problem document."""
        title = {401: "API Key Invalid", 429: "Too Many Requests"}
        return _problem(status, title.get(status, "Internal Server Error"), "stand-in mode")

    def answer(self, call: Call) -> Reply:
        """Check what every call needs, then its own contract."""
        if basic_key(call) is None and not call.bearer():
            return self.refuse(call, 401)
        path = _MEMBER.fullmatch(call.path)
        if path is None:
            return _missing()
        audience, digest, what = path[1], path[2], path[3] or ""
        person = self.persons.known(call.instance, f"{audience}/{digest}")
        if person is not None and person.erased_at:
            person = None
        if what and call.method != "POST":
            return _problem(405, "Method Not Allowed", "Use POST.")
        if what == "/events":
            return self._event(call, person)
        if what:
            return self._forget(call, audience, digest, person)
        if call.method == "GET":
            return Reply.json(200, _shown(digest, audience, person)) if person else _missing()
        if call.method not in ("PATCH", "PUT"):
            return _problem(405, "Method Not Allowed", "Use GET, PATCH or PUT.")
        return self._change(call, audience, digest, person)

    def _change(self, call: Call, audience: str, digest: str, person: Person | None) -> Reply:
        status, interests = member(call.body, "status"), member(call.body, "interests")
        if call.method == "PATCH" and person is None:
            return _missing()
        email = text(call.body, "email_address").lower()
        if call.method == "PUT":
            if not is_email(email) or _digest(email) != digest:
                return _invalid("email_address", "This value should be the member's address.")
            if person is None and text(call.body, "status_if_new") not in _STATUSES:
                return _invalid("status_if_new", "This value should not be blank.")
        if status is not None and status not in _STATUSES:
            return _invalid("status", "The value is not one of the statuses.")
        if interests is not None and not _flags(interests):
            return _invalid("interests", "This value should be of type object.")
        if (call.instance, audience, digest) in self._forgotten:
            return _problem(400, "Forgotten Email Not Subscribed", "was permanently deleted")
        if email.startswith(LEFT) and status == "subscribed":
            return _problem(400, "Member In Compliance State", "is in a compliance state")
        before = person
        if not call.applies:
            return Reply.json(200, _shown(digest, audience, before))
        if person is None:
            person = self.persons.person(call.instance, f"{audience}/{digest}")
            person.erased_at = None
            person.consent["status"] = call.body["status_if_new"]
        if email:
            person.traits["email_address"] = email
        if status is not None:
            person.consent["status"] = status
        person.consent["interests"] = person.consent.get("interests", {}) | (interests or {})
        return Reply.json(200, _shown(digest, audience, person))

    def _event(self, call: Call, person: Person | None) -> Reply:
        properties = member(call.body, "properties")
        if not _NAME.fullmatch(text(call.body, "name")):
            return _invalid("name", "A name has 2 to 30 characters.")
        if properties is not None and not (
            isinstance(properties, dict)
            and all(isinstance(value, str) for value in properties.values())
        ):
            return _invalid("properties", "Values must be strings.")
        if person is None:
            return _missing()
        if call.applies:
            name = self.persons.name_for_unnamed()
            event = {"type": "track", "event": call.body["name"], "receivedAt": call.at}
            person.record(name, event)
        return Reply(204, content_type=None)

    def _forget(self, call: Call, audience: str, digest: str, person: Person | None) -> Reply:
        if person is None:
            return _missing()
        if call.applies:
            person.erase(call.at)
            self._forgotten[call.instance, audience, digest] = None
        return Reply(204, content_type=None)


def _digest(email: str) -> str:
    return hashlib.md5(email.lower().encode(), usedforsecurity=False).hexdigest()


def _flags(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(flag, bool) for flag in value.values())


def _shown(digest: str, audience: str, person: Person | None) -> dict[str, Any]:
    consent = person.consent if person else {}
    return {
        "id": digest,
        "email_address": person.traits.get("email_address", "") if person else "",
        "status": consent.get("status", "unsubscribed"),
        "interests": consent.get("interests", {}),
        "list_id": audience,
    }


def _missing() -> Reply:
    return _problem(404, "Resource Not Found", "The requested resource could not be found.")


def _invalid(field: str, message: str) -> Reply:
    body = _document(400, "Invalid Resource", "The resource submitted could not be validated.")
    body["errors"] = [{"field": field, "message": message}]
    return Reply(400, Reply.json(400, body).body, "application/problem+json")


def _problem(status: int, title: str, detail: str) -> Reply:
    document = _document(status, title, detail)
    return Reply(status, Reply.json(status, document).body, "application/problem+json")


def _document(status: int, title: str, detail: str) -> dict[str, Any]:
    kind = "https://mailchimp.com/developer/marketing/docs/errors/"
    said = {"type": kind, "title": title, "status": status, "detail": detail}
    return said | {"instance": "stand-in"}
