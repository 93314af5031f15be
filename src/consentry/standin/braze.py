"""Braze: /users/track, subscription groups and states, export and deletion.

Contract: Braze's REST documentation. Deletions are done at once, where Braze queues them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from consentry.standin.control import Ids, Mode
from consentry.standin.people import People, is_e164, is_email, member, text, texts
from consentry.standin.vendor import Call, Person, Persons, Reply, split_before

TRACKED_MAX: Final = 75
NAMED_MAX: Final = 50
_ROOTS: Final = frozenset({"users", "subscription", "v2", "email"})
_STATES: Final = frozenset({"subscribed", "unsubscribed"})
_SORTS: Final = {"external_ids": "external_id", "emails": "email", "phones": "phone"}


class Refused(Exception):
    """A request that breaks the contract."""


class Braze:
    """The Braze stand-in."""

    name = "braze"
    notes: Mapping[str, str] = {
        "ok": "Deletions are done at once.",
        "noop": "Tracking says that nothing was processed and deletion that none was deleted;"
        " a subscription says success and does nothing.",
        "partial": "Only the first of several is taken over, and errors says so.",
    }

    def __init__(self) -> None:
        self.persons = Persons()
        self._people = People(self.persons)

    def split(self, tail: str) -> tuple[str, str]:
        """The instance and the path below it."""
        return split_before(tail, _ROOTS)

    def ids(self, call: Call) -> Ids:
        """External ids, addresses and numbers count as user ids, aliases as anonymous ids."""
        ids = Ids()
        body = call.body if isinstance(call.body, dict) else {}
        for name in ("events", "attributes", "subscription_groups", "email_addresses"):
            held = body.get(name)
            for item in held if isinstance(held, list) else []:
                for sort in ("external_id", "external_ids", "email", "emails", "phones"):
                    ids.add(user=member(item, sort))
                ids.add(anonymous=member(item, "user_alias", "alias_name"))
        ids.add(user=[*_listed(body.get("external_ids")), *_listed(body.get("email"))])
        return ids

    def refuse(self, call: Call, status: int) -> Reply:
        """Braze's errors have a message."""
        said = {401: "Invalid API Key", 429: "Rate limit exceeded"}
        return Reply.json(status, {"message": said.get(status, "Internal Server Error")})

    def answer(self, call: Call) -> Reply:
        """Check what every call needs, then its own contract."""
        if not call.bearer():
            return self.refuse(call, 401)
        if call.path == "/subscription/status/get":
            return self._status(call) if call.method == "GET" else _no(405, "Use GET.")
        handlers: dict[str, Callable[[Call], Reply]] = {
            "/users/track": self._track,
            "/users/delete": self._delete,
            "/users/export/ids": self._export,
            "/email/status": self._email,
            "/v2/subscription/status/set": self._set,
        }
        handler = handlers.get(call.path)
        if handler is None:
            return _no(404, "There is no such path.")
        if call.method != "POST":
            return _no(405, "Use POST.")
        if call.oversize or not isinstance(call.body, dict):
            return _no(400, "The body must be a JSON object.")
        try:
            return handler(call)
        except Refused as refused:
            return _no(400, str(refused))

    # Tracking

    def _track(self, call: Call) -> Reply:
        events, attributes = call.body.get("events", []), call.body.get("attributes", [])
        if not isinstance(events, list) or not isinstance(attributes, list):
            raise Refused("events and attributes must be arrays")
        if not 1 <= len(events) + len(attributes) <= TRACKED_MAX:
            raise Refused(f"1 to {TRACKED_MAX} objects may be sent")
        errors: list[dict[str, Any]] = []
        taken = {"events": 0, "attributes": 0}
        for name, items in (("events", events), ("attributes", attributes)):
            for index, item in enumerate(items):
                reason = _reason(name, item)
                if call.mode is Mode.PARTIAL and index > 0:
                    reason = "not taken over, in this mode"
                if reason:
                    errors.append({"type": reason, "input_array": name, "index": index})
                    continue
                taken[name] += 1
                if call.applies:
                    self._take(call, name, item)
        if not any(taken.values()):
            return Reply.json(400, {"message": "Valid data must be provided", "errors": errors})
        if call.mode is Mode.NOOP:
            taken = dict.fromkeys(taken, 0)
        processed = {f"{k}_processed": n for k, n in taken.items() if call.body.get(k)}
        return Reply.json(
            201, {"message": "success"} | processed | ({"errors": errors} if errors else {})
        )

    def _take(self, call: Call, name: str, item: dict[str, Any]) -> None:
        names = _names(item)
        person = self._people.find(call, names)
        if person is None and item.get("_update_existing_only"):
            return
        person = self._people.take(call, names)
        if name == "events":
            message = self.persons.name_for_unnamed()
            person.record(message, {"type": "track", "event": item["name"], "receivedAt": call.at})
            return
        for key, value in item.items():
            if key in ("email_subscribe", "push_subscribe"):
                person.consent[key] = value
            elif not key.startswith("_") and key not in ("external_id", "user_alias"):
                person.traits[key] = value
        also = {sort: item[sort] for sort in ("email", "phone") if item.get(sort)}
        if also:
            self._people.take(call, names | also)

    # Subscriptions

    def _set(self, call: Call) -> Reply:
        groups = call.body.get("subscription_groups")
        if not isinstance(groups, list) or not groups:
            raise Refused("subscription_groups is required")
        told: list[tuple[str, str, str, str]] = []
        for group in groups:
            identity, state = (
                text(group, "subscription_group_id"),
                text(group, "subscription_state"),
            )
            given = [name for name in _SORTS if member(group, name)]
            if not identity or state not in _STATES:
                raise Refused("a group needs its id and a subscription_state")
            if not given or {"emails", "phones"} <= set(given):
                raise Refused("external_ids, emails or phones is required, and not the last two")
            for name in given:
                values = texts(group[name], NAMED_MAX)
                if values is None or not all(_fits(name, value) for value in values):
                    raise Refused(f"{name} is invalid")
                told += [(identity, state, _SORTS[name], value) for value in values]
        if call.applies:
            for identity, state, sort, value in told[: 1 if call.mode is Mode.PARTIAL else None]:
                person = self._people.find(call, {sort: value})
                if person is None and sort != "external_id":
                    person = self._people.take(call, {sort: value})
                if person is not None:  # an account that is not known is passed over
                    person.consent[f"group:{identity}"] = state
        return _success(call)

    def _email(self, call: Call) -> Reply:
        values = texts(call.body.get("email"), NAMED_MAX)
        state = call.body.get("subscription_state")
        if values is None or not all(map(is_email, values)):
            raise Refused("email is required")
        if state not in (*_STATES, "opted_in"):
            raise Refused("subscription_state is invalid")
        if call.applies:
            for value in values[: 1 if call.mode is Mode.PARTIAL else None]:
                self._people.take(call, {"email": value}).consent["email_subscribe"] = state
        return _success(call)

    def _status(self, call: Call) -> Reply:
        group = call.query.get("subscription_group_id", "")
        sorts = {"external_id": "external_id", "email": "email", "phone": "phone"}
        names = {sorts[name]: value for name, value in call.query.items() if name in sorts}
        if not group or not names:
            return _no(400, "subscription_group_id and one identifier are required")
        person = self._people.find(call, names)
        state = person.consent.get(f"group:{group}", "unknown") if person else "unknown"
        (value,) = list(names.values())[:1]
        return Reply.json(200, {"status": {value: state.capitalize()}, "message": "success"})

    # Export and deletion

    def _export(self, call: Call) -> Reply:
        fields = call.body.get("fields_to_export")
        if not isinstance(fields, list) or not fields:
            raise Refused("fields_to_export is required")
        places = [{"external_id": each} for each in _listed(call.body.get("external_ids"))]
        places += [{"email": each} for each in _listed(call.body.get("email_address"))]
        if not 1 <= len(places) <= NAMED_MAX:
            raise Refused("an identifier is required")
        found = {id(p): p for names in places if (p := self._people.find(call, names))}
        users = [_exported(person, fields) for person in found.values()]
        return Reply.json(201, {"message": "success", "users": users, "invalid_user_ids": []})

    def _delete(self, call: Call) -> Reply:
        places: list[dict[str, str]] = []
        accounts = _listed(call.body.get("external_ids"))
        places += [{"external_id": each} for each in accounts]
        for item in call.body.get("email_addresses") or []:
            order = member(item, "prioritization")
            if not is_email(member(item, "email")) or not isinstance(order, list) or not order:
                raise Refused("an address needs its prioritization")
            places.append({"email": item["email"]})
        if not 1 <= len(places) <= NAMED_MAX:
            raise Refused(f"1 to {NAMED_MAX} identifiers may be sent")
        deleted = 0
        for names in places[: len(places) - 1 if call.mode is Mode.PARTIAL else None]:
            person = self._people.find(call, names)
            if call.applies and person is not None:
                self._people.forget(call, person)
                deleted += 1
        return Reply.json(201, {"deleted": deleted, "message": "success"})


def _exported(person: Person, fields: list[Any]) -> dict[str, Any]:
    held = person.traits | {
        "email_subscribe": person.consent.get("email_subscribe", "subscribed"),
        "push_subscribe": person.consent.get("push_subscribe", "subscribed"),
    }
    return {name: held[name] for name in fields if name in held}


def _reason(name: str, item: object) -> str | None:
    if not isinstance(item, dict) or not _names(item):
        return "'external_id', 'braze_id', 'user_alias', 'email' or 'phone' is required"
    if name == "events" and not (text(item, "name") and text(item, "time")):
        return "'name' and 'time' are required"
    return None


def _names(item: dict[str, Any]) -> dict[str, str]:
    names = {"external_id": text(item, "external_id")}
    names["alias"] = text(item, "user_alias", "alias_name")
    if names["alias"] and not text(item, "user_alias", "alias_label"):
        return {}
    return {sort: value for sort, value in names.items() if value}


def _fits(name: str, value: str) -> bool:
    return {"emails": is_email, "phones": is_e164}.get(name, bool)(value)


def _listed(value: object) -> list[str]:
    return texts(value, 10_000) or []


def _success(call: Call) -> Reply:
    errors = {"errors": ["some were left out"]} if call.mode is Mode.PARTIAL else {}
    return Reply.json(201, {"message": "success"} | errors)


def _no(status: int, message: str) -> Reply:
    return Reply.json(status, {"message": message})
