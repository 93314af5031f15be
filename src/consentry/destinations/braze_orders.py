"""What Braze is told of a choice, and how it is asked afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from consentry.core.delivery import Grade, Outcome
from consentry.core.order import Verb
from consentry.destinations.braze_wire import NAMED_MAX, Options, request_to, with_wait
from consentry.destinations.http import outcome_of_status
from consentry.destinations.inbound import objects, text_of
from consentry.destinations.instruction import Found, Instruction, Person, Reading
from consentry.destinations.message import Attempted, LastLook, Request, Response
from consentry.destinations.obeying import (
    Part,
    Question,
    Settled,
    compared,
    gated,
    named_by,
    obey_all,
    outcome_of_answer,
    parts_in,
    read_all,
    read_or_unknown,
    topic_ids,
    word,
)

if TYPE_CHECKING:
    from consentry.destinations.transport import OutboundClient

Of = Callable[[Person], Sequence[str]]


def _accounts(person: Person) -> Sequence[str]:
    return person.user_ids


def _emails(person: Person) -> Sequence[str]:
    return person.emails


def _phones(person: Person) -> Sequence[str]:
    return person.phones


# An account reaches every group; an address only those of its channel (Braze's own rule).
_BY_CHANNEL: Mapping[str, tuple[tuple[str, Of], ...]] = {
    "email": (("external_ids", _accounts), ("emails", _emails)),
    "sms": (("external_ids", _accounts), ("phones", _phones)),
    "push": (("external_ids", _accounts),),
}


def order_parts(instructions: Sequence[Instruction], options: Options) -> list[Part | Settled]:
    """What is sent for orders that share verb, ``whole`` and topics. Pure."""
    first = instructions[0]
    if first.verb is Verb.ERASE:
        return _erase_parts(instructions, options)
    parts: list[Part | Settled] = []
    if first.whole:
        parts += _whole_parts(instructions, options)
    named, missing = topic_ids(first, options.groups, "groups")
    parts += missing
    for channel, group in dict.fromkeys(named):
        parts += _group_parts(instructions, options, channel, group)
    return parts


def _state(instructions: Sequence[Instruction]) -> str:
    return "unsubscribed" if instructions[0].verb is Verb.SUPPRESS else "subscribed"


def _whole_parts(instructions: Sequence[Instruction], options: Options) -> list[Part | Settled]:
    """E-mail and push by account, e-mail by address, and what is sent by SMS by its groups.

    Profiles are only changed, not made: ``_update_existing_only``.
    """
    state = _state(instructions)
    if state == "subscribed" and not options.resubscribe:
        return [gated("a whole grant lifts nobody's opt-out at Braze: resubscribe is off")]

    def profiles(values: list[str]) -> Request:
        told = {"email_subscribe": state, "push_subscribe": state, "_update_existing_only": True}
        attributes = [{"external_id": value, **told} for value in values]
        return request_to(options, "POST", "users/track", {"attributes": attributes})

    def addresses(values: list[str]) -> Request:
        body = {"email": values, "subscription_state": state}
        return request_to(options, "POST", "email/status", body)

    parts: list[Part | Settled] = []
    for of, request_of in ((_accounts, profiles), (_emails, addresses)):
        parts += parts_in(named_by(instructions, of), NAMED_MAX, request_of, outcome_of_message)
    if state == "unsubscribed":
        for group in _texts(options):
            parts += _group_parts(instructions, options, "sms", group)
    return parts


def _texts(options: Options) -> list[str]:
    """The groups by which text messages are sent."""
    return sorted({group for key, group in options.groups.items() if key.endswith(":sms")})


def _group_parts(
    instructions: Sequence[Instruction], options: Options, channel: str, group: str
) -> list[Part]:
    """Accounts, addresses and numbers each by themselves: Braze takes them in no one request."""
    told = {"subscription_group_id": group, "subscription_state": _state(instructions)}
    parts: list[Part] = []
    for name, of in _BY_CHANNEL[channel]:

        def request_of(values: list[str], name: str = name) -> Request:
            body = {"subscription_groups": [{**told, name: values}]}
            return request_to(options, "POST", "v2/subscription/status/set", body)

        parts += parts_in(named_by(instructions, of), NAMED_MAX, request_of, outcome_of_message)
    return parts


def _erase_parts(instructions: Sequence[Instruction], options: Options) -> list[Part | Settled]:
    """One identifier a request: the answer counts, and does not say whom it counted."""
    parts: list[Part | Settled] = []
    for place, instruction in enumerate(instructions):
        person = instruction.person
        for value in person.user_ids:
            body: dict[str, Any] = {"external_ids": [value]}
            request = request_to(options, "POST", "users/delete", body)
            parts.append(Part(request, outcome_of_deletion, (place,)))
        for value in person.emails:
            # The rest may have gone with the account: then there is none left, and all is well.
            order = ["unidentified", "most_recently_updated"]
            body = {"email_addresses": [{"email": value, "prioritization": order}]}
            request = request_to(options, "POST", "users/delete", body)
            reads = partial(outcome_of_deletion, further=bool(person.user_ids))
            parts.append(Part(request, reads, (place,)))
    return parts


def outcome_of_message(response: Response) -> Outcome:
    """A 2xx whose ``message`` is no success did nothing; with ``errors`` it left some out."""

    def read(document: Any) -> Outcome | None:
        if not isinstance(document, dict) or "message" not in document:
            return None
        status = response.status
        if document["message"] != "success":
            return Outcome(Grade.FAILED_FINAL, status, "its message is no success")
        if document.get("errors"):
            return Outcome(Grade.FAILED_FINAL, status, "Braze left some of it out")
        counts = [n for name, n in document.items() if name.endswith("_processed")]
        if counts and not any(counts):
            return Outcome(Grade.NOOP, status, "nothing was processed")
        return outcome_of_status(status, response.headers)

    return outcome_of_answer(with_wait(response), read)


def outcome_of_deletion(response: Response, *, further: bool = False) -> Outcome:
    """``deleted`` counts the profiles. None is a noop, unless this asked for ``further`` ones."""

    def read(document: Any) -> Outcome | None:
        deleted = document.get("deleted") if isinstance(document, dict) else None
        if not isinstance(deleted, int) or isinstance(deleted, bool):
            return None
        if document.get("message", "success") != "success":
            return Outcome(Grade.FAILED_FINAL, response.status, "its message is no success")
        if deleted or further:
            return Outcome(Grade.ACCEPTED, response.status, f"deleted: {deleted}")
        return Outcome(Grade.NOOP, response.status, "Braze knows no such profile")

    return outcome_of_answer(with_wait(response), read)


async def obey(
    client: OutboundClient,
    instructions: Sequence[Instruction],
    options: Options,
    last_look: LastLook | None,
) -> Attempted:
    """One attempt for up to 50 orders that share verb, ``whole`` and topics."""
    return await obey_all(
        client, lambda: order_parts(instructions, options), len(instructions), last_look
    )


# Asking again


async def read_back(
    client: OutboundClient, instruction: Instruction, options: Options, ref: str
) -> Reading:
    """Groups by ``/subscription/status/get``, the rest by what Braze exports of the profile."""
    return await read_all(client, questions_for(instruction, options))


def questions_for(instruction: Instruction, options: Options) -> list[Question]:
    """What is asked after an order."""
    person, verb = instruction.person, instruction.verb
    asked: list[Question] = []
    if verb is Verb.ERASE or (instruction.whole and (verb is Verb.SUPPRESS or options.resubscribe)):
        asked += _profile_questions(person, verb, options)
    named, _ = topic_ids(instruction, options.groups, "groups")
    if instruction.whole and verb is Verb.SUPPRESS:
        named += [("sms", group) for group in _texts(options)]
    for channel, group in dict.fromkeys(named):
        for name, of in _BY_CHANNEL[channel]:
            single = {"external_ids": "external_id", "emails": "email", "phones": "phone"}[name]
            for value in of(person):
                query = f"subscription_group_id={quote(group, safe='')}"
                query += f"&{single}={quote(value, safe='')}"
                request = request_to(options, "GET", f"subscription/status/get?{query}")
                asked.append(Question(request, partial(_group_reading, verb)))
    return asked


def _profile_questions(person: Person, verb: Verb, options: Options) -> list[Question]:
    fields = ["external_id", "email_subscribe", "push_subscribe"]
    bodies: list[dict[str, Any]] = []
    if person.user_ids:
        bodies.append({"external_ids": list(person.user_ids[:NAMED_MAX])})
    if verb is Verb.ERASE:
        bodies += [{"email_address": email} for email in person.emails]
    return [
        Question(
            request_to(options, "POST", "users/export/ids", body | {"fields_to_export": fields}),
            partial(_profile_reading, verb),
        )
        for body in bodies
    ]


def _group_reading(verb: Verb, response: Response) -> Reading:
    def read(document: Any) -> Reading | None:
        status = document.get("status") if isinstance(document, dict) else None
        if not isinstance(status, dict) or len(status) != 1:
            return None
        (held,) = status.values()
        if held not in ("Subscribed", "Unsubscribed"):
            return Reading(Found.UNKNOWN, detail=f"it says: {word(held, 'Unknown')}")
        return compared((held == "Unsubscribed") is (verb is Verb.SUPPRESS), held)

    return read_or_unknown(response, read)


def _profile_reading(verb: Verb, response: Response) -> Reading:
    """A POST that exports: Braze answers 200 or 201."""

    def read(document: Any) -> Reading | None:
        users = document.get("users") if isinstance(document, dict) else None
        if not isinstance(users, list):
            return None
        if verb is Verb.ERASE:
            there = "the profile is still there"
            return Reading(Found.PENDING, detail=there) if users else compared(True, "no profile")
        held = {
            (text_of(u, "email_subscribe"), text_of(u, "push_subscribe")) for u in objects(users)
        }
        if not held:
            return Reading(Found.UNKNOWN, detail="there is no such profile")
        wanted = "unsubscribed" if verb is Verb.SUPPRESS else "subscribed"
        known = ("subscribed", "unsubscribed", "opted_in")
        texts = sorted(f"email {word(m, *known)}, push {word(p, *known)}" for m, p in held)
        return compared(held == {(wanted, wanted)}, "; ".join(texts))

    if response.status == 201:
        response = Response(200, response.headers, response.body)
    return read_or_unknown(response, read)
