"""RudderStack: events go on through the data plane, which speaks Segment's API.

Orders are regulations of the User Suppression API (rudderstack.com/docs/api/user-suppression-api),
of an Enterprise plan. A regulation is in force some time after it is made, and taken back by
cancelling it, for which it is looked up in the list of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

import msgspec

from consentry.core.delivery import Grade, Outcome
from consentry.core.order import Verb
from consentry.destinations import segment_wire
from consentry.destinations.batches import (
    object_of,
    rows_each,
    unconfigured,
    unreadable,
)
from consentry.destinations.common import JSON, at, bearer, object_at
from consentry.destinations.http import (
    TransportError,
    json_body,
    outcome_of_error,
    outcome_of_status,
    sender,
)
from consentry.destinations.inbound import objects
from consentry.destinations.instruction import Found, Instruction, Orders, Reading
from consentry.destinations.message import Attempted, LastLook, Message, Request, Response
from consentry.destinations.obeying import json_of
from consentry.destinations.options import check_base_url, check_secrets
from consentry.destinations.spec import ALL_EVENTS, Spec
from consentry.destinations.steps import Known, Step, follow
from consentry.secret import Secret

if TYPE_CHECKING:
    from consentry.destinations.transport import OutboundClient

SPEC = Spec(
    kind="rudderstack",
    title="RudderStack",
    batch_max=segment_wire.BATCH_MAX,
    batch_bytes=segment_wire.BATCH_BYTES,
    events=ALL_EVENTS,
    proves=(
        "A 2xx proves that the data plane took the batch; it cannot say what its own "
        "destinations received."
    ),
    best=Grade.ACCEPTED,
)


ORDERS = Orders(
    verbs={
        Verb.SUPPRESS: Grade.CONFIRMED,
        Verb.ERASE: Grade.ACCEPTED,
        Verb.GRANT: Grade.ACCEPTED,
    },
    needs=frozenset({"user_ids"}),
    cannot=(
        "Confirmed means that the regulation stands in RudderStack's list; it is applied within "
        "24 hours, or up to 30 days. What its destinations delete cannot be asked about, and "
        "somebody without a user id cannot be suppressed."
    ),
    batch_max=100,
    reads_back=True,
)
MOST_USERS = 100  # of one request; RudderStack states no limit, but 4000 users an hour
MOST_PAGES = 50  # of the list of regulations


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which RudderStack source receives.

    ``base_url``: the data plane, without ``/v1``.
    ``write_key``: the source's write key; the first is used, others wait for rotation.
    ``access_token``: a service access token, for orders; without it they are not told.
    ``source_ids``: the sources that a suppression is about; without them all.
    ``destination_ids``: the destinations behind RudderStack that an erasure is passed on to;
    without them an erasure stays open. ``api_url``: the API of the region.
    """

    base_url: str
    write_key: tuple[Secret, ...]
    access_token: tuple[Secret, ...] = ()
    source_ids: tuple[str, ...] = ()
    destination_ids: tuple[str, ...] = ()
    api_url: str = "https://api.rudderstack.com"

    def __post_init__(self) -> None:
        segment_wire.check_options(self.base_url, self.write_key)
        check_secrets("access_token", self.access_token, needed=False)
        check_base_url(self.api_url, "api_url")


def request_for(messages: Sequence[Message], options: Options, now: datetime) -> Request:
    """One batch of 1 to 100 messages. ``now`` is not used: the batch tells no time.

    Raises `Unsendable` if the body is too large.
    """
    return segment_wire.batch_request(options.base_url, options.write_key[0], messages)


outcomes_of = segment_wire.batch_outcomes


send = sender(request_for, outcomes_of)


def order_request(verb: Verb, user_ids: Sequence[str], options: Options) -> Request:
    """Regulations for 1 to 100 users. Raises `Unsendable` if they are no JSON."""
    body: dict[str, Any] = {"users": [{"userId": identity} for identity in user_ids]}
    if verb is Verb.ERASE:
        body["regulationType"] = "suppress_with_delete"
        body["destinationIds"] = list(options.destination_ids)
    else:
        body["regulationType"] = "suppress"
        if options.source_ids:
            body["sourceIds"] = list(options.source_ids)
    return Request("POST", _url(options), (*_headers(options), JSON), json_body(body))


def _headers(options: Options) -> tuple[tuple[str, str], ...]:
    return (bearer(options.access_token[0]),)


def _url(options: Options, more: str = "") -> str:
    return at(options.api_url, f"/v2/regulations{more}")


def order_outcome(response: Response, user_id: str) -> Outcome:
    """What became of one user: the answer lists a regulation for each."""
    usual = outcome_of_status(response.status, response.headers)
    if usual.grade is not Grade.ACCEPTED:
        return usual
    for made in objects(json_of(response)):
        number = made.get("id")
        if _user_of(made) == user_id and isinstance(number, str) and number:
            return Outcome(Grade.ACCEPTED, response.status, "regulation made", ref=number)
    return unreadable(response)


def _user_of(regulation: dict[str, Any]) -> object:
    return object_at(regulation, "attributes").get("userId")


async def obey(
    client: OutboundClient,
    instructions: Sequence[Instruction],
    options: Options,
    last_look: LastLook | None,
) -> Attempted:
    """Regulations for everybody, or the end of those there are; they share a verb."""
    verb = instructions[0].verb
    if not options.access_token:
        return unconfigured(instructions, "access_token")
    if verb is Verb.ERASE and not options.destination_ids:
        return unconfigured(instructions, "destination_ids")
    rows = [(n, user) for n, one in enumerate(instructions) for user in one.person.user_ids]
    if verb is Verb.GRANT and rows:
        return await _cancel(client, rows, len(instructions), options, last_look)
    steps = rows_each(
        rows, MOST_USERS, lambda users: order_request(verb, users, options), order_outcome
    )
    return await follow(client, len(instructions), steps, last_look)


async def _cancel(
    client: OutboundClient,
    rows: Sequence[tuple[int, str]],
    places: int,
    options: Options,
    last_look: LastLook | None,
) -> Attempted:
    """Cancels what suppresses these users. Without anything to cancel there is nothing to do."""
    listed = await standing(client, options)
    if isinstance(listed, Outcome):
        return Attempted((listed,) * places)
    none = Outcome(Grade.NOOP, detail="no suppression of this user is in force")
    steps: list[Step | Known] = []
    for place, user in rows:
        for number in listed.get(user, ()):
            url = _url(options, f"/{quote(number, safe='')}")
            steps.append(Step(Request("DELETE", url, _headers(options), b""), (place,), _cancelled))
    cancelled = {place for step in steps for place in step.whom}
    steps += [Known(none, (place,)) for place, _ in rows if place not in cancelled]
    return await follow(client, places, steps, last_look)


def _cancelled(response: Response) -> tuple[Outcome, ...]:
    outcome = outcome_of_status(response.status, response.headers)
    if outcome.grade is Grade.ACCEPTED and response.status != 204:
        outcome = unreadable(response)
    return (outcome,)


async def standing(client: OutboundClient, options: Options) -> dict[str, list[str]] | Outcome:
    """The suppressions in force by user id, from all pages of the list; or why they are unknown."""
    found: dict[str, list[str]] = {}
    more = ""
    for _ in range(MOST_PAGES):
        try:
            response = await client.send(
                Request("GET", _url(options, more), _headers(options), b"")
            )
        except TransportError as error:
            return outcome_of_error(error)
        usual = outcome_of_status(response.status, response.headers)
        body = object_of(response)
        if usual.grade is not Grade.ACCEPTED:
            return usual
        if not isinstance(body.get("data"), list):
            return unreadable(response)
        for made in objects(body["data"]):
            user, number = _user_of(made), made.get("id")
            standing = made.get("regulationType") == "suppress" and made.get("canceled") is False
            if standing and isinstance(user, str) and isinstance(number, str):
                found.setdefault(user, []).append(number)
        if not (more := _next(body)):
            return found
    return Outcome(Grade.FAILED_RETRY, detail=f"the list has over {MOST_PAGES} pages")


def _next(body: dict[str, Any]) -> str:
    """The cursor of the next page. Nothing else of the address is taken from the answer."""
    path = object_at(body, "paging").get("next")
    if not isinstance(path, str):
        return ""
    try:
        cursor = parse_qs(urlsplit(path).query).get("after_cursor", [""])[0]
    except ValueError:
        return ""
    return f"?after_cursor={quote(cursor, safe='')}" if cursor else ""


async def read_back(
    client: OutboundClient, instruction: Instruction, options: Options, ref: str
) -> Reading:
    """Whether the list shows a suppression of each user. What was deleted it does not show."""
    if not options.access_token or instruction.verb is Verb.ERASE:
        return Reading(Found.UNKNOWN, detail="it cannot be asked")
    listed = await standing(client, options)
    if isinstance(listed, Outcome):
        return Reading(Found.UNKNOWN, detail=listed.detail)
    there = [bool(listed.get(user)) for user in instruction.person.user_ids]
    wanted = instruction.verb is Verb.SUPPRESS
    if all(one is wanted for one in there):
        return Reading(Found.EQUAL, detail=f"{sum(there)} suppressions are listed")
    return Reading(Found.DIFFERENT, detail=f"{sum(there)} of {len(there)} users are listed")
