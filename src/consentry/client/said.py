"""What an application says that somebody chose, read as strictly as the consent API reads it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from consentry.client.result import Refused
from consentry.core.choice import Answer, nodes_named
from consentry.core.event import LONGEST_ID, read_time
from consentry.core.moment import Moment, from_datetime
from consentry.core.record import Node
from consentry.core.stamp import Invalid, category_preferences

_IDENTIFIERS = ("anonymousId", "userId", "email", "phone")


def read_choice(
    subject: Any, preferences: Any, made_at: Any
) -> tuple[tuple[Node, ...], Answer, Moment | None]:
    """Whose choice, what it is, and when it is said to have been made. Raises Refused."""
    try:
        nodes = _subject(subject)
        stated = category_preferences(preferences, "preferences")
        if not stated.stated:
            raise Invalid("preferences", "preferences must name a category", "missing_preferences")
        answer = Answer(stated.granted, stated.stated - stated.granted)
        return nodes, answer, _moment(made_at)
    except Invalid as error:
        raise Refused(error.code, error.message, error.field) from None


def _subject(subject: Any) -> tuple[Node, ...]:
    if not isinstance(subject, Mapping):
        raise Invalid("subject", "subject must be an object of identifiers")
    for name, value in subject.items():
        if name not in _IDENTIFIERS:
            known = ", ".join(_IDENTIFIERS)
            raise Invalid(f"subject.{name}", f"subject has no {name}: it has {known}")
        if not isinstance(value, str) or not 0 < len(value) <= LONGEST_ID:
            text = f"{name} must be a string of 1 to {LONGEST_ID} characters"
            raise Invalid(f"subject.{name}", text)
    return nodes_named(*map(subject.get, _IDENTIFIERS))


def _moment(made_at: Any) -> Moment | None:
    if made_at is None:
        return None
    return (
        from_datetime(made_at) if isinstance(made_at, datetime) else read_time(made_at, "made_at")
    )
