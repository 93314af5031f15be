"""Single requests that a test makes by itself, written into the same journal."""

from __future__ import annotations

import itertools
import uuid
from dataclasses import dataclass, field
from typing import Any

from tests.crash.history import Event, Operation, Said
from tests.crash.journal import Journal
from tests.crash.people import CATEGORIES, Person, stamp
from tests.running import BACKEND_KEY, WRITE_KEY, Answer, Server, call

_CHOICE = {"key": BACKEND_KEY}
_EVENT = {"basic": WRITE_KEY}


@dataclass(slots=True)
class Teller:
    """One client. What it is refused is in the journal as refused."""

    server: Server
    journal: Journal
    name: str = "teller"
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:6])
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    def person(self) -> Person:
        """Somebody of whom nothing is known."""
        return Person(f"{self.run}-{next(self._numbers)}")

    def buys(self, person: Person, **more: Any) -> str:
        """An event that its stamp allows everywhere; returns its id. It must be taken."""
        message_id, answer = self.try_to_buy(person, **more)
        assert answer.status == 200, answer.body
        return message_id

    def try_to_buy(self, person: Person, **more: Any) -> tuple[str, Answer]:
        """As ``buys``; the answer may be a refusal."""
        message_id = f"m-{self.run}-{next(self._numbers)}"
        body = {"type": "track", "event": "Bought", "messageId": message_id, **person.ids}
        says = Operation(0, "", 0, events=(Event(message_id, person.nodes, CATEGORIES),))
        return message_id, self._tell("/v1/track", {**body, **stamp(CATEGORIES), **more}, says)

    def withdraws(self, person: Person) -> Answer:
        """Everything, for both identifiers."""
        says = Operation(0, "", 0, denies=(Said(person.nodes, CATEGORIES),))
        return self._tell("/v1/consent/withdraw", {"subject": person.ids}, says)

    def agrees(self, person: Person) -> Answer:
        """To everything, for both identifiers."""
        says = Operation(0, "", 0, grants=(Said(person.nodes, CATEGORIES),))
        body = {"subject": person.ids, "preferences": dict.fromkeys(CATEGORIES, True)}
        return self._tell("/v1/consent", body, says)

    def _tell(self, path: str, body: dict[str, Any], says: Operation) -> Answer:
        op = self.journal.invoke(self.name, says)
        auth = _EVENT if says.events else _CHOICE
        answer = call(self.server.base, "POST", path, body, **auth)
        if answer.status in (200, 201):
            self.journal.ok(op)
        else:
            self.journal.refused(op)
        return answer
