"""What HubSpot is told of a choice, and how it is asked afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from consentry.core.delivery import Grade, Outcome
from consentry.core.order import Verb
from consentry.destinations.hubspot_wire import Options, request_to
from consentry.destinations.inbound import objects
from consentry.destinations.instruction import Found, Instruction, Reading
from consentry.destinations.message import Attempted, LastLook, Response
from consentry.destinations.obeying import (
    Part,
    Question,
    Settled,
    compared,
    gated,
    named_by,
    obey_all,
    outcome_of_answer,
    outcome_of_exactly,
    read_all,
    read_or_unknown,
    topic_ids,
    word,
)

if TYPE_CHECKING:
    from consentry.destinations.transport import OutboundClient

_STATES = ("SUBSCRIBED", "UNSUBSCRIBED", "NOT_SPECIFIED")
_V4 = "communication-preferences/v4/statuses"


def order_parts(instructions: Sequence[Instruction], options: Options) -> list[Part | Settled]:
    """What is sent for one order: a request per address and subscription. Pure."""
    first = instructions[0]
    emails = [email for _, email in named_by(instructions, lambda person: person.emails)]
    if first.verb is Verb.ERASE:
        return [
            Part(
                request_to(
                    options,
                    "POST",
                    "crm/v3/objects/contacts/gdpr-delete",
                    {"objectId": email, "idProperty": "email"},
                ),
                lambda response: outcome_of_exactly(response, 204),
            )
            for email in emails
        ]
    parts: list[Part | Settled] = []
    if first.whole and first.verb is Verb.GRANT:
        parts.append(gated("HubSpot has no call that lifts an opt-out of all mail"))
    elif first.whole:
        for email in emails:
            path = f"{_V4}/{quote(email, safe='')}/unsubscribe-all?channel=EMAIL&verbose=true"
            parts.append(Part(request_to(options, "POST", path), _reads_all))
    named, missing = topic_ids(first, options.subscriptions, "subscriptions")
    parts += missing
    wanted = "UNSUBSCRIBED" if first.verb is Verb.SUPPRESS else "SUBSCRIBED"
    for _, identity in dict.fromkeys(named):
        for email in emails:
            body = {
                "subscriptionId": int(identity),
                "channel": "EMAIL",
                "statusState": wanted,
                "legalBasis": options.legal_basis,
                "legalBasisExplanation": options.explanation,
            }
            request = request_to(options, "POST", f"{_V4}/{quote(email, safe='')}", body)
            parts.append(Part(request, partial(outcome_of_statuses, wanted)))
    return parts


def outcome_of_statuses(wanted: str, response: Response) -> Outcome:
    """The results say what each subscription is now; none of them is a noop."""

    def read(document: Any) -> Outcome | None:
        if not isinstance(document, dict):
            return None
        results = objects(document.get("results"))
        if document.get("errors") or document.get("numErrors"):
            return Outcome(Grade.FAILED_FINAL, response.status, "HubSpot names errors")
        if not results:
            return Outcome(Grade.NOOP, response.status, "no result: nothing happened")
        held = {word(result.get("status"), *_STATES) for result in results}
        if held != {wanted}:
            return Outcome(Grade.FAILED_FINAL, response.status, f"it is {', '.join(sorted(held))}")
        return Outcome(Grade.ACCEPTED, response.status, f"HTTP {response.status}")

    return outcome_of_answer(response, read, expected=(200, 207))


def _reads_all(response: Response) -> Outcome:
    return outcome_of_statuses("UNSUBSCRIBED", response)


async def obey(
    client: OutboundClient,
    instructions: Sequence[Instruction],
    options: Options,
    last_look: LastLook | None,
) -> Attempted:
    """One attempt for one order."""
    return await obey_all(
        client, lambda: order_parts(instructions, options), len(instructions), last_look
    )


# Asking again


async def read_back(
    client: OutboundClient, instruction: Instruction, options: Options, ref: str
) -> Reading:
    """The statuses of each address; after an erasure, whether the contact is still there."""
    return await read_all(client, questions_for(instruction, options))


def questions_for(instruction: Instruction, options: Options) -> list[Question]:
    """What is asked after an order."""
    verb, asked = instruction.verb, []
    named, _ = topic_ids(instruction, options.subscriptions, "subscriptions")
    for email in instruction.person.emails:
        who = quote(email, safe="")
        if verb is Verb.ERASE:
            path = f"crm/v3/objects/contacts/{who}?idProperty=email"
            asked.append(Question(request_to(options, "GET", path), _contact_reading))
            continue
        if instruction.whole and verb is Verb.SUPPRESS:
            path = f"{_V4}/{who}/unsubscribe-all?channel=EMAIL"
            asked.append(Question(request_to(options, "GET", path), partial(_reading, verb, None)))
        if named:
            request = request_to(options, "GET", f"{_V4}/{who}?channel=EMAIL")
            ids = list(dict.fromkeys(int(identity) for _, identity in named))
            asked.append(Question(request, partial(_reading, verb, ids)))
    return asked


def _reading(verb: Verb, ids: Sequence[int] | None, response: Response) -> Reading:
    """``ids`` are the subscriptions that count; None: the opt-out of all mail."""

    def read(document: Any) -> Reading | None:
        results = document.get("results") if isinstance(document, dict) else None
        if not isinstance(results, list):
            return None
        held = [
            word(result.get("status"), *_STATES)
            for result in objects(results)
            if ids is None or result.get("subscriptionId") in ids
        ]
        if len(held) < (1 if ids is None else len(ids)):
            return Reading(Found.UNKNOWN, detail="HubSpot says nothing of it")
        wanted = "UNSUBSCRIBED" if verb is Verb.SUPPRESS else "SUBSCRIBED"
        return compared(set(held) == {wanted}, ", ".join(sorted(set(held))))

    return read_or_unknown(response, read)


def _contact_reading(response: Response) -> Reading:
    def read(document: Any) -> Reading | None:
        there = isinstance(document, dict) and "id" in document
        return Reading(Found.PENDING, detail="the contact is still there") if there else None

    return read_or_unknown(response, read, absent=compared(True, "no such contact"))
