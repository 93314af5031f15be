"""Mailchimp: events of members, the status of members, and permanent deletion.

Nobody is deleted where an opt-out is meant: Mailchimp forgets it with the member. Who left by
themselves cannot be subscribed by a call ("compliance state"); they are set to pending, and
Mailchimp asks them.

Sources: mailchimp-marketing 3.0.80 (paths, authentication), Mailchimp's marketing API, and its
guide "Sync audience data with webhooks".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from consentry.core.delivery import Grade, Outcome
from consentry.core.order import Verb
from consentry.destinations import inbound
from consentry.destinations.contact import email_of, event_name, members, moment_of
from consentry.destinations.http import Unsendable, sender
from consentry.destinations.instruction import Heard, InboundCall, Orders, Unproven
from consentry.destinations.mailchimp_orders import obey, outcome_of_event, read_back
from consentry.destinations.mailchimp_wire import CHANNELS, Options, member_path, request_to
from consentry.destinations.message import Message, Request, Response
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
    kind="mailchimp",
    title="Mailchimp",
    batch_max=1,
    batch_bytes=1_000_000,  # no source states a limit
    events=frozenset({"track"}),
    proves="A 204 proves that Mailchimp took the event of a member; others are no members.",
    best=Grade.ACCEPTED,
)
ORDERS = Orders(
    verbs={
        Verb.SUPPRESS: Grade.CONFIRMED,
        Verb.ERASE: Grade.CONFIRMED,
        Verb.GRANT: Grade.CONFIRMED,
    },
    needs=frozenset({"emails"}),
    cannot=(
        "It knows people by address alone; who left by themselves is asked by Mailchimp before "
        "they get anything again, and who was erased can never be brought in again."
    ),
    channels=CHANNELS,
    reads_back=True,
    hears=True,
)


# Events

_NAME = re.compile(r"[^A-Za-z0-9_-]+")


def request_for(messages: Sequence[Message], options: Options, now: datetime) -> Request:
    """``POST …/members/{id}/events``. A name has 2 to 30 letters, digits, dashes and underscores.

    Raises `Unsendable`.
    """
    (message,) = messages
    email = email_of(message)
    if email is None:
        raise Unsendable("the event names no address, and Mailchimp knows people by theirs")
    name = _NAME.sub("_", event_name(message)).strip("_")[:30]
    if len(name) < 2:
        raise Unsendable("the event's name has fewer than two letters")
    properties = {
        key: value if isinstance(value, str) else str(value)
        for key, value in members(message, "properties").items()
        if key != "email" and isinstance(value, str | int | float)
    }
    body = {"name": name, "properties": properties, "occurred_at": moment_of(message).isoformat()}
    path = f"{member_path(options.audience, email)}/events"
    request = request_to(options, "POST", path, body)
    if len(request.body) > SPEC.batch_bytes:
        raise Unsendable(f"the event is over {SPEC.batch_bytes} bytes")
    return request


def outcomes_of(response: Response, messages: Sequence[object]) -> tuple[Outcome, ...]:
    """204 is a success; 404 says that there is no such member."""
    return (outcome_of_event(response),) * len(messages)


send = sender(request_for, outcomes_of)


# What Mailchimp tells us


def hear(call: InboundCall, options: Options) -> tuple[Heard, ...]:
    """An audience's webhook: a form. Mailchimp signs nothing, so its URL holds a ``secret``.

    A GET asks whether somebody lives there, and tells nothing. ``fired_at`` names no zone, so no
    time is believed. Raises `Unproven`.
    """
    if call.method == "GET":
        return ()
    query = parse_qs(urlsplit(call.url).query)
    given = query.get("secret", [""])
    expected = [secret.reveal() for secret in options.webhook_secret]
    inbound.prove_any(given[0] if len(given) == 1 else "", expected)
    try:
        form = {name: values[0] for name, values in parse_qs(call.body.decode()).items()}
    except UnicodeDecodeError:
        raise Unproven("the body is no form") from None
    kind = form.get("type", "")
    node = inbound.email_node(form.get("data[email]"))
    if kind not in ("unsubscribe", "subscribe") or node is None:
        return ()
    topics, channels = _meant(form.get("data[list_id]", ""), options)
    if not topics and not channels:
        return ()
    identity = hashlib.sha256(call.body).hexdigest()[:32]
    said = f"{kind} {form['data[action]']}" if form.get("data[action]") in _ACTIONS else kind
    return (Heard(node, kind == "unsubscribe", said, identity, None, topics, channels),)


_ACTIONS = ("unsub", "delete")
Meant = tuple[tuple[tuple[str, str], ...], tuple[str, ...]]


def _meant(audience: str, options: Options) -> Meant:
    """The topics that stand for an audience, or all mail where it is the audience of everything.

    Who leaves an audience leaves every interest in it.
    """
    if audience == options.audience:
        return (), ("email",)
    found: Mapping[str, Any] = options.lists
    keys = [key for key, identity in found.items() if identity.partition("/")[0] == audience]
    return tuple(sorted((k.rpartition(":")[0], k.rpartition(":")[2]) for k in keys)), ()
