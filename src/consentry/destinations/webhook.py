"""A signed webhook: any HTTPS endpoint that follows Standard Webhooks.

One event per request, `{type, timestamp, data}`, signed with every configured secret so
that a secret can be replaced without a gap. An endpoint that wants to say more than "2xx"
answers with a receipt, `{"status": "applied" | "accepted" | "noop", …}`. An order is a request
of its own type, `consent.withdrawn`, `consent.expired`, `consent.granted` or `subject.erase`, with the
same receipt.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from consentry.core.delivery import Grade, Outcome
from consentry.core.order import Verb
from consentry.destinations.addresses import parse_target
from consentry.destinations.http import (
    digest_of,
    exchange,
    json_body,
    outcome_of_status,
    sender,
)
from consentry.destinations.instruction import Instruction, Orders
from consentry.destinations.message import Attempted, LastLook, Message, Request, Response
from consentry.destinations.spec import ALL_EVENTS, Spec
from consentry.secret import Secret

if TYPE_CHECKING:
    from consentry.destinations.transport import OutboundClient

SPEC = Spec(
    kind="webhook",
    title="Webhook",
    batch_max=1,
    batch_bytes=512 * 1024,
    events=ALL_EVENTS,
    proves=(
        "A 2xx proves that the endpoint took the request; "
        "only its receipt says whether it acted on it."
    ),
    best=Grade.CONFIRMED,
)

ORDERS = Orders(
    verbs=dict.fromkeys((Verb.SUPPRESS, Verb.ERASE, Verb.GRANT), Grade.CONFIRMED),
    needs=frozenset({"anonymous_ids", "user_ids", "emails", "phones"}),
    cannot=(
        "A 2xx without a receipt says that the order arrived, not that it was followed, "
        "and the endpoint cannot be asked afterwards."
    ),
    channels=frozenset({"email", "sms", "push", "phone", "post"}),
)

CHOICE_EVENT = "Segment Consent Preference Updated"
_PREFIX = "whsec_"
_KEY_BYTES = range(24, 65)  # Standard Webhooks, symmetric keys


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to reach and sign for one endpoint.

    ``url``: where to POST; https, unless the program allows private targets.
    ``secret``: one or two secrets, the new one first while replacing; each is ``whsec_``
    and base64 of 24 to 64 bytes, or any other text, whose UTF-8 bytes are the key.
    ``timeout_s``: seconds for the whole exchange, over 0 to 30.
    """

    url: str
    secret: tuple[Secret, ...]
    timeout_s: float = 15.0

    def __post_init__(self) -> None:
        parse_target(self.url, allow_private=True)  # its form; the client judges the place
        if not 1 <= len(self.secret) <= 2:
            raise ValueError("secret: one or two are needed")
        for secret in self.secret:
            _key(secret)
        if not 0 < self.timeout_s <= 30:
            raise ValueError("timeout_s: must be over 0 and at most 30 seconds")

    def __repr__(self) -> str:
        origin = parse_target(self.url, allow_private=True).origin
        return f"Options({origin}, {len(self.secret)} secrets)"


def _key(secret: Secret) -> bytes:
    """The bytes to sign with. Raises ValueError, without the secret, if there are none."""
    text = secret.reveal()
    if not text:
        raise ValueError("secret: must not be empty")
    if not text.startswith(_PREFIX):
        return text.encode("utf-8", "surrogatepass")
    encoded = text.removeprefix(_PREFIX).rstrip("=")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except binascii.Error:
        key = b""
    if len(key) not in _KEY_BYTES:
        raise ValueError("secret: whsec_ must be followed by base64 of 24 to 64 bytes")
    return key


@lru_cache(maxsize=64)
def _keyed(secret: Secret) -> hmac.HMAC:
    """A MAC with its key in it, to be copied for each message."""
    return hmac.new(_key(secret), digestmod="sha256")


def _signature(secret: Secret, signed: bytes) -> str:
    """As the header ``webhook-signature`` wants it: version, comma, base64."""
    mac = _keyed(secret).copy()
    mac.update(signed)
    return "v1," + binascii.b2a_base64(mac.digest(), newline=False).decode("ascii")


_SAFE_ID = re.compile(r"[\x21-\x7e]{1,256}")


def webhook_id(message_id: str) -> str:
    """The message id, or its SHA-256 where it could not stand in a header.

    The same on every retry, so that the receiver can tell a repetition.
    """
    if _SAFE_ID.fullmatch(message_id):
        return message_id
    digest = hashlib.sha256(message_id.encode("utf-8", "surrogatepass")).hexdigest()
    return f"sha256:{digest}"


def request_for(messages: Sequence[Message], options: Options, now: datetime) -> Request:
    """The signed request for one message. ``now`` goes into the signature (replay guard).

    Raises `Unsendable` if the event cannot be written as JSON.
    """
    (message,) = messages
    body, digest = message.once(SPEC.kind, lambda: _body_of(message))
    headers = signed_headers(webhook_id(message.message_id), body, options.secret, now)
    return Request("POST", options.url, headers, body, digest)


def signed_headers(
    identity: str, body: bytes, secrets: Sequence[Secret], now: datetime
) -> tuple[tuple[str, str], ...]:
    """The headers of a body that is signed with each secret. ``identity`` is that of every try."""
    seconds = str(int(now.timestamp()))
    signed = f"{identity}.{seconds}.".encode() + body
    return (
        ("Content-Type", "application/json"),
        ("webhook-id", identity),
        ("webhook-timestamp", seconds),
        ("webhook-signature", " ".join([_signature(secret, signed) for secret in secrets])),
    )


def _body_of(message: Message) -> tuple[bytes, str]:
    """What every webhook is told, and its digest. Only the signatures differ."""
    event: dict[str, Any] = {
        "type": "consent.updated" if _is_choice(message) else "event.forwarded",
        "timestamp": message.timestamp,
        "data": message.body,
    }
    body = json_body(event)
    return body, digest_of(body)


def _is_choice(message: Message) -> bool:
    return message.type == "track" and message.body.get("event") == CHOICE_EVENT


_RECEIPTS = {
    "applied": Grade.CONFIRMED,
    "accepted": Grade.ACCEPTED,
    "noop": Grade.NOOP,
}


def outcomes_of(response: Response, messages: Sequence[object]) -> tuple[Outcome, ...]:
    """What the endpoint's answer means. 410 says that nobody lives there: pause."""
    outcome = outcome_of_status(response.status, response.headers)
    if response.status == 410:
        outcome = Outcome(Grade.FAILED_FINAL, 410, "HTTP 410: the endpoint is gone", pause=True)
    elif outcome.grade is Grade.ACCEPTED:
        status = _receipt_status(response.body)
        if status in _RECEIPTS:
            outcome = Outcome(_RECEIPTS[status], response.status, f"receipt: {status}")
    return (outcome,) * len(messages)


class _Receipt(msgspec.Struct):
    status: str = ""


def _receipt_status(body: bytes) -> str:
    """The receipt's status, or nothing for any other body: plain 2xx is enough."""
    try:
        return msgspec.json.decode(body, type=_Receipt).status
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


send = sender(request_for, outcomes_of, lambda options: options.timeout_s)


_TYPES = {
    Verb.SUPPRESS: "consent.withdrawn",
    Verb.GRANT: "consent.granted",
    Verb.ERASE: "subject.erase",
}


def order_request(instructions: Sequence[Instruction], options: Options, now: datetime) -> Request:
    """The signed request for one order. Its ``webhook-id`` is the order's, on every try.

    Raises `Unsendable` if it cannot be written as JSON.
    """
    (instruction,) = instructions
    body = json_body(_order_body(instruction))
    headers = signed_headers(webhook_id(instruction.order_id), body, options.secret, now)
    return Request("POST", options.url, headers, body)


def _type_of(instruction: Instruction) -> str:
    if instruction.expired and instruction.verb is Verb.SUPPRESS:
        return "consent.expired"
    return _TYPES[instruction.verb]


def _order_body(instruction: Instruction) -> dict[str, Any]:
    """``timestamp`` is when the choice was received, so a repetition is the same to the byte."""
    person = instruction.person
    return {
        "type": _type_of(instruction),
        "timestamp": instruction.received_at,
        "data": {
            "orderId": instruction.order_id,
            "recordId": instruction.record_id,
            "seq": instruction.seq,
            "madeAt": instruction.made_at,
            "subject": {
                "anonymousIds": person.anonymous_ids,
                "userIds": person.user_ids,
                "emails": person.emails,
                "phones": person.phones,
            },
            "whole": instruction.whole,
            "topics": [{"topic": topic, "channel": way} for topic, way in instruction.topics],
            "preferences": dict(instruction.consent),
        },
    }


async def obey(
    client: OutboundClient,
    instructions: Sequence[Instruction],
    options: Options,
    last_look: LastLook | None,
) -> Attempted:
    """One attempt for one order; the endpoint's receipt says what came of it, as for events."""
    return await exchange(
        client,
        lambda: order_request(instructions, options, datetime.now(UTC)),
        instructions,
        outcomes_of,
        last_look,
        timeout_s=options.timeout_s,
    )
