"""What Mailchimp is told of a choice, and how it is asked afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from consentry.core.delivery import Grade, Outcome
from consentry.core.order import Verb
from consentry.destinations.http import outcome_of_status
from consentry.destinations.inbound import text_of
from consentry.destinations.instruction import Found, Instruction, Reading
from consentry.destinations.mailchimp_wire import Options, audiences, member_path, request_to
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
    word,
)

if TYPE_CHECKING:
    from consentry.destinations.transport import OutboundClient

_STATUSES = ("subscribed", "unsubscribed", "cleaned", "pending", "transactional", "archived")
_SILENT = frozenset({"unsubscribed", "cleaned", "archived"})
_COMPLIANCE = "compliance state"
_FORGOTTEN = "forgotten email"


def order_parts(instructions: Sequence[Instruction], options: Options) -> list[Part | Settled]:
    """What is sent for one order: a request per address and audience. Pure."""
    first = instructions[0]
    emails = [email for _, email in named_by(instructions, lambda person: person.emails)]
    if first.verb is Verb.ERASE:
        return [_erased(options, each, email) for each in audiences(options) for email in emails]
    parts: list[Part | Settled] = []
    if first.whole and first.verb is Verb.SUPPRESS:
        parts += [_left(options, each, email) for each in audiences(options) for email in emails]
    elif first.whole and options.resubscribe:
        parts += [_joined(options, options.audience, email) for email in emails]
    elif first.whole:
        parts.append(gated("a whole grant subscribes nobody at Mailchimp: resubscribe is off"))
    named, missing = topic_ids(first, options.lists, "lists")
    parts += missing
    for _, identity in dict.fromkeys(named):
        audience, _, interest = identity.partition("/")
        for email in emails:
            if interest:
                wanted = first.verb is Verb.GRANT
                parts.append(_interested(options, audience, email, interest, wanted))
            elif first.verb is Verb.GRANT:
                parts.append(_joined(options, audience, email))
            else:
                parts.append(_left(options, audience, email))
    return parts


def _left(options: Options, audience: str, email: str) -> Part:
    """Unsubscribed, never deleted. Who is no member is not made one."""
    body = {"status": "unsubscribed"}
    request = request_to(options, "PATCH", member_path(audience, email), body)
    return Part(request, partial(outcome_of_status_change, "unsubscribed"))


def _joined(options: Options, audience: str, email: str) -> Part:
    """Subscribed, or asked by Mailchimp where it takes no subscription by a call."""
    path = member_path(audience, email)
    body = {"email_address": email, "status_if_new": "subscribed", "status": "subscribed"}

    def then(response: Response) -> Part | None:
        if response.status != 400 or _COMPLIANCE not in _title(response):
            return None
        asked = request_to(options, "PATCH", path, {"status": "pending"})
        return Part(asked, partial(outcome_of_status_change, "pending"))

    request = request_to(options, "PUT", path, body)
    return Part(request, partial(outcome_of_status_change, "subscribed"), then=then)


def _interested(options: Options, audience: str, email: str, interest: str, wanted: bool) -> Part:
    """One interest of a member. A withdrawal makes nobody a member; a grant may."""
    told: dict[str, Any] = {"interests": {interest: wanted}}
    path = member_path(audience, email)
    if wanted:
        told |= {"email_address": email, "status_if_new": "subscribed"}
    request = request_to(options, "PUT" if wanted else "PATCH", path, told)
    return Part(request, partial(outcome_of_interest, interest, wanted))


def _erased(options: Options, audience: str, email: str) -> Part:
    path = f"{member_path(audience, email)}/actions/delete-permanent"
    return Part(request_to(options, "POST", path), outcome_of_deletion)


def _title(response: Response) -> str:
    """The title of a problem, in small letters. It is compared and never shown."""
    return text_of(json_of(response), "title").lower()


def outcome_of_status_change(wanted: str, response: Response) -> Outcome:
    """The member as it is now. 404: there is no such member, so there is nothing to be stopped."""
    if response.status == 404:
        return Outcome(Grade.NOOP, 404, "no such member")
    if response.status == 400 and _FORGOTTEN in _title(response):
        detail = "it was deleted for good: only the person can subscribe again"
        return Outcome(Grade.FAILED_FINAL, 400, detail)

    def read(document: Any) -> Outcome | None:
        held = text_of(document, "status")
        if not held:
            return None
        if held != wanted:
            return Outcome(Grade.NOOP, 200, f"it is still {word(held, *_STATUSES)}")
        detail = "pending: Mailchimp asks the person" if held == "pending" else "HTTP 200"
        return Outcome(Grade.ACCEPTED, response.status, detail)

    return outcome_of_answer(response, read, expected=(200,))


def outcome_of_interest(interest: str, wanted: bool, response: Response) -> Outcome:
    """The member's interests as they are now."""
    if response.status == 404:
        return Outcome(Grade.NOOP, 404, "no such member")

    def read(document: Any) -> Outcome | None:
        held = document.get("interests") if isinstance(document, dict) else None
        if not isinstance(held, dict):
            return None
        if held.get(interest) is not wanted:
            return Outcome(Grade.NOOP, 200, "the interest is as it was")
        return Outcome(Grade.ACCEPTED, response.status, "HTTP 200")

    return outcome_of_answer(response, read, expected=(200,))


def outcome_of_deletion(response: Response) -> Outcome:
    """204; 404 where there is no such member."""
    if response.status == 404:
        return Outcome(Grade.NOOP, 404, "no such member")
    return outcome_of_exactly(response, 204)


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
    """Each member by itself."""
    return await read_all(client, questions_for(instruction, options))


def questions_for(instruction: Instruction, options: Options) -> list[Question]:
    """What is asked after an order."""
    verb = instruction.verb
    named, _ = topic_ids(instruction, options.lists, "lists")
    identities = [identity for _, identity in dict.fromkeys(named)]
    if verb is Verb.ERASE or (instruction.whole and verb is Verb.SUPPRESS):
        identities = [*audiences(options), *identities]
    elif instruction.whole and options.resubscribe:
        identities = [options.audience, *identities]
    asked = []
    for identity in dict.fromkeys(identities):
        audience, _, interest = identity.partition("/")
        for email in instruction.person.emails:
            request = request_to(options, "GET", member_path(audience, email))
            asked.append(Question(request, partial(_reading, verb, interest)))
    return asked


def _reading(verb: Verb, interest: str, response: Response) -> Reading:
    """Who is no member gets nothing, and has been forgotten."""

    def read(document: Any) -> Reading | None:
        held = text_of(document, "status")
        if not held:
            return None
        said = word(held, *_STATUSES)
        if verb is Verb.ERASE:
            return Reading(Found.DIFFERENT, detail=f"it says: {said}")
        if held == "pending":
            return Reading(Found.PENDING, detail="Mailchimp has asked the person")
        silent = held in _SILENT
        if interest:
            held_interests = document.get("interests")
            if not isinstance(held_interests, dict):
                return None
            silent = silent or held_interests.get(interest) is not True
        return compared(silent is (verb is Verb.SUPPRESS), said)

    return read_or_unknown(response, read, absent=compared(verb is not Verb.GRANT, "no member"))


def outcome_of_event(response: Response) -> Outcome:
    """An event of somebody who is no member went nowhere."""
    if response.status == 404:
        return Outcome(Grade.NOOP, 404, "no such member")
    outcome = outcome_of_status(response.status, response.headers)
    return outcome_of_exactly(response, 204) if outcome.grade is Grade.ACCEPTED else outcome
