"""The story of one attempt: asked again, sent, judged, and what becomes of each delivery."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec

from consentry.core.decision import Decision
from consentry.core.delivery import NEXT, Outcome, State
from consentry.core.event import delivered_body
from consentry.core.moment import format_rfc3339
from consentry.core.record import NodeKind
from consentry.destinations.message import Attempted, LastLookRefused, Message
from consentry.destinations.registry import Sender
from consentry.flow import describe
from consentry.flow.asked import Owed, decide_now, stamp_of_stored
from consentry.flow.told import narrowed, shared_choice, stamped
from consentry.flow.world import World
from consentry.ports import Attempt, Positioned, StoredEvent, StoreUnavailable

WITHHELD = "withheld"
SHADOW = "shadow"
UNSUPPORTED = "unsupported"


class Settled(NamedTuple):
    """What became of one delivery: where it stands, the attempt to record, the outcome if any."""

    positioned: Positioned
    state: State
    attempt: Attempt
    outcome: Outcome | None = None
    decision: Decision | None = None


async def deliver(
    world: World,
    connected: Sender,
    destination: str,
    batch: Sequence[Positioned],
    settled: list[Settled] | None = None,
) -> list[Settled]:
    """One attempt for events of one destination, in their order.

    Each is decided again now, and once more at the last moment before the first byte. What
    may not go is settled as withheld; the rest goes in one request. ``settled`` is filled on
    the way: what was withheld stays so, also when the request for the rest raises.
    """
    settled = [] if settled is None else settled
    remaining = [Owed(world, one, destination) for one in batch]
    while remaining:
        remaining = _withhold(world, connected, remaining, settled)
        if not remaining:
            break
        if world.shadow:
            settled += [_untried(world, owed.one, SHADOW, State.WITHHELD) for owed in remaining]
            break
        started = world.clock.now()
        messages = list(map(message_of, remaining))
        try:
            attempted = await connected.send(
                messages, partial(_last_look, world, remaining, messages)
            )
        except LastLookRefused:
            continue  # nothing was sent; withhold what may not go, and send the rest
        settled += _judged(world, remaining, attempted, started)
        break
    return settled


def _withhold(
    world: World, connected: Sender, batch: list[Owed], settled: list[Settled]
) -> list[Owed]:
    """Settle what may not go now; return what may."""
    going = []
    for owed in batch:
        allowed = owed.allowed()
        if allowed and owed.one.event.type in connected.spec.events:
            going.append(owed)
            continue
        decision = decide_now(world, owed.one.event, owed.destination)
        grade = UNSUPPORTED if allowed else WITHHELD
        settled.append(_untried(world, owed.one, grade, State.WITHHELD, decision))
    return going


def _last_look(world: World, batch: Sequence[Owed], messages: Sequence[Message]) -> None:
    """Consent may have gone while a connection was made.

    What is about to be written may not say more than holds, either: a receiver acts on the
    consent object that it is handed. An unreadable or unwritable store is a no: StoreError.
    """
    if not world.store.available:
        raise StoreUnavailable("withdrawals cannot be recorded, so nothing is sent")
    for owed, message in zip(batch, messages, strict=True):
        if world.shadow or not owed.allowed():
            raise LastLookRefused
        holds = owed.consent()
        if holds is message.consent:
            continue
        if any(granted and not holds.get(c, False) for c, granted in message.consent.items()):
            raise LastLookRefused


def _untried(
    world: World, one: Positioned, grade: str, state: State, decision: Decision | None = None
) -> Settled:
    now = world.clock.now()
    described = None if decision is None else msgspec.json.encode(describe.decision(decision))
    attempt = Attempt(one.position, now, now, grade, decision=described)
    return Settled(one, state, attempt, decision=decision)


def _judged(
    world: World, batch: Sequence[Owed], attempted: Attempted, started: int
) -> list[Settled]:
    ended = world.clock.now()
    settled = []
    for owed, outcome in zip(batch, attempted.outcomes, strict=True):
        attempt = Attempt(
            position=owed.one.position,
            started_at=started,
            ended_at=ended,
            grade=outcome.grade.value,
            status=outcome.status,
            crossed=not owed.allowed(),  # consent went while the attempt was on the wire
            request_digest=attempted.request_digest,
            response_digest=attempted.response_digest,
            detail=outcome.detail,
        )
        settled.append(Settled(owed.one, NEXT[outcome.grade], attempt, outcome))
    return settled


def message_of(owed: Owed) -> Message:
    """What the destination is handed: never more consent than holds at this moment.

    What is told of the event itself is the same for every destination, and made once.
    """
    event, consent = owed.one.event, owed.consent()
    if owed.is_shared_choice:
        return _message(event, shared_choice(_body_of(event), consent), consent)
    told = owed.asked.message
    if told is None or told.consent is not consent:
        with_consent = stamped if event.granted is None else narrowed
        told = _message(event, with_consent(_body_of(event), consent), consent)
        owed.asked.message = told
    return told


def _message(event: StoredEvent, body: dict[str, Any], consent: dict[str, bool]) -> Message:
    return Message(
        message_id=event.message_id,
        type=event.type,
        anonymous_id=_value(event, NodeKind.DEVICE),
        user_id=_value(event, NodeKind.ACCOUNT),
        timestamp=body["timestamp"],
        received_at=format_rfc3339(event.received_at),
        body=body,
        consent=consent,
    )


def _body_of(event: StoredEvent) -> dict[str, Any]:
    return delivered_body(
        msgspec.json.decode(event.body),
        event.type,
        event.message_id,
        received_at=event.received_at,
        corrected_at=event.corrected_at,
        sent_at=event.sent_at,
        stamp=stamp_of_stored(event),
        integrations=event.integrations,
    )


def _value(event: StoredEvent, kind: NodeKind) -> str | None:
    return next((node.value for node in event.nodes if node.kind == kind), None)
