"""The story of one attempt: asked again, sent, judged, and what becomes of each delivery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from consentry.core.decision import Decision
from consentry.core.delivery import NEXT, Grade, Outcome, State
from consentry.core.event import PREFERENCE_UPDATE
from consentry.core.moment import format_rfc3339
from consentry.core.record import NodeKind
from consentry.destinations.message import Attempted, LastLookRefused, Message
from consentry.destinations.registry import Connected
from consentry.flow import describe
from consentry.flow.asked import decide_now
from consentry.flow.world import World
from consentry.ports import Attempt, Positioned, StoredEvent, StoreError

WITHHELD = "withheld"
SHADOW = "shadow"
UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of one delivery: where it stands, the attempt to record, the outcome if any."""

    positioned: Positioned
    state: State
    attempt: Attempt
    outcome: Outcome | None = None
    decision: Decision | None = None


async def deliver(
    world: World, connected: Connected, destination: str, batch: Sequence[Positioned]
) -> list[Settled]:
    """One attempt for events of one destination, in their order.

    Each is decided again now, and once more at the last moment before the first byte. What
    may not go is settled as withheld; the rest goes in one request.
    """
    settled: list[Settled] = []
    remaining = list(batch)
    while remaining:
        remaining = _withhold(world, connected, destination, remaining, settled)
        if not remaining:
            break
        if world.shadow:
            settled += [_untried(world, one, SHADOW, State.WITHHELD) for one in remaining]
            break
        started = world.clock.now()
        try:
            attempted = await connected.send(
                [message_of(world, one.event, destination) for one in remaining],
                partial(_last_look, world, destination, remaining),
            )
        except LastLookRefused:
            continue  # nothing was sent; withhold what may not go, and send the rest
        settled += _judged(world, destination, remaining, attempted, started)
        break
    return settled


def _withhold(
    world: World,
    connected: Connected,
    destination: str,
    batch: list[Positioned],
    settled: list[Settled],
) -> list[Positioned]:
    """Settle what may not go now; return what may."""
    going = []
    for one in batch:
        decision = decide_now(world, one.event, destination)
        if decision is None or not decision.allow:
            settled.append(_withheld(world, one, decision))
        elif one.event.type not in connected.spec.events:
            settled.append(_untried(world, one, UNSUPPORTED, State.WITHHELD, decision))
        else:
            going.append(one)
    return going


def _last_look(world: World, destination: str, batch: Sequence[Positioned]) -> None:
    """Consent may have gone while a connection was made. An unreadable state is a no."""
    for one in batch:
        try:
            decision = decide_now(world, one.event, destination)
        except StoreError as error:
            raise LastLookRefused from error
        if decision is None or not decision.allow:
            raise LastLookRefused


def _withheld(world: World, one: Positioned, decision: Decision | None) -> Settled:
    return _untried(world, one, WITHHELD, State.WITHHELD, decision)


def _untried(
    world: World, one: Positioned, grade: str, state: State, decision: Decision | None = None
) -> Settled:
    now = world.clock.now()
    described = None if decision is None else msgspec.json.encode(describe.decision(decision))
    attempt = Attempt(one.position, now, now, grade, decision=described)
    return Settled(one, state, attempt, decision=decision)


def _judged(
    world: World,
    destination: str,
    batch: Sequence[Positioned],
    attempted: Attempted,
    started: int,
) -> list[Settled]:
    ended = world.clock.now()
    settled = []
    for one, outcome in zip(batch, attempted.outcomes, strict=True):
        attempt = Attempt(
            position=one.position,
            started_at=started,
            ended_at=ended,
            grade=outcome.grade.value,
            status=outcome.status,
            crossed=_crossed(world, destination, one.event),
            request_digest=attempted.request_digest,
            response_digest=attempted.response_digest,
            detail=outcome.detail,
        )
        settled.append(Settled(one, NEXT[Grade(outcome.grade)], attempt, outcome))
    return settled


def _crossed(world: World, destination: str, event: StoredEvent) -> bool:
    """Whether consent went while the attempt was on the wire."""
    decision = decide_now(world, event, destination)
    return decision is None or not decision.allow


def message_of(world: World, event: StoredEvent, destination: str) -> Message:
    """What the destination is handed. A shared choice holds ids, time and effective preferences."""
    now = world.clock.now()
    standing = world.subjects.standing(event.nodes, world.policy, now)
    regime = world.regimes.get(event.source)
    effective = describe.effective(world.policy, standing, now, regime)
    body: dict[str, Any] = msgspec.json.decode(event.body)
    mapping = world.policy.mapping.get(destination)
    if mapping is not None and mapping.share_consent and event.name == PREFERENCE_UPDATE:
        body = _shared_choice(body, effective)
    if event.granted is not None:
        stamp = set(event.granted)
        effective = {c: yes and (c in stamp) for c, yes in effective.items()}
    else:
        body = _stamped(body, effective)
    return Message(
        message_id=event.message_id,
        type=event.type,
        anonymous_id=_value(event, NodeKind.DEVICE),
        user_id=_value(event, NodeKind.ACCOUNT),
        timestamp=body["timestamp"],
        received_at=format_rfc3339(event.received_at),
        body=body,
        consent=effective,
    )


def _shared_choice(body: dict[str, Any], effective: dict[str, bool]) -> dict[str, Any]:
    kept = ("type", "event", "messageId", "anonymousId", "userId", "timestamp", "receivedAt")
    shared = {name: body[name] for name in kept if name in body}
    return {**shared, "context": {"consent": {"categoryPreferences": effective}}}


def _stamped(body: dict[str, Any], effective: dict[str, bool]) -> dict[str, Any]:
    """An event that said nothing of consent carries what was decided for it."""
    context = body.get("context") or {}
    consent = {"categoryPreferences": effective}
    return {**body, "context": {**context, "consent": consent}}


def _value(event: StoredEvent, kind: NodeKind) -> str | None:
    return next((node.value for node in event.nodes if node.kind == kind), None)
