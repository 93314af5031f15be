"""The story of one attempt at orders: asked again, told, judged, and what becomes of each.

An order is asked about before it is chosen, and once more before the first byte: a grant goes
only if ``decide`` still allows, a refusal only if it still stands. An erasure always does.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec

from consentry.core.delivery import Attempt, Grade, Outcome
from consentry.core.moment import SECOND, Moment
from consentry.core.order import AFTER, OrderState, Verb
from consentry.core.record import Node
from consentry.destinations.instruction import Instruction
from consentry.destinations.message import Attempted, LastLookRefused
from consentry.destinations.registry import Connected
from consentry.flow import describe
from consentry.flow.order_lane import Left, pause_s
from consentry.flow.owed import Door, Rights, may_be_granted, rule_of_record
from consentry.flow.person import erased_at, is_erased
from consentry.flow.records import outcome_record
from consentry.flow.whom import person_of
from consentry.flow.world import World
from consentry.ledger.entry import Record, RecordType
from consentry.orders import Order, Tried
from consentry.ports import Commit, StoreError, StoreUnavailable

FIRST_READ_S = 60.0
MOST_DOORS = 4_096
SUPERSEDED = "superseded"
NO_LONGER = "it was no longer so when its turn came"
REMOVED = "given up by hand: the destination was taken out of the configuration"
GIVEN_UP_AT_ONCE = 500
# Also where nothing happened: it may be that they know nobody, or that they did not obey.
_READABLE = frozenset(
    {Grade.CONFIRMED, Grade.JOB_DONE, Grade.ACCEPTED, Grade.SENT_UNVERIFIABLE, Grade.NOOP}
)


class Ended(NamedTuple):
    """What became of one order: as it stands now, the attempt, and the record of its end."""

    order: Order
    attempt: Attempt | None = None
    outcome: Outcome | None = None
    record: Record | None = None

    @property
    def tried(self) -> Tried:
        return Tried(self.order, self.attempt)


def holds(world: World, order: Order) -> bool:
    """Whether an order still says what is so. Raises StoreError where nobody can say."""
    if not order.named:
        return False  # whom it named is forgotten
    if order.verb is Verb.ERASE:
        return True
    now = world.clock.now()
    rights = _rights(world, order, now)
    if order.verb is Verb.GRANT:
        return rights.still(order) and bool(_named(world, order))
    if not _named(world, order):
        return False
    if order.whole:
        return not rights.may_have(order.destination)
    return not any(rights.has(*pair) for pair in order.topics)


def _rights(world: World, order: Order, now: Moment) -> Rights:
    standing = world.subjects.standing(order.subject, world.policy, now)
    return Rights(world, _door_of(world, order), standing, now)


def _door_of(world: World, order: Order) -> Door:
    """What never changes of the record that owes it: all its orders ask for it several times."""
    known = world.doors.get(order.record_id)
    if known is not None:
        return known
    entry = world.store.record(order.record_id)
    if entry is None:
        raise StoreError("an order's record is not in the ledger")
    if len(world.doors) >= MOST_DOORS:
        world.doors.clear()
    record = entry.record
    expired = record.type is RecordType.EXPIRED
    door = Door(record.source, record.place, record.made_at, expired)
    world.doors[order.record_id] = door
    return door


def instruction_of(world: World, order: Order) -> Instruction:
    """An order as a destination is handed it, with what holds now."""
    door, now = _door_of(world, order), world.clock.now()
    standing = world.subjects.standing(order.subject, world.policy, now)
    rule = rule_of_record(door, now)
    consent = describe.effective(world.policy, standing, now, world.regimes.get(door.source), rule)
    return Instruction(
        order_id=order.order_id,
        record_id=order.record_id,
        seq=order.seq,
        verb=order.verb,
        person=person_of(_named(world, order)),
        whole=order.whole,
        topics=order.topics,
        consent=consent,
        made_at=describe.time(door.made_at),
        received_at=describe.time(order.acknowledged_at) or "",
        expired=door.expired,
    )


def _named(world: World, order: Order) -> tuple[Node, ...]:
    """Whom an order names now: a grant, nobody whom the destination may not have any more.

    What was on its way to the disk as a person was erased comes after that in the ledger: whoever
    was told to forget them is not told who it was.
    """
    if order.verb is not Verb.GRANT:
        return order.named if order.erases else _known_to(world, order)
    if set(order.named) <= set(order.subject):
        return order.named
    door, now = _door_of(world, order), world.clock.now()
    stands = partial(world.subjects.standing, policy=world.policy, now=now)
    return may_be_granted(world, door, order, stands, now)


def _known_to(world: World, order: Order) -> tuple[Node, ...]:
    """Whom it is about stands for themselves. Whoever was linked to them as it was made is asked
    one by one: with an erasure the link goes, and of the others nobody is suppressed."""
    standing = world.subjects.standing(order.subject, world.policy, world.clock.now())
    beside = tuple(node for node in order.named if node not in order.subject)
    asked = order.named if standing.suppressed else beside
    erased = {node for node in asked if _was_erased_before(world, node, order)}
    return tuple(node for node in order.named if node not in erased) if erased else order.named


def _was_erased_before(world: World, node: Node, order: Order) -> bool:
    at = erased_at(world, node)
    # One that repeats another has its record, and may itself be younger than the erasure.
    return at is not None and (at <= order.seq or order.again_of is not None)


async def propagate(
    world: World, connected: Connected, orders: Sequence[Order], *, chance: float, reads: bool
) -> list[Ended]:
    """One attempt for orders of one destination. Empty where one of them holds no longer.

    ``chance`` in [0, 1) spreads retries; ``reads``: the destination can be asked afterwards.
    Raises StoreError where the consent state cannot be read or written; then nothing was sent.
    """
    started = world.clock.now()
    instructions = [instruction_of(world, order) for order in orders]
    try:
        last_look = partial(_last_look, world, orders, instructions)
        attempted = await connected.obey(instructions, last_look)
    except LastLookRefused:
        return []
    return [
        _ended(world, order, attempted, outcome, started, chance, reads)
        for order, outcome in zip(orders, attempted.outcomes, strict=True)
    ]


def _last_look(world: World, orders: Sequence[Order], instructions: Sequence[Instruction]) -> None:
    if not world.store.available:
        raise StoreUnavailable("what came of it could not be recorded, so nothing is sent")
    if world.shadow or not all(holds(world, order) for order in orders):
        raise LastLookRefused
    for order, instruction in zip(orders, instructions, strict=True):
        if person_of(_named(world, order)) != instruction.person:
            raise LastLookRefused  # it is made anew, of those who may be named now


def _ended(
    world: World,
    order: Order,
    attempted: Attempted,
    outcome: Outcome,
    started: Moment,
    chance: float,
    reads: bool,
) -> Ended:
    ended = world.clock.now()
    attempt = Attempt(
        position=order.number,
        started_at=started,
        ended_at=ended,
        grade=outcome.grade.value,
        status=outcome.status,
        crossed=not holds(world, order),  # another choice came while it was on the wire
        request_digest=attempted.request_digest,
        response_digest=attempted.response_digest,
        detail=outcome.detail,
    )
    now = msgspec.structs.replace(
        order,
        attempts=order.attempts + 1,
        grade=outcome.grade,
        detail=outcome.detail,
        first_attempt_at=order.first_attempt_at or started,
    )
    if AFTER[outcome.grade] is OrderState.WAITING:
        down_s = (ended - (now.first_attempt_at or ended)) / SECOND
        wait_s = pause_s(outcome, now.attempts, down_s, chance)
        waits = msgspec.structs.replace(now, next_at=ended + int(wait_s * SECOND))
        return Ended(waits, attempt, outcome)
    read_at = None
    if reads and outcome.grade in _READABLE:
        read_at = ended + int(FIRST_READ_S * SECOND)
    done = without_person(
        msgspec.structs.replace(
            now, state=OrderState.TERMINAL, terminal_at=ended, ref=outcome.ref, read_at=read_at
        )
    )
    return Ended(done, attempt, outcome, record_of_end(world, done, attempt))


def left_out(world: World, left: Left) -> Ended:
    """An order that was not sent: a later one says it, or it is no longer so."""
    now = world.clock.now()
    order = without_person(
        msgspec.structs.replace(
            left.order,
            state=OrderState.SUPERSEDED,
            superseded_by=left.by,
            terminal_at=now,
            why="" if left.by else NO_LONGER,
        )
    )
    return Ended(order, record=record_of_end(world, order, None))


async def try_again(world: World, orders: Sequence[Order]) -> list[Order]:
    """Orders that failed for good or wait, to be tried now; durably. Raises StoreUnavailable.

    One that failed for good is left as it is where somebody whom it names was erased since: they
    would be named again to who was told to forget them.
    """
    now = world.clock.now()
    orders = [one for one in orders if one.open or not is_forgotten(world, one)]
    again = [
        msgspec.structs.replace(
            order, state=OrderState.WAITING, next_at=now, terminal_at=None, read_at=None
        )
        for order in orders
    ]
    await world.store.commit(Commit(tried=tuple(map(Tried, again))))
    return again


def is_forgotten(world: World, order: Order) -> bool:
    """Whether an order names nobody any more, or somebody who was erased and is no part of that."""
    return not order.named or (not order.erases and is_erased(world, order.named))


async def give_up(world: World, destination: str) -> int:
    """End what is owed to a destination that is no longer configured; how many orders ended.

    Somebody decided so, and the ledger says of each that it was not told. It may still be tried again, should
    the destination come back, but for those of an erasure: they keep nobody's identifiers. From
    then on it is unknown: no erasure waits for it, and should it come back it begins with what
    comes after that. Raises StoreUnavailable; what was ended before stays so.
    """
    count = 0
    while waiting := world.store.orders.waiting(destination, limit=GIVEN_UP_AT_ONCE):
        now = world.clock.now()
        ended = [_given_up(order, now) for order in waiting]
        records = tuple(record_of_end(world, order, None) for order in ended)
        await world.store.commit(Commit(records=records, tried=tuple(map(Tried, ended))))
        count += len(ended)
    await world.store.forget_place(destination)
    return count


def _given_up(order: Order, now: Moment) -> Order:
    state, grade = OrderState.TERMINAL, Grade.FAILED_FINAL
    ended = msgspec.structs.replace(
        order, state=state, grade=grade, detail=REMOVED, terminal_at=now
    )
    if not order.erases:
        return ended
    return msgspec.structs.replace(ended, subject=(), nodes=(), named=())


def without_person(order: Order) -> Order:
    """What an erasure owes keeps no identifier once nothing more is to be done for it.

    One that failed for good has to be looked at, and may be tried again.
    """
    if not order.erases or order.open or order.read_at is not None:
        return order
    if order.grade is Grade.FAILED_FINAL:
        return order
    return msgspec.structs.replace(order, subject=(), nodes=(), named=())


def record_of_end(world: World, order: Order, attempt: Attempt | None, **more: Any) -> Record:
    """The ledger's record of what an order came to."""
    grade = SUPERSEDED if order.state is OrderState.SUPERSEDED else str(order.grade)
    evidence: dict[str, Any] = {
        "orderId": order.order_id,
        "recordId": order.record_id,
        "destination": order.destination,
        "verb": order.verb.value,
        "topics": [list(pair) for pair in order.topics],
        "grade": grade,
        "detail": order.detail,
        "acknowledgedAt": describe.time(order.acknowledged_at),
        "endedAt": describe.time(order.terminal_at),
        **more,
    }
    if order.superseded_by is not None:
        evidence["supersededBy"] = order.superseded_by
    if attempt is not None:
        evidence["status"] = attempt.status
        evidence["startedAt"] = describe.time(attempt.started_at)
        evidence["requestDigest"] = attempt.request_digest
        evidence["responseDigest"] = attempt.response_digest
    return outcome_record(world, world.clock.now(), evidence)
