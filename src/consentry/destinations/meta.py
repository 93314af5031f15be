"""Meta: events through the Conversions API, withdrawals from the ad account's audiences.

Sources: Segment's action-destinations (facebook-conversions-api, facebook-custom-audiences),
facebook-python-business-sdk (adaccount.py: opt_out_user_from_targeting), and how errors are
meant: rudder-transformer, facebookUtils/networkHandler.js.

One event older than seven days fails its whole request, so none is sent; where Meta still
refuses a request as a whole, its halves are sent. A phone number without digits is left empty,
for one bad row fails a request to an audience. Errors are read by their code, for the status
says 400 to a wrong token and to too many calls alike. Repetitions are told by event_id within
48 hours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from consentry.core.delivery import Grade, Outcome
from consentry.core.order import Verb
from consentry.destinations import ad_events, named
from consentry.destinations.batches import (
    object_of,
    rows_counted,
    same_for,
    send_rows,
    unconfigured,
    unreadable,
    untaken,
)
from consentry.destinations.common import (
    JSON,
    at,
    bearer,
    click_id,
    page_url,
    seconds_of,
    text_at,
)
from consentry.destinations.contact import email_of, event_name, moment_of, phone_of
from consentry.destinations.http import Unsendable, json_body, outcome_of_status
from consentry.destinations.instruction import Instruction, Orders, Person
from consentry.destinations.message import Attempted, LastLook, Message, Request, Response
from consentry.destinations.options import check_base_url, check_secrets
from consentry.destinations.spec import Spec
from consentry.destinations.steps import Known, Spoiled, Step, follow
from consentry.secret import Secret

if TYPE_CHECKING:
    from consentry.destinations.transport import OutboundClient

SPEC = Spec(
    kind="meta",
    title="Meta (Conversions API)",
    batch_max=500,  # 1000 is the limit
    batch_bytes=1_000_000,
    events=frozenset({"track", "page"}),
    proves="events_received says that Meta took the events in, not what it uses them for.",
    best=Grade.ACCEPTED,
)
ORDERS = Orders(
    verbs={Verb.SUPPRESS: Grade.ACCEPTED},
    needs=frozenset({"emails", "phones", "user_ids"}),
    cannot=(
        "A withdrawal takes a person out of the audiences of the ad account and cannot be read "
        "back; whoever fills an audience again puts them back. Events that Meta has stay there."
    ),
    batch_max=500,
)
OLDEST = timedelta(days=7)
MOST_EVENTS = 1000
MOST_ROWS = 10_000  # of one request to an audience
NAMES = ad_events.NAMES | {"order completed": "Purchase", "lead generated": "Lead"}


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dataset receives, and whose audiences a withdrawal is about.

    ``dataset_id``: the dataset (pixel). ``access_token``: of a system user; the first is used.
    ``ad_account``: ``act_…`` or its digits: a withdrawal concerns every audience of it.
    ``audience_ids``: these audiences besides, such as those that others share. Without either
    a withdrawal is gated. ``test_event_code``: shows events as tests.
    ``base_url`` and ``version``: the Graph API.
    """

    dataset_id: str
    access_token: tuple[Secret, ...]
    ad_account: str | None = None
    audience_ids: tuple[str, ...] = ()
    test_event_code: str | None = None
    base_url: str = "https://graph.facebook.com"
    version: str = "v25.0"

    def __post_init__(self) -> None:
        check_secrets("access_token", self.access_token)
        check_base_url(self.base_url)
        if not self.dataset_id.strip():
            raise ValueError("dataset_id: must not be empty")


def item_of(message: Message, now: datetime) -> dict[str, Any]:
    """One event as the Conversions API takes it. Raises `Unsendable`."""
    if now - moment_of(message) > OLDEST:
        raise Unsendable("event_time: one event older than seven days fails the whole request")
    user = user_data(message)
    if not user:
        raise Unsendable("user_data: the event says nothing that Meta could match")
    item: dict[str, Any] = {
        "event_name": _name(message),
        "event_time": seconds_of(message),
        "event_id": message.message_id,
        "user_data": user,
        "custom_data": _custom(message),
    }
    url = page_url(message)
    # `website` wants the address of the page and the browser's name.
    if url and "client_user_agent" in user:
        item |= {"action_source": "website", "event_source_url": url}
    else:
        item["action_source"] = "other"
    return item


def _name(message: Message) -> str:
    if message.type == "page":
        return "PageView"
    name = event_name(message)
    return NAMES.get(name.lower(), name)


def user_data(message: Message) -> dict[str, Any]:
    """Who, hashed where Meta wants it hashed. Nothing that is empty."""
    address, agent = ad_events.browser(message)
    ids = [i for i in (message.user_id, message.anonymous_id) if i]
    found: dict[str, Any] = {
        "em": _hashed(named.email(email_of(message) or "")),
        "ph": _hashed(named.meta_phone(phone_of(message) or "")),
        "external_id": [named.sha256(identity) for identity in ids],
        "client_ip_address": address,
        "client_user_agent": agent,
        "fbc": text_at(message.body, "properties", "fbc") or _fbc(message),
        "fbp": text_at(message.body, "properties", "fbp"),
    }
    return {name: value for name, value in found.items() if value}


def _hashed(text: str) -> list[str]:
    return [named.sha256(text)] if text else []


def _fbc(message: Message) -> str:
    """The click, as Meta's own cookie writes it."""
    click = click_id(message, "fbclid")
    return f"fb.1.{seconds_of(message) * 1000}.{click}" if click else ""


def _custom(message: Message) -> dict[str, Any]:
    found = ad_events.worth(message)
    if order := ad_events.order_id(message):
        found["order_id"] = order
    if items := ad_events.items(message):
        found["content_type"] = "product"
        found["content_ids"] = [item["id"] for item in items]
        found["contents"] = [
            {k.replace("price", "item_price"): v for k, v in item.items()} for item in items
        ]
    return found


def batch_request(items: Sequence[dict[str, Any]], options: Options) -> Request:
    """One request for 1 to 1000 events. Raises `Unsendable` if it is no JSON."""
    body: dict[str, Any] = {"data": list(items)}
    if options.test_event_code:
        body["test_event_code"] = options.test_event_code
    url = _at(options, f"{quote(options.dataset_id, safe='')}/events")
    return Request("POST", url, (bearer(options.access_token[0]), JSON), json_body(body))


def _at(options: Options, path: str) -> str:
    return at(options.base_url, f"/{quote(options.version, safe='')}/{path}")


def request_for(messages: Sequence[Message], options: Options, now: datetime) -> Request:
    """The request for 1 to 500 messages. Raises `Unsendable`."""
    return batch_request([item_of(message, now) for message in messages], options)


def outcomes_of(response: Response, messages: Sequence[object]) -> tuple[Outcome, ...]:
    """What became of the events of one request; which of them, Meta does not say."""
    failure = error_of(response)
    if failure is not None:
        if failure.grade is Grade.FAILED_FINAL and not failure.pause and len(messages) > 1:
            raise Spoiled  # one event fails all of them
        return same_for(failure, messages)
    received = object_of(response).get("events_received")
    if not isinstance(received, int):
        return same_for(unreadable(response), messages)
    detail = f"{received} of {len(messages)} events received"
    if received >= len(messages):
        return same_for(Outcome(Grade.ACCEPTED, response.status, detail), messages)
    if len(messages) > 1:
        raise Spoiled  # repetitions are told by event_id
    return same_for(Outcome(Grade.NOOP, response.status, detail), messages)


# By `error.code`. What stands in none of these is read by its status.
AUTH = frozenset({102, 190})
FINAL = frozenset({3, 100, 105, 200, 294, 2650, 2655, 1487301, 1487366})
RETRY = frozenset({1, 2, 341, 368, 5000, 21009})
RATE = frozenset({4, 17, 32, 613, *range(80000, 80015)})  # 32, 613 and the range: unconfirmed


def error_of(response: Response) -> Outcome | None:
    """The failure that an answer states, None for a success."""
    usual = outcome_of_status(response.status, response.headers)
    error = object_of(response).get("error")
    code = error.get("code") if isinstance(error, dict) else None
    if not isinstance(code, int):
        return None if usual.grade is Grade.ACCEPTED else usual
    detail, status = f"error code {code}", response.status
    if code in AUTH:
        return Outcome(Grade.AUTH_BLOCKED, status, detail, pause=True)
    if code in RATE:
        return Outcome(Grade.RATE_LIMITED, status, detail, usual.retry_after_s)
    if code in RETRY:
        return Outcome(Grade.FAILED_RETRY, status, detail)
    if code in FINAL:
        return Outcome(Grade.FAILED_FINAL, status, detail)
    if usual.grade is Grade.ACCEPTED:
        return Outcome(Grade.FAILED_RETRY, status, detail)
    return Outcome(usual.grade, status, detail, usual.retry_after_s, usual.pause)


async def send(
    client: OutboundClient,
    messages: Sequence[Message],
    options: Options,
    last_look: LastLook | None,
) -> Attempted:
    """One attempt for one batch."""
    now = datetime.now(UTC)
    return await send_rows(
        client,
        messages,
        lambda message: item_of(message, now),
        MOST_EVENTS,
        lambda items: batch_request(items, options),
        outcomes_of,
        last_look,
    )


SCHEMA = ("EXTERN_ID", "EMAIL", "PHONE")


def rows_of(person: Person) -> Iterator[tuple[str, str, str]]:
    """One identifier a row, in the order of `SCHEMA`: a row of several might want all to fit."""
    for identity in person.user_ids:
        yield identity, "", ""
    for address in person.emails:
        if plain := named.email(address):
            yield "", named.sha256(plain), ""
    for number in person.phones:
        if digits := named.meta_phone(named.e164(number)):
            yield "", "", named.sha256(digits)


def order_request(rows: Sequence[tuple[str, str, str]], where: str, options: Options) -> Request:
    """Takes 1 to 10 000 rows out of ``where``. Raises `Unsendable` if it is no JSON."""
    body = {"payload": {"schema": list(SCHEMA), "data": [list(row) for row in rows]}}
    headers = (bearer(options.access_token[0]), JSON)
    return Request("DELETE", _at(options, where), headers, json_body(body))


def order_outcomes(response: Response, whom: Sequence[int], rows: int) -> tuple[Outcome, ...]:
    """Accepted where every one of the ``rows`` was taken; a row that Meta calls invalid did nothing."""
    failure = error_of(response)
    if failure is not None:
        if failure.grade is Grade.FAILED_FINAL and not failure.pause and len(whom) > 1:
            raise Spoiled
        return same_for(failure, whom)
    body: Mapping[str, Any] = object_of(response)
    received, invalid = body.get("num_received"), body.get("num_invalid_entries")
    if not isinstance(received, int) or not isinstance(invalid, int):
        return same_for(unreadable(response), whom)
    if received >= rows and not invalid:
        return same_for(Outcome(Grade.ACCEPTED, response.status, f"{received} rows taken"), whom)
    if len(whom) > 1:
        raise Spoiled  # whose rows, Meta does not say; taking out twice does no harm
    detail = f"{received} of {rows} rows taken, {invalid} of them invalid"
    return same_for(Outcome(Grade.NOOP, response.status, detail), whom)


def places(options: Options) -> list[str]:
    """The paths that a withdrawal is sent to."""
    found = [f"{quote(identity, safe='')}/users" for identity in options.audience_ids]
    if options.ad_account:
        account = quote(options.ad_account.removeprefix("act_"), safe="")
        found.insert(0, f"act_{account}/usersofanyaudience")
    return found


async def obey(
    client: OutboundClient,
    instructions: Sequence[Instruction],
    options: Options,
    last_look: LastLook | None,
) -> Attempted:
    """Everybody out of every audience; the worst of all audiences counts."""
    if instructions[0].verb not in ORDERS.verbs:
        return untaken(instructions)
    if not (where := places(options)):
        return unconfigured(instructions, "ad_account")
    rows = [(n, row) for n, one in enumerate(instructions) for row in rows_of(one.person)]
    steps: list[Step | Known] = []
    for place in where:
        steps += rows_counted(
            rows,
            MOST_ROWS,
            lambda some, place=place: order_request(some, place, options),  # type: ignore[misc]
            order_outcomes,
        )
    return await follow(client, len(instructions), steps, last_look)
