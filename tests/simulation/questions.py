"""Questions of the moment: what POST /v1/decisions is asked."""

from __future__ import annotations

from typing import Any

import msgspec

from consentry.core.rule import place_of_code
from tests.simulation import judging, messages
from tests.simulation.asking import origin_of, world_of
from tests.simulation.world import Simulation

NEVER_SENT = 99


async def ask(
    sim: Simulation,
    *,
    device: str | None,
    account: str | None,
    place: str | None,
    door: str,
    item: dict[str, Any],
) -> None:
    """Who may have this person, who may write to them, and where an event would go."""
    judging.person(sim, *messages.pair(device, account), place)
    world, origin = world_of(sim), origin_of(door, item["account"])
    if door != "server":
        origin = msgspec.structs.replace(origin, place=place_of_code(place))
    at, known = world.clock.now(), messages.known_to(world)
    gone, lifted = sim.gone(), sim.lifted()
    new = item | {"id": NEVER_SENT}  # of one that came before, only the denials would count
    (raw,), request, _ = messages.read({}, [new], origin, None, at, known, gone, lifted, {})
    judging.event(sim, origin, raw, request)
