"""What Klaviyo is told of a choice, and how it is asked afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from consentry.core.delivery import Grade, Outcome
from consentry.core.order import Verb
from consentry.destinations.http import (
    TransportError,
    outcome_of_error,
    outcome_of_status,
)
from consentry.destinations.inbound import text_of
from consentry.destinations.instruction import Instruction, Person
from consentry.destinations.klaviyo_wire import (
    FIELDS,
    PROFILES_MAX,
    Options,
    identifiers,
    is_suppressed,
    list_request,
    profiles_in,
    profiles_request,
    request_to,
)
from consentry.destinations.message import Attempted, LastLook, Request, Response
from consentry.destinations.obeying import (
    UNDOCUMENTED,
    Named,
    Part,
    Settled,
    gated,
    json_of,
    named_by,
    obey_all,
    outcome_of_answer,
    outcome_of_exactly,
    parts_in,
    topic_ids,
)

if TYPE_CHECKING:
    from consentry.destinations.transport import OutboundClient


_SMS = ("subscriptions", "sms", "marketing")


@dataclass(frozen=True, slots=True)
class Holds:
    """What Klaviyo said before it was told anything: the identifiers for which it is true.

    ``failed`` is the outcome where it could not be asked: then it is not told either. ``refused``
    is the same of single identifiers, which it could not read.
    """

    true_of: frozenset[str] = frozenset()
    failed: Outcome | None = None
    refused: Mapping[str, Outcome] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Known:
    """Answers by (channel, list id): who is on the list. ``suppressed``: by address."""

    on_list: Mapping[tuple[str, str], Holds] = field(default_factory=dict)
    suppressed: Holds = Holds()


async def _known(
    client: OutboundClient,
    instructions: Sequence[Instruction],
    options: Options,
    last_look: LastLook | None,
) -> Known:
    first = instructions[0]
    named, _ = topic_ids(first, options.lists, "lists")
    if first.verb is Verb.SUPPRESS:
        on_list = {}
        for channel, identity in dict.fromkeys(named):
            ask = partial(list_request, options, channel, identity)
            values = _all(instructions, channel)
            on_list[channel, identity] = await _holds(
                client, ask, values, FIELDS[channel], last_look
            )
        return Known(on_list)
    mailed = any(channel == "email" for channel, _ in named)
    if first.verb is Verb.GRANT and mailed and not options.resubscribe:
        ask, values = partial(profiles_request, options, "email"), _all(instructions, "email")
        holds = await _holds(client, ask, values, "email", last_look, suppressed=True)
        return Known(suppressed=holds)
    return Known()


def _all(instructions: Sequence[Instruction], channel: str) -> list[str]:
    named = named_by(instructions, lambda person: identifiers(channel, person))
    return list(dict.fromkeys(value for _, value in named))


async def _holds(
    client: OutboundClient,
    ask: Callable[[list[str]], Request],
    values: list[str],
    name: str,
    last_look: LastLook | None,
    *,
    suppressed: bool = False,
) -> Holds:
    """Asked of at most 100 at once; where that is refused, of halves, until one is alone."""
    found: set[str] = set()
    refused: dict[str, Outcome] = {}
    todo = [values[n : n + PROFILES_MAX] for n in range(0, len(values), PROFILES_MAX)]
    while todo:
        some = todo.pop()
        try:
            response = await client.send(ask(some), last_look)
        except TransportError as error:
            return Holds(failed=outcome_of_error(error))
        outcome = outcome_of_status(response.status, response.headers)
        if response.status == 404:
            return Holds(failed=Outcome(Grade.FAILED_FINAL, 404, "there is no such list"))
        if response.status == 400:
            half = (len(some) + 1) // 2
            if len(some) > 1:
                todo += [some[:half], some[half:]]
            else:
                refused[some[0].lower()] = outcome
            continue
        profiles = profiles_in(json_of(response)) if response.status == 200 else None
        if profiles is None:
            if outcome.grade is Grade.ACCEPTED:
                outcome = Outcome(Grade.FAILED_RETRY, response.status, UNDOCUMENTED)
            return Holds(failed=outcome)
        found.update(
            str(profile.get(name)).lower()
            for profile in profiles
            if not suppressed or is_suppressed(profile)
        )
    return Holds(frozenset(found), refused=refused)


def order_parts(
    instructions: Sequence[Instruction], options: Options, known: Known
) -> list[Part | Settled]:
    """What is sent for orders that share verb, ``whole`` and topics. Pure."""
    first = instructions[0]
    if first.verb is Verb.ERASE:
        return _erase_parts(instructions, options)
    parts: list[Part | Settled] = []
    if first.whole:
        parts += _whole_parts(instructions, options)
    named, missing = topic_ids(first, options.lists, "lists")
    parts += missing
    for channel, identity in dict.fromkeys(named):
        parts += _topic_parts(instructions, options, known, channel, identity)
    return parts


def _whole_parts(instructions: Sequence[Instruction], options: Options) -> list[Part | Settled]:
    withdrawn = instructions[0].verb is Verb.SUPPRESS
    job = f"profile-suppression-bulk-{'create' if withdrawn else 'delete'}-job"

    def request_of(emails: list[str]) -> Request:
        profiles = [{"type": "profile", "attributes": {"email": email}} for email in emails]
        data = {"type": job, "attributes": {"profiles": {"data": profiles}}}
        return request_to(options, "POST", f"{job}s", data)

    mails = named_by(instructions, lambda person: person.emails)
    parts: list[Part | Settled] = []
    parts += parts_in(mails, PROFILES_MAX, request_of, outcome_of_job)
    if withdrawn:
        numbers = named_by(instructions, lambda person: person.phones)
        parts += _subscription_parts(options, "delete", "sms", numbers)
    else:
        parts += [
            gated("Klaviyo lifts no suppression of a phone number", (place,))
            for place, instruction in enumerate(instructions)
            if instruction.person.phones and not instruction.person.emails
        ]
    return parts


def _topic_parts(
    instructions: Sequence[Instruction],
    options: Options,
    known: Known,
    channel: str,
    identity: str,
) -> list[Part | Settled]:
    withdrawn = instructions[0].verb is Verb.SUPPRESS
    named = named_by(instructions, lambda person: identifiers(channel, person))
    holds = known.on_list.get((channel, identity)) if withdrawn else Holds()
    if not withdrawn and channel == "email" and not options.resubscribe:
        holds = known.suppressed
    if holds is None:
        holds = Holds(failed=Outcome(Grade.FAILED_RETRY, detail="the list was not asked"))
    if holds.failed is not None:
        return [Settled(holds.failed, tuple(sorted({place for place, _ in named})))]
    told: list[Named] = []
    kept: list[Named] = []
    for place, value in named:
        if value.lower() in holds.refused:
            continue
        (told if (value.lower() in holds.true_of) is withdrawn else kept).append((place, value))
    job = "delete" if withdrawn else "create"
    parts: list[Part | Settled] = []
    parts += _subscription_parts(options, job, channel, told, identity)
    parts += [_not_told(withdrawn, place) for place, _ in kept]
    parts += [
        Settled(refused, (place,))
        for place, value in named
        if (refused := holds.refused.get(value.lower())) is not None
    ]
    return parts


def _not_told(withdrawn: bool, place: int) -> Settled:
    if withdrawn:
        return Settled(Outcome(Grade.NOOP, detail="not on the list: nothing to stop"), (place,))
    detail = "Klaviyo holds an opt-out, which a subscription would lift: resubscribe is off"
    return gated(detail, (place,))


def _subscription_parts(
    options: Options, job: str, channel: str, named: Sequence[Named], list_id: str | None = None
) -> list[Part]:
    """Bulk jobs for at most 100. Without a list an unsubscription is for the whole channel."""
    consent = {"consent": "UNSUBSCRIBED" if job == "delete" else "SUBSCRIBED"}
    kind = f"profile-subscription-bulk-{job}-job"

    def request_of(values: list[str]) -> Request:
        profiles = [
            {
                "type": "profile",
                "attributes": {
                    FIELDS[channel]: value,
                    "subscriptions": {channel: {"marketing": consent}},
                },
            }
            for value in values
        ]
        data: dict[str, Any] = {"type": kind, "attributes": {"profiles": {"data": profiles}}}
        if list_id is not None:
            data["relationships"] = {"list": {"data": {"type": "list", "id": list_id}}}
        return request_to(options, "POST", f"{kind}s", data)

    return parts_in(named, PROFILES_MAX, request_of, outcome_of_accepted)


def _erase_parts(instructions: Sequence[Instruction], options: Options) -> list[Part | Settled]:
    """A deletion job names exactly one identifier."""
    parts: list[Part | Settled] = []
    sorts: tuple[tuple[str, Callable[[Person], Sequence[str]]], ...] = (
        ("email", lambda person: person.emails),
        ("phone_number", lambda person: person.phones),
    )
    for name, of in sorts:
        for place, value in named_by(instructions, of):
            profile = {"data": {"type": "profile", "attributes": {name: value}}}
            data = {"type": "data-privacy-deletion-job", "attributes": {"profile": profile}}
            request = request_to(options, "POST", "data-privacy-deletion-jobs", data)
            parts.append(Part(request, outcome_of_accepted, (place,)))
    return parts


def outcome_of_accepted(response: Response) -> Outcome:
    """202 without a body is all that these jobs say. It cannot be told from doing nothing."""
    return outcome_of_exactly(response, 202)


def outcome_of_job(response: Response) -> Outcome:
    """202 with the job, whose id is kept to ask about it."""

    def read(document: Any) -> Outcome | None:
        job = text_of(document, "data", "id")
        return Outcome(Grade.ACCEPTED, 202, "HTTP 202", ref=job) if job else None

    return outcome_of_answer(response, read, expected=(202,))


async def obey(
    client: OutboundClient,
    instructions: Sequence[Instruction],
    options: Options,
    last_look: LastLook | None,
) -> Attempted:
    """One attempt for up to 50 orders that share verb, ``whole`` and topics."""
    known = await _known(client, instructions, options, last_look)
    return await obey_all(
        client, lambda: order_parts(instructions, options, known), len(instructions), last_look
    )
