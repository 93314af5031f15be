"""PostHog: events through /batch/, erasure through the persons API.

Sources: posthog-python (request.py), posthog.com/docs/api and docs/privacy/data-deletion.

PostHog does not support that a distinct id is used again once its person was deleted: what comes
under it later is not shown. So an erasure is final for these ids, and our own suppression keeps
them from being sent. There is no opt-out on the server, so a withdrawal is a gate.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import msgspec

from consentry.core.delivery import Grade, Outcome
from consentry.core.order import Verb
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
    bearer,
    page_url,
    traits_of,
)
from consentry.destinations.contact import event_name, members, moment_of
from consentry.destinations.http import Unsendable, json_body, outcome_of_status
from consentry.destinations.instruction import Found, Instruction, Orders, Reading
from consentry.destinations.message import Attempted, LastLook, Message, Request, Response
from consentry.destinations.obeying import Question, read_all
from consentry.destinations.options import check_base_url, check_secrets
from consentry.destinations.spec import Spec
from consentry.destinations.steps import Spoiled, follow
from consentry.secret import Secret

if TYPE_CHECKING:
    from consentry.destinations.transport import OutboundClient

SPEC = Spec(
    kind="posthog",
    title="PostHog",
    batch_max=500,
    batch_bytes=1_000_000,
    events=frozenset({"track", "page", "screen", "identify"}),
    proves="A 200 says that the events were taken to be worked on, not that each was kept.",
    best=Grade.ACCEPTED,
)
ORDERS = Orders(
    verbs={Verb.ERASE: Grade.CONFIRMED},
    needs=frozenset({"user_ids", "anonymous_ids"}),
    cannot=(
        "A withdrawal is gated: PostHog has no opt-out on its server. Confirmed means that the "
        "person is gone; their events and recordings are queued and cannot be asked about. The "
        "ids must not be used again."
    ),
    reads_back=True,
)
MOST_EVENTS = 1000
MOST_IDS = 1000  # of one deletion
_NAMESPACE = uuid.UUID("6f0b4a4e-0a55-5c5b-9a2a-2c7a3f7c1f58")


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which project receives.

    ``api_key``: the project's key (``phc_…``). ``base_url``: the ingestion host; EU:
    ``https://eu.i.posthog.com``. ``project_id`` and ``personal_api_key`` (``phx_…``, with the right
    to write persons): for erasure; without them one stays open. ``app_url``: the host of the API;
    EU: ``https://eu.posthog.com``.
    """

    api_key: tuple[Secret, ...]
    personal_api_key: tuple[Secret, ...] = ()
    project_id: str | None = None
    base_url: str = "https://us.i.posthog.com"
    app_url: str = "https://us.posthog.com"

    def __post_init__(self) -> None:
        check_secrets("api_key", self.api_key)
        check_secrets("personal_api_key", self.personal_api_key, needed=False)
        check_base_url(self.base_url)
        check_base_url(self.app_url, "app_url")


def item_of(message: Message) -> dict[str, Any]:
    """One event as PostHog takes it. Raises `Unsendable`."""
    distinct_id = message.user_id or message.anonymous_id
    if not distinct_id:
        raise Unsendable("distinct_id: the event names nobody")
    properties: dict[str, Any] = dict(members(message, "properties"))
    if message.type == "page":
        name = "$pageview"
        if url := page_url(message):
            properties["$current_url"] = url
    elif message.type == "screen":
        name = "$screen"
        if isinstance(title := message.body.get("name"), str):
            properties["$screen_name"] = title
    elif message.type == "identify":
        name = "$identify"
        properties["$set"] = traits_of(message)
        if message.user_id and message.anonymous_id:
            properties["$anon_distinct_id"] = message.anonymous_id
    else:
        name = event_name(message)
    return {
        "event": name,
        "distinct_id": distinct_id,
        "properties": properties,
        "timestamp": moment_of(message).isoformat(),
        "uuid": event_uuid(message.message_id),
    }


def event_uuid(message_id: str) -> str:
    """The message id if it is a UUID, else one that is the same for the same id."""
    try:
        return str(uuid.UUID(message_id))
    except ValueError:
        plain = message_id.encode("utf-8", "surrogatepass").hex()
        return str(uuid.uuid5(_NAMESPACE, plain))


def batch_request(items: Sequence[dict[str, Any]], options: Options) -> Request:
    """One batch. Raises `Unsendable` if it is no JSON."""
    body = {"api_key": options.api_key[0].reveal(), "batch": list(items)}
    return Request("POST", at(options.base_url, "/batch/"), (JSON,), json_body(body))


def request_for(messages: Sequence[Message], options: Options) -> Request:
    """The batch of 1 to 500 messages. Raises `Unsendable`."""
    return batch_request([item_of(message) for message in messages], options)


def outcomes_of(response: Response, messages: Sequence[object]) -> tuple[Outcome, ...]:
    """Accepted, unless a 200 says that a quota is used up: then nothing was kept."""
    usual = outcome_of_status(response.status, response.headers)
    if usual.grade is Grade.ACCEPTED:
        body = object_of(response)
        if body.get("quota_limited"):
            usual = Outcome(Grade.NOOP, response.status, "the quota is used up")
        elif body.get("status") not in ("Ok", "OK", 1):
            usual = unreadable(response)
    elif response.status in (400, 413) and len(messages) > 1:
        raise Spoiled
    return same_for(usual, messages)


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
        item_of,
        MOST_EVENTS,
        lambda items: batch_request(items, options),
        outcomes_of,
        last_look,
    )


def _persons(options: Options, path: str) -> str:
    project = quote(options.project_id or "", safe="")
    return at(options.app_url, f"/api/projects/{project}/persons/{path}")


def erase_request(ids: Sequence[str], options: Options) -> Request:
    """Deletes the persons of 1 to 1000 distinct ids. Raises `Unsendable` if it is no JSON."""
    body = {"distinct_ids": list(ids), "delete_events": True, "delete_recordings": True}
    headers = (bearer(options.personal_api_key[0]), JSON)
    return Request("POST", _persons(options, "bulk_delete/"), headers, json_body(body))


def erase_outcomes(response: Response, whom: Sequence[object]) -> tuple[Outcome, ...]:
    """Accepted where every person that was found is deleted and their events are queued."""
    usual = outcome_of_status(response.status, response.headers)
    if usual.grade is not Grade.ACCEPTED:
        return same_for(usual, whom)
    body, status = object_of(response), response.status
    found, deleted = body.get("persons_found"), body.get("persons_deleted")
    if not isinstance(found, int) or not isinstance(deleted, int):
        return same_for(unreadable(response), whom)
    if not found:
        return same_for(Outcome(Grade.NOOP, status, "it knows no such person"), whom)
    if deleted < found or body.get("deletion_errors") or not body.get("events_queued_for_deletion"):
        detail = f"{deleted} of {found} persons deleted, or their events not queued"
        return same_for(Outcome(Grade.FAILED_RETRY, status, detail), whom)
    return same_for(Outcome(Grade.ACCEPTED, status, f"{deleted} persons deleted"), whom)


async def obey(
    client: OutboundClient,
    instructions: Sequence[Instruction],
    options: Options,
    last_look: LastLook | None,
) -> Attempted:
    """The deletion of one person. One at a time: who of several was unknown is not said."""
    if instructions[0].verb not in ORDERS.verbs:
        return untaken(instructions)
    if not options.personal_api_key or not options.project_id:
        return unconfigured(instructions, "personal_api_key or project_id")
    rows = [(n, identity) for n, one in enumerate(instructions) for identity in _ids(one)]
    steps = rows_in(rows, MOST_IDS, lambda ids: erase_request(ids, options), erase_outcomes)
    return await follow(client, len(instructions), steps, last_look)


def _ids(instruction: Instruction) -> tuple[str, ...]:
    return (*instruction.person.user_ids, *instruction.person.anonymous_ids)


async def read_back(
    client: OutboundClient, instruction: Instruction, options: Options, ref: str
) -> Reading:
    """Whether a person is there under any of the ids."""
    if instruction.verb is not Verb.ERASE or not options.personal_api_key or not options.project_id:
        return await read_all(client, ())
    headers = (bearer(options.personal_api_key[0]),)
    questions = []
    for identity in _ids(instruction):
        query = urlencode({"distinct_id": identity}, errors="replace")
        questions.append(
            Question(Request("GET", _persons(options, f"?{query}"), headers, b""), read)
        )
    return await read_all(client, questions)


def read(response: Response) -> Reading:
    """Gone, if the list of persons is there and empty."""
    results = object_of(response).get("results")
    if response.status != 200 or not isinstance(results, list):
        return Reading(Found.UNKNOWN, detail=f"HTTP {response.status}")
    if results:
        return Reading(Found.DIFFERENT, detail="there is a person under this id")
    return Reading(Found.EQUAL, detail="there is no person under this id")
