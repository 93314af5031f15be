"""What every stood-in vendor has: a call, a reply, and the persons it knows."""

from __future__ import annotations

import base64
import binascii
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import parse_qs

import msgspec

from consentry.standin.control import APPLYING, Ids, Mode, Moment

MAX_PERSONS: Final = 100_000
MAX_EVENTS_PER_PERSON: Final = 1_000
MAX_SEEN: Final = 1_000_000
MAX_REJECTED: Final = 1_000


class Unreadable:
    """Stands where a body is no JSON. ``None`` would be JSON's null."""


UNREADABLE: Final = Unreadable()


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a vendor.

    ``path`` is below the vendor and its instance: ``/v1/batch`` for ``/segment/eu/v1/batch``,
    whose ``instance`` is ``eu``. Header names are lower-case. ``oversize`` says that the body
    passed the server's own limit and was not kept.
    """

    method: str
    instance: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    raw: bytes
    body: Any
    oversize: bool
    mode: Mode
    moment: Moment

    @property
    def applies(self) -> bool:
        """Whether the vendor takes the request over into its state."""
        return self.mode in APPLYING

    @property
    def at(self) -> str:
        """When it started, RFC 3339 in UTC."""
        return self.moment.rfc3339

    def bearer(self) -> bool:
        """Whether Authorization has the shape of a bearer token."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and bool(token.strip())

    def basic(self) -> tuple[str, str] | None:
        """User name and password of a Basic header; None if the shape is wrong."""
        scheme, _, encoded = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            text = base64.b64decode(encoded.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return None
        user, _, password = text.partition(":")
        return (user, password) if user else None

    def form(self) -> dict[str, list[str]] | None:
        """The body as a form; None if it is none."""
        if not self.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            return None
        try:
            return parse_qs(self.raw.decode(), keep_blank_values=True, max_num_fields=1000)
        except (UnicodeDecodeError, ValueError):
            return None


@dataclass(frozen=True, slots=True)
class Reply:
    """What the vendor answers."""

    status: int
    body: bytes = b""
    content_type: str | None = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, status: int, body: Any, **headers: str) -> Reply:
        """A JSON answer."""
        return cls(status, msgspec.json.encode(body), headers=headers)


class Vendor(Protocol):
    """One vendor. ``notes`` says, per mode, where it departs from the plain meaning."""

    name: str
    notes: Mapping[str, str]
    persons: Persons

    def split(self, tail: str) -> tuple[str, str]:
        """The instance (may be empty) and the path below it."""

    def ids(self, call: Call) -> Ids:
        """Whom and what the request is about, as far as it can be read."""

    def answer(self, call: Call) -> Reply:
        """Check the request against the contract, take it over if it applies, answer."""

    def refuse(self, call: Call, status: int) -> Reply:
        """The vendor's own body for 401, 429 or 500."""


def split_before(tail: str, roots: frozenset[str]) -> tuple[str, str]:
    """Split ``/eu/v1/batch`` into ``eu`` and ``/v1/batch`` when ``v1`` is one of ``roots``."""
    first, _, rest = tail.lstrip("/").partition("/")
    if first in roots or not rest:
        return "", tail
    return first, "/" + rest


@dataclass(slots=True)
class Person:
    """What a vendor knows of one person in one instance."""

    user_id: str | None = None
    anonymous_ids: dict[str, None] = field(default_factory=dict)
    traits: dict[str, Any] = field(default_factory=dict)
    consent: dict[str, Any] = field(default_factory=dict)
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    event_count: int = 0
    suppressed: bool = False
    erased_at: str | None = None

    def record(self, message_id: str, event: dict[str, Any]) -> None:
        """Keep an event; the same message id is kept once."""
        if message_id not in self.events:
            self.event_count += 1
        self.events[message_id] = {"messageId": message_id} | event
        if len(self.events) > MAX_EVENTS_PER_PERSON:
            del self.events[next(iter(self.events))]

    def erase(self, at: str) -> None:
        """Forget everything but that there was an erasure, and whether they are suppressed."""
        self.traits, self.consent, self.events = {}, {}, {}
        self.event_count = 0
        self.erased_at = at

    def absorb(self, other: Person) -> None:
        """Add what another instance knows; for the view over all instances."""
        self.user_id = self.user_id or other.user_id
        self.anonymous_ids |= other.anonymous_ids
        self.traits |= other.traits
        self.consent |= other.consent
        self.events |= other.events
        self.event_count += other.event_count
        self.suppressed = self.suppressed or other.suppressed
        self.erased_at = max(filter(None, (self.erased_at, other.erased_at)), default=None)

    def shown(self) -> dict[str, Any]:
        """The person as JSON."""
        return {
            "userId": self.user_id,
            "anonymousIds": list(self.anonymous_ids),
            "traits": self.traits,
            "consent": self.consent,
            "events": list(self.events.values()),
            "eventCount": self.event_count,
            "suppressed": self.suppressed,
            "erasedAt": self.erased_at,
        }


class Persons:
    """The persons of one vendor, per instance, and which message ids it has had.

    A person's key is the user id or, without one, the anonymous id. Everything is bounded:
    what is oldest goes first.
    """

    def __init__(self) -> None:
        self._persons: dict[tuple[str, str], Person] = {}
        self._seen: dict[tuple[str, str], object] = {}
        self._rejected: deque[dict[str, str]] = deque(maxlen=MAX_REJECTED)
        self._duplicates = 0
        self._unnamed = 0

    def person(self, instance: str, user_id: object, anonymous_id: object = None) -> Person:
        """The person with these ids, made if new. One of the two must be a non-empty string."""
        user = user_id if isinstance(user_id, str) and user_id else None
        device = anonymous_id if isinstance(anonymous_id, str) and anonymous_id else None
        key = user or device
        if key is None:
            raise ValueError("a person needs a user id or an anonymous id")
        person = self._persons.get((instance, key))
        if person is None:
            person = self._persons[(instance, key)] = Person()
            if len(self._persons) > MAX_PERSONS:
                del self._persons[next(iter(self._persons))]
        person.user_id = user or person.user_id
        if device is not None:
            person.anonymous_ids[device] = None
        return person

    def known(self, instance: str, key: object) -> Person | None:
        """The person under this key, if there is one."""
        return self._persons.get((instance, key)) if isinstance(key, str) else None

    def suppressed_ids(self, instance: str) -> list[str]:
        """The keys of the suppressed persons."""
        return [
            k for (i, k), person in self._persons.items() if i == instance and person.suppressed
        ]

    def seen(self, instance: str, message_id: str) -> object | None:
        """What :meth:`remember` kept for this id, counting a duplicate when there is something."""
        kept = self._seen.get((instance, message_id))
        if kept is not None:
            self._duplicates += 1
        return kept

    def remember(self, instance: str, message_id: str, kept: object = True) -> None:
        """Note that this message id was taken over, and what was answered."""
        self._seen[(instance, message_id)] = kept
        if len(self._seen) > MAX_SEEN:
            del self._seen[next(iter(self._seen))]

    def keep(
        self, call: Call, message_id: object, told: dict[str, Any], *, user: object, device: object
    ) -> None:
        """Take an event over into its person's state, once per message id.

        ``told`` is what is shown of it. Without a text in ``user`` or ``device`` it is rejected.
        """
        if not any(isinstance(identity, str) and identity for identity in (user, device)):
            self.reject(call, "the event names nobody")
            return
        named = message_id if isinstance(message_id, str) and message_id else None
        name = named or self.name_for_unnamed()
        if self.seen(call.instance, name):
            return
        self.remember(call.instance, name)
        person = self.person(call.instance, user, device)
        person.record(name, told | {"receivedAt": call.at})

    def name_for_unnamed(self) -> str:
        """An id for a message that came without one."""
        self._unnamed += 1
        return f"unnamed-{self._unnamed}"

    def reject(self, call: Call, reason: str) -> None:
        """Note something that was answered as a success and not taken over."""
        self._rejected.append({"at": call.at, "path": call.path, "reason": reason})

    def _merged(self, instance: str | None) -> Iterator[tuple[str, Person]]:
        merged: dict[str, Person] = {}
        for (place, key), person in self._persons.items():
            if instance is None:
                merged.setdefault(key, Person()).absorb(person)
            elif place == instance:
                merged[key] = person
        return iter(merged.items())

    def state(self, instance: str | None = None) -> dict[str, Any]:
        """The state as JSON: of one instance, or of all of them laid over each other."""
        return {
            "persons": {key: person.shown() for key, person in self._merged(instance)},
            "instances": sorted({place for place, _ in self._persons}),
            "duplicates": self._duplicates,
            "rejected": list(self._rejected),
        }
