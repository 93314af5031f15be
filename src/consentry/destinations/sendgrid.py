"""SendGrid: unsubscribe groups, the global unsubscribes, and the contacts of its marketing part.

To delete a suppression enables mail again. So a DELETE to a suppression is sent for a grant alone,
and an erasure deletes the contact and leaves every suppression where it is.

Sources: SendGrid's OpenAPI (asm, marketing/contacts), sendgrid 6.12.5 for the signature of the
event webhook, and its documentation of events.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from consentry.core.delivery import Grade, Outcome
from consentry.core.order import Verb
from consentry.destinations import inbound
from consentry.destinations.http import Unsendable, outcome_of_status, unsent
from consentry.destinations.instruction import Heard, InboundCall, Orders, Unproven
from consentry.destinations.message import Attempted, LastLook, Message, Request, Response
from consentry.destinations.obeying import topics_of
from consentry.destinations.sendgrid_orders import obey, read_back
from consentry.destinations.sendgrid_wire import CHANNELS, Options, public_key
from consentry.destinations.spec import Spec

if TYPE_CHECKING:
    from consentry.destinations.transport import OutboundClient

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
    kind="sendgrid",
    title="SendGrid",
    batch_max=1,
    batch_bytes=1,
    events=frozenset(),
    proves="It takes no events: it is told of choices alone.",
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
        "It knows people by address alone; an erasure removes the contact, while suppressions and "
        "statistics keep the address, so that no mail goes there."
    ),
    channels=CHANNELS,
    reads_back=True,
    hears=True,
)


def request_for(messages: Sequence[Message], options: Options, now: datetime) -> Request:
    """There is no request for an event. Raises `Unsendable`."""
    raise Unsendable("SendGrid takes no events")


def outcomes_of(response: Response, messages: Sequence[object]) -> tuple[Outcome, ...]:
    """As usual; nothing is ever sent."""
    return (outcome_of_status(response.status, response.headers),) * len(messages)


async def send(
    client: OutboundClient,
    messages: Sequence[Message],
    options: Options,
    last_look: LastLook | None,
) -> Attempted:
    """No event is sent to it: final for every message."""
    return unsent(Unsendable("SendGrid takes no events"), messages)


# What SendGrid tells us

_DENIED = frozenset({"unsubscribe", "group_unsubscribe", "spamreport"})
_SAYS = _DENIED | {"group_resubscribe"}


def hear(call: InboundCall, options: Options) -> tuple[Heard, ...]:
    """The signed event webhook: ECDSA over the timestamp and the body. Raises `Unproven`.

    SendGrid tries again for a day with the same signature, so its age is not judged;
    ``sg_event_id`` makes a repeated event the same one.
    """
    stated = inbound.header(call, "x-twilio-email-event-webhook-timestamp")
    given = inbound.header(call, "x-twilio-email-event-webhook-signature")
    try:
        signature = b64decode(given, validate=True)
    except (NotBase64, ValueError):
        raise Unproven("the signature is unreadable") from None
    signed = stated.encode("latin-1", "replace") + call.body
    if not any(_fits(key, signature, signed) for key in options.verification_key):
        raise Unproven("the signature does not fit")
    found = (_heard(event, options) for event in inbound.objects(inbound.body_of(call)))
    return tuple(heard for heard in found if heard is not None)


@lru_cache(maxsize=16)
def _key(text: str) -> ec.EllipticCurvePublicKey:
    return public_key(text)


def _fits(key: str, signature: bytes, signed: bytes) -> bool:
    try:
        _key(key).verify(signature, signed, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _heard(event: Mapping[str, Any], options: Options) -> Heard | None:
    said = inbound.text_of(event, "event")
    node = inbound.email_node(event.get("email"))
    if said not in _SAYS or node is None:
        return None
    group = event.get("asm_group_id")
    topics: tuple[tuple[str, str], ...] = ()
    channels: tuple[str, ...] = ("email",)
    if said.startswith("group_"):
        topics, channels = topics_of(str(group), options.groups), ()
        if not topics:
            return None  # a group that stands for no topic of ours
    at = inbound.time_of(event.get("timestamp"))
    identity = inbound.text_of(event, "sg_event_id")
    return Heard(node, said in _DENIED, said, identity, at, topics, channels)
