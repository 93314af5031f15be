"""What would be decided, asked at some moment, against what the model says of it.

While something is on its way, an answer may say no where the model says yes; it may never say yes
to more. When nothing is, both say the same, and messages and suppressions for the same reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from consentry.core.event import Envelope, parse_event
from consentry.core.event import Event as Parsed
from consentry.core.record import Node, NodeKind
from consentry.core.rule import place_of_code
from consentry.flow.explain import explain_event, explain_subject
from consentry.flow.records import Origin
from consentry.ports import StoreError
from tests.simulation import clocks
from tests.simulation.model import Event, Known
from tests.simulation.policies import MESSAGES

if TYPE_CHECKING:
    from tests.simulation.world import Request, Simulation


def allows(known: Known, name: str, event: Event) -> bool:
    """Whether an event may go to a destination, if that is there."""
    return name in known.policy["destinations"] and known.allows(name, event)


def person(
    sim: Simulation,
    device: str | None,
    account: str | None,
    place: str | None = None,
    messages: Sequence[str] = MESSAGES,
) -> None:
    """Who may have somebody now, and who may write to them about which of these messages."""
    assert sim.process is not None
    world = sim.process.world
    nodes = tuple(Node(NodeKind(who[0]), who[2:]) for who in (device, account) if who)
    there = place_of_code(place)
    before = sim.now()
    try:
        decided = explain_subject(world, nodes, None, there)
        written = [sim.parts.explain_topic(world, nodes, *m.split("@")) for m in messages]
    except StoreError:
        return
    event = Event(device, account, before, before, strict=there.code is not None)
    known, whom = sim.known(before), f"{device}/{account}"
    for one in decided:
        _agrees(sim, one.destination, one.allow, whom, known, event)
        _for_the_same_reason(sim, known, event, one.destination, one.reason)
    for message, said in zip(messages, written, strict=True):
        _message_agrees(sim, message, said, whom, known, event)


def event(sim: Simulation, origin: Origin, raw: dict[str, Any], request: Request) -> None:
    """Where an event would go if it came now, by this door, with what it says itself."""
    assert sim.process is not None
    parsed = parse_event(raw, Envelope(request.at), fallback_id="asked")
    assert isinstance(parsed, Parsed)
    try:
        decided = explain_event(sim.process.world, parsed, origin)
    except StoreError:
        return
    clocks.compare(sim, request)
    (told,) = request.messages
    known = sim.known(request.at, [*request.facts, *told.grants])
    for one in decided:
        _agrees(sim, one.destination, one.allow, f"an event {raw}", known, told.event)


def _agrees(
    sim: Simulation, name: str, allow: bool, whom: str, known: list[Known], event: Event
) -> None:
    allowed = [allows(one, name, event) for one in known]
    if allow and not any(allowed):
        sim.violate(f"{name}: {whom} would be sent, and is not allowed")
    if not allow and _quiet(sim) and all(allowed):
        sim.violate(f"{name}: {whom} would be withheld, and is allowed")


def _message_agrees(
    sim: Simulation,
    message: str,
    said: dict[str, Any],
    whom: str,
    known: list[Known],
    event: Event,
) -> None:
    may, allow = [one.may_write(message, event) for one in known], said["decision"] == "allow"
    if allow and not any(may):
        sim.violate(f"{whom} would be written to about {message}, and that is not allowed")
    if not allow and _quiet(sim) and all(may):
        sim.violate(f"{whom} would not be written to about {message}, and that is allowed")
    _for_the_same_reason(sim, known, event, message, said["reason"])


def _for_the_same_reason(
    sim: Simulation, known: list[Known], event: Event, about: str, reason: str
) -> None:
    wanted = {_reason(one, event, about) for one in known}
    if _quiet(sim) and len(wanted) == 1 and None not in wanted and reason not in wanted:
        sim.violate(f"{about}: {reason} is said to be the reason, and it is {wanted.pop()}")


def _reason(known: Known, event: Event, about: str) -> str | None:
    if known.suppressed(event):
        return "suppressed"
    if about not in MESSAGES:
        return None
    topic = known.policy["topics"].get(about.partition("@")[0])
    if known.may_write(about, event):
        return "consented" if topic is None or topic["why"] is None else "exempt"
    return "filtered_by_end_user_consent"


def _quiet(sim: Simulation) -> bool:
    return not sim.open and len(sim.possible) == 1
