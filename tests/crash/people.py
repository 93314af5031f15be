"""Who is talked about, and what a client says of them: one request at a time, by chance."""

from __future__ import annotations

import base64
import random
import uuid
from dataclasses import dataclass, field
from typing import Any

from tests.crash.history import Event, Operation, Said
from tests.running import BACKEND_KEY, WRITE_KEY

CATEGORIES = ("analytics", "advertising")
NEEDS = {"warehouse": ("analytics",), "ads": ("advertising", "analytics")}
UPDATE = "Segment Consent Preference Updated"

_PUBLIC = {"Authorization": "Basic " + base64.b64encode(f"{WRITE_KEY}:".encode()).decode()}
_SERVER = {"Authorization": f"Bearer {BACKEND_KEY}"}


@dataclass(frozen=True, slots=True)
class Person:
    """One device and one account, which belong together once somebody said so."""

    name: str
    content: bool = False
    """Whether they never object to anything: whose events are all owed once they agreed."""

    @property
    def ids(self) -> dict[str, str]:
        return {"anonymousId": f"dev-{self.name}", "userId": f"usr-{self.name}"}

    @property
    def nodes(self) -> tuple[str, str]:
        return f"d:dev-{self.name}", f"u:usr-{self.name}"


@dataclass(slots=True)
class Request:
    """What is sent, and what it says to the checker. ``key`` makes it safe to send again."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    says: Operation
    key: str | None = None
    updates: tuple[str, ...] = ()

    @property
    def repeatable(self) -> bool:
        """Events are recognised by their message id, choices by their key."""
        return self.key is not None or bool(self.says.events)


def _says(**more: Any) -> Operation:
    return Operation(0, "", 0, **more)


@dataclass(slots=True)
class Talk:
    """Makes up requests about a circle of persons who come and go."""

    chance: random.Random
    circle: int = 12
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:6])
    persons: list[Person] = field(default_factory=list)
    everybody: list[Person] = field(default_factory=list)
    _made: int = 0

    def __post_init__(self) -> None:
        for _ in range(self.circle):
            self.someone_new()

    def someone_new(self) -> None:
        """Somebody comes, and beyond the circle's size the oldest goes."""
        number = len(self.everybody)
        person = Person(f"{self.run}-{number}", content=number % 3 == 0)
        self.everybody.append(person)
        self.persons = [*self.persons, person][-self.circle :]

    def next(self) -> Request:
        """The next request."""
        makes = {
            self._single: 40,
            self._batch: 22,
            self._identify: 5,
            self._update: 8,
            self._consent: 12,
            self._withdraw: 8,
            self._object: 5,
        }
        (make,) = self.chance.choices(list(makes), list(makes.values()))
        return make(self.chance.choice(self.persons))

    # -- events -----------------------------------------------------------------------------
    def _single(self, person: Person) -> Request:
        body, event = self._event(person)
        return Request("/v1/track", body, _PUBLIC, _says(events=(event,)))

    def _batch(self, person: Person) -> Request:
        """Some events, sometimes with a preference update between them."""
        others = [person, *self.chance.choices(self.persons, k=self.chance.randint(1, 4))]
        made = [self._event(each) for each in others]
        if self.chance.random() >= 0.3:
            events = tuple(event for _, event in made)
            body = {"batch": [body for body, _ in made]}
            return Request("/v1/batch", body, _PUBLIC, _says(events=events))
        update = self._update(self.chance.choice(others))
        made.insert(self.chance.randint(0, len(made)), (update.body, update.says.events[0]))
        update.says.events = tuple(event for _, event in made)
        update.path, update.body = "/v1/batch", {"batch": [body for body, _ in made]}
        return update

    def _identify(self, person: Person) -> Request:
        body = {"type": "identify", "messageId": self._id("i"), **person.ids, **stamp(CATEGORIES)}
        event = Event(body["messageId"], person.nodes, CATEGORIES)
        says = _says(events=(event,), links=(person.nodes,))
        return Request("/v1/identify", body, _PUBLIC, says)

    def _event(self, person: Person) -> tuple[dict[str, Any], Event]:
        """A track event that names the device, the account or both."""
        named = self.chance.choice([(0,), (0, 1), (0, 1), (1,)])
        names = ("anonymousId", "userId")
        who = {names[n]: person.ids[names[n]] for n in named}
        body = {"type": "track", "event": "Bought", "messageId": self._id("m"), **who}
        granted: tuple[str, ...] | None = None
        if self.chance.random() < 0.6:
            granted = CATEGORIES if self.chance.random() < 0.8 else (self._category(),)
            body.update(stamp(granted))
        return body, Event(body["messageId"], tuple(person.nodes[n] for n in named), granted)

    def _update(self, person: Person) -> Request:
        """A preference update of the device: it states every category."""
        some = [CATEGORIES] if person.content else [CATEGORIES, (self._category(),), ()]
        granted = self.chance.choice([CATEGORIES, *some])
        denied = tuple(c for c in CATEGORIES if c not in granted)
        device = person.nodes[:1]
        body = {"type": "track", "event": UPDATE, "messageId": self._id("p")}
        body |= {"anonymousId": person.ids["anonymousId"], **stamp(granted)}
        says = _says(
            events=(Event(body["messageId"], device, granted),),
            denies=(Said(device, denied),) if denied else (),
            grants=(Said(device, granted),) if granted else (),
        )
        return Request("/v1/track", body, _PUBLIC, says, updates=(body["messageId"],))

    # -- choices ------------------------------------------------------------------------------
    def _consent(self, person: Person) -> Request:
        """The backend grants for both identifiers, so it lifts what either denied."""
        granted = self.chance.choice([CATEGORIES, CATEGORIES, (self._category(),)])
        body = {"subject": person.ids, "preferences": dict.fromkeys(granted, True)}
        says = _says(grants=(Said(person.nodes, granted),))
        return self._choice("/v1/consent", body, _SERVER, says)

    def _object(self, person: Person) -> Request:
        """Anybody may say no."""
        if person.content:
            return self._consent(person)
        denied = (self._category(),)
        body = {"subject": person.ids, "preferences": dict.fromkeys(denied, False)}
        says = _says(denies=(Said(person.nodes, denied),))
        return self._choice("/v1/consent", body, _PUBLIC, says)

    def _withdraw(self, person: Person) -> Request:
        """One or all categories, for the device, the account or both."""
        if person.content:
            return self._consent(person)
        named = self.chance.choice([(0,), (0, 1), (1,)])
        names = ("anonymousId", "userId")
        body: dict[str, Any] = {"subject": {names[n]: person.ids[names[n]] for n in named}}
        denied = CATEGORIES
        if self.chance.random() < 0.5:
            denied = (self._category(),)
            body["categories"] = list(denied)
        says = _says(denies=(Said(tuple(person.nodes[n] for n in named), denied),))
        headers = self.chance.choice([_PUBLIC, _SERVER])
        return self._choice("/v1/consent/withdraw", body, headers, says)

    def _choice(
        self, path: str, body: dict[str, Any], headers: dict[str, str], says: Operation
    ) -> Request:
        key = self._id("k") if self.chance.random() < 0.8 else None
        more = {} if key is None else {"Idempotency-Key": key}
        return Request(path, body, {**headers, **more}, says, key)

    def _category(self) -> str:
        return self.chance.choice(CATEGORIES)

    def _id(self, what: str) -> str:
        self._made += 1
        return f"{what}-{self.run}-{self._made}"


def stamp(granted: tuple[str, ...]) -> dict[str, Any]:
    """The part of an event that says what was granted, of all categories."""
    preferences = {category: category in granted for category in CATEGORIES}
    return {"context": {"consent": {"categoryPreferences": preferences}}}
