"""Klaviyo: events and profiles, its suppressions, its lists, and its deletions.

Two of its calls do more than they say, and both would hurt a person. To unsubscribe somebody
from a list that they are not on unsubscribes them from everything; so the list is asked first.
To subscribe somebody lifts every opt-out that Klaviyo holds of them, also one that they made
there and nobody told us of; so the profile is asked first, and who is suppressed is not
subscribed. A whole withdrawal is a suppression, which can be lifted without subscribing anybody.

Source: Klaviyo's own SDK, klaviyo-api 25.0.0 (revision 2026-10-15), paths, bodies and limits;
system webhooks: developers.klaviyo.com, "Working with system webhooks".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from consentry.core.delivery import Grade, Outcome
from consentry.core.order import Verb
from consentry.destinations import inbound
from consentry.destinations.contact import email_of, event_name, members, moment_of, phone_of
from consentry.destinations.http import (
    Unsendable,
    outcome_of_status,
    sender,
)
from consentry.destinations.instruction import Heard, InboundCall, Orders
from consentry.destinations.klaviyo_orders import obey
from consentry.destinations.klaviyo_readings import read_back
from consentry.destinations.klaviyo_wire import CHANNELS, FIELDS, Options, request_to
from consentry.destinations.message import Message, Request, Response
from consentry.destinations.obeying import UNDOCUMENTED, json_of
from consentry.destinations.spec import Spec

if TYPE_CHECKING:
    pass

__all__ = [
    "ORDERS",
    "SPEC",
    "Options",
    "hear",
    "obey",
    "outcomes_of",
    "read_back",
    "request_for",
    "send",
]

SPEC = Spec(
    kind="klaviyo",
    title="Klaviyo",
    batch_max=1,
    batch_bytes=1_000_000,
    events=frozenset({"track", "page", "screen", "identify"}),
    proves="A 202 proves that Klaviyo took the event; it is read from a queue afterwards.",
    best=Grade.ACCEPTED,
)
ORDERS = Orders(
    verbs={
        Verb.SUPPRESS: Grade.CONFIRMED,
        Verb.ERASE: Grade.CONFIRMED,
        Verb.GRANT: Grade.CONFIRMED,
    },
    needs=frozenset({"emails", "phones"}),
    cannot=(
        "A profile that has neither an address nor a phone number cannot be named; a phone number "
        "that was unsubscribed is not subscribed again but by a topic; an erasure takes Klaviyo's "
        "suppression with it."
    ),
    channels=CHANNELS,
    batch_max=50,
    reads_back=True,
    hears=True,
)


# Events


def request_for(messages: Sequence[Message], options: Options, now: datetime) -> Request:
    """``POST /api/events``, or ``/api/profile-import`` for an identify.

    Klaviyo keeps the first of two events with the same ``unique_id``. Raises `Unsendable`.
    """
    (message,) = messages
    if message.type == "identify":
        profile = _profile(message) | {"properties": members(message, "traits")}
        path, data = "profile-import", {"type": "profile", "attributes": profile}
    else:
        path, data = "events", _event(message)
    request = request_to(options, "POST", path, data)
    if len(request.body) > SPEC.batch_bytes:
        raise Unsendable(f"the event is over {SPEC.batch_bytes} bytes")
    return request


def _event(message: Message) -> dict[str, Any]:
    metric = {"type": "metric", "attributes": {"name": event_name(message)}}
    return {
        "type": "event",
        "attributes": {
            "properties": members(message, "properties"),
            "time": moment_of(message).isoformat(),
            "unique_id": message.message_id,
            "metric": {"data": metric},
            "profile": {"data": {"type": "profile", "attributes": _profile(message)}},
        },
    }


def _profile(message: Message) -> dict[str, Any]:
    found = {
        "email": email_of(message),
        "phone_number": phone_of(message),
        "external_id": message.user_id,
        "anonymous_id": message.anonymous_id,
    }
    return {name: value for name, value in found.items() if value}


def outcomes_of(response: Response, messages: Sequence[object]) -> tuple[Outcome, ...]:
    """202 for an event; 200 and 201 with the profile for an identify."""
    outcome = outcome_of_status(response.status, response.headers)
    if outcome.grade is Grade.ACCEPTED and response.status != 202:
        document = json_of(response)
        if not isinstance(document, dict) or "data" not in document:
            outcome = Outcome(Grade.FAILED_RETRY, response.status, UNDOCUMENTED)
    return (outcome,) * len(messages)


send = sender(request_for, outcomes_of)


# What Klaviyo tells us

_EVENT = "event:klaviyo."
_SAYS: Mapping[str, tuple[str, bool]] = {
    "unsubscribed_from_email_marketing": ("email", True),
    "manually_suppressed_from_email_marketing": ("email", True),
    "marked_email_as_spam": ("email", True),
    "unsubscribed_from_sms_marketing": ("sms", True),
    "subscribed_to_email_marketing": ("email", False),
    "subscribed_to_sms_marketing": ("sms", False),
}


def hear(call: InboundCall, options: Options) -> tuple[Heard, ...]:
    """A system webhook: HMAC-SHA256 in hex over the body and then ``Klaviyo-Timestamp``.

    Which list somebody left is not said, so the channel as a whole is meant. Raises `Unproven`.
    No source states the form of the timestamp, so its age is not judged; ``event_id`` makes a
    repeated call the same one.
    """
    stated = inbound.header(call, "klaviyo-timestamp")
    signed = call.body + stated.encode("latin-1", "replace")
    expected = [inbound.hmac_sha256(s, signed).hex() for s in options.webhook_secret]
    inbound.prove_any(inbound.header(call, "klaviyo-signature").lower(), expected)
    document = inbound.body_of(call)
    items = document.get("data") if isinstance(document, dict) else None
    return tuple(heard for item in inbound.objects(items) for heard in _heard(item))


def _heard(item: Mapping[str, Any]) -> tuple[Heard, ...]:
    topic = inbound.text_of(item, "topic").removeprefix(_EVENT)
    if topic not in _SAYS:
        return ()
    channel, denied = _SAYS[topic]
    payload = item.get("payload")
    included = payload.get("included") if isinstance(payload, dict) else None
    for held in inbound.objects(included):
        attributes = held.get("attributes")
        if held.get("type") != "profile" or not isinstance(attributes, dict):
            continue
        name = FIELDS[channel]
        make = inbound.email_node if channel == "email" else inbound.phone_node
        account, address = attributes.get("external_id"), make(attributes.get(name))
        at = inbound.time_of(inbound.text_of(payload, "data", "attributes", "datetime"))
        event_id = inbound.text_of(item, "external_id")
        if nodes := inbound.nodes_of(account, address, by_address=True):
            return tuple(
                Heard(node, denied, topic, event_id, at, channels=(channel,)) for node in nodes
            )
    return ()
