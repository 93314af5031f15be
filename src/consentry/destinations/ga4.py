"""Google Analytics 4, through the Measurement Protocol.

GA4 answers 2xx to everything, malformed events included, so all that can be checked is
checked here before sending, and an attempt never proves more than that it was sent.

The consent members tell Google what it may use an event *for*. They are no gate: whether
the event may go at all is decided before this module is asked. Each is GRANTED only if its
category is a clear yes now.

An erasure is a call of the Admin API, one per identifier (google/analytics/admin/v1alpha,
submitUserDeletion). It is acknowledged and cannot be asked about. A withdrawal is a gate.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from consentry.core.delivery import Grade, Outcome
from consentry.core.order import Verb
from consentry.destinations import ga4_events, google
from consentry.destinations.addresses import parse_target
from consentry.destinations.batches import (
    object_of,
    rows_in,
    same_for,
    unconfigured,
    unreadable,
    untaken,
)
from consentry.destinations.common import JSON, at
from consentry.destinations.http import (
    Unsendable,
    json_body,
    outcome_of_status,
    sender,
)
from consentry.destinations.instruction import Instruction, Orders
from consentry.destinations.message import Attempted, LastLook, Message, Request, Response
from consentry.destinations.options import check_base_url
from consentry.destinations.spec import Spec
from consentry.destinations.steps import follow
from consentry.secret import Secret

if TYPE_CHECKING:
    from consentry.destinations.transport import OutboundClient

SPEC = Spec(
    kind="ga4",
    title="Google Analytics 4",
    batch_max=1,  # a request has one client, one moment and one consent
    batch_bytes=130_000,
    events=frozenset({"track", "page", "screen"}),
    proves="GA4 answers 2xx to everything: an attempt proves that it was sent, nothing more.",
    best=Grade.SENT_UNVERIFIABLE,
)

ORDERS = Orders(
    verbs={Verb.ERASE: Grade.ACCEPTED},
    needs=frozenset({"user_ids", "anonymous_ids"}),
    cannot=(
        "A withdrawal is gated: GA4 has no opt-out on its server. An erasure is acknowledged and "
        "cannot be asked about; what was exported before, to BigQuery say, stays."
    ),
)
# analytics.edit: as Google's own clients ask for; no document that we saw names the scope.
SCOPE = "https://www.googleapis.com/auth/analytics.edit"
OLDEST = timedelta(days=3)
LONGEST_ID = 256


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which GA4 stream receives, and which categories its consent members follow.

    ``measurement_id`` (web stream, ``G-…``) or ``firebase_app_id`` (app stream): just one.
    For an app stream the event's anonymous id must be the Firebase app instance id.
    ``api_secret``: the stream's Measurement Protocol secret; the first is used.
    ``base_url``: the collection host.
    ``ad_user_data_category``, ``ad_personalization_category``: ids of the categories
    whose grant fills ``consent.ad_user_data`` and ``consent.ad_personalization``.
    ``property_id``: the number of the property, for erasures, with ``service_account`` (the JSON
    key of a service account) or ``service_account_file`` (its file). Without them an erasure
    stays open. ``admin_url``: the Admin API. ``token_url``: where the key is exchanged.
    """

    api_secret: tuple[Secret, ...]
    measurement_id: str | None = None
    firebase_app_id: str | None = None
    base_url: str = "https://www.google-analytics.com"
    ad_user_data_category: str = "advertising"
    ad_personalization_category: str = "advertising"
    property_id: str | None = None
    service_account: tuple[Secret, ...] = ()
    service_account_file: str | None = None
    admin_url: str = "https://analyticsadmin.googleapis.com"
    token_url: str = google.TOKEN_URL

    def __post_init__(self) -> None:
        check_base_url(self.admin_url, "admin_url")
        google.check_access(self.service_account, self.service_account_file, self.token_url)
        if self.property_id is not None and not self.property_id.isdecimal():
            raise ValueError("property_id: must be the number of the property")
        parse_target(self.base_url, allow_private=True)  # its form; the client judges the place
        if "?" in self.base_url:
            raise ValueError("base_url: must not hold a query")
        if bool(self.measurement_id) == bool(self.firebase_app_id):
            raise ValueError("measurement_id, firebase_app_id: exactly one is needed")
        if not self.api_secret or not all(secret.reveal() for secret in self.api_secret):
            raise ValueError("api_secret: one is needed, and it must not be empty")


def request_for(messages: Sequence[Message], options: Options, now: datetime) -> Request:
    """The request for one message. Raises `Unsendable` if GA4 would silently lose it."""
    (message,) = messages
    event: dict[str, Any] = {
        **_identity(message, options),
        "timestamp_micros": _timestamp_micros(message, now),
        "consent": {
            "ad_user_data": _consent(message.consent, options.ad_user_data_category),
            "ad_personalization": _consent(message.consent, options.ad_personalization_category),
        },
        "events": [ga4_events.event_for(message)],
    }
    body = json_body(event)
    if len(body) > SPEC.batch_bytes:
        raise Unsendable(f"the event is over {SPEC.batch_bytes} bytes")
    return Request("POST", _url(options), (("Content-Type", "application/json"),), body)


def _url(options: Options) -> str:
    """The collection URL. It holds the secret, as GA4 wants it. A colon stays a colon."""
    stream = (
        f"measurement_id={quote(options.measurement_id, safe='')}"
        if options.measurement_id
        else f"firebase_app_id={quote(options.firebase_app_id or '', safe=':')}"
    )
    secret = quote(options.api_secret[0].reveal(), safe="")
    return f"{options.base_url.rstrip('/')}/mp/collect?{stream}&api_secret={secret}"


_APP_INSTANCE = re.compile(r"[0-9A-Fa-f]{32}")


def _identity(message: Message, options: Options) -> dict[str, str]:
    """Who: the device, and the account if there is one.

    A web event without an anonymous id uses the account as its client id.
    """
    who: dict[str, str] = {}
    if message.user_id:
        if len(message.user_id) > LONGEST_ID:
            raise Unsendable(f"user_id is over {LONGEST_ID} characters")
        who["user_id"] = message.user_id
    if options.firebase_app_id:
        if not _APP_INSTANCE.fullmatch(message.anonymous_id or ""):
            raise Unsendable("app_instance_id: the anonymous id is not 32 hexadecimal digits")
        return {"app_instance_id": message.anonymous_id or "", **who}
    client = message.anonymous_id or message.user_id
    if not client:
        raise Unsendable("client_id: the event has no id")
    return {"client_id": client, **who}


def _timestamp_micros(message: Message, now: datetime) -> int:
    """Microseconds since 1970. GA4 takes events up to three days back."""
    try:
        moment = datetime.fromisoformat(message.timestamp)
    except ValueError:
        raise Unsendable("timestamp_micros: the timestamp is unreadable") from None
    if moment.tzinfo is None:
        raise Unsendable("timestamp_micros: the timestamp has no zone")
    if now - moment > OLDEST:
        raise Unsendable("timestamp_micros: GA4 takes no event older than three days")
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _consent(preferences: Mapping[str, bool], category: str) -> str:
    return "GRANTED" if preferences.get(category) is True else "DENIED"


def outcomes_of(response: Response, messages: Sequence[Message]) -> tuple[Outcome, ...]:
    """Every 2xx is `sent_unverifiable`; the rest as usual."""
    outcome = outcome_of_status(response.status, response.headers)
    if outcome.grade is Grade.ACCEPTED:
        outcome = Outcome(Grade.SENT_UNVERIFIABLE, response.status, outcome.detail)
    return (outcome,) * len(messages)


send = sender(request_for, outcomes_of)


def erase_request(name: str, identity: str, token: str, options: Options) -> Request:
    """The deletion of one identifier; ``name`` is its member. Raises `Unsendable`."""
    url = at(options.admin_url, f"/v1alpha/properties/{options.property_id}:submitUserDeletion")
    headers = (("Authorization", f"Bearer {token}"), JSON)
    return Request("POST", url, headers, json_body({name: identity}))


def erase_outcomes(response: Response, whom: Sequence[object]) -> tuple[Outcome, ...]:
    """Accepted, where it says from when on it deletes."""
    usual = outcome_of_status(response.status, response.headers)
    if usual.grade is Grade.ACCEPTED:
        since = object_of(response).get("deletionRequestTime")
        if not isinstance(since, str) or not since:
            return same_for(unreadable(response), whom)
        usual = Outcome(Grade.ACCEPTED, response.status, "deletion requested")
    return same_for(usual, whom)


async def obey(
    client: OutboundClient,
    instructions: Sequence[Instruction],
    options: Options,
    last_look: LastLook | None,
) -> Attempted:
    """A deletion for every identifier of the person."""
    if instructions[0].verb not in ORDERS.verbs:
        return untaken(instructions)
    access = google.access_of(
        options.service_account, options.service_account_file, options.token_url, SCOPE
    )
    if access is None or options.property_id is None:
        return unconfigured(instructions, "property_id or service_account")
    device = "clientId" if options.measurement_id else "appInstanceId"
    rows = [
        (n, pair)
        for n, one in enumerate(instructions)
        for pair in (
            *(("userId", identity) for identity in one.person.user_ids),
            *((device, identity) for identity in one.person.anonymous_ids),
        )
    ]

    def attempt(token: str) -> Awaitable[Attempted]:
        steps = rows_in(
            rows, 1, lambda pairs: erase_request(*pairs[0], token, options), erase_outcomes
        )
        return follow(client, len(instructions), steps, last_look)

    if not rows:
        return await follow(client, len(instructions), (), last_look)
    return await google.with_token(client, access, len(instructions), attempt)
