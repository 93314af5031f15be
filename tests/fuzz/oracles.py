"""The strictest readings, written a second time and as plainly as possible."""

from __future__ import annotations

import json
from typing import Any


class Pairs(list[tuple[str, Any]]):
    """An object as it was written: every member, in order, repeated ones too."""


def as_written(body: bytes) -> Any:
    """The document with nothing thrown away. Raises ValueError where it is no JSON in UTF-8."""
    return json.loads(body.decode(), object_pairs_hook=Pairs)


def repeats(value: Any) -> bool:
    """Whether a member stands twice in an object, at any depth."""
    if isinstance(value, Pairs):
        names = [name for name, _ in value]
        return len(set(names)) < len(names) or any(repeats(inner) for _, inner in value)
    return isinstance(value, list) and any(repeats(inner) for inner in value)


def members(value: Any, name: str) -> list[Any]:
    """Every occurrence of a member of an object as written."""
    return [inner for key, inner in value if key == name] if isinstance(value, Pairs) else []


def answers(context: Any) -> dict[str, list[bool]]:
    """All that a context says of each category, in every form and every occurrence.

    What is no clear yes is a no. Works on objects as written and on plain ones.
    """
    found: dict[str, list[bool]] = {}
    written = context if isinstance(context, Pairs) else _as_pairs(context)
    places = [p for c in members(written, "consent") for p in members(c, "categoryPreferences")]
    for place in (*places, *members(written, "consentCategories")):
        for category, answer in place if isinstance(place, Pairs) else ():
            found.setdefault(category, []).append(answer is True)
    for lists in members(written, "consentManagement"):
        allowed = [i for one in members(lists, "allowedConsentIds") for i in one]
        denied = [i for one in members(lists, "deniedConsentIds") for i in one]
        for category in filter(None, [*allowed, *denied]):
            found.setdefault(category, []).append(category not in denied)
    return found


def _as_pairs(value: Any) -> Any:
    if isinstance(value, dict):
        return Pairs((name, _as_pairs(inner)) for name, inner in value.items())
    return value


def granted(*contexts: Any) -> set[str]:
    """What every place that speaks grants: a form that leaves a category out denies it."""
    forms: list[dict[str, list[bool]]] = []
    for context in contexts:
        written = context if isinstance(context, Pairs) else _as_pairs(context)
        for name in ("consent", "consentCategories", "consentManagement"):
            forms += [answers(Pairs([(name, form)])) for form in members(written, name)]
    speaking = [form for form in forms if form]
    if not speaking:
        return set()
    yes = [{category for category, said in form.items() if all(said)} for form in speaking]
    return set.intersection(*yes)
