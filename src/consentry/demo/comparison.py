"""Whether what arrived is what was allowed. Pure, so that a test can show it saying no.

Four witnesses are heard for every event and destination: the decision that was asked for
before the event was sent (``POST /v1/decisions``), what became of it (``GET /v1/events``), the
decision asked for again where something new was known (a change of mind while it waited, a
browser's signal that came with it), and the destination itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class Judged:
    """A decision in short: ``allow`` or ``withhold``, the reason, and why, per category."""

    decision: str
    reason: str
    why: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Judged:
        """From a decision as the API writes it."""
        failed = ((c["id"], c["why"]) for c in described["categories"] if c["why"] is not None)
        return cls(described["decision"], described["reason"], tuple(failed))

    @property
    def allows(self) -> bool:
        return self.decision == ALLOW


@dataclass(frozen=True, slots=True)
class Row:
    """One event and one destination.

    ``asked`` before it was sent, ``again`` where more was known afterwards, ``final`` and
    ``state`` as the server tells it afterwards. ``kept``: the destination took it over.
    ``takes``: it takes events of this kind at all.
    ``statuses``: what the destination answered, one for each request that held it.
    """

    message_id: str
    destination: str
    asked: Judged
    final: Judged
    state: str
    kept: bool
    statuses: tuple[int | None, ...] = ()
    again: Judged | None = None
    takes: bool = True

    @property
    def may_arrive(self) -> bool:
        return self.final.allows and self.takes


@dataclass(frozen=True, slots=True)
class Outcome:
    """All rows, and per destination the message ids that it holds."""

    rows: tuple[Row, ...]
    kept: Mapping[str, Set[str]] = field(default_factory=dict)


def disagreements(outcome: Outcome) -> list[str]:
    """What does not fit, one sentence each; empty when what arrived equals what was allowed."""
    found = [said for row in outcome.rows for said in _in_row(row)]
    return found + list(_uninvited(outcome))


def _in_row(row: Row) -> Iterator[str]:
    where = f"{row.message_id} to {row.destination}"
    if row.state not in ("delivered", "withheld"):
        yield f"{where}: it was left {row.state}"
    if row.kept != row.may_arrive:
        yield f"{where}: the decision is {row.final.decision}, but it {_did(row.kept)}"
    if row.kept != (row.state == "delivered"):
        yield f"{where}: it is said to be {row.state}, but it {_did(row.kept)}"
    if not row.asked.allows and (row.final.allows or row.statuses):
        yield f"{where}: withheld before it was sent, but {len(row.statuses)} requests held it"
    expected = row.asked if row.again is None else row.again
    if row.final != expected:
        yield f"{where}: asked, {_said(expected)}; afterwards, {_said(row.final)}"


def _uninvited(outcome: Outcome) -> Iterator[str]:
    """Events that a destination holds and nobody sent it."""
    for destination, kept in outcome.kept.items():
        known = {row.message_id for row in outcome.rows if row.destination == destination}
        for message_id in sorted(kept - known):
            yield f"{message_id} to {destination}: it arrived, but no such event was sent"


def _did(kept: bool) -> str:
    return "arrived" if kept else "did not arrive"


def _said(judged: Judged) -> str:
    why = ", ".join(f"{category} {why}" for category, why in judged.why)
    return f"{judged.decision} ({judged.reason}{': ' if why else ''}{why})"


def counts(rows: Iterable[Row]) -> tuple[int, int, int]:
    """Decisions, allowed in the end to whoever takes such events, arrived."""
    held = tuple(rows)
    return len(held), sum(r.may_arrive for r in held), sum(r.kept for r in held)
