"""What SendGrid is told of a choice, and how it is asked afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from consentry.core.delivery import Grade, Outcome
from consentry.core.order import Verb
from consentry.destinations.inbound import text_of
from consentry.destinations.instruction import Found, Instruction, Reading
from consentry.destinations.message import Attempted, LastLook, Response
from consentry.destinations.obeying import (
    Part,
    Question,
    Settled,
    compared,
    gated,
    json_of,
    named_by,
    obey_all,
    outcome_of_answer,
    outcome_of_exactly,
    read_all,
    read_or_unknown,
    topic_ids,
)
from consentry.destinations.sendgrid_wire import Options, request_to

if TYPE_CHECKING:
    from consentry.destinations.transport import OutboundClient

_GLOBAL = "asm/suppressions/global"
_SEARCH = "marketing/contacts/search/emails"


def _group(identity: str) -> str:
    return f"asm/groups/{quote(identity, safe='')}/suppressions"


def order_parts(instructions: Sequence[Instruction], options: Options) -> list[Part | Settled]:
    """What is sent for one order. Pure."""
    first = instructions[0]
    emails = [email for _, email in named_by(instructions, lambda person: person.emails)]
    if not emails:
        return []
    if first.verb is Verb.ERASE:
        return [_erased(options, email) for email in emails]
    parts: list[Part | Settled] = []
    named, missing = topic_ids(first, options.groups, "groups")
    lists = [_group(identity) for _, identity in dict.fromkeys(named)]
    if first.whole and first.verb is Verb.GRANT and not options.resubscribe:
        parts.append(gated("a whole grant lifts nobody's global unsubscribe: resubscribe is off"))
    elif first.whole:
        lists.insert(0, _GLOBAL)
    parts += missing
    for path in lists:
        if first.verb is Verb.SUPPRESS:
            body = {"recipient_emails": emails}
            request = request_to(options, "POST", path, body)
            parts.append(Part(request, partial(outcome_of_echo, frozenset(emails))))
        else:
            for email in emails:
                request = request_to(options, "DELETE", f"{path}/{quote(email, safe='')}")
                parts.append(Part(request, lambda response: outcome_of_exactly(response, 204)))
    return parts


def _erased(options: Options, email: str) -> Part:
    """The contact is looked for, and the one that is found is deleted. Suppressions stay."""

    def then(response: Response) -> Part | None:
        identity = text_of(json_of(response), "result", email, "contact", "id")
        if response.status != 200 or not identity:
            return None
        path = f"marketing/contacts?ids={quote(identity, safe='')}"
        return Part(request_to(options, "DELETE", path), outcome_of_deletion)

    request = request_to(options, "POST", _SEARCH, {"emails": [email]})
    return Part(request, outcome_of_search, then=then)


def outcome_of_echo(emails: frozenset[str], response: Response) -> Outcome:
    """201 repeats the addresses that it took. Who is missing was not suppressed."""

    def read(document: Any) -> Outcome | None:
        taken = document.get("recipient_emails") if isinstance(document, dict) else None
        if not isinstance(taken, list):
            return None
        got = {each.lower() for each in taken if isinstance(each, str)}
        missing = sum(email.lower() not in got for email in emails)
        if missing == len(emails):
            return Outcome(Grade.NOOP, response.status, "no address was taken")
        if missing:
            return Outcome(Grade.FAILED_FINAL, response.status, f"{missing} were not taken")
        return Outcome(Grade.ACCEPTED, response.status, f"HTTP {response.status}")

    return outcome_of_answer(response, read, expected=(200, 201))


def outcome_of_search(response: Response) -> Outcome:
    """Only where nothing was found: 404, or a result without the contact."""
    if response.status == 404:
        return Outcome(Grade.NOOP, 404, "no such contact")

    def read(document: Any) -> Outcome | None:
        if not isinstance(document, dict) or not isinstance(document.get("result"), dict):
            return None
        return Outcome(Grade.NOOP, response.status, "no such contact")

    return outcome_of_answer(response, read, expected=(200,))


def outcome_of_deletion(response: Response) -> Outcome:
    """202 with the job that will do it."""

    def read(document: Any) -> Outcome | None:
        job = text_of(document, "job_id")
        return Outcome(Grade.ACCEPTED, 202, "HTTP 202", ref=job) if job else None

    return outcome_of_answer(response, read, expected=(202,))


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
    """Each list by itself; after an erasure the search again."""
    return await read_all(client, questions_for(instruction, options))


def questions_for(instruction: Instruction, options: Options) -> list[Question]:
    """What is asked after an order."""
    verb, asked = instruction.verb, []
    named, _ = topic_ids(instruction, options.groups, "groups")
    for email in instruction.person.emails:
        if verb is Verb.ERASE:
            request = request_to(options, "POST", _SEARCH, {"emails": [email]})
            asked.append(Question(request, partial(_contact_reading, email)))
            continue
        if instruction.whole and (verb is Verb.SUPPRESS or options.resubscribe):
            request = request_to(options, "GET", f"{_GLOBAL}/{quote(email, safe='')}")
            asked.append(Question(request, partial(_global_reading, verb, email)))
        for _, identity in dict.fromkeys(named):
            request = request_to(options, "POST", f"{_group(identity)}/search", _search(email))
            asked.append(Question(request, partial(_group_reading, verb, email)))
    return asked


def _search(email: str) -> dict[str, list[str]]:
    return {"recipient_emails": [email]}


def _global_reading(verb: Verb, email: str, response: Response) -> Reading:
    """``{}`` for an address that is not suppressed. No stored source states that; a body that is
    neither this nor the address is unknown."""

    def read(document: Any) -> Reading | None:
        if not isinstance(document, dict):
            return None
        held = text_of(document, "recipient_email").lower() == email.lower()
        if document and not held:
            return None
        said = "unsubscribed" if held else "not unsubscribed"
        return compared(held is (verb is Verb.SUPPRESS), said)

    return read_or_unknown(response, read)


def _group_reading(verb: Verb, email: str, response: Response) -> Reading:
    """Those of the addresses asked about that are in the group."""

    def read(document: Any) -> Reading | None:
        if not isinstance(document, list):
            return None
        held = email.lower() in {each.lower() for each in document if isinstance(each, str)}
        said = "in the group" if held else "not in the group"
        return compared(held is (verb is Verb.SUPPRESS), said)

    return read_or_unknown(response, read)


def _contact_reading(email: str, response: Response) -> Reading:
    def read(document: Any) -> Reading | None:
        result = document.get("result") if isinstance(document, dict) else None
        if not isinstance(result, dict):
            return None
        if text_of(result, email, "contact", "id"):
            return Reading(Found.PENDING, detail="the contact is still there")
        return compared(True, "no such contact")

    return read_or_unknown(response, read, absent=compared(True, "no such contact"))
