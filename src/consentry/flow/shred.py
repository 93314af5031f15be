"""The story of forgetting: what is known here of somebody who was erased goes, a part at a time.

It begins once the erasure is durable, and is taken up again after a crash: each part asks the
store what is left. Orders that wait hold identifiers in memory, so they are waited for; the
erasure's own orders go out before it is done, and forget whom they name as they end.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import NamedTuple

from consentry.clock import Timer
from consentry.core.delivery import Grade
from consentry.core.moment import SECOND, Moment
from consentry.core.order import OrderState
from consentry.core.record import Node
from consentry.erasures import Erasure, Shredded
from consentry.flow.order_lane import Left, covers
from consentry.flow.propagate import holds, left_out
from consentry.flow.subjects import touched_by
from consentry.flow.world import World
from consentry.orders import Order
from consentry.ports import Commit, StoreError

PAUSE = 2 * SECOND
"""How long a job is left alone that waits for orders, or for somebody who reads the file."""


class Done(NamedTuple):
    """What one step did: to which erasure, and whether there is more to do at once."""

    erasure_id: str
    part: Shredded
    finished: bool = False


class Shredder:
    """Works on every erasure that is not finished, the oldest first. ``pause`` in microseconds."""

    def __init__(self, world: World, pause: Moment = PAUSE) -> None:
        self._world = world
        self._timer = Timer(world.clock)
        self._pause = pause
        self._not_before: dict[str, Moment] = {}

    async def step(self) -> Done | None:
        """The next part of what can be done now, durably; None where there is nothing.

        Raises StoreError where nothing can be read or written; then it goes on from there.
        """
        now = self._timer.now()
        jobs = self._world.store.erasures.unfinished()
        self._not_before = {
            job.record_id: self._not_before.get(job.record_id, job.asked_at + self._pause)
            for job in jobs
        }
        fault: StoreError | None = None
        for job in jobs:
            if self._not_before[job.record_id] > now:
                continue
            earlier = {one.record_id for one in jobs if one.seq < job.seq and not one.erased}
            try:
                done = await (self._finish(job) if job.erased else self._shred(job, earlier))
            except StoreError as error:  # a damaged one keeps nobody else's waiting
                self._not_before[job.record_id] = now + self._pause
                fault = error
                continue
            if done is None or done.part.waits:
                self._not_before[job.record_id] = now + self._pause
            if done is not None:
                return done
        if fault is not None:
            raise fault
        return None

    async def _shred(self, job: Erasure, earlier: Set[str]) -> Done | None:
        """None where somebody of it is still being erased by an earlier one: its record says whom
        that takes, and this one would take it."""
        world = self._world
        entry = world.store.record(job.record_id)
        nodes = frozenset() if entry is None else frozenset(touched_by(entry.record))
        if earlier and _is_erased_by(world, nodes, earlier):
            return None
        await _end_what_nobody_sends(world, job, nodes)
        part = await world.store.erasures.shred(job.record_id, world.clock.now())
        if part.records or part.events or part.done:
            forget(world, nodes)
        return Done(job.record_id, part)

    async def _finish(self, job: Erasure) -> Done | None:
        if not _all_told(self._world, job):
            return None
        finished = await self._world.store.erasures.finish(job.record_id)
        return Done(job.record_id, Shredded(done=True), finished) if finished else None


def _is_erased_by(world: World, nodes: frozenset[Node], erasures: Set[str]) -> bool:
    facts = (fact for node in sorted(nodes) for fact in world.store.facts_of(node))
    return any(fact.record_id in erasures for fact in facts)


def forget(world: World, nodes: frozenset[Node]) -> None:
    """What memory knows of somebody who was erased, and what was found with it."""
    world.subjects.forget(nodes)
    world.trusted_links.clear()
    world.doors.clear()
    world.asked.clear()


async def _end_what_nobody_sends(world: World, job: Erasure, nodes: frozenset[Node]) -> None:
    """Orders to destinations that are not configured wait in no lane. As there, what is no longer
    so is left out, and so is what the erasure says too. Any other is a no that is still to be
    told: it waits for the destination, and the job for it."""
    idle = {
        order.order_id: order
        for node in sorted(nodes)
        for order in world.store.orders.find(node, state=OrderState.WAITING)
        if not order.erases and order.destination not in world.told
    }
    own = [order for order in world.store.orders.of_record(job.record_id) if order.open]
    left = [Left(order, _says_it_too(own, order)) for order in idle.values()]
    ended = [left_out(world, one) for one in left if one.by or not holds(world, one.order)]
    if ended:
        records = tuple(one.record for one in ended if one.record is not None)
        tried = tuple(one.tried for one in ended)
        await world.store.commit(Commit(records=records, tried=tried))


def _says_it_too(own: Sequence[Order], order: Order) -> str | None:
    """The order of an erasure by which another one need not be told."""
    of_them = (one for one in own if one.destination == order.destination)
    return next((one.order_id for one in of_them if covers(one, order)), None)


def _all_told(world: World, job: Erasure) -> bool:
    """Whether what it owes to others names nobody any more. What failed for good is somebody's to
    look at: it may be tried again, so it keeps whom it names."""
    orders = world.store.orders.of_record(job.record_id)
    return all(not order.named or order.grade is Grade.FAILED_FINAL for order in orders)
