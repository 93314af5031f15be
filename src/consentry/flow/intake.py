"""What a lane takes in: what it finds at start, and what it reads of the event log."""

from __future__ import annotations

import msgspec

from consentry.core.delivery import Backoff, Grade, State
from consentry.core.moment import SECOND, Moment
from consentry.flow.asked import allowed_at_acceptance
from consentry.flow.deliver import WITHHELD
from consentry.flow.lane import Lane
from consentry.flow.world import World
from consentry.ports import Attempt, Delivery, Progress, Store

WINDOW_PER_SLOT = 4
SMALLEST_WINDOW = 64
LARGEST_WINDOW = 20_000
READ_AT_ONCE = 256  # events
_TRY_AGAIN = frozenset({Grade.FAILED_RETRY, Grade.RATE_LIMITED, Grade.AUTH_BLOCKED})


async def restore(store: Store, lane: Lane, now: Moment) -> int:
    """Take up where the last process stopped; return the position that the store knows."""
    position = store.position_for(lane.name)
    if position is None:
        # A destination that is added later begins with what comes after it.
        position = store.end
        await store.record_progress(Progress(destination=lane.name, position=position))
    rows: list[Delivery] = []
    after: tuple[str, int] | None = None
    while page := store.deliveries(lane.name, None, after):
        rows += page
        after = (lane.name, page[-1].position)
    ahead = [a.position for a in store.attempted_from(lane.name, position) if _settles(a)]
    dead = [row.position for row in rows if row.state == State.DEAD]
    waiting = [_sane(row, now, lane.backoff) for row in rows if row.state == State.WAITING]
    lane.restore(position, waiting, [p for p in (*ahead, *dead) if p >= position])
    return position


def read_on(world: World, lane: Lane, slots: int, most: int) -> int:
    """Read on, at most so many events; return how many were looked at.

    Some for each slot, and more as long as nothing of it may start: else one subject, whose
    events go one after another, would keep all others waiting.
    """
    store, end, left = world.store, world.store.end, most
    window = slots * lane.batch_max * WINDOW_PER_SLOT
    window = min(max(window, SMALLEST_WINDOW), LARGEST_WINDOW)
    while lane.read < end and left > 0:
        if lane.in_memory >= (window if lane.startable else LARGEST_WINDOW):
            break
        read = store.events_from(lane.read, min(READ_AT_ONCE, left))
        if not read:
            lane.read = end  # pruned
        for one in read:
            if allowed_at_acceptance(world, one.event, lane.name):
                lane.admit(one)
            lane.read = one.position + 1
        left -= len(read)
    return most - left


def _sane(row: Delivery, now: Moment, backoff: Backoff) -> Delivery:
    """A row written while the clock was wrong would not be due for as long as it was wrong."""
    latest = now + int(backoff.longest_s * SECOND)
    if row.first_at <= now and row.next_at <= latest:
        return row
    first, due = min(row.first_at, now), min(row.next_at, latest)
    return msgspec.structs.replace(row, first_at=first, next_at=due)


def _settles(attempt: Attempt) -> bool:
    """Whether this attempt, found ahead of the position after a restart, need not be repeated."""
    return attempt.grade == WITHHELD or attempt.grade not in _TRY_AGAIN
