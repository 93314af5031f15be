"""An event as a row of the events table, and a choice as changes of consent. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from consentry.core.event import PREFERENCE_UPDATE
from consentry.destinations.http import Unsendable, json_body
from consentry.destinations.message import Message


class Row(NamedTuple):
    """One event, in the order of the columns. JSON columns are JSON text."""

    message_id: str
    type: str
    event: str | None
    anonymous_id: str | None
    user_id: str | None
    timestamp: datetime
    received_at: datetime
    properties: str | None
    traits: str | None
    context: str | None
    body: str
    consent: str


class Change(NamedTuple):
    """What one choice says of one category for one subject. One of the two times is set."""

    subject_kind: str
    subject: str
    category: str
    denied_at: datetime | None
    granted_at: datetime | None


@dataclass(frozen=True, slots=True)
class Entry:
    """What one message writes. ``position`` is its place in the batch.

    ``row`` is None if the event cannot be told to a database; ``reason`` says why.
    """

    position: int
    row: Row | None
    changes: tuple[Change, ...]
    reason: str = ""


def entry_for(position: int, message: Message) -> Entry:
    """The row and the changes of one message. Never raises for what the message holds."""
    try:
        row, reason = row_for(message), ""
    except Unsendable as refused:
        row, reason = None, str(refused)
    try:
        changes = changes_for(message)
    except Unsendable:
        changes = ()
    return Entry(position, row, changes, reason)


def row_for(message: Message) -> Row:
    """One event as a row. Raises `Unsendable` if it has no readable time or is no JSON."""
    body = message.body
    event = body.get("event")
    return Row(
        _text(message.message_id),
        message.type,
        _text(event) if isinstance(event, str) else None,
        None if message.anonymous_id is None else _text(message.anonymous_id),
        None if message.user_id is None else _text(message.user_id),
        moment(message.timestamp, "timestamp"),
        moment(message.received_at, "receivedAt"),
        _json(body.get("properties")),
        _json(body.get("traits")),
        _json(body.get("context")),
        json_body(body).decode(),
        json_body(message.consent).decode(),
    )


def changes_for(message: Message) -> tuple[Change, ...]:
    """The changes that a preference update makes; none for any other event.

    Anything but a clear yes is a denial, from when it was received. A grant counts from
    when it was made, and not from later than it was received: a clock that runs ahead must
    not outlast the next denial. Raises `Unsendable` without readable times.
    """
    if message.type != "track" or message.body.get("event") != PREFERENCE_UPDATE:
        return ()
    received = moment(message.received_at, "receivedAt")
    made = min(moment(message.timestamp, "timestamp"), received)
    subjects = (("anonymous", message.anonymous_id), ("user", message.user_id))
    return tuple(
        Change(kind, _text(subject), _text(category), None, made)
        if answer is True
        else Change(kind, _text(subject), _text(category), received, None)
        for kind, subject in subjects
        if subject is not None
        for category, answer in _preferences(message).items()
    )


def _preferences(message: Message) -> dict[str, Any]:
    context = message.body.get("context")
    consent = context.get("consent") if isinstance(context, dict) else None
    preferences = consent.get("categoryPreferences") if isinstance(consent, dict) else None
    return preferences if isinstance(preferences, dict) else {}


def moment(text: str, field: str) -> datetime:
    """An RFC 3339 time. Raises `Unsendable`, naming ``field``, if it is none or has no zone."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Unsendable(f"{field}: unreadable") from None
    if found.tzinfo is None:
        raise Unsendable(f"{field}: has no zone")
    return found


def _text(text: str) -> str:
    """``text``, if UTF-8 can say it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unsendable("an id or a name is not Unicode text") from None
    return text


def _json(value: object) -> str | None:
    return None if value is None else json_body(value).decode()


def columns(rows: Sequence[tuple[Any, ...]], count: int) -> list[list[Any]]:
    """Rows turned into ``count`` columns, also when there is no row."""
    return [[row[n] for row in rows] for n in range(count)]
