"""Braze: events and attributes, its subscription groups, and its deletions.

A 201 is not a success by itself: Braze answers so to what it did not take, and says it in the
body's ``message``. ``errors`` beside a success are of single objects, by their position.

Sources: Braze's documentation of /users/track, /v2/subscription/status/set, /email/status,
/subscription/status/get, /users/export/ids, /users/delete, and of the custom Currents connector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from consentry.core.delivery import Grade, Outcome
from consentry.core.order import Verb
from consentry.core.record import Node
from consentry.destinations import inbound
from consentry.destinations.braze_orders import obey, read_back
from consentry.destinations.braze_wire import CHANNELS, Options, request_to, with_wait
from consentry.destinations.contact import email_of, event_name, members, moment_of, phone_of
from consentry.destinations.http import Unsendable, outcome_of_status, sender
from consentry.destinations.instruction import Heard, InboundCall, Orders
from consentry.destinations.message import Message, Request, Response
from consentry.destinations.obeying import UNDOCUMENTED, json_of, topics_of
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
    kind="braze",
    title="Braze",
    batch_max=75,
    batch_bytes=4_000_000,  # no source states a limit; this is below what their own SDKs send
    events=frozenset({"track", "page", "screen", "identify"}),
    proves="An answer that says success proves that Braze queued the event, each with its errors.",
    best=Grade.ACCEPTED,
)
ORDERS = Orders(
    verbs={
        Verb.SUPPRESS: Grade.CONFIRMED,
        Verb.ERASE: Grade.CONFIRMED,
        Verb.GRANT: Grade.CONFIRMED,
    },
    needs=frozenset({"user_ids", "emails", "phones"}),
    cannot=(
        "Whether an address without an account was unsubscribed as a whole cannot be read; of "
        "several profiles with one address a deletion takes one."
    ),
    channels=CHANNELS,
    batch_max=50,
    reads_back=True,
    hears=True,
)


# Events


def request_for(messages: Sequence[Message], options: Options, now: datetime) -> Request:
    """``POST /users/track`` with at most 75 events and profiles. Raises `Unsendable`."""
    body: dict[str, list[dict[str, Any]]] = {}
    for message in messages:
        name, item = _item(message, options)
        body.setdefault(name, []).append(item)
    request = request_to(options, "POST", "users/track", body)
    if len(request.body) > SPEC.batch_bytes:
        raise Unsendable(f"the batch is over {SPEC.batch_bytes} bytes")
    return request


def _item(message: Message, options: Options) -> tuple[str, dict[str, Any]]:
    if message.user_id:
        who: dict[str, Any] = {"external_id": message.user_id}
    else:
        alias = {"alias_name": message.anonymous_id, "alias_label": options.alias_label}
        who = {"user_alias": alias}
    if message.type == "identify":
        traits = members(message, "traits")
        found = {"email": email_of(message), "phone": phone_of(message)}
        return "attributes", traits | {k: v for k, v in found.items() if v} | who
    event = {"name": event_name(message), "time": moment_of(message).isoformat()}
    return "events", who | event | {"properties": members(message, "properties")}


def outcomes_of(response: Response, messages: Sequence[Message]) -> tuple[Outcome, ...]:
    """Each message's own: those that ``errors`` names by position were not taken."""
    outcome = outcome_of_status(response.status, with_wait(response).headers)
    if outcome.grade is not Grade.ACCEPTED:
        return (outcome,) * len(messages)
    document = json_of(response)
    if not isinstance(document, dict) or "message" not in document:
        return (Outcome(Grade.FAILED_RETRY, response.status, UNDOCUMENTED),) * len(messages)
    if document["message"] != "success":
        refused = Outcome(Grade.FAILED_FINAL, response.status, "its message is no success")
        return (refused,) * len(messages)
    counts = [n for name, n in document.items() if name.endswith("_processed")]
    if counts and not any(counts):
        nothing = Outcome(Grade.NOOP, response.status, "nothing was processed")
        return (nothing,) * len(messages)
    return _by_position(outcome, document.get("errors"), messages)


def _by_position(
    outcome: Outcome, errors: object, messages: Sequence[Message]
) -> tuple[Outcome, ...]:
    refused = Outcome(Grade.FAILED_FINAL, outcome.status, "Braze did not take this one")
    if not errors:
        return (outcome,) * len(messages)
    bad = [(e.get("input_array"), e.get("index")) for e in inbound.objects(errors)]
    counted = {"events": 0, "attributes": 0}
    found = []
    for message in messages:
        name = "attributes" if message.type == "identify" else "events"
        found.append(refused if (name, counted[name]) in bad else outcome)
        counted[name] += 1
    if refused not in found:  # errors that name none of them: nobody knows whose they are
        return (refused,) * len(messages)
    return tuple(found)


send = sender(request_for, outcomes_of)


# What Braze tells us

_GLOBAL = "users.behaviors.subscription.GlobalStateChange"
_GROUP = "users.behaviors.subscriptiongroup.StateChange"
_UNSUBSCRIBE = "users.messages.email.Unsubscribe"
_SPAM = "users.messages.email.MarkAsSpam"


def hear(call: InboundCall, options: Options) -> tuple[Heard, ...]:
    """A batch of the custom Currents connector, proven by its bearer token.

    The body is ``{"events": […]}``. Raises `Unproven`. Stored sources name the event types and
    their members; whether the connector puts the members at the top or under ``user`` and
    ``properties`` they do not show, so both are read.
    """
    scheme, _, token = inbound.header(call, "authorization").partition(" ")
    expected = [secret.reveal() for secret in options.webhook_token]
    inbound.prove_any(token.strip() if scheme.lower() == "bearer" else "", expected)
    document = inbound.body_of(call)
    events = document.get("events") if isinstance(document, dict) else None
    return tuple(heard for event in inbound.objects(events) for heard in _heard(event, options))


def _heard(event: Mapping[str, Any], options: Options) -> tuple[Heard, ...]:
    kind = inbound.text_of(event, "event_type")
    if kind not in (_GLOBAL, _GROUP, _UNSUBSCRIBE, _SPAM):
        return ()
    status = _member(event, "subscription_status").lower()
    denied = kind in (_UNSUBSCRIBE, _SPAM) or status == "unsubscribed"
    if kind == _GROUP:
        topics = topics_of(_member(event, "subscription_group_id"), options.groups)
        if not topics:
            return ()  # a group that stands for no topic of ours
        channels: tuple[str, ...] = ()
    else:
        topics = ()
        channel = _member(event, "channel").lower() or "email"
        if channel not in CHANNELS:
            return ()  # a channel that is no channel here
        channels = (channel,)
    at = inbound.time_of(event.get("time"))
    said = f"{kind.rpartition('.')[2]} {status}".strip()
    ways = {way for _, way in topics} | {*channels}
    return tuple(
        Heard(node, denied, said, inbound.text_of(event, "id"), at, topics, channels)
        for node in _nodes(event, by_address=ways == {"email"})
    )


def _member(event: Mapping[str, Any], name: str) -> str:
    places = ((name,), ("properties", name), ("user", name))
    return next((found for p in places if (found := inbound.text_of(event, *p))), "")


def _nodes(event: Mapping[str, Any], *, by_address: bool) -> tuple[Node, ...]:
    address = inbound.email_node(_member(event, "email_address"))
    return inbound.nodes_of(_member(event, "external_user_id"), address, by_address=by_address)
