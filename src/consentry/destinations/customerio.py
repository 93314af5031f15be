"""Customer.io: events, people, their `unsubscribed` attribute, topics, and suppression.

What it calls *suppress* deletes a person and blocks the identifier; to delete alone lets the next
call make the person again. So a withdrawal sets an attribute, which can be taken back, and an
erasure suppresses. A withdrawal makes nobody: ``_update`` changes only who is there.

Sources: customerio 3.2.0 (paths, suppress), Customer.io's documentation of the Track API and of
reporting webhooks, and Segment's action for it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from consentry.core.delivery import Grade, Outcome
from consentry.core.order import Verb
from consentry.core.record import Node
from consentry.destinations import inbound
from consentry.destinations.contact import email_of, event_name, members, moment_of
from consentry.destinations.http import Unsendable, json_body, outcome_of_status, sender
from consentry.destinations.instruction import Heard, InboundCall, Instruction, Orders, Person
from consentry.destinations.message import Attempted, LastLook, Message, Request, Response
from consentry.destinations.obeying import (
    Part,
    Settled,
    check_topics,
    gated,
    obey_all,
    outcome_of_answer,
    topic_ids,
    topics_of,
)
from consentry.destinations.options import check_base_url, check_secrets
from consentry.destinations.spec import Spec
from consentry.secret import Secret

if TYPE_CHECKING:
    from consentry.destinations.transport import OutboundClient

SPEC = Spec(
    kind="customerio",
    title="Customer.io",
    batch_max=1,
    batch_bytes=32 * 1024,
    events=frozenset({"track", "page", "screen", "identify"}),
    proves="A 200 proves that Customer.io took the event; it is worked on afterwards.",
    best=Grade.ACCEPTED,
)
ORDERS = Orders(
    verbs=dict.fromkeys((Verb.SUPPRESS, Verb.ERASE, Verb.GRANT), Grade.ACCEPTED),
    needs=frozenset({"user_ids", "emails"}),
    cannot=(
        "This interface cannot be asked what it holds, and answers alike whether it knew the person "
        "or not; who was erased is blocked until somebody lifts that there."
    ),
    channels=frozenset({"email", "sms", "push"}),
    hears=True,
)


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which Customer.io workspace receives.

    ``site_id`` and ``api_key`` of its Track API; the first key is used, others wait for rotation.
    ``topic_ids``: numbers of its subscription topics by "topic:channel": email, sms or push.
    ``resubscribe``: whether a whole grant takes back ``unsubscribed``.
    ``signing_key``: of its reporting webhooks.
    ``base_url``: https://track-eu.customer.io for its European region.
    """

    TOPIC_IDS: ClassVar[str] = "topic_ids"
    CHANNELS: ClassVar[frozenset[str]] = ORDERS.channels

    site_id: str
    api_key: tuple[Secret, ...]
    topic_ids: dict[str, str] = {}
    resubscribe: bool = False
    signing_key: tuple[Secret, ...] = ()
    base_url: str = "https://track.customer.io"

    def __post_init__(self) -> None:
        check_base_url(self.base_url)
        check_secrets("api_key", self.api_key)
        check_secrets("signing_key", self.signing_key, needed=False)
        check_topics("topic_ids", self.topic_ids, ORDERS.channels)
        if not self.site_id.strip() or ":" in self.site_id:
            raise ValueError("site_id: must not be empty or hold a colon")
        for key, identity in self.topic_ids.items():
            if not (identity.isascii() and identity.isdigit()):
                raise ValueError(f'topic_ids: "{key}" must be a number, as text')


def _request(options: Options, entity: Mapping[str, Any]) -> Request:
    """``POST /api/v2/entity`` about a person. Raises `Unsendable`."""
    credentials = f"{options.site_id}:{options.api_key[0].reveal()}".encode()
    headers = (
        ("Authorization", f"Basic {b64encode(credentials).decode()}"),
        ("Content-Type", "application/json"),
    )
    body = json_body({"type": "person", **entity})
    if len(body) > SPEC.batch_bytes:
        raise Unsendable(f"it is over {SPEC.batch_bytes} bytes")
    return Request("POST", f"{options.base_url.rstrip('/')}/api/v2/entity", headers, body)


# Events


def request_for(messages: Sequence[Message], options: Options, now: datetime) -> Request:
    """One entity: an event of a person, or the person. Raises `Unsendable`."""
    (message,) = messages
    email = email_of(message)
    if message.user_id:
        who = {"id": message.user_id}
    elif email:
        who = {"email": email}
    else:
        raise Unsendable("the event names neither an account nor an address")
    if message.type == "identify":
        traits = members(message, "traits") | ({"email": email} if email else {})
        return _request(options, {"action": "identify", "identifiers": who, "attributes": traits})
    action = {"track": "event"}.get(message.type, message.type)
    name = event_name(message) if message.type == "track" else _place(message)
    event = {"action": action, "identifiers": who, "name": name}
    event |= {"attributes": members(message, "properties")}
    return _request(options, event | {"timestamp": int(moment_of(message).timestamp())})


def _place(message: Message) -> str:
    """A page is known by its address, a screen by its name."""
    named = (members(message, "properties").get("url"), message.body.get("name"))
    place = next((text for text in named if isinstance(text, str) and text), None)
    if place is None:
        raise Unsendable(f"the {message.type} has neither an address nor a name")
    return place


def outcome_of_entity(response: Response) -> Outcome:
    """200 with an object; one that names errors did not do it all."""

    def read(document: Any) -> Outcome | None:
        if not isinstance(document, dict):
            return None
        if document.get("errors"):
            return Outcome(Grade.FAILED_FINAL, response.status, "Customer.io names errors")
        return outcome_of_status(response.status, response.headers)

    return outcome_of_answer(response, read, expected=(200, 207))


def outcomes_of(response: Response, messages: Sequence[object]) -> tuple[Outcome, ...]:
    """One for the one message."""
    return (outcome_of_entity(response),) * len(messages)


send = sender(request_for, outcomes_of)


# Orders


def _known_by(person: Person) -> list[dict[str, str]]:
    found = [{"id": value} for value in person.user_ids]
    return found + [{"email": value} for value in person.emails]


def order_parts(instructions: Sequence[Instruction], options: Options) -> list[Part | Settled]:
    """What is sent for one order: one entity for each identifier. Pure."""
    first = instructions[0]
    known = _known_by(first.person)
    if not known:
        return []
    if first.verb is Verb.ERASE:  # to delete alone would let the next event make the person again
        return [
            Part(_request(options, {"action": "suppress", "identifiers": who}), outcome_of_entity)
            for who in known
        ]
    withdrawn = first.verb is Verb.SUPPRESS
    attributes: dict[str, bool] = {}
    parts: list[Part | Settled] = []
    if first.whole and (withdrawn or options.resubscribe):
        attributes["unsubscribed"] = withdrawn
    elif first.whole:
        parts.append(gated("a whole grant takes back no opt-out: resubscribe is off"))
    named, missing = topic_ids(first, options.topic_ids, "topic_ids")
    parts += missing
    for _, identity in named:  # the point keeps the other topics as they are
        attributes[f"cio_subscription_preferences.topics.topic_{identity}"] = not withdrawn
    if attributes:
        for who in known:
            told = {"action": "identify", "identifiers": who}
            told |= {"attributes": {**attributes, "_update": True}}
            parts.append(Part(_request(options, told), outcome_of_entity))
    return parts


async def obey(
    client: OutboundClient,
    instructions: Sequence[Instruction],
    options: Options,
    last_look: LastLook | None,
) -> Attempted:
    """One attempt for one order."""
    return await obey_all(
        client, lambda: order_parts(instructions, options), len(instructions), last_look
    )


# What Customer.io tells us

_SAYS: Mapping[tuple[str, str], tuple[bool, tuple[str, ...]]] = {
    ("customer", "unsubscribed"): (True, ()),
    ("customer", "subscribed"): (False, ()),
    ("email", "unsubscribed"): (True, ("email",)),
    ("email", "spammed"): (True, ("email",)),
}
_PREFERENCES = ("customer", "cio_subscription_preferences_changed")


def hear(call: InboundCall, options: Options) -> tuple[Heard, ...]:
    """A reporting webhook: HMAC-SHA256 in hex over ``v0:timestamp:body``. Raises `Unproven`.

    No source says whether a repeated call has a new time, so its age is not judged; ``event_id``
    makes it the same one.
    """
    stated = inbound.header(call, "x-cio-timestamp")
    given = inbound.header(call, "x-cio-signature").lower()
    signed = f"v0:{stated}:".encode("latin-1", "replace") + call.body
    inbound.prove_any(given, [inbound.hmac_sha256(k, signed).hex() for k in options.signing_key])
    document = inbound.body_of(call)
    what = (inbound.text_of(document, "object_type"), inbound.text_of(document, "metric"))
    at = inbound.time_of(document.get("timestamp")) if isinstance(document, dict) else None
    identity = inbound.text_of(document, "event_id")
    if what == _PREFERENCES:
        return tuple(
            Heard(node, not flag, f"topic_{number}", f"{identity}-{number}", at, topics)
            for number, flag in _preferences(document)
            if (topics := topics_of(number, options.topic_ids))
            for node in _nodes(document, {way for _, way in topics})
        )
    if what not in _SAYS:
        return ()
    denied, channels = _SAYS[what]
    return tuple(
        Heard(node, denied, what[1], identity, at, channels=channels)
        for node in _nodes(document, {*channels} or {"email"})
    )


def _nodes(document: object, ways: set[str]) -> tuple[Node, ...]:
    """The account; the address too where it was said of mail; without an account the address."""
    id_ = inbound.text_of(document, "data", "identifiers", "id")
    email = inbound.text_of(document, "data", "identifiers", "email")
    email = email or inbound.text_of(document, "data", "email_address")
    return inbound.nodes_of(id_, inbound.email_node(email), by_address=ways == {"email"})


def _preferences(document: object) -> list[tuple[str, bool]]:
    """Topic numbers and what they are now. Stored sources do not show this event whole: its
    ``content`` is taken as the object, or as JSON of it."""
    data = document.get("data") if isinstance(document, dict) else None
    held: Any = data.get("content") if isinstance(data, dict) else None
    if isinstance(held, str):
        try:
            held = msgspec.json.decode(held)
        except (msgspec.DecodeError, RecursionError):
            held = None
    topics = held.get("topics") if isinstance(held, dict) else None
    found = topics.items() if isinstance(topics, dict) else ()
    return [(n.removeprefix("topic_"), flag) for n, flag in found if isinstance(flag, bool)]
