"""Amplitude: events through HTTP V2, erasure through the User Privacy API.

Sources: amplitude.com/docs/apis/analytics/http-v2 and user-privacy; what the members of a 400 and
a 429 mean is as Amplitude's own Python SDK reads them (amplitude/processor.py).

A 400 names the events it refuses, and took none: those are final, the others go again. An id
under five characters is refused unless the request says otherwise, so it says otherwise. A
deletion does not stop new events: our own gate does. There is no opt-out on the server, so a
withdrawal is a gate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from consentry.core.delivery import Grade, Outcome
from consentry.core.order import Verb
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
    basic,
    milliseconds_of,
    traits_of,
)
from consentry.destinations.contact import event_name, members
from consentry.destinations.http import json_body, outcome_of_status
from consentry.destinations.instruction import Found, Instruction, Orders, Reading
from consentry.destinations.message import Attempted, LastLook, Message, Request, Response
from consentry.destinations.obeying import Question, json_of, read_all
from consentry.destinations.options import check_base_url, check_secrets
from consentry.destinations.spec import Spec
from consentry.destinations.steps import Spoiled, follow
from consentry.secret import Secret

if TYPE_CHECKING:
    from consentry.destinations.transport import OutboundClient

SPEC = Spec(
    kind="amplitude",
    title="Amplitude",
    batch_max=1000,  # 2000 and 1 MB are its limits
    batch_bytes=900_000,
    events=frozenset({"track", "page", "screen", "identify"}),
    proves="A 200 says how many events were taken in, not which; a 400 names those it refuses.",
    best=Grade.ACCEPTED,
)
ORDERS = Orders(
    verbs={Verb.ERASE: Grade.JOB_DONE},
    needs=frozenset({"user_ids"}),
    cannot=(
        "A withdrawal is gated: Amplitude has no opt-out. Somebody without a user id cannot be "
        "erased, the job runs after up to 13 days, and it does not stop new events."
    ),
    batch_max=50,
    reads_back=True,
)
MOST_EVENTS = 2000
MOST_IDS = 100  # of one deletion request
THROTTLED_S = 30.0  # how long Amplitude asks to wait for a user or device over its limit


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which project receives.

    ``api_key``: the project's key. ``secret_key``: for erasure; without it an erasure stays open.
    ``base_url``: the ingestion host; EU: ``https://api.eu.amplitude.com``.
    ``privacy_url``: the host of the User Privacy API; EU: ``https://analytics.eu.amplitude.com``.
    ``requester``: who asks for erasures, for Amplitude's own record.
    """

    api_key: tuple[Secret, ...]
    secret_key: tuple[Secret, ...] = ()
    base_url: str = "https://api2.amplitude.com"
    privacy_url: str = "https://amplitude.com"
    requester: str = "consentry"

    def __post_init__(self) -> None:
        check_secrets("api_key", self.api_key)
        check_secrets("secret_key", self.secret_key, needed=False)
        check_base_url(self.base_url)
        check_base_url(self.privacy_url, "privacy_url")


def item_of(message: Message) -> dict[str, Any]:
    """One event as Amplitude takes it. Raises `Unsendable`."""
    item: dict[str, Any] = {
        "event_type": "$identify" if message.type == "identify" else event_name(message),
        "time": milliseconds_of(message),
        "insert_id": message.message_id,  # a repetition within seven days is ignored
    }
    if message.user_id is not None:
        item["user_id"] = message.user_id
    if message.anonymous_id is not None:
        item["device_id"] = message.anonymous_id
    if message.type == "identify":
        item["user_properties"] = {"$set": traits_of(message)}
    else:
        item["event_properties"] = members(message, "properties")
    return item


def batch_request(items: Sequence[dict[str, Any]], options: Options) -> Request:
    """One upload. Raises `Unsendable` if it is no JSON."""
    body = {
        "api_key": options.api_key[0].reveal(),
        "events": list(items),
        "options": {"min_id_length": 1},
    }
    return Request("POST", at(options.base_url, "/2/httpapi"), (JSON,), json_body(body))


def request_for(messages: Sequence[Message], options: Options) -> Request:
    """The upload of 1 to 1000 messages. Raises `Unsendable`."""
    return batch_request([item_of(message) for message in messages], options)


_REFUSED = (
    "events_with_invalid_fields",
    "events_with_missing_fields",
    "events_with_invalid_id_lengths",
)


def outcomes_of(response: Response, messages: Sequence[object]) -> tuple[Outcome, ...]:
    """What became of each event of one upload, in its order."""
    status, body = response.status, object_of(response)
    usual = outcome_of_status(status, response.headers)
    if usual.grade is Grade.ACCEPTED:
        return same_for(_taken(response, body), messages)
    if status == 413 and len(messages) > 1:
        raise Spoiled
    if status == 400:
        return _refused(body, len(messages))
    if status == 429 and body.get("throttled_events"):
        wait_s = usual.retry_after_s or THROTTLED_S
        slow = Outcome(Grade.RATE_LIMITED, 429, "a user or device over its limit", wait_s)
        others = Outcome(Grade.FAILED_RETRY, 429, "refused with others")
        throttled = set(_places(body["throttled_events"]))
        return tuple(slow if n in throttled else others for n in range(len(messages)))
    return (usual,) * len(messages)


def _taken(response: Response, body: Mapping[str, Any]) -> Outcome:
    ingested = body.get("events_ingested")
    if body.get("code") != 200 or not isinstance(ingested, int):
        return unreadable(response)
    grade = Grade.ACCEPTED if ingested else Grade.NOOP
    return Outcome(grade, response.status, f"{ingested} events ingested")


def _refused(body: Mapping[str, Any], count: int) -> tuple[Outcome, ...]:
    """A 400: the listed events are final, the others were not taken and go again."""
    error = body.get("error")
    if isinstance(error, str) and error.startswith("Invalid API key"):
        return (Outcome(Grade.AUTH_BLOCKED, 400, "the API key is unknown", pause=True),) * count
    refused = set(_places(body.get("silenced_events")))
    for member in _REFUSED:
        fields = body.get(member)
        for places in fields.values() if isinstance(fields, dict) else ():
            refused.update(_places(places))
    final = Outcome(Grade.FAILED_FINAL, 400, "HTTP 400: the event is refused")
    if not refused:
        return (final,) * count
    again = Outcome(Grade.FAILED_RETRY, 400, "refused with others; sent again without them")
    return tuple(final if n in refused else again for n in range(count))


def _places(value: object) -> Iterator[int]:
    for place in value if isinstance(value, list) else []:
        if isinstance(place, int):
            yield place


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


def erase_request(user_ids: Sequence[str], options: Options) -> Request:
    """A deletion of 1 to 100 users. Raises `Unsendable` if it is no JSON."""
    body = {
        "user_ids": list(user_ids),
        "requester": options.requester,
        # Without it one unknown id refuses the whole request.
        "ignore_invalid_id": "true",
    }
    headers = (basic(options.api_key[0].reveal(), options.secret_key[0].reveal()), JSON)
    url = at(options.privacy_url, "/api/2/deletions/users")
    return Request("POST", url, headers, json_body(body))


def erase_outcomes(response: Response, whom: Sequence[int], ids: int) -> tuple[Outcome, ...]:
    """Accepted, under the day of the job; a 200 may also say that nothing was scheduled.

    Who of several was unknown is not said, so several are asked for in halves.
    """
    usual = outcome_of_status(response.status, response.headers)
    if usual.grade is not Grade.ACCEPTED:
        if response.status == 400 and len(whom) > 1:
            raise Spoiled
        return same_for(usual, whom)
    if b"othing scheduled" in response.body:
        return same_for(Outcome(Grade.NOOP, response.status, "it knows no such user"), whom)
    jobs = list(_jobs(response))
    if not jobs:
        return same_for(unreadable(response), whom)
    known = sum(len(job["amplitude_ids"]) for job in jobs)
    if len(whom) > 1 and known < ids:
        raise Spoiled
    if not known:
        return same_for(Outcome(Grade.NOOP, response.status, "it knows no such user"), whom)
    ref = " ".join(dict.fromkeys(job["day"] for job in jobs))
    return same_for(Outcome(Grade.ACCEPTED, response.status, "scheduled", ref=ref), whom)


def _jobs(response: Response) -> Iterator[dict[str, Any]]:
    """The well-formed jobs in an answer: one, or a list of them."""
    body = json_of(response)
    for job in body if isinstance(body, list) else [body]:
        if (
            isinstance(job, dict)
            and isinstance(job.get("day"), str)
            and isinstance(job.get("status"), str)
            and isinstance(job.get("amplitude_ids"), list)
        ):
            yield job


async def obey(
    client: OutboundClient,
    instructions: Sequence[Instruction],
    options: Options,
    last_look: LastLook | None,
) -> Attempted:
    """Deletions of everybody; they share a verb."""
    if instructions[0].verb not in ORDERS.verbs:
        return untaken(instructions)
    if not options.secret_key:
        return unconfigured(instructions, "secret_key")
    rows = [(n, user) for n, one in enumerate(instructions) for user in one.person.user_ids]
    steps = rows_counted(rows, MOST_IDS, lambda ids: erase_request(ids, options), erase_outcomes)
    return await follow(client, len(instructions), steps, last_look)


async def read_back(
    client: OutboundClient, instruction: Instruction, options: Options, ref: str
) -> Reading:
    """The state of the jobs of the days that the order was scheduled for."""
    questions = [
        Question(request, lambda response, day=day: read(response, day))  # type: ignore[misc]
        for day in ref.split()
        if options.secret_key and (request := jobs_request(day, options)) is not None
    ]
    return await read_all(client, questions)


def jobs_request(day: str, options: Options) -> Request | None:
    """Asks for the jobs from a day on; None if ``day`` is none."""
    try:
        end = date.fromisoformat(day) + timedelta(days=1)
    except ValueError:
        return None
    url = at(options.privacy_url, f"/api/2/deletions/users?start_day={day}&end_day={end}")
    header = basic(options.api_key[0].reveal(), options.secret_key[0].reveal())
    return Request("GET", url, (header,), b"")


_WAITING = frozenset({"staging", "submitted"})


def read(response: Response, day: str) -> Reading:
    """The job of a day: the jobs are one a day and project, for everybody who was named."""
    if response.status != 200:
        return Reading(Found.UNKNOWN, detail=f"HTTP {response.status}")
    states = [job["status"].lower() for job in _jobs(response) if job["day"] == day]
    if not states:
        return Reading(Found.UNKNOWN, detail="it shows no job of that day")
    if all(state == "done" for state in states):
        return Reading(Found.EQUAL, Grade.JOB_DONE, "the job is done")
    if all(state in _WAITING or state == "done" for state in states):
        return Reading(Found.PENDING, detail=f"the job is {states[0]}")
    return Reading(Found.UNKNOWN, detail="a state that is not documented")
