"""How Klaviyo is asked whether it did what it was told."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from consentry.core.delivery import Grade
from consentry.core.order import Verb
from consentry.destinations.common import object_at
from consentry.destinations.inbound import text_of
from consentry.destinations.instruction import Found, Instruction, Reading
from consentry.destinations.klaviyo_wire import (
    Options,
    identifiers,
    list_request,
    profiles_in,
    profiles_request,
    request_to,
)
from consentry.destinations.message import Response
from consentry.destinations.obeying import (
    Question,
    compared,
    read_all,
    read_or_unknown,
    topic_ids,
    word,
)

if TYPE_CHECKING:
    from consentry.destinations.transport import OutboundClient

_SMS = ("subscriptions", "sms", "marketing")


async def read_back(
    client: OutboundClient, instruction: Instruction, options: Options, ref: str
) -> Reading:
    """The profile's own state. A suppression that does not show yet is its job's to explain."""
    reading = await read_all(client, questions_for(instruction, options))
    if reading.found is Found.DIFFERENT and ref:
        withdrawn = instruction.verb is Verb.SUPPRESS
        job = f"profile-suppression-bulk-{'create' if withdrawn else 'delete'}-jobs"
        asked = [
            Question(request_to(options, "GET", f"{job}/{quote(each, safe='')}"), _job_reading)
            for each in ref.split()
        ]
        if (await read_all(client, asked)).found is Found.PENDING:
            return Reading(Found.PENDING, detail="its job is not done yet")
    return reading


def questions_for(instruction: Instruction, options: Options) -> list[Question]:
    """What is asked after an order: who is on the lists, who may be mailed, who is there."""
    person, verb = instruction.person, instruction.verb
    if verb is Verb.ERASE:
        return [
            Question(profiles_request(options, name, values), _gone)
            for name, values in (("email", person.emails), ("phone_number", person.phones))
            if values
        ]
    asked: list[Question] = []
    if instruction.whole and person.emails:
        asked.append(
            Question(
                profiles_request(options, "email", person.emails),
                partial(_suppression_reading, verb),
            )
        )
    if instruction.whole and verb is Verb.SUPPRESS and person.phones:
        request = profiles_request(options, "phone_number", person.phones)
        asked.append(Question(request, _texts_reading))
    named, _ = topic_ids(instruction, options.lists, "lists")
    for channel, identity in dict.fromkeys(named):
        if values := identifiers(channel, person):
            request = list_request(options, channel, identity, values)
            asked.append(Question(request, partial(_list_reading, verb, len(values))))
    return asked


def _gone(response: Response) -> Reading:
    def read(document: Any) -> Reading | None:
        profiles = profiles_in(document)
        if profiles is None:
            return None
        if profiles:  # a deletion takes its time, and Klaviyo names no job to ask about
            return Reading(Found.PENDING, detail="the profile is still there")
        return Reading(Found.EQUAL, detail="there is no such profile")

    return read_or_unknown(response, read)


def _suppression_reading(verb: Verb, response: Response) -> Reading:
    def read(document: Any) -> Reading | None:
        profiles = profiles_in(document)
        if profiles is None:
            return None
        may = [_may_be_mailed(profile) for profile in profiles]
        held = ", ".join("may be mailed" if each else "suppressed" for each in may)
        if verb is Verb.SUPPRESS:
            return compared(not any(may), held or "no such profile")
        if not may:
            return Reading(Found.UNKNOWN, detail="there is no such profile")
        return compared(all(may), held)

    return read_or_unknown(response, read)


def _texts_reading(response: Response) -> Reading:
    """Whether somebody may still be texted, after a withdrawal."""

    def read(document: Any) -> Reading | None:
        profiles = profiles_in(document)
        if profiles is None:
            return None
        may = [object_at(p, *_SMS).get("can_receive_sms_marketing") for p in profiles]
        if not all(isinstance(each, bool) for each in may):
            return None
        held = ", ".join("may be texted" if each else "unsubscribed" for each in may)
        return compared(not any(may), held or "no such profile")

    return read_or_unknown(response, read)


def _may_be_mailed(profile: Mapping[str, Any]) -> bool:
    """Without a word about it Klaviyo may mail: silence is no suppression."""
    held: Any = profile
    for name in ("subscriptions", "email", "marketing", "can_receive_email_marketing"):
        held = held.get(name) if isinstance(held, Mapping) else None
    return held is not False


def _list_reading(verb: Verb, of: int, response: Response) -> Reading:
    def read(document: Any) -> Reading | None:
        profiles = profiles_in(document)
        if profiles is None:
            return None
        wanted = 0 if verb is Verb.SUPPRESS else of
        return compared(len(profiles) == wanted, f"{len(profiles)} of {of} on the list")

    return read_or_unknown(response, read)


def _job_reading(response: Response) -> Reading:
    def read(document: Any) -> Reading | None:
        status = text_of(document, "data", "attributes", "status")
        if not status:
            return None
        said = word(status, "queued", "processing", "complete", "cancelled")
        done = Found.EQUAL if status == "complete" else Found.PENDING
        return Reading(done, Grade.JOB_DONE, said)

    return read_or_unknown(response, read)
