"""C9: what one clock claims is compared. A yes that claims no later time than a no of its device, by
the same source, is none to what that no refuses, if it would seem to be made after it.

Of a no that is on its way to the disk only the process knows whether it saw it: there the record of
the yes says what became of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from consentry.core.moment import DAY
from consentry.ports import Commit
from tests.simulation.model import Fact
from tests.simulation.policies import key_of

if TYPE_CHECKING:
    from tests.simulation.world import Request, Simulation

LONGEST_FAST = 2 * DAY


def compare(sim: Simulation, request: Request) -> None:
    """Leave out of a request each yes that was overtaken; mark those of which the record will say."""
    erased = {fact.who for fact in sim.facts if fact.kind == "erased"}  # may be forgotten by now
    durable = [fact for fact in sim.facts if fact.who not in erased]
    open_now = [f for other in sim.open if other is not request for f in other.facts]
    unsure = [*open_now, *(fact for fact in sim.facts if fact.who in erased)]
    request.facts = [f for f in request.facts if not overtaken(f, durable)]
    for one in request.messages:
        one.grants = [f for f in one.grants if not overtaken(f, durable)]
    said = [*request.facts, *(f for one in request.messages for f in one.grants)]
    request.unsure = [f for f in said if overtaken(f, unsure)]


def overtaken(yes: Fact, facts: Iterable[Fact]) -> bool:
    """Whether one of these is a no that the same clock said later."""
    device = yes.whom[0]
    if yes.kind != "yes" or device is None or yes.claimed is None or yes.made is None:
        return False
    return any(
        no.kind == "no"
        and (no.who, no.source) == (device, yes.source)
        and no.about(yes.what)
        and no.claimed is not None
        and no.at < yes.counts
        and yes.claimed <= no.claimed <= no.at + LONGEST_FAST
        for no in facts
    )


def landed(request: Request, commit: Commit) -> None:
    """It is durable, and the records say which yes was left out."""
    if not request.unsure:
        return
    left_out = {
        (record.evidence.get("messageId"), key)
        for record in commit.records
        for key in record.evidence.get("overtaken", ())
    }
    gone = [f for f in request.unsure if (None, key_of(f.what)) in left_out]
    request.facts = [f for f in request.facts if f not in gone]
    for one in request.messages:
        lost = [f for f in request.unsure if (one.message_id, key_of(f.what)) in left_out]
        one.grants = [f for f in one.grants if f not in lost]
