"""From a raw message to an Event, or to Malformed: nobody past this door touches raw JSON.

The shapes are those of Segment's HTTP tracking API, as its SDKs send them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from consentry.core import moment
from consentry.core.moment import DAY, SECOND, Moment
from consentry.core.stamp import OBJECT, Invalid, Stamp, join_stamps, read_stamp

TYPES = frozenset({"track", "identify", "page", "screen", "group", "alias"})
PREFERENCE_UPDATE = "Segment Consent Preference Updated"
LONGEST_ID = 512
LONGEST_MESSAGE_ID = 100
FUTURE_TOLERANCE = 5 * SECOND
LONGEST_QUEUED = 366 * DAY  # what claims to have waited longer has a broken clock

# Members that serve the transport alone: they are never stored and never delivered.
_NEVER_KEPT = frozenset({"writeKey", "_metadata"})
_encode = msgspec.json.Encoder().encode
_read_object = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class Malformed:
    """Why a message was refused. ``field`` names the member, where one is to blame."""

    code: str
    message: str
    field: str | None = None
    message_id: str | None = None


class Envelope(msgspec.Struct, frozen=True):
    """What the request says of every message in it."""

    received_at: Moment
    sent_at: Moment | None = None
    context: Mapping[str, Any] | None = None
    integrations: Mapping[str, Any] | None = None
    ip: str | None = None


class Event(msgspec.Struct, frozen=True, gc=False):
    """One parsed message. ``made_at`` is None when its time cannot be true.

    It has its message as a dictionary, ``kept``, or as JSON, ``text``. ``corrected_at`` is the
    time by which it is told, ``sent_at`` when its sender says that it left.
    """

    message_id: str
    type: str
    name: str | None
    anonymous_id: str | None
    user_id: str | None
    previous_id: str | None
    email: str | None
    phone: str | None
    received_at: Moment
    claimed_at: Moment | None
    made_at: Moment | None
    corrected_at: Moment
    sent_at: Moment | None
    stamp: Stamp | None
    integrations: Mapping[str, Any] | None
    kept: dict[str, Any] | None = None
    text: bytes | None = None

    @property
    def message(self) -> dict[str, Any]:
        """What was sent, less what serves the transport alone, with what its batch says of it.

        It is read anew from JSON: few ask, and meanwhile a dictionary takes memory.
        """
        return _read_object(self.text or b"{}") if self.kept is None else self.kept

    @property
    def is_preference_update(self) -> bool:
        """Whether this event is itself a choice."""
        return self.name == PREFERENCE_UPDATE and self.type == "track"

    @property
    def context(self) -> Mapping[str, Any]:
        """Its context, with that of its batch; empty when it has none."""
        return self.message.get("context") or {}


def parse_event(
    raw: Any,
    envelope: Envelope,
    *,
    fallback_id: str,
    expected_type: str | None = None,
    text: bytes | None = None,
) -> Event | Malformed:
    """Read one message.

    ``fallback_id`` becomes the messageId when the sender gave none. ``expected_type`` is the
    type that the path names; a body that names another is refused. ``text`` is the message as
    JSON, if it is at hand; then the event keeps JSON alone.
    """
    message_id: str | None = None
    try:
        if not isinstance(raw, dict):
            raise Invalid("$", "a message must be a JSON object")
        message_id = _identifier(raw, "messageId", LONGEST_MESSAGE_ID)
        return _event(raw, envelope, message_id or fallback_id, expected_type, text)
    except Invalid as error:
        return Malformed(error.code, error.message, error.field, message_id)


def made_at(claimed: Moment | None, sent: Moment | None, received: Moment) -> Moment | None:
    """When a choice or event was made, by the sender's claim and against it.

    The earlier of the claimed time and the claimed time corrected for the sender's clock; a
    time more than five seconds after reception, or before 1970, is no time. No claim at all
    means now.
    """
    if claimed is None:
        return received
    made = claimed if sent is None else min(claimed, received - (sent - claimed))
    return made if 0 <= made <= received + FUTURE_TOLERANCE else None


def _event(
    raw: dict[str, Any],
    envelope: Envelope,
    message_id: str,
    expected_type: str | None,
    text: bytes | None,
) -> Event:
    kind = _type(raw, expected_type)
    anonymous_id = _identifier(raw, "anonymousId")
    user_id = _identifier(raw, "userId")
    if anonymous_id is None and user_id is None:
        raise Invalid("anonymousId", "anonymousId or userId is required", "missing_id")
    previous_id = _identifier(raw, "previousId")
    if kind == "alias" and previous_id is None:
        raise Invalid("previousId", "previousId is required for alias", "missing_id")
    if kind == "group" and _identifier(raw, "groupId") is None:
        raise Invalid("groupId", "groupId is required for group", "missing_id")
    name = _name(raw, kind)
    context = _object(raw, "context")
    integrations: Mapping[str, Any] | None = _object(raw, "integrations")
    if envelope.integrations is not None:
        integrations = _merged_integrations(envelope.integrations, integrations)
    stamp = read_stamp(context, has_integrations=bool(integrations))
    if envelope.context is not None:
        outer = read_stamp(
            envelope.context, has_integrations=bool(integrations), at="batch.context"
        )
        stamp = join_stamps((stamp, outer))
    if name == PREFERENCE_UPDATE and kind == "track":
        _require_preferences(context, envelope.context)
    claimed = _claimed(raw)
    sent = _time(raw, "sentAt")
    sent = envelope.sent_at if sent is None else sent
    traits = _object(raw, "traits")
    properties = _object(raw, "properties")
    merged_context = _merged_context(envelope, context)
    email, phone = _contacts(traits, merged_context, properties)
    message = _kept(raw, context, merged_context)
    received = envelope.received_at
    return Event(
        message_id,
        kind,
        name,
        anonymous_id,
        user_id,
        previous_id,
        email,
        phone,
        received,
        claimed,
        made_at(claimed, sent, received),
        _corrected(claimed, sent, received),
        sent,
        stamp,
        integrations,
        message if text is None else None,
        text if text is None or message is raw else _encode(message),
    )


def _type(raw: dict[str, Any], expected: str | None) -> str:
    kind = raw.get("type", expected)
    if expected is not None and kind is None:
        kind = expected
    if not isinstance(kind, str):
        raise Invalid("type", "type is required and must be a string")
    if kind not in TYPES:
        raise Invalid("type", f"type must be one of {', '.join(sorted(TYPES))}", "unknown_type")
    if expected is not None and kind != expected:
        raise Invalid("type", f"type must be {expected} on this path", "unknown_type")
    return kind


def _name(raw: dict[str, Any], kind: str) -> str | None:
    if kind == "track":
        name = raw.get("event")
        if not isinstance(name, str) or not name:
            raise Invalid("event", "event is required for track and must be a string")
        return name
    name = raw.get("name")
    if name is not None and not isinstance(name, str):
        raise Invalid("name", "name must be a string")
    return name


def _identifier(raw: Mapping[str, Any], field: str, longest: int = LONGEST_ID) -> str | None:
    value = raw.get(field)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise Invalid(field, f"{field} must be a string")
    if len(value) > longest:
        raise Invalid(field, f"{field} is longer than {longest} characters", "too_long")
    return value


def _object(raw: Mapping[str, Any], field: str) -> dict[str, Any] | None:
    value = raw.get(field)
    if value is None:
        # A context that is null could be read as silence; silence can be permissive.
        if field == "context" and field in raw:
            raise Invalid(field, "context must be an object")
        return None
    if not isinstance(value, dict):
        raise Invalid(field, f"{field} must be an object")
    return value


def _time(raw: Mapping[str, Any], field: str) -> Moment | None:
    value = raw.get(field)
    if value is None:
        return None
    return read_time(value, field)


def _claimed(raw: Mapping[str, Any]) -> Moment | None:
    """When the sender says that it happened. RudderStack's SDKs say it as originalTimestamp.

    Without it an old choice that was queued for hours would look like one made just now.
    """
    field = "originalTimestamp" if raw.get("timestamp") is None else "timestamp"
    return _time(raw, field)


def read_time(value: Any, field: str) -> Moment:
    """A moment from JSON text. Raises Invalid naming the field."""
    if not isinstance(value, str):
        raise Invalid(field, f"{field} must be an RFC 3339 string")
    try:
        return moment.parse(value)
    except ValueError:
        raise Invalid(field, f"{field} is not an RFC 3339 time", "invalid_time") from None


def _require_preferences(
    context: Mapping[str, Any] | None, batch_context: Mapping[str, Any] | None
) -> None:
    for candidate in (context, batch_context):
        consent = (candidate or {}).get("consent")
        if isinstance(consent, OBJECT) and "categoryPreferences" in consent:
            return
    field = "context.consent.categoryPreferences"
    raise Invalid(field, f"{field} object is required", "missing_preferences")


def narrowed(integrations: Mapping[str, Any] | None, name: str) -> bool:
    """Whether the integrations object keeps an event from a destination. It can only narrow.

    Anything but ``true`` or an object fails to name a destination under ``All: false``.
    """
    if not integrations:
        return False
    word = integrations.get(name)
    if word is False:
        return True
    named = word is True or isinstance(word, dict)
    return integrations.get("All") is False and not named


def _merged_integrations(
    outer: Mapping[str, Any] | None, inner: Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    """The item's own word, except that what either keeps away stays away: it can only narrow."""
    if outer is None or inner is None:
        return inner if outer is None else outer
    merged = {**outer, **inner}
    kept_away = (name for name in merged if narrowed(outer, name) or narrowed(inner, name))
    return {**merged, **dict.fromkeys(kept_away, False)}


def _merged_context(envelope: Envelope, context: dict[str, Any] | None) -> dict[str, Any] | None:
    merged = context if envelope.context is None else {**envelope.context, **(context or {})}
    if merged and envelope.ip is not None and merged.get("direct") is True and "ip" not in merged:
        merged = {**merged, "ip": envelope.ip}
    return merged


def _kept(
    raw: dict[str, Any], context: dict[str, Any] | None, merged: dict[str, Any] | None
) -> dict[str, Any]:
    """What is stored: the message as it came, if there is nothing to take out or to add."""
    if merged is context and not ("writeKey" in raw or "_metadata" in raw):
        return raw
    kept = {name: value for name, value in raw.items() if name not in _NEVER_KEPT}
    if merged is not None:
        kept["context"] = merged
    return kept


def _contacts(
    traits: Mapping[str, Any] | None,
    context: Mapping[str, Any] | None,
    properties: Mapping[str, Any] | None,
) -> tuple[str | None, str | None]:
    """E-mail and phone of the person, where identify calls and commerce events put them."""
    email = phone = None
    for place in (traits, properties, context.get("traits") if context else None):
        if not place or not isinstance(place, OBJECT):
            continue
        if email is None and isinstance(place.get("email"), str):
            email = normal_email(place["email"])
        if phone is None and isinstance(place.get("phone"), str):
            phone = normal_phone(place["phone"])
    return email, phone


def normal_email(text: str) -> str | None:
    """Trimmed and lower-cased; None when it is no address."""
    email = text.strip().lower()
    return email if 3 <= len(email) <= 254 and "@" in email[1:-1] else None


def normal_phone(text: str) -> str | None:
    """Digits, with a leading plus where the country is given; None when there are fewer than six.

    ``00`` stands for the plus: a number that was refused must not come back by another spelling.
    """
    digits = "".join(c for c in text if c.isascii() and c.isdigit())
    plus = text.strip().startswith("+")
    if not plus and digits.startswith("00"):
        plus, digits = True, digits[2:]
    if not 6 <= len(digits) <= 15:
        return None
    return ("+" if plus else "") + digits


def _corrected(claimed: Moment | None, sent: Moment | None, received: Moment) -> Moment:
    """The time by which the event is told: the claim, corrected for the sender's clock."""
    if claimed is None:
        return received
    corrected = claimed
    if sent is not None and abs(sent - claimed) <= LONGEST_QUEUED:
        corrected = received - (sent - claimed)
    return corrected if 0 <= corrected <= received + FUTURE_TOLERANCE else received


def delivered_body(
    message: Mapping[str, Any],
    kind: str,
    message_id: str,
    *,
    received_at: Moment,
    corrected_at: Moment,
    sent_at: Moment | None,
    stamp: Stamp | None,
    integrations: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The event as it is told to destinations, with Segment's four times.

    The stamp stands in it in its current form, so that the receiver reads what was decided.
    """
    body = dict(message)
    body["type"] = kind
    body["messageId"] = message_id
    if message.get("timestamp") is not None:
        body["originalTimestamp"] = message["timestamp"]
    body["timestamp"] = moment.format_rfc3339(corrected_at)
    body["receivedAt"] = moment.format_rfc3339(received_at)
    if sent_at is not None and "sentAt" not in message:
        body["sentAt"] = moment.format_rfc3339(sent_at)
    if stamp is not None:
        body["context"] = stamped_context(message.get("context") or {}, stamp)
    if integrations is not None:
        body["integrations"] = dict(integrations)
    return body


def stamped_context(context: Mapping[str, Any], stamp: Stamp) -> dict[str, Any]:
    """A context in which the stamp stands in its current form, whatever form it came in."""
    consent = context.get("consent")
    kept = consent if isinstance(consent, dict) else {}
    told = {category: category in stamp.granted for category in sorted(stamp.stated)}
    return {**context, "consent": {**kept, "categoryPreferences": told}}
