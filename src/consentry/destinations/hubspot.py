"""HubSpot: custom events, e-mail subscriptions, and its GDPR deletion.

Its calls can answer 200 or 207 with empty results: then nothing happened. An opt-out of all mail
cannot be lifted by any call, only subscription by subscription. Deleting an address that HubSpot
does not know puts it on a blocklist, which is what an erasure wants.

Sources: HubSpot's public API specifications (communication preferences v4, events v3, contacts
v3), its guide to v4, hubspot-api-client 12.0.0 for the v3 signature and the deletion.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from consentry.core.delivery import Grade, Outcome
from consentry.core.order import Verb
from consentry.destinations import inbound
from consentry.destinations.contact import email_of, event_name, members, moment_of, plain_name
from consentry.destinations.http import Unsendable, sender
from consentry.destinations.hubspot_orders import obey, read_back
from consentry.destinations.hubspot_wire import CHANNELS, Options, request_to
from consentry.destinations.instruction import (
    Heard,
    InboundCall,
    Orders,
)
from consentry.destinations.message import Message, Request, Response
from consentry.destinations.obeying import (
    outcome_of_exactly,
    topics_of,
)
from consentry.destinations.spec import Spec

if TYPE_CHECKING:
    pass

SPEC = Spec(
    kind="hubspot",
    title="HubSpot",
    batch_max=1,
    batch_bytes=1_000_000,  # no source states a limit
    events=frozenset({"track"}),
    proves="A 204 proves that HubSpot took the event; it is matched to a contact afterwards.",
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
        "It knows people by address alone and speaks of e-mail alone; an opt-out of all mail is "
        "lifted by nobody but the person."
    ),
    channels=CHANNELS,
    reads_back=True,
    hears=True,
)
LONGEST_NAME = 100
_EVENT_IDS = uuid.UUID("0c5a3f5e-51a6-4b9f-8f3c-6a2b6a2f8f11")


# Events


def request_for(messages: Sequence[Message], options: Options, now: datetime) -> Request:
    """``POST /events/v3/send``. HubSpot keeps the first of two with the same ``uuid``.

    The custom event must exist there, as ``pe{portal}_{name}``. Raises `Unsendable`.
    """
    (message,) = messages
    email = email_of(message)
    if email is None:
        raise Unsendable("the event names no address, and HubSpot knows people by theirs")
    name = plain_name(event_name(message), LONGEST_NAME)
    body = {
        "eventName": f"pe{options.portal_id}_{name}",
        "email": email,
        "properties": _texts(members(message, "properties")),
        "occurredAt": moment_of(message).isoformat(),
        "uuid": _uuid(message.message_id),
    }
    request = request_to(options, "POST", "events/v3/send", body)
    if len(request.body) > SPEC.batch_bytes:
        raise Unsendable(f"the event is over {SPEC.batch_bytes} bytes")
    return request


def _texts(properties: Mapping[str, Any]) -> dict[str, str]:
    """Names as HubSpot has them, values as texts. What is no single value stays at home."""
    found: dict[str, str] = {}
    for name, value in properties.items():
        if name == "email" or not re.search("[A-Za-z0-9]", name):
            continue
        if isinstance(value, bool):
            found[plain_name(name, LONGEST_NAME)] = "true" if value else "false"
        elif isinstance(value, str | int | float):
            found[plain_name(name, LONGEST_NAME)] = str(value)
    return found


def _uuid(message_id: str) -> str:
    """The message id if it is a UUID, else one that is the same on every try."""
    try:
        return str(uuid.UUID(message_id))
    except ValueError:
        return str(uuid.uuid5(_EVENT_IDS, message_id))


def outcomes_of(response: Response, messages: Sequence[object]) -> tuple[Outcome, ...]:
    """204, and nothing else, is a success."""
    return (outcome_of_exactly(response, 204),) * len(messages)


send = sender(request_for, outcomes_of)


# What HubSpot tells us

_OPT_OUT = "hs_email_optout"
# HubSpot signs the URL with these decoded (its guide to validating requests).
_DECODED = {
    code: chr(int(code[1:], 16))
    for code in re.findall("%..", "%3A%2F%3F%40%21%24%27%28%29%2A%2C%3B")
}


def hear(call: InboundCall, options: Options) -> tuple[Heard, ...]:
    """A call with ``X-HubSpot-Signature-v3``, at most five minutes old. Raises `Unproven`.

    A workflow's webhook sends the properties of a contact: ``email`` beside ``hs_email_optout`` or
    ``hs_email_optout_{subscription}``. An app's webhook names a contact by HubSpot's own number
    alone; that names nobody here, so it tells nothing.
    """
    stated = inbound.header(call, "x-hubspot-request-timestamp")
    given = inbound.header(call, "x-hubspot-signature-v3")
    expected = [
        b64encode(inbound.hmac_sha256(secret, signed)).decode()
        for secret in options.client_secret
        for url in {call.url, _decoded(call.url)}
        for signed in [f"{call.method}{url}".encode() + call.body + stated.encode("latin-1")]
    ]
    inbound.prove_any(given, expected)
    at = inbound.unix_time(stated, per_second=1000)
    inbound.prove_fresh(call.now, at)
    document = inbound.body_of(call)
    contacts = inbound.objects(document if isinstance(document, list) else [document])
    # A repeated call has its own time: to hear it twice is harmless, to miss the next one is not.
    digest = hashlib.sha256(call.body + stated.encode("latin-1")).hexdigest()
    return tuple(
        heard
        for place, contact in enumerate(contacts)
        for heard in _heard(contact, f"{digest[:32]}-{place}", options)
    )


def _decoded(url: str) -> str:
    for code, char in _DECODED.items():
        url = url.replace(code, char).replace(code.lower(), char)
    return url


def _heard(contact: Mapping[str, Any], identity: str, options: Options) -> list[Heard]:
    held = contact.get("properties")
    held = held if isinstance(held, dict) else contact
    values = {n: v.get("value") if isinstance(v, dict) else v for n, v in held.items()}
    node = inbound.email_node(values.get("email"))
    found: list[Heard] = []
    for name, value in values.items():
        said = str(value).lower()
        if node is None or not name.startswith(_OPT_OUT) or said not in ("true", "false"):
            continue
        topics = topics_of(name.removeprefix(f"{_OPT_OUT}_"), options.subscriptions)
        if name != _OPT_OUT and not topics:
            continue
        channels = ("email",) if name == _OPT_OUT else ()
        denied = said == "true"
        event = f"{identity}-{name}"
        found.append(Heard(node, denied, f"{name} {said}", event, None, topics, channels))
    return found


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
