"""The erasure of a person, as an operator asks for it."""

from __future__ import annotations

import msgspec

from consentry.flow.erase import NobodyAlone
from consentry.flow.once import Once
from consentry.flow.records import Origin
from tests.simulation import forgetting, messages
from tests.simulation.asking import answered, asked, nodes_of, world_of
from tests.simulation.model import Fact, Known, variants
from tests.simulation.obligations import TYING, proven
from tests.simulation.world import Request, Simulation

ADMIN = Origin("", "admin")


async def erase(
    sim: Simulation,
    *,
    device: str | None,
    account: str | None,
    once: str | None = None,
    twice: bool = False,
) -> None:
    """POST /v1/subjects/erase. ``twice``: the answer was lost, and it is asked for again."""
    for _ in range(1 + twice):
        await _erase(sim, device, account, once)


async def _erase(
    sim: Simulation, device: str | None, account: str | None, once: str | None
) -> None:
    """While a link is on its way, or is being forgotten, nobody can say whom it takes."""
    if any(fact.kind in TYING for request in sim.open for fact in request.facts):
        return
    world, named = world_of(sim), set(messages.whom(device, account))
    at = world.clock.now()
    several = variants(sim.facts, at)
    theirs, *others = [Known(facts, {}, at).theirs_alone(named) for facts in several]
    if any(other != theirs for other in others):
        return
    key = None if once is None else f"admin/{once}/{device}/{account}"
    if key in world.answering:
        return  # whoever waits for another has the time at which that one failed
    if theirs.isdisjoint(named):
        theirs = set()
    told = proven(named, theirs, several[-1])
    # The flow reads the clock itself, one tick later: nothing else does in between.
    facts = [
        Fact("erased", who, "", at, entitled=who in told, trusted=True, whom=_alone(who))
        for who in sorted(theirs)
    ]
    request = Request(f"erasure of {device}/{account}", at, facts)
    known = None if key is None else sim.kept.reply_to(key)
    with asked(sim, request):
        try:
            erasing = await sim.parts.erase(
                *(world, nodes_of(device, account), ADMIN, "asked to"),
                once=None if key is None else Once(key, key.encode()),
            )
        except NobodyAlone:
            if theirs and known is None:
                sim.violate(f"{request.what} was refused, and {sorted(theirs)} are theirs alone")
            return
        again = erasing.record is None
        if (known is not None) is not again or (
            known is not None and erasing.body != msgspec.json.decode(known.body)
        ):
            sim.violate(f"{request.what} was asked for once, and carried out twice, or never")
        if not theirs and not again:
            sim.violate(f"{request.what} took somebody, and all of them are others' too")
        answered(sim, request, again=again)
    gone = [o for o in erasing.body["orders"] if sim.kept.orders.order(o) is None]
    if gone:
        sim.violate(f"{request.what} was acknowledged, and of its orders {gone} are nowhere")


async def look(sim: Simulation, *, which: int) -> None:
    """GET /v1/erasures/{id}, of one of those that there are."""
    if sim.watch.of:
        erasure_id = list(sim.watch.of)[which % len(sim.watch.of)]
        status = sim.parts.status_of(world_of(sim), erasure_id)
        forgetting.said(sim, erasure_id, status)


def _alone(who: str) -> tuple[str | None, str | None]:
    return (who, None) if who.startswith("d:") else (None, who)
