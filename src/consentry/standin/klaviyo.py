"""Klaviyo: events, profiles, subscriptions, suppressions, lists and deletions.

Contract: klaviyo-api 25.0.0 (paths, bodies, limits, JSON:API). What the real one does on the side is done
here too: an unsubscription from a list that a profile is not on is one from everything, and a
subscription lifts the suppressions UNSUBSCRIBE, SPAM_REPORT and USER_SUPPRESSED.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from consentry.standin.control import Ids, Mode
from consentry.standin.people import People, is_e164, is_email, member, text
from consentry.standin.vendor import Call, Person, Persons, Reply, split_before

MAX_JOBS: Final = 10_000
UNSUBSCRIBED_MAX: Final = 100
SUBSCRIBED_MAX: Final = 1_000
PROPERTIES_MAX: Final = 400
_ROOTS: Final = frozenset({"api"})
_REVISION: Final = re.compile(r"\d{4}-\d\d-\d\d(\.pre)?")
_FILTER: Final = re.compile(r"(any|equals)\((email|phone_number|external_id|id),(.+)\)", re.DOTALL)
_LIFTED: Final = frozenset({"UNSUBSCRIBE", "SPAM_REPORT", "USER_SUPPRESSED"})
_JOB: Final = re.compile(r"/api/profile-suppression-bulk-(create|delete)-jobs/([^/]+)")
_LIST: Final = re.compile(r"/api/lists/([^/]+)/profiles")


class Refused(Exception):
    """A request that breaks the contract: what is wrong, and where in the body."""

    def __init__(self, detail: str, pointer: str = "/data") -> None:
        super().__init__(detail)
        self.pointer = pointer


class Klaviyo:
    """The Klaviyo stand-in."""

    name = "klaviyo"
    notes: Mapping[str, str] = {
        "ok": "Jobs are complete at once. Every list exists.",
        "noop": "202 and nothing is taken over; it cannot be told from ok but by reading.",
        "partial": "Of a job's profiles only the first is taken over; the answer does not say so.",
    }

    def __init__(self) -> None:
        self.persons = Persons()
        self._people = People(self.persons)
        self._jobs: dict[str, dict[str, Any]] = {}
        self._numbers = itertools.count(1)

    def split(self, tail: str) -> tuple[str, str]:
        """The instance and the path below it."""
        return split_before(tail, _ROOTS)

    def ids(self, call: Call) -> Ids:
        """Addresses, numbers and external ids count as user ids."""
        ids = Ids()
        attributes = member(call.body, "data", "attributes")
        ids.add(message=member(attributes, "unique_id"))
        holders = [attributes, member(attributes, "profile", "data", "attributes")]
        profiles = member(attributes, "profiles", "data")
        if isinstance(profiles, list):
            holders += [member(profile, "attributes") for profile in profiles]
        for holder in holders:
            for name in ("external_id", "email", "phone_number"):
                ids.add(user=member(holder, name))
            ids.add(anonymous=member(holder, "anonymous_id"))
        return ids

    def refuse(self, call: Call, status: int) -> Reply:
        """JSON:API errors."""
        title = {401: "Incorrect authentication credentials.", 429: "Request was throttled."}
        code = {401: "not_authenticated", 429: "throttled"}.get(status, "error")
        return _errors(status, code, title.get(status, "A server error occurred."))

    def answer(self, call: Call) -> Reply:
        """Check what every call needs, then its own contract."""
        scheme, _, key = call.headers.get("authorization", "").partition(" ")
        if scheme not in ("Klaviyo-API-Key", "Bearer") or not key:
            return self.refuse(call, 401)
        if not _REVISION.fullmatch(call.headers.get("revision", "")):
            return _errors(400, "invalid", "A revision header is required.")
        if call.method == "GET":
            return self._read(call)
        if call.method != "POST":
            return _errors(405, "method_not_allowed", f"Method {call.method} not allowed.")
        kind = call.headers.get("content-type", "").partition(";")[0]
        if kind not in ("application/json", "application/vnd.api+json"):
            return _errors(415, "unsupported_media_type", "Unsupported media type.")
        handler = self._handlers().get(call.path.removeprefix("/api/").rstrip("/"))
        if handler is None:
            return _errors(404, "not_found", "There is no such path.")
        try:
            return handler(call)
        except Refused as refused:
            return _errors(400, "invalid", str(refused), refused.pointer)

    def _handlers(self) -> dict[str, Callable[[Call], Reply]]:
        return {
            "events": self._event,
            "profile-import": self._import,
            "profile-subscription-bulk-create-jobs": self._subscribe,
            "profile-subscription-bulk-delete-jobs": self._unsubscribe,
            "profile-suppression-bulk-create-jobs": self._suppress,
            "profile-suppression-bulk-delete-jobs": self._unsuppress,
            "data-privacy-deletion-jobs": self._delete,
        }

    # Events and profiles

    def _event(self, call: Call) -> Reply:
        attributes = _typed(call, "event")
        name = text(attributes, "metric", "data", "attributes", "name")
        if not name or member(attributes, "metric", "data", "type") != "metric":
            raise Refused("A metric with a name is required.", "/data/attributes/metric")
        properties = attributes.get("properties")
        if not isinstance(properties, dict) or len(properties) > PROPERTIES_MAX:
            raise Refused("properties must be an object.", "/data/attributes/properties")
        if member(attributes, "profile", "data", "type") != "profile":
            raise Refused("A profile is required.", "/data/attributes/profile")
        names = _names(member(attributes, "profile", "data", "attributes"))
        unique = attributes.get("unique_id") or self.persons.name_for_unnamed()
        if call.applies and not self.persons.seen(call.instance, unique):
            self.persons.remember(call.instance, unique)
            person = self._people.take(call, names)
            person.record(unique, {"type": "track", "event": name, "receivedAt": call.at})
        return Reply(202, content_type=None)

    def _import(self, call: Call) -> Reply:
        attributes = _typed(call, "profile")
        names = _names(attributes)
        if not call.applies:
            return Reply.json(200, {"data": {"type": "profile", "id": "", "attributes": {}}})
        new = self._people.find(call, names) is None
        person = self._people.take(call, names)
        person.traits |= attributes.get("properties") or {}
        return Reply.json(201 if new else 200, {"data": self._shown(call, person, False)})

    # Subscriptions

    def _subscribe(self, call: Call) -> Reply:
        for attributes in self._profiles(
            call, "profile-subscription-bulk-create-job", SUBSCRIBED_MAX
        ):
            channels = _channels(attributes, "SUBSCRIBED")
            person = self._people.take(call, _names(attributes))
            for channel in channels:
                person.consent[channel] = "SUBSCRIBED"
            if "email" in channels:
                held = person.consent.get("suppression", [])
                person.consent["suppression"] = [each for each in held if each not in _LIFTED]
            if list_id := text(call.body, "data", "relationships", "list", "data", "id"):
                person.consent[f"list:{list_id}"] = True
        return Reply(202, content_type=None)

    def _unsubscribe(self, call: Call) -> Reply:
        list_id = text(call.body, "data", "relationships", "list", "data", "id")
        for attributes in self._profiles(
            call, "profile-subscription-bulk-delete-job", UNSUBSCRIBED_MAX
        ):
            channels = _channels(attributes, "UNSUBSCRIBED")
            person = self._people.take(call, _names(attributes))
            if list_id and person.consent.pop(f"list:{list_id}", False):
                continue
            for channel in channels:  # on no such list: from everything
                person.consent[channel] = "UNSUBSCRIBED"
                if channel == "email":
                    _add(person, "UNSUBSCRIBE")
        return Reply(202, content_type=None)

    def _suppress(self, call: Call) -> Reply:
        for attributes in self._profiles(call, "profile-suppression-bulk-create-job", 100, "email"):
            _add(self._people.take(call, _names(attributes)), "USER_SUPPRESSED")
        return self._made(call, "profile-suppression-bulk-create-job")

    def _unsuppress(self, call: Call) -> Reply:
        for attributes in self._profiles(call, "profile-suppression-bulk-delete-job", 100, "email"):
            person = self._people.find(call, _names(attributes))
            held = person.consent.get("suppression", []) if person else []
            if "USER_SUPPRESSED" in held:
                held.remove("USER_SUPPRESSED")
        return self._made(call, "profile-suppression-bulk-delete-job")

    def _profiles(
        self, call: Call, kind: str, most: int, only: str | None = None
    ) -> list[dict[str, Any]]:
        """The attributes of a job's profiles: all checked, and those that this mode takes over."""
        attributes = _typed(call, kind)
        pointer = "/data/attributes/profiles/data"
        profiles = member(attributes, "profiles", "data")
        if not isinstance(profiles, list) or not 1 <= len(profiles) <= most:
            raise Refused(f"There must be 1 to {most} profiles.", pointer)
        found = []
        for profile in profiles:
            held = member(profile, "attributes")
            if member(profile, "type") != "profile" or not isinstance(held, dict):
                raise Refused("A profile needs its type and attributes.", pointer)
            names = _names(held)
            if not {"email", "phone_number"} & set(names) or (only and only not in names):
                raise Refused("An email or a phone number is required.", pointer)
            if kind.startswith("profile-subscription"):
                _channels(held, "SUBSCRIBED" if "create" in kind else "UNSUBSCRIBED")
            found.append(held)
        if not call.applies:
            return []
        return found[:1] if call.mode is Mode.PARTIAL else found

    def _made(self, call: Call, kind: str) -> Reply:
        identity = f"job{next(self._numbers)}"
        attributes = {"status": "complete", "created_at": call.at, "total_count": 1}
        attributes |= {"completed_count": 1, "completed_at": call.at, "skipped_count": 0}
        job = {"type": kind, "id": identity, "attributes": attributes}
        job |= {"relationships": {}, "links": {"self": f"/api/{kind}s/{identity}"}}
        self._jobs[identity] = job
        if len(self._jobs) > MAX_JOBS:
            del self._jobs[next(iter(self._jobs))]
        return Reply.json(202, {"data": job})

    def _delete(self, call: Call) -> Reply:
        attributes = _typed(call, "data-privacy-deletion-job")
        pointer = "/data/attributes/profile"
        profile = member(attributes, "profile", "data")
        held = member(profile, "attributes")
        given = {"id": text(profile, "id")} | (held if isinstance(held, dict) else {})
        names = {name: value for name, value in given.items() if value}
        if member(profile, "type") != "profile" or len(names) != 1:
            raise Refused("Exactly one identifier is required.", pointer)
        if not set(names) <= {"id", "email", "phone_number"}:
            raise Refused("An id, email or phone number is required.", pointer)
        known = self._people.by_id(call, names["id"]) if "id" in names else None
        person = known or self._people.find(call, names)
        if call.applies and person is not None:
            person.consent, person.suppressed = {}, False
            self._people.forget(call, person)
        return Reply(202, content_type=None)

    # Reading

    def _read(self, call: Call) -> Reply:
        if job := _JOB.fullmatch(call.path.rstrip("/")):
            found = self._jobs.get(job[2])
            return Reply.json(200, {"data": found}) if found else self._missing(call)
        on_list = _LIST.fullmatch(call.path.rstrip("/"))
        if not on_list and call.path.rstrip("/") != "/api/profiles":
            return self._missing(call)
        chosen = _FILTER.fullmatch(call.query.get("filter", ""))
        if chosen is None:
            return _errors(400, "invalid", "The filter cannot be read.")
        try:
            values = json.loads(chosen[3])
        except ValueError:
            return _errors(400, "invalid", "The filter cannot be read.")
        values = values if isinstance(values, list) else [values]
        if chosen[2] == "phone_number" and not all(map(is_e164, values)):
            return _errors(400, "invalid", "Invalid phone number format.")
        persons = {}
        for value in values:
            person = self._people.find(call, {chosen[2]: value})
            if person and (not on_list or person.consent.get(f"list:{on_list[1]}")):
                persons[id(person)] = person
        asked = "subscriptions" in call.query.get("additional-fields[profile]", "")
        shown = [self._shown(call, person, asked) for person in persons.values()]
        return Reply.json(200, {"data": shown, "links": {"self": "", "next": None, "prev": None}})

    def _missing(self, call: Call) -> Reply:
        return _errors(404, "not_found", "A resource does not exist.")

    def _shown(self, call: Call, person: Person, subscriptions: bool) -> dict[str, Any]:
        names = ("email", "phone_number", "external_id", "anonymous_id")
        attributes: dict[str, Any] = {name: person.traits.get(name) for name in names}
        if subscriptions:
            attributes["subscriptions"] = {"email": {"marketing": _marketing(call, person)}}
            attributes["subscriptions"]["sms"] = {
                "marketing": {
                    "can_receive_sms_marketing": person.consent.get("sms") == "SUBSCRIBED",
                    "consent": person.consent.get("sms", "NEVER_SUBSCRIBED"),
                }
            }
        return {
            "type": "profile",
            "id": self._people.id_of(call, person),
            "attributes": attributes,
            "links": {"self": ""},
        }


def _marketing(call: Call, person: Person) -> dict[str, Any]:
    held = person.consent.get("suppression", [])
    return {
        "can_receive_email_marketing": not held,
        "consent": person.consent.get("email", "NEVER_SUBSCRIBED"),
        "suppression": [{"reason": reason, "timestamp": call.at} for reason in held],
        "list_suppressions": [],
    }


def _add(person: Person, reason: str) -> None:
    held = person.consent.setdefault("suppression", [])
    if reason not in held:
        held.append(reason)


def _typed(call: Call, kind: str) -> dict[str, Any]:
    if call.oversize or member(call.body, "data", "type") != kind:
        raise Refused(f"The type must be {kind}.", "/data/type")
    attributes = member(call.body, "data", "attributes")
    if not isinstance(attributes, dict):
        raise Refused("attributes must be an object.", "/data/attributes")
    return attributes


def _names(attributes: object) -> dict[str, Any]:
    held = attributes if isinstance(attributes, dict) else {}
    sorts = ("email", "phone_number", "external_id", "anonymous_id")
    names = {sort: held[sort] for sort in sorts if held.get(sort)}
    if not names:
        raise Refused("One of email, phone_number, external_id and anonymous_id is required.")
    if "email" in names and not is_email(names["email"]):
        raise Refused("Invalid email address.", "/data/attributes/email")
    if "phone_number" in names and not is_e164(names["phone_number"]):
        raise Refused("Invalid phone number format.", "/data/attributes/phone_number")
    return names


def _channels(attributes: dict[str, Any], wanted: str) -> list[str]:
    held = attributes.get("subscriptions")
    found = [
        channel
        for channel in ("email", "sms")
        if member(held, channel, "marketing", "consent") == wanted
    ]
    needs = {"email": "email", "sms": "phone_number"}
    if not found or not all(attributes.get(needs[channel]) for channel in found):
        raise Refused(f"subscriptions must say {wanted} of a channel whose identifier is given.")
    return found


def _errors(status: int, code: str, detail: str, pointer: str = "/data/") -> Reply:
    error = {"id": "stand-in", "status": status, "code": code, "title": detail, "detail": detail}
    return Reply.json(status, {"errors": [error | {"source": {"pointer": pointer}}]})
