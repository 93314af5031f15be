"""Segment, as a source of its own: events go on through its tracking API.

Orders are regulations of its Public API (public-api-sdk-python, DeletionAndSuppressionApi). They
know people by user id alone, and are jobs: what became of one is said by its streams, one per
destination behind Segment, and not by its overall status, which is FINISHED while some failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from consentry.core.delivery import Grade, Outcome
from consentry.core.order import Verb
from consentry.destinations import segment_wire
from consentry.destinations.batches import (
    object_of,
    rows_in,
    same_for,
    unconfigured,
    unreadable,
)
from consentry.destinations.common import JSON, at, bearer, object_at
from consentry.destinations.http import (
    json_body,
    outcome_of_status,
    sender,
)
from consentry.destinations.instruction import Found, Instruction, Orders, Reading
from consentry.destinations.message import Attempted, LastLook, Message, Request, Response
from consentry.destinations.obeying import Question, read_all
from consentry.destinations.options import check_base_url, check_secrets
from consentry.destinations.spec import ALL_EVENTS, Spec
from consentry.destinations.steps import follow
from consentry.secret import Secret

if TYPE_CHECKING:
    from consentry.destinations.transport import OutboundClient

SPEC = Spec(
    kind="segment",
    title="Segment",
    batch_max=segment_wire.BATCH_MAX,
    batch_bytes=segment_wire.BATCH_BYTES,
    events=ALL_EVENTS,
    proves=(
        "A 2xx proves that Segment took the request; it answers so for unknown keys too, "
        "and cannot say what its own destinations received."
    ),
    best=Grade.ACCEPTED,
)


ORDERS = Orders(
    verbs=dict.fromkeys((Verb.SUPPRESS, Verb.ERASE, Verb.GRANT), Grade.JOB_DONE),
    needs=frozenset({"user_ids"}),
    cannot=(
        "Somebody without a user id cannot be suppressed, and destinations in device mode do "
        "not hear of a regulation."
    ),
    batch_max=500,
    reads_back=True,
)
MOST_SUBJECTS = 5000  # of one regulation
_TYPES = {
    Verb.SUPPRESS: "SUPPRESS_ONLY",
    Verb.GRANT: "UNSUPPRESS",
    Verb.ERASE: "SUPPRESS_WITH_DELETE",
}
_ACCEPT = ("Accept", "application/vnd.segment.v1+json")


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which Segment source receives.

    ``write_key``: the source's write key; the first is used, others wait for rotation.
    ``base_url``: the region's API, without ``/v1``.
    ``api_token``: a token of the Public API, for orders; without it they are not told.
    ``api_url``: the Public API of the region.
    ``source_id``: the source that orders are about; without it the whole workspace.
    """

    write_key: tuple[Secret, ...]
    base_url: str = "https://api.segment.io"
    api_token: tuple[Secret, ...] = ()
    api_url: str = "https://api.segmentapis.com"
    source_id: str | None = None

    def __post_init__(self) -> None:
        segment_wire.check_options(self.base_url, self.write_key)
        check_secrets("api_token", self.api_token, needed=False)
        check_base_url(self.api_url, "api_url")


def request_for(messages: Sequence[Message], options: Options, now: datetime) -> Request:
    """One batch of 1 to 100 messages. ``now`` is not used: the batch tells no time.

    Raises `Unsendable` if the body is too large.
    """
    return segment_wire.batch_request(options.base_url, options.write_key[0], messages)


outcomes_of = segment_wire.batch_outcomes


send = sender(request_for, outcomes_of)


def order_request(verb: Verb, user_ids: Sequence[str], options: Options) -> Request:
    """One regulation for 1 to 5000 people. Raises `Unsendable` if it is no JSON."""
    where = f"/sources/{quote(options.source_id, safe='')}" if options.source_id else ""
    body = {"regulationType": _TYPES[verb], "subjectType": "USER_ID", "subjectIds": list(user_ids)}
    headers = (bearer(options.api_token[0]), _ACCEPT, JSON)
    return Request("POST", at(options.api_url, f"/regulations{where}"), headers, json_body(body))


def order_outcomes(response: Response, whom: Sequence[int]) -> tuple[Outcome, ...]:
    """Accepted with the number of the regulation, or the usual."""
    outcome = outcome_of_status(response.status, response.headers)
    if outcome.grade is Grade.ACCEPTED:
        ref = object_at(object_of(response), "data").get("regulateId")
        if not isinstance(ref, str) or not ref:
            return same_for(unreadable(response), whom)
        outcome = Outcome(Grade.ACCEPTED, response.status, "regulation made", ref=ref)
    return same_for(outcome, whom)


async def obey(
    client: OutboundClient,
    instructions: Sequence[Instruction],
    options: Options,
    last_look: LastLook | None,
) -> Attempted:
    """One regulation for everybody; they share a verb."""
    if not options.api_token:
        return unconfigured(instructions, "api_token")
    verb = instructions[0].verb
    rows = [(n, user) for n, one in enumerate(instructions) for user in one.person.user_ids]
    steps = rows_in(
        rows, MOST_SUBJECTS, lambda ids: order_request(verb, ids, options), order_outcomes
    )
    return await follow(client, len(instructions), steps, last_look)


async def read_back(
    client: OutboundClient, instruction: Instruction, options: Options, ref: str
) -> Reading:
    """What became of the regulations that the order made."""
    headers = tuple(bearer(token) for token in options.api_token[:1])
    base = at(options.api_url, "/regulations/")
    return await read_all(
        client,
        [
            Question(Request("GET", base + quote(one, safe=""), (*headers, _ACCEPT), b""), read)
            for one in ref.split()
        ],
    )


_OPEN = frozenset({"INITIALIZED", "RUNNING"})
_FAILED = frozenset({"FAILED", "INVALID", "PARTIAL_SUCCESS"})


def read(response: Response) -> Reading:
    """A regulation's state, from its streams; without any, from its own status."""
    if response.status != 200:
        return Reading(Found.UNKNOWN, detail=f"HTTP {response.status}")
    regulation = object_at(object_of(response), "data", "regulation")
    own = regulation.get("overallStatus")
    states = list(_streams(regulation)) or [own]
    if own in _OPEN or any(state in _OPEN for state in states):
        return Reading(Found.PENDING, detail="the regulation is not finished")
    if failed := sum(state in _FAILED for state in states):
        return Reading(Found.DIFFERENT, detail=f"{failed} of {len(states)} streams failed")
    done = sum(state == "FINISHED" for state in states)
    if done == len(states):
        return Reading(Found.EQUAL, Grade.JOB_DONE, f"{done} streams finished")
    return Reading(Found.UNKNOWN, detail=f"{len(states) - done} streams cannot do it")


def _streams(regulation: Any) -> Iterator[object]:
    """The state of every destination of every stream."""
    streams = regulation.get("streamStatus")
    for stream in streams if isinstance(streams, list) else []:
        states = stream.get("destinationStatus") if isinstance(stream, dict) else None
        for state in states if isinstance(states, list) else []:
            yield state.get("status") if isinstance(state, dict) else None
