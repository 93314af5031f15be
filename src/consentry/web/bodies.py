"""The bodies of the consent API, as types: what is read is what OpenAPI says.

Unknown members are refused: a misspelt ``preferences`` must not pass for silence.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from consentry.core.choice import nodes_named
from consentry.core.event import LONGEST_ID
from consentry.core.record import Node
from consentry.core.stamp import Invalid
from consentry.web.problems import Problem
from consentry.web.strict_json import read_checked

Identifier = Annotated[str, Meta(min_length=1, max_length=LONGEST_ID)]
CategoryId = Annotated[str, Meta(min_length=1, max_length=100)]
Text = Annotated[str, Meta(max_length=2000)]
Preferences = dict[CategoryId, bool]
Topics = dict[CategoryId, dict[CategoryId, bool]]
Channels = Annotated[
    dict[CategoryId, Annotated[bool, Meta(extra_json_schema={"const": False})]],
    Meta(description="Channels refused as a whole. A yes is given for a topic, so true is refused"),
]
Time = Annotated[str, Meta(description="RFC 3339", max_length=40)]

T = TypeVar("T", bound="Body")


class Body(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, rename="camel"):
    """A body of the consent API."""


class Subject(Body):
    """Whom it is about: at least one identifier."""

    anonymous_id: Identifier | None = None
    user_id: Identifier | None = None
    email: Identifier | None = None
    phone: Identifier | None = None

    def nodes(self) -> tuple[Node, ...]:
        """Its identifiers, normalised. Raises Problem 400."""
        try:
            return nodes_named(self.anonymous_id, self.user_id, self.email, self.phone)
        except Invalid as error:
            raise Problem(400, error.code, error.message, error.field) from None


class Evidence(Body):
    """How the choice was asked for and given."""

    action: (
        Literal["accept_all", "reject_all", "save", "withdraw", "gpc", "import", "api"] | None
    ) = None
    surface: Literal["banner", "preference_centre", "placeholder", "form", "link", "api"] | None = (
        None
    )
    notice_id: Text | None = None
    notice_version: Text | None = None
    notice_hash: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] | None = None
    notice_text: Annotated[str, Meta(max_length=50_000)] | None = None
    language: Annotated[str, Meta(max_length=35)] | None = None
    layout: Literal["bar", "box", "modal", "placeholder"] | None = None
    host: Annotated[str, Meta(max_length=1000, description="Named by a placeholder")] | None = None
    page: Text | None = None
    jurisdiction: Annotated[str, Meta(max_length=20)] | None = None
    rule_version: Annotated[str, Meta(max_length=100)] | None = None
    sdk_version: Annotated[str, Meta(max_length=100)] | None = None


class Consent(Body):
    """POST /v1/consent. A category that is not named stays as it was."""

    subject: Subject
    preferences: Preferences
    topics: Topics | None = None
    channels: Channels | None = None
    timestamp: Time | None = None
    sent_at: Time | None = None
    evidence: Evidence | None = None
    write_key: str | None = None


class Withdraw(Body):
    """POST /v1/consent/withdraw. Without categories, topics and channels: all but the essential."""

    subject: Subject
    categories: list[CategoryId] | None = None
    topics: Topics | None = None
    channels: list[CategoryId] | None = None
    evidence: Evidence | None = None
    write_key: str | None = None


class Noted(Body):
    """POST /v1/notices/noted: a notice was shown, or closed without an answer; or a ``signal``.

    ``anonymous_id`` only where the browser has one already: an opt-out signal is kept with it,
    and with the account that a subject token proves.
    """

    what: Literal["shown", "closed", "signal"]
    surface: Literal["banner", "preference_centre", "form", "link"] | None = None
    notice_id: Text | None = None
    notice_version: Text | None = None
    language: Annotated[str, Meta(max_length=35)] | None = None
    anonymous_id: Identifier | None = None
    write_key: str | None = None


class LinkFor(Body):
    """POST /v1/links. Without categories, topics and channels it is about all that is asked."""

    subject: Subject
    type: Literal["withdraw", "edit"]
    categories: Annotated[list[CategoryId], Meta(max_length=1000)] | None = None
    topics: Topics | None = None
    channels: Annotated[list[CategoryId], Meta(max_length=1000)] | None = None


class Address(Body):
    """Who is asked to confirm: one of the two."""

    email: Identifier | None = None
    phone: Identifier | None = None


class Form(Body):
    """POST /v1/forms. ``website`` is left empty by people, who do not see it."""

    subject: Address
    topics: Topics
    form: Annotated[str, Meta(max_length=100)] | None = None
    evidence: Evidence | None = None
    website: str = ""
    write_key: str | None = None


class Lookup(Body):
    """POST /v1/subjects/lookup."""

    subject: Subject
    history: bool = False
    cursor: str | None = None
    write_key: str | None = None


class Suppress(Body):
    """POST /v1/subjects/suppress, /unsuppress, /export and /erase."""

    subject: Subject
    reason: Text | None = None


class Where(Body):
    """Where a visitor is, as a server knows it: ISO 3166-1 alpha-2 and a part of ISO 3166-2."""

    country: Annotated[str, Meta(pattern="^[A-Z]{2}$")]
    region: Annotated[str, Meta(pattern="^[A-Z0-9]{1,3}$")] | None = None


class Item(Body):
    """One question: an event, a subject for destinations, or a subject for a topic.

    ``place`` is where it happened; without it, where this server would take it to have.
    """

    id: Annotated[str, Meta(max_length=200)]
    event: dict[str, Any] | None = None
    subject: Subject | None = None
    destinations: list[str] | None = None
    topic: str | None = None
    channel: str | None = None
    place: Where | None = None


class Decisions(Body):
    """POST /v1/decisions: up to 10,000 questions; nothing is sent and nothing recorded."""

    items: Annotated[list[Item], Meta(max_length=10_000)]


class Imported(Body):
    """One choice made elsewhere. Without a timestamp its grants have expired already."""

    subject: Subject
    preferences: Preferences
    topics: Topics | None = None
    channels: Channels | None = None
    timestamp: Time | None = None
    evidence: Evidence | None = None
    key: Annotated[str, Meta(max_length=200)] | None = None


class Imports(Body):
    """POST /v1/imports."""

    choices: Annotated[list[Any], Meta(max_length=1000)]


class Which(Body):
    """Some deliveries: of one destination, of some messages, or all."""

    destination: str | None = None
    message_ids: Annotated[list[str], Meta(max_length=10_000)] | None = None


class WhichOrders(Body):
    """POST /v1/propagation/retry: some orders, those of one destination, or all."""

    destination: str | None = None
    order_ids: Annotated[list[str], Meta(max_length=1_000)] | None = None


class Dropped(Body):
    """POST /v1/propagation/drop: what is owed to a destination that is no longer configured."""

    destination: str


class OrdersOf(Body):
    """POST /v1/propagation/lookup: the orders about one identifier."""

    subject: Subject
    destination: str | None = None
    state: str | None = None
    cursor: str | None = None


def refused(channels: dict[str, bool] | None) -> list[str]:
    """The channels that a choice refuses as a whole. Raises Problem 400 where it says yes to one."""
    for channel, yes in (channels or {}).items():
        if yes:
            message = "a channel can only be refused as a whole; a yes is given for a topic"
            raise Problem(400, "channel_grants_nothing", message, f"channels.{channel}")
    return list(channels or ())


def read_bytes(body: bytes, type_: type[T]) -> T:
    """Parse a body. Raises Problem 400 naming the field."""
    return convert(read_checked(body), type_)


def convert(value: Any, type_: type[T]) -> T:
    """Checked against its type. Raises Problem 400 naming the field."""
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `")
        field = where.rstrip("`").removeprefix("$.").removeprefix("$") or None
        raise Problem(400, "invalid_body", message, field) from None
