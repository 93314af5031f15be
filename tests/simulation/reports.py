"""What vendors tell us by themselves: that somebody has unsubscribed there, or has not."""

from __future__ import annotations

from consentry.core.record import Node, NodeKind
from consentry.destinations.instruction import Heard
from tests.simulation.asking import answered, asked, go_on, world_of
from tests.simulation.model import EVERY_TOPIC, Fact
from tests.simulation.obligations import carried
from tests.simulation.policies import Plain
from tests.simulation.world import Request, Simulation

MOST_REPORTS = 300
"""A run has about ten, and each may be reported once more by whoever hears of it."""


async def report(
    sim: Simulation,
    *,
    destination: str,
    who: str,
    refuses: bool,
    event: str | None,
    about: str | None = None,
) -> None:
    """A vendor's own webhook. ``about`` is a message, or a channel as a whole (``*@sms``); None
    for all that it is for."""
    plain = sim.possible[0]
    if destination not in plain["destinations"] or len(sim.possible) > 1:
        return
    world = world_of(sim)
    at = world.clock.now()
    node = Node(NodeKind(who[0]), who[2:])
    whom = (who, None) if who.startswith("d:") else (None, who)
    # The flow reads the clock itself, one tick later: nothing else does in between.
    erased = who in sim.gone()
    facts = [
        Fact("no", who, c, at, at, trusted=True, whom=whom, by=destination)
        for c in covered(plain, destination, about)
        if refuses and not erased
    ]
    request = Request(f"report of {destination} on {who} ({about})", at, facts)
    topic, _, channel = (about or "").partition("@")
    heard = Heard(
        node,
        refuses,
        "unsubscribed" if refuses else "subscribed",
        event or "",
        topics=((topic, channel),) if topic not in ("", EVERY_TOPIC) else (),
        channels=(channel,) if topic == EVERY_TOPIC else (),
    )
    with asked(sim, request):
        (result,) = await sim.parts.take(world, destination, [heard])
        if (result is None) is not erased:
            sim.violate(f"{request.what} was put on record, or was not, and they were erased")
        answered(sim, request, again=result is None or result.again)
    sim.counts.reports += 1


def covered(plain: Plain, destination: str, about: str | None) -> list[str]:
    """What a refusal refuses: what is named, with a channel all that is carried by it, or else
    all that the destination is for."""
    categories = plain["destinations"][destination]["categories"]
    carries = sorted(carried(plain, destination))
    if about is None:
        return [*categories, *carries]
    if not about.startswith(EVERY_TOPIC):
        return [about]
    by_it = [message for message in carries if message.endswith(about[1:])]
    return [*by_it, about] if by_it else [*categories]


def report_what_was_told(sim: Simulation) -> None:
    """Vendors that echo do so now."""
    reported, sim.reported = sim.reported, []
    if sim.process is None or not sim.process.up:
        return
    if sim.counts.reports > MOST_REPORTS:
        sim.violate("what vendors report goes round for ever")
    for args in reported:
        sim.say(f"report({args}) echoes")
        sim.spawn(go_on(sim, "report", report(sim, **args)))
