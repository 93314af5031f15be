"""Gates with destinations that keep what they are handed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from consentry.client import Gate
from consentry.core.policy import Category, Mapping, Policy, Settings

UPDATE = "Segment Consent Preference Updated"
MAPPINGS = (
    Mapping("warehouse", "webhook", ("analytics",)),
    Mapping("ads", "webhook", ("advertising", "analytics")),
    Mapping("support", "webhook", ("support",)),
)
CATEGORIES = tuple(map(Category, ("analytics", "advertising", "support")))
ALL = {"analytics": True, "advertising": True, "support": True}
FILTERED = "filtered_by_end_user_consent"


def policy(*mappings: Mapping, **settings: Any) -> Policy:
    """A workspace with three categories."""
    return Policy("shop", Settings(**settings), CATEGORIES, mappings or MAPPINGS)


class Kept:
    """What each destination of a gate was handed, as it was at that moment."""

    def __init__(self, gate: Gate, *names: str) -> None:
        self.events: dict[str, list[Any]] = {name: [] for name in names}
        for name in names:
            gate.add(name, self.taker(name))

    def taker(self, name: str) -> Callable[[Any], None]:
        return lambda event: self.events[name].append(copy.deepcopy(event))

    @property
    def called(self) -> list[str]:
        """Those that were handed anything."""
        return sorted(name for name, events in self.events.items() if events)

    def told(self, name: str) -> dict[str, bool]:
        """The consent object of the latest event."""
        told: dict[str, bool] = self.events[name][-1]["context"]["consent"]["categoryPreferences"]
        return told


def gate_and_kept(*mappings: Mapping, **options: Any) -> tuple[Gate, Kept]:
    """A gate in which every destination is added."""
    rules = policy(*mappings)
    made = Gate(rules, **options)
    return made, Kept(made, *rules.mapping)


def track(device: str | None = "a-1", user: str | None = None, **answers: bool) -> dict[str, Any]:
    """An event; with answers it is stamped."""
    event: dict[str, Any] = {
        "type": "track",
        "event": "Order Completed",
        "messageId": "m-1",
        "timestamp": "2026-11-01T10:00:00.000Z",
        "properties": {"total": 3},
    }
    if device is not None:
        event["anonymousId"] = device
    if user is not None:
        event["userId"] = user
    if answers:
        event["context"] = {"consent": {"categoryPreferences": dict(answers)}}
    return event


def update(device: str, **answers: bool) -> dict[str, Any]:
    """A change of preferences."""
    return {**track(device, **answers), "event": UPDATE}
