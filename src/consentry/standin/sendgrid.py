"""SendGrid: unsubscribe groups, global unsubscribes, and marketing contacts.

Contract: SendGrid's OpenAPI. To delete a suppression enables mail again, as there. Contacts are
taken by ``PUT /v3/marketing/contacts``, at once, and deletions are done at once.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

from consentry.standin.control import Ids, Mode
from consentry.standin.people import People, is_email, member, texts
from consentry.standin.vendor import Call, Persons, Reply, split_before

_ROOTS: Final = frozenset({"v3"})
_GROUP: Final = re.compile(r"/v3/asm/groups/(\d+)/suppressions(/search|/[^/]+)?")
_GLOBAL: Final = re.compile(r"/v3/asm/suppressions/global(/[^/]+)?")
_MOST: Final = 1_000
GLOBAL: Final = "global"


class SendGrid:
    """The SendGrid stand-in."""

    name = "sendgrid"
    notes: Mapping[str, str] = {
        "ok": "Every group exists. Jobs are done at once.",
        "noop": "A suppression repeats no address; a search finds nobody; a DELETE answers 204 and"
        " does nothing.",
        "partial": "Of several addresses only the first is taken, and repeated.",
    }

    def __init__(self) -> None:
        self.persons = Persons()
        self._people = People(self.persons)
        self._numbers = itertools.count(1)

    def split(self, tail: str) -> tuple[str, str]:
        """The instance and the path below it."""
        return split_before(tail, _ROOTS)

    def ids(self, call: Call) -> Ids:
        """Addresses count as user ids."""
        ids = Ids()
        for name in ("recipient_emails", "emails"):
            ids.add(user=member(call.body, name))
        last = unquote(call.path.rpartition("/")[2])
        if is_email(last):
            ids.add(user=last)
        return ids

    def refuse(self, call: Call, status: int) -> Reply:
        """A list of errors."""
        said = {401: "authorization required", 429: "too many requests"}
        return _errors(status, said.get(status, "internal error"))

    def answer(self, call: Call) -> Reply:
        """Check what every call needs, then its own contract."""
        if not call.bearer():
            return self.refuse(call, 401)
        if path := _GROUP.fullmatch(call.path):
            return self._suppressions(call, f"group:{path[1]}", path[2] or "")
        if path := _GLOBAL.fullmatch(call.path):
            return self._suppressions(call, GLOBAL, path[1] or "")
        if call.path == "/v3/marketing/contacts":
            return self._contacts(call)
        if call.path == "/v3/marketing/contacts/search/emails" and call.method == "POST":
            return self._search(call)
        return _errors(404, "not found")

    # Suppressions

    def _suppressions(self, call: Call, which: str, rest: str) -> Reply:
        if rest == "/search":
            return self._among(call, which)
        if rest:
            return self._address(call, which, unquote(rest[1:]).lower())
        if call.method != "POST":
            return _errors(405, "method not allowed")
        emails = texts(member(call.body, "recipient_emails"), _MOST)
        if emails is None or not all(map(is_email, emails)):
            return _errors(400, "recipient_emails must be addresses", "recipient_emails")
        if not call.applies:
            return Reply.json(201, {"recipient_emails": []})
        taken = emails[: 1 if call.mode is Mode.PARTIAL else None]
        for email in taken:
            self._people.take(call, {"email": email}).consent[which] = "unsubscribed"
        return Reply.json(201, {"recipient_emails": taken})

    def _address(self, call: Call, which: str, email: str) -> Reply:
        person = self._people.find(call, {"email": email})
        held = person is not None and which in person.consent
        if call.method == "GET" and which == GLOBAL:
            return Reply.json(200, {"recipient_email": email} if held else {})
        if call.method != "DELETE":
            return _errors(405, "method not allowed")
        if person is not None and held and call.applies:
            del person.consent[which]  # mail goes there again
        return Reply(204, content_type=None)

    def _among(self, call: Call, which: str) -> Reply:
        emails = texts(member(call.body, "recipient_emails"), _MOST)
        if call.method != "POST" or emails is None or which == GLOBAL:
            return _errors(400, "recipient_emails must be addresses", "recipient_emails")
        found = []
        for email in emails:
            person = self._people.find(call, {"email": email})
            if person is not None and which in person.consent:
                found.append(email)
        return Reply.json(200, found)

    # Contacts

    def _contacts(self, call: Call) -> Reply:
        job = {"job_id": f"job-{next(self._numbers)}"}
        if call.method == "PUT":
            contacts = member(call.body, "contacts")
            if not isinstance(contacts, list) or not contacts:
                return _errors(400, "contacts is required", "contacts")
            for contact in contacts if call.applies else []:
                if is_email(member(contact, "email")):
                    person = self._people.take(call, {"email": contact["email"]})
                    person.traits["contact"] = True
            return Reply.json(202, job)
        ids = [each for each in call.query.get("ids", "").split(",") if each]
        if call.method != "DELETE" or not ids:
            return _errors(400, "ids is required", "ids")
        for identity in ids if call.applies else []:
            known = self._people.by_id(call, identity)
            if known is not None:  # suppressions are another part, and stay
                known.traits.pop("contact", None)
                known.erased_at = call.at
        return Reply.json(202, job)

    def _search(self, call: Call) -> Reply:
        emails = texts(member(call.body, "emails"), 100)
        if emails is None:
            return _errors(400, "emails is required", "emails")
        found: dict[str, Any] = {}
        for email in emails if call.mode is not Mode.NOOP else []:
            person = self._people.find(call, {"email": email})
            if person is not None and person.traits.get("contact"):
                contact = {"id": self._people.id_of(call, person), "email": email}
                found[email] = {"contact": contact}
        return Reply.json(200, {"result": found}) if found else _errors(404, "not found")


def _errors(status: int, message: str, field: str | None = None) -> Reply:
    return Reply.json(status, {"errors": [{"message": message, "field": field, "help": None}]})
