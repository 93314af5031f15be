"""The story of what a page notes: a notice that was shown or closed, and the browser's signal."""

from __future__ import annotations

from consentry.core.record import Node
from consentry.flow.counts import What, tally
from consentry.flow.owed import orders_of, standings_before
from consentry.flow.person import is_erased
from consentry.flow.records import GPC, Origin, signal_record
from consentry.flow.world import World
from consentry.ledger.entry import Record
from consentry.ports import Commit, Tally


async def note(
    world: World,
    origin: Origin,
    what: What | None,
    surface: str | None,
    version: str | None,
    language: str | None,
    nodes: tuple[Node, ...] = (),
    gpc: bool | None = None,
) -> tuple[tuple[Tally, ...], list[Record]]:
    """Count it, and record an opt-out signal that is sent, or no longer sent, for these nodes.

    ``what`` None counts nothing. ``nodes`` are the browser's own device, and the account that it
    has proven. Who opens the preference centre was asked nothing, so that is no notice that was
    shown. Raises StoreUnavailable when nothing was written.
    """
    now = world.clock.now()
    counted: tuple[Tally, ...] = ()
    if what is not None and surface != "preference_centre":
        counted = (tally(world.notices, what, origin.place, now, version, language),)
    records: list[Record] = []
    if gpc is not None:
        new = [
            one
            for one in nodes
            if not world.subjects.signal_known(one, GPC, gpc) and not is_erased(world, (one,))
        ]
        records = [signal_record(world, GPC, gpc, one, origin, now) for one in new]
    if not records and not counted:
        return (), []
    befores = standings_before(world, records)
    with world.subjects.in_flight(records):
        asking = world.subjects.asking(world.policy, records) if befores else None
        orders = orders_of(world, befores, asking)
        commit = Commit(records=tuple(records), tallies=counted, orders=orders)
        await world.store.commit(commit)
    if orders:
        world.owe()
    if records:
        world.notify()
        world.followers.tell(records)
    return counted, records
