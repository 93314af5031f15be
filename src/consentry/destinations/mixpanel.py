"""Mixpanel: events through /import, profiles through /engage, erasure through its GDPR API.

Sources: mixpanel/docs: openapi/ingestion, openapi/gdpr, reference/import-events.

A 400 is a partial success: the events it lists failed, the others are in. An event with the
property ``$ignore`` is answered with 200 and thrown away without a trace; no event leaves here
with it, and it is no proof of anything. A deletion does not stop new events: our own gate does.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

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
    basic,
    bearer,
    milliseconds_of,
    object_at,
)
from consentry.destinations.contact import event_name, members
from consentry.destinations.http import Unsendable, json_body, outcome_of_status
from consentry.destinations.inbound import objects
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
    kind="mixpanel",
    title="Mixpanel",
    batch_max=1000,  # 2000 and 10 MB are its limits
    batch_bytes=5_000_000,
    events=frozenset({"track", "page", "screen"}),
    proves="A 200 says that all events of the request were imported; a 400 lists those that failed.",
    best=Grade.ACCEPTED,
)
ORDERS = Orders(
    verbs={Verb.SUPPRESS: Grade.SENT_UNVERIFIABLE, Verb.ERASE: Grade.JOB_DONE},
    needs=frozenset({"user_ids", "anonymous_ids"}),
    cannot=(
        "A withdrawal deletes the profile and leaves the events; Mixpanel answers the same for "
        "profiles it never had. An erasure takes weeks. Neither stops new events."
    ),
    batch_max=200,
    reads_back=True,
)
MOST_EVENTS = 2000
MOST_IDS = 2000  # of one deletion, and of one request to /engage
NOBODY = frozenset(
    {"anon", "anonymous", "nil", "none", "null", "n/a", "na", "undefined", "unknown"}
    | {"0", "-1", "true", "false", "[]", "{}", "lmy47d", "<nil>"}
    | {"00000000-0000-0000-0000-000000000000"}
)
_INSERT_ID = re.compile(r"[A-Za-z0-9-]{1,36}")
_NEVER = frozenset({"$ignore", "token", "time", "distinct_id", "$insert_id"})


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which project receives.

    ``token``: the project token. ``gdpr_token``: an OAuth token for erasure, which lasts a year;
    without it an erasure stays open. ``compliance_type``: the law an erasure is asked under.
    ``base_url``: the ingestion host; EU ``https://api-eu.mixpanel.com``, India ``api-in``.
    ``app_url``: the host of the GDPR API; EU ``https://eu.mixpanel.com``.
    """

    token: tuple[Secret, ...]
    gdpr_token: tuple[Secret, ...] = ()
    compliance_type: Literal["GDPR", "CCPA"] = "GDPR"
    base_url: str = "https://api.mixpanel.com"
    app_url: str = "https://mixpanel.com"

    def __post_init__(self) -> None:
        check_secrets("token", self.token)
        check_secrets("gdpr_token", self.gdpr_token, needed=False)
        check_base_url(self.base_url)
        check_base_url(self.app_url, "app_url")


def item_of(message: Message) -> dict[str, Any]:
    """One event as Mixpanel takes it. Raises `Unsendable`."""
    properties = {k: v for k, v in members(message, "properties").items() if k not in _NEVER}
    if message.anonymous_id is not None:
        properties["$device_id"] = message.anonymous_id
    if message.user_id is not None:
        properties["$user_id"] = message.user_id
    properties |= {
        "time": milliseconds_of(message),
        "distinct_id": _distinct_id(message),
        "$insert_id": insert_id(message.message_id),
    }
    return {"event": event_name(message), "properties": properties}


def _distinct_id(message: Message) -> str:
    identity = message.user_id or message.anonymous_id or ""
    if not identity or identity.strip().lower() in NOBODY:
        raise Unsendable("distinct_id: Mixpanel takes this id for nobody's")
    return identity


def insert_id(message_id: str) -> str:
    """The message id, or of one that Mixpanel would refuse the first 36 digits of its SHA-256."""
    if _INSERT_ID.fullmatch(message_id):
        return message_id
    return hashlib.sha256(message_id.encode("utf-8", "surrogatepass")).hexdigest()[:36]


def batch_request(items: Sequence[dict[str, Any]], options: Options) -> Request:
    """One import. Raises `Unsendable` if it is no JSON."""
    headers = (basic(options.token[0].reveal()), JSON)
    return Request(
        "POST", at(options.base_url, "/import?strict=1"), headers, json_body(list(items))
    )


def request_for(messages: Sequence[Message], options: Options) -> Request:
    """The import of 1 to 1000 messages. Raises `Unsendable`."""
    return batch_request([item_of(message) for message in messages], options)


def outcomes_of(response: Response, messages: Sequence[object]) -> tuple[Outcome, ...]:
    """What became of each event of one import, in its order."""
    count, body = len(messages), object_of(response)
    usual = outcome_of_status(response.status, response.headers)
    if usual.grade is Grade.ACCEPTED:
        imported = body.get("num_records_imported")
        if not isinstance(imported, int):
            return (unreadable(response),) * count
        grade = Grade.ACCEPTED if imported else Grade.NOOP
        return (Outcome(grade, response.status, f"{imported} events imported"),) * count
    if response.status == 413 and count > 1:
        raise Spoiled
    records = objects(body.get("failed_records"))
    failed = {record["index"] for record in records if isinstance(record.get("index"), int)}
    if response.status != 400 or not failed:
        return (usual,) * count
    final = Outcome(Grade.FAILED_FINAL, 400, "HTTP 400: the event failed validation")
    taken = Outcome(Grade.ACCEPTED, 400, "imported beside others that failed")
    return tuple(final if n in failed else taken for n in range(count))


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


def suppress_request(ids: Sequence[str], options: Options) -> Request:
    """Deletes the profiles of 1 to 2000 ids. Raises `Unsendable` if it is no JSON."""
    token = options.token[0].reveal()
    body = [
        # Without $ignore_alias the profile that an alias points to would go as well.
        {"$token": token, "$distinct_id": one, "$delete": "null", "$ignore_alias": True}
        for one in ids
    ]
    url = at(options.base_url, "/engage?verbose=1")
    return Request("POST", url, (JSON, ("Accept", "application/json")), json_body(body))


def suppress_outcomes(response: Response, whom: Sequence[int]) -> tuple[Outcome, ...]:
    """Sent, at most: ``status`` 1 does not say that there was such a project or profile."""
    usual = outcome_of_status(response.status, response.headers)
    if usual.grade is Grade.ACCEPTED:
        status = object_of(response).get("status")
        if status == 1 or status == "OK":
            usual = Outcome(Grade.SENT_UNVERIFIABLE, response.status, "taken, not proven")
        elif status == 0:
            usual = Outcome(Grade.FAILED_FINAL, response.status, "refused in a 200")
        else:
            usual = unreadable(response)
    return same_for(usual, whom)


def erase_request(ids: Sequence[str], options: Options) -> Request:
    """A deletion of 1 to 2000 ids. Raises `Unsendable` if it is no JSON."""
    body = {"distinct_ids": list(ids), "compliance_type": options.compliance_type}
    headers = (bearer(options.gdpr_token[0]), JSON)
    return Request("POST", _deletions(options), headers, json_body(body))


def _deletions(options: Options, task: str = "") -> str:
    task = f"/{quote(task, safe='')}" if task else ""
    token = quote(options.token[0].reveal(), safe="")
    return at(options.app_url, f"/api/app/data-deletions/v3.0{task}?token={token}")


def erase_outcomes(response: Response, whom: Sequence[int]) -> tuple[Outcome, ...]:
    """Accepted under the number of the task."""
    usual = outcome_of_status(response.status, response.headers)
    if usual.grade is Grade.ACCEPTED:
        task = object_at(object_of(response), "results").get("task_id")
        if not isinstance(task, str) or not task:
            return same_for(unreadable(response), whom)
        usual = Outcome(Grade.ACCEPTED, response.status, "task made", ref=task)
    return same_for(usual, whom)


async def obey(
    client: OutboundClient,
    instructions: Sequence[Instruction],
    options: Options,
    last_look: LastLook | None,
) -> Attempted:
    """Profile deletions or one erasure for everybody; they share a verb."""
    verb = instructions[0].verb
    if verb not in ORDERS.verbs:
        return untaken(instructions)
    if verb is Verb.ERASE and not options.gdpr_token:
        return unconfigured(instructions, "gdpr_token")
    rows = [
        (n, identity)
        for n, one in enumerate(instructions)
        for identity in (*one.person.user_ids, *one.person.anonymous_ids)
    ]
    if verb is Verb.ERASE:
        steps = rows_in(rows, MOST_IDS, lambda ids: erase_request(ids, options), erase_outcomes)
    else:
        steps = rows_in(
            rows, MOST_IDS, lambda ids: suppress_request(ids, options), suppress_outcomes
        )
    return await follow(client, len(instructions), steps, last_look)


async def read_back(
    client: OutboundClient, instruction: Instruction, options: Options, ref: str
) -> Reading:
    """The state of the tasks that an erasure made. A profile cannot be asked about."""
    headers = tuple(bearer(token) for token in options.gdpr_token[:1])
    tasks = ref.split() if headers else []
    return await read_all(
        client,
        [Question(Request("GET", _deletions(options, task), headers, b""), read) for task in tasks],
    )


_STATES = {
    "SUCCESS": Found.EQUAL,
    "PENDING": Found.PENDING,
    "STAGING": Found.PENDING,
    "STARTED": Found.PENDING,
    "FAILURE": Found.DIFFERENT,
    "REVOKED": Found.DIFFERENT,
    "NOT_FOUND": Found.DIFFERENT,
}


def read(response: Response) -> Reading:
    """What became of a deletion task."""
    if response.status != 200:
        return Reading(Found.UNKNOWN, detail=f"HTTP {response.status}")
    state = object_at(object_of(response), "results").get("status")
    found = _STATES.get(state, Found.UNKNOWN) if isinstance(state, str) else Found.UNKNOWN
    word = state if found is not Found.UNKNOWN else "unknown"
    return Reading(found, Grade.JOB_DONE, f"the task is {word}")
