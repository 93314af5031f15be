"""An order as a destination is handed it, for any test."""

from __future__ import annotations

from typing import Any

from consentry.core.order import Verb
from consentry.destinations.instruction import Instruction, Person

ALICE = Person(("anon-1",), ("alice",), ("alice@example.com",), ("+4915112345678",))


def instruction(verb: Verb = Verb.SUPPRESS, **changes: Any) -> Instruction:
    """Alice withdrew analytics."""
    made: dict[str, Any] = {
        "order_id": "ord_1",
        "record_id": "rec_1",
        "seq": 7,
        "verb": verb,
        "person": ALICE,
        "whole": True,
        "topics": (),
        "consent": {"analytics": verb is Verb.GRANT, "advertising": False},
        "made_at": "2026-11-22T09:59:59.000Z",
        "received_at": "2026-11-22T10:00:00.000Z",
    }
    return Instruction(**made | changes)
