"""The erasure of a person, as an operator asks for it."""

from __future__ import annotations

from consentry.flow.erase import NobodyAlone
from consentry.flow.records import Origin
from tests.simulation import messages
from tests.simulation.asking import answered, asked, nodes_of, world_of
from tests.simulation.model import Fact, Known, variants
from tests.simulation.obligations import TYING, proven
from tests.simulation.world import Request, Simulation

ADMIN = Origin("", "admin")


async def erase(sim: Simulation, *, device: str | None, account: str | None) -> None:
    """POST /v1/subjects/erase. While a link is on its way, or is being forgotten, nobody can say
    whom it takes."""
    if any(fact.kind in TYING for request in sim.open for fact in request.facts):
        return
    world, named = world_of(sim), set(messages.whom(device, account))
    at = world.clock.now()
    several = variants(sim.facts, at)
    theirs, *others = [Known(facts, {}, at).theirs_alone(named) for facts in several]
    if any(other != theirs for other in others):
        return
    if theirs.isdisjoint(named):
        theirs = set()
    told = proven(named, theirs, several[-1])
    # The flow reads the clock itself, one tick later: nothing else does in between.
    facts = [
        Fact("erased", who, "", at, entitled=who in told, trusted=True, whom=_alone(who))
        for who in sorted(theirs)
    ]
    request = Request(f"erasure of {device}/{account}", at, facts)
    with asked(sim, request):
        try:
            erasing = await sim.parts.erase(world, nodes_of(device, account), ADMIN, "asked to")
        except NobodyAlone:
            if theirs:
                sim.violate(f"{request.what} was refused, and {sorted(theirs)} are theirs alone")
            return
        if not theirs:
            sim.violate(f"{request.what} took somebody, and all of them are others' too")
        answered(sim, request)
    gone = [o for o in erasing.body["orders"] if sim.kept.orders.order(o) is None]
    if gone:
        sim.violate(f"{request.what} was acknowledged, and of its orders {gone} are nowhere")


def _alone(who: str) -> tuple[str | None, str | None]:
    return (who, None) if who.startswith("d:") else (None, who)
