"""People whom a vendor knows by several identifiers at once: an address, a number, an account."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final

from consentry.standin.vendor import Call, Person, Persons

MAX_NAMES: Final = 300_000
_NAMESPACE: Final = uuid.UUID("5c0a9d3e-6f3f-4c0b-9a0e-1f5b6f2f7a10")


class People:
    """Finds a `Person` by any of its identifiers. What is oldest is forgotten first.

    A name is (sort, value), as ``("email", "a@example.com")``; letters of addresses are small.
    """

    def __init__(self, persons: Persons) -> None:
        self._persons = persons
        self._keys: dict[tuple[str, str, str], str] = {}
        self._ids: dict[tuple[str, str], str] = {}

    def find(self, call: Call, names: Mapping[str, Any]) -> Person | None:
        """The person with one of these names, the first that is known."""
        for place in _places(call, names):
            key = self._keys.get(place)
            if key is not None and (person := self._persons.known(call.instance, key)) is not None:
                return person
        return None

    def take(self, call: Call, names: Mapping[str, Any]) -> Person:
        """The person with these names, made if new, who then has all of them."""
        places = list(_places(call, names))
        if not places:
            raise ValueError("nobody is named")
        person = self.find(call, names)
        if person is None:
            key = places[0][2]
            person = self._persons.person(call.instance, key)
        else:
            key = self.key_of(call, person)
        for place in places:
            self._keys[place] = key
            person.traits[place[1]] = place[2]
        while len(self._keys) > MAX_NAMES:
            del self._keys[next(iter(self._keys))]
        self._ids[call.instance, self.id_of(call, person)] = key
        return person

    def key_of(self, call: Call, person: Person) -> str:
        """The key under which the state shows this person."""
        return person.user_id or ""

    def id_of(self, call: Call, person: Person) -> str:
        """The vendor's own id of a person: always the same for the same key."""
        return uuid.uuid5(_NAMESPACE, f"{call.instance}\n{self.key_of(call, person)}").hex[:26]

    def by_id(self, call: Call, identity: str) -> Person | None:
        """The person with the vendor's own id."""
        return self._persons.known(call.instance, self._ids.get((call.instance, identity)))

    def forget(self, call: Call, person: Person) -> None:
        """Erase, and let no name lead there any more."""
        key = self.key_of(call, person)
        for place in [p for p, known in self._keys.items() if known == key]:
            if place[0] == call.instance:
                del self._keys[place]
        self._ids.pop((call.instance, self.id_of(call, person)), None)
        person.erase(call.at)


def _places(call: Call, names: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for sort, value in names.items():
        if isinstance(value, str) and value:
            yield call.instance, sort, value.lower() if sort == "email" else value


def member(body: object, *names: str) -> Any:
    """A member some levels down, or None."""
    for name in names:
        body = body.get(name) if isinstance(body, dict) else None
    return body


def text(body: object, *names: str) -> str:
    """A text some levels down, or nothing."""
    value = member(body, *names)
    return value if isinstance(value, str) else ""


def texts(value: object, most: int) -> list[str] | None:
    """One text or a list of them, at least one and at most ``most``; None if it is neither."""
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not 1 <= len(found) <= most:
        return None
    return found if all(isinstance(each, str) and each for each in found) else None


def is_email(value: object) -> bool:
    """Whether it has the shape of an address, as far as vendors look."""
    return isinstance(value, str) and "@" in value[1:-1]


def is_e164(value: object) -> bool:
    """Whether it is a phone number with a plus and its country's code."""
    return isinstance(value, str) and value[:1] == "+" and value[1:].isdigit() and len(value) <= 16
