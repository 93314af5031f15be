"""The story of a notice that was shown or closed: counted, and no more is known of anybody."""

from __future__ import annotations

from consentry.core.record import Node
from consentry.flow.counts import What, tally
from consentry.flow.owed import orders_of, standings_before
from consentry.flow.records import GPC, Origin, signal_record
from consentry.flow.world import World
from consentry.ledger.entry import Record
from consentry.ports import Commit, Tally


async def note(
    world: World,
    origin: Origin,
    what: What,
    surface: str | None,
    version: str | None,
    language: str | None,
    device: Node | None = None,
    gpc: bool | None = None,
) -> tuple[tuple[Tally, ...], list[Record]]:
    """Count it, and record an opt-out signal that a known device sends, or stopped sending.

    Who opens the preference centre was asked nothing, so that is no notice that was shown.
    Raises StoreUnavailable when nothing was written.
    """
    now = world.clock.now()
    counted: tuple[Tally, ...] = ()
    if surface != "preference_centre":
        counted = (tally(world.notices, what, origin.place, now, version, language),)
    records: list[Record] = []
    if device is not None and gpc is not None and not world.subjects.signal_known(device, GPC, gpc):
        records.append(signal_record(world, GPC, gpc, device, origin, now))
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
