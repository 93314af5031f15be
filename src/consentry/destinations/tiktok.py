"""TikTok: events through Events API 2.0, withdrawals from audiences.

Sources: Segment's action-destinations (tiktok-conversions, tiktok-audiences), rudder-transformer
(tiktok_ads, tiktok_audience).

TikTok answers HTTP 200 to everything; what happened is said by ``code``. 20001 means that a part
failed, and not which: the halves are sent, and repetitions are told by event_id within 48 hours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from consentry.core.delivery import Grade, Outcome
from consentry.core.order import Verb
from consentry.destinations import ad_events, named
from consentry.destinations.batches import (
    object_of,
    rows_in,
    same_for,
    send_rows,
    unconfigured,
    unreadable,
    untaken,
)
from consentry.destinations.common import (
    JSON,
    at,
    click_id,
    page_url,
    seconds_of,
    text_at,
)
from consentry.destinations.contact import email_of, event_name, phone_of
from consentry.destinations.http import Unsendable, json_body, outcome_of_status
from consentry.destinations.instruction import Instruction, Orders, Person
from consentry.destinations.message import Attempted, LastLook, Message, Request, Response
from consentry.destinations.options import check_base_url, check_secrets
from consentry.destinations.spec import Spec
from consentry.destinations.steps import Spoiled, follow
from consentry.secret import Secret

if TYPE_CHECKING:
    from consentry.destinations.transport import OutboundClient

SPEC = Spec(
    kind="tiktok",
    title="TikTok (Events API)",
    batch_max=500,  # 1000 is the limit
    batch_bytes=1_000_000,
    events=frozenset({"track", "page"}),
    proves="Code 0 says that TikTok took the events in, not what it uses them for.",
    best=Grade.ACCEPTED,
)
ORDERS = Orders(
    verbs={Verb.SUPPRESS: Grade.ACCEPTED},
    needs=frozenset({"emails", "phones"}),
    cannot=(
        "A withdrawal takes a person out of the audiences that are configured and cannot be "
        "read back. Events that TikTok has stay there."
    ),
    batch_max=200,
)
MOST_EVENTS = 1000
MOST_ROWS = 1000  # of one change of audiences; the limit is not documented where we could see it
NAMES = ad_events.NAMES | {"order completed": "CompletePayment", "lead generated": "SubmitForm"}


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which pixel receives, and which audiences a withdrawal is about.

    ``event_source_id``: the pixel's code. ``access_token``: the first is used.
    ``advertiser_ids`` and ``audience_ids``: whose audiences a person is taken out of; without
    both a withdrawal is gated. ``limited_data_use``: asks TikTok to restrict its use of every
    event. ``base_url``: the API.
    """

    event_source_id: str
    access_token: tuple[Secret, ...]
    advertiser_ids: tuple[str, ...] = ()
    audience_ids: tuple[str, ...] = ()
    limited_data_use: bool = False
    base_url: str = "https://business-api.tiktok.com"

    def __post_init__(self) -> None:
        check_secrets("access_token", self.access_token)
        check_base_url(self.base_url)
        if not self.event_source_id.strip():
            raise ValueError("event_source_id: must not be empty")
        if bool(self.advertiser_ids) != bool(self.audience_ids):
            raise ValueError("advertiser_ids, audience_ids: both, or neither")


def item_of(message: Message, options: Options) -> dict[str, Any]:
    """One event as TikTok takes it. Raises `Unsendable`."""
    user = user_data(message)
    if not user:
        raise Unsendable("user: the event says nothing that TikTok could match")
    item: dict[str, Any] = {
        "event": _name(message),
        "event_time": seconds_of(message),
        "event_id": message.message_id,
        "user": user,
        "properties": _properties(message),
        "limited_data_use": options.limited_data_use,
    }
    if url := page_url(message):
        item["page"] = {"url": url}
    return item


def _name(message: Message) -> str:
    if message.type == "page":
        return "Pageview"
    name = event_name(message)
    return NAMES.get(name.lower(), name)


def user_data(message: Message) -> dict[str, str]:
    """Who, hashed where TikTok wants it hashed. Nothing that is empty."""
    address, agent = ad_events.browser(message)
    found = {
        "email": named.sha256(named.email(email_of(message) or "")),
        "phone": named.sha256(named.e164(phone_of(message) or "")),
        "external_id": named.sha256(message.user_id or message.anonymous_id or ""),
        "ttclid": click_id(message, "ttclid"),
        "ttp": text_at(message.body, "properties", "ttp"),
        "ip": address,
        "user_agent": agent,
    }
    return {name: value for name, value in found.items() if value}


def _properties(message: Message) -> dict[str, Any]:
    found = ad_events.worth(message)
    if order := ad_events.order_id(message):
        found["order_id"] = order
    if items := ad_events.items(message):
        found["content_type"] = "product"
        found["contents"] = [
            {{"id": "content_id"}.get(k, k): v for k, v in item.items()} for item in items
        ]
    return found


def batch_request(items: Sequence[dict[str, Any]], options: Options) -> Request:
    """One request for 1 to 1000 events. Raises `Unsendable` if it is no JSON."""
    body = {
        "event_source": "web",
        "event_source_id": options.event_source_id,
        "data": list(items),
    }
    url = at(options.base_url, "/open_api/v1.3/event/track/")
    return Request("POST", url, (_token(options), JSON), json_body(body))


def _token(options: Options) -> tuple[str, str]:
    return "Access-Token", options.access_token[0].reveal()


def request_for(messages: Sequence[Message], options: Options) -> Request:
    """The request for 1 to 500 messages. Raises `Unsendable`."""
    return batch_request([item_of(message, options) for message in messages], options)


OK, PARTIAL = 0, 20001
AUTH = frozenset({40001, 40102, 40104, 40105})  # no permission; a token that is wrong or missing
RATE = frozenset({40100, 40133})  # 40133: unconfirmed
RETRY = frozenset({40700})


def outcomes_of(response: Response, whom: Sequence[object]) -> tuple[Outcome, ...]:
    """What an answer says by its code, for all that it was about."""
    usual = outcome_of_status(response.status, response.headers)
    if usual.grade is not Grade.ACCEPTED:
        return same_for(usual, whom)
    code = object_of(response).get("code")
    if not isinstance(code, int) or isinstance(code, bool):
        return same_for(unreadable(response), whom)
    status, detail = response.status, f"code {code}"
    if code == OK:
        return same_for(Outcome(Grade.ACCEPTED, status, detail), whom)
    if code in AUTH:
        return same_for(Outcome(Grade.AUTH_BLOCKED, status, detail, pause=True), whom)
    if code in RATE:
        return same_for(Outcome(Grade.RATE_LIMITED, status, detail, usual.retry_after_s), whom)
    if code in RETRY or code >= 50000:
        return same_for(Outcome(Grade.FAILED_RETRY, status, detail), whom)
    if len(whom) > 1:
        raise Spoiled  # a part failed, or one of them fails all: TikTok does not say which
    grade = Grade.NOOP if code == PARTIAL else Grade.FAILED_FINAL
    return same_for(Outcome(grade, status, detail), whom)


async def send(
    client: OutboundClient,
    messages: Sequence[Message],
    options: Options,
    last_look: LastLook | None,
) -> Attempted:
    """One attempt for one batch."""
    return await send_rows(
        client,
        messages,
        lambda message: item_of(message, options),
        MOST_EVENTS,
        lambda items: batch_request(items, options),
        outcomes_of,
        last_look,
    )


SCHEMA = ("EMAIL_SHA256", "PHONE_SHA256")


def rows_of(person: Person) -> Iterator[tuple[str, str]]:
    """One identifier a row, in the order of `SCHEMA`."""
    for address in person.emails:
        if plain := named.email(address):
            yield named.sha256(plain), ""
    for number in person.phones:
        if digits := named.e164(number):
            yield "", named.sha256(digits)


def order_request(rows: Sequence[tuple[str, str]], options: Options) -> Request:
    """Takes 1 to 1000 rows out of the audiences. Raises `Unsendable` if it is no JSON."""
    audiences = list(options.audience_ids)
    body = {
        "advertiser_ids": list(options.advertiser_ids),
        "action": "delete",
        "id_schema": list(SCHEMA),
        "batch_data": [
            [{"id": value, "audience_ids": audiences} if value else {} for value in row]
            for row in rows
        ],
    }
    url = at(options.base_url, "/open_api/v1.3/segment/mapping/")
    return Request("POST", url, (_token(options), JSON), json_body(body))


async def obey(
    client: OutboundClient,
    instructions: Sequence[Instruction],
    options: Options,
    last_look: LastLook | None,
) -> Attempted:
    """Everybody out of the audiences."""
    if instructions[0].verb not in ORDERS.verbs:
        return untaken(instructions)
    if not options.audience_ids:
        return unconfigured(instructions, "audience_ids")
    rows = [(n, row) for n, one in enumerate(instructions) for row in rows_of(one.person)]
    steps = rows_in(rows, MOST_ROWS, lambda some: order_request(some, options), outcomes_of)
    return await follow(client, len(instructions), steps, last_look)
