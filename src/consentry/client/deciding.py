"""What a gate decides by: the policy, and everything recorded that this process knows of.

It serves one thread at a time; the gate sees to that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from consentry.client.quick import Heard
from consentry.client.result import Refused
from consentry.clock import Clock
from consentry.config import Source
from consentry.core.choice import Answer
from consentry.core.decision import Decisions, decide, question_of
from consentry.core.event import (
    Envelope,
    Event,
    Malformed,
    made_at,
    parse_event,
    stamped_context,
)
from consentry.core.moment import Moment
from consentry.core.policy import Policy
from consentry.core.preference import Standing
from consentry.core.record import Node
from consentry.flow import describe
from consentry.flow.accept import Incoming, nodes_of, of_all_named, records_of
from consentry.flow.explain import explain_event
from consentry.flow.offline import Held, NoRecords, Records, world_of
from consentry.flow.records import Origin, Said, choice_record
from consentry.flow.subjects import Subjects, touched_by
from consentry.flow.told import holding, narrowed, shared_choice, stamped
from consentry.ledger.entry import Record
from consentry.ports import StoreUnavailable


class GateFull(StoreUnavailable):
    """No more can be kept in memory, so what was to be recorded is not known to the gate.

    It hands on nothing from then on. Use a store, or a server, for so many people.
    """


class Decided(NamedTuple):
    """What was decided about an event, and the standing that it was decided by."""

    decisions: Decisions
    standing: Standing
    at: Moment


class Deciding:
    """Decides as the server does. ``changes`` grows whenever something else may now be right."""

    def __init__(
        self, policy: Policy, source: Source, records: Records, clock: Clock | None, most: int
    ) -> None:
        self.policy = policy
        self.heard = Heard()
        self.changes = 0
        self.kept, self._most = 0, most
        self._full = False
        self._held = Held(records)
        self._size = records.size()
        # Whether all that is known is in ``heard``: other records need a look for every event.
        self.quick = isinstance(records, NoRecords)
        self._regime = source.regime
        self._source = source
        self._origin = Origin(source.name, "server" if source.trusted else "public")
        regimes = {} if source.regime is None else {source.name: source.regime}
        self._world = world_of(self._held, policy, regimes, clock)

    def look(self) -> int:
        """``changes``, after a look for records that were written elsewhere. Raises StoreError."""
        if self._full:
            raise GateFull("the gate is full: it does not know every choice")
        size = self._held.size()
        if size != self._size:
            self._size = size
            self._world.subjects = Subjects(self._world.store)
            self.changes += 1
        return self.changes

    def read(self, raw: Any) -> Event:
        """The event in a dictionary. Raises Refused."""
        event = parse_event(raw, Envelope(self._world.clock.now()), fallback_id="")
        if isinstance(event, Malformed):
            raise Refused(event.code, event.message, event.field)
        return event

    def explain(self, event: Event) -> Decisions:
        """What is decided about this event; nothing is recorded."""
        self.look()
        return explain_event(self._world, event, self._origin)

    def accept(self, event: Event) -> Decided:
        """Record the choice and the links in an event, then decide about it."""
        self.look()
        incoming = Incoming(self._origin, (), Envelope(event.received_at))
        records, _ = records_of(self._world, incoming, [event])
        self._keep(records)
        return self._decide(event, event.received_at)

    def again(self, event: Event) -> Decided:
        """Decide as of now, about an event that was accepted before."""
        return self._decide(event, self._world.clock.now())

    def _decide(self, event: Event, at: Moment) -> Decided:
        standing = self._world.subjects.standing(nodes_of(event), self.policy, at)
        standing = of_all_named(self._world, event, standing)
        return Decided(
            decide(self.policy, question_of(event, self._regime), standing), standing, at
        )

    def told(self, event: Event, decided: Decided, destination: str) -> dict[str, Any]:
        """The event as this destination is handed it: its consent object says what holds."""
        standing, message = decided.standing, event.message
        if self.shares(event, destination):
            effective = describe.effective(self.policy, standing, decided.at, self._regime)
            return shared_choice(message, effective)
        consent = holding(self.policy, question_of(event, self._regime), standing)
        if event.stamp is None:
            return stamped(message, consent)
        context = stamped_context(event.context, event.stamp)
        return narrowed({**message, "context": context}, consent)

    def shares(self, event: Event, destination: str) -> bool:
        """Whether it is a choice, and the destination is told of choices."""
        return event.is_preference_update and self.policy.mapping[destination].share_consent

    def record(
        self, nodes: tuple[Node, ...], answer: Answer, claimed: Moment | None
    ) -> dict[str, bool]:
        """Keep a choice that the application vouches for; what then holds, per category."""
        self.look()
        world, now = self._world, self._world.clock.now()
        said = Said(nodes, answer, now, made_at(claimed, None, now), claimed)
        self._keep([choice_record(world, said, Origin(self._source.name, "server"))])
        standing = world.subjects.standing(nodes, self.policy, now)
        return describe.effective(self.policy, standing, now, self._regime)

    def _keep(self, records: Sequence[Record]) -> None:
        if not records:
            return
        if self.kept + len(records) > self._most:
            self._full, self.quick = True, False
            self.changes += 1
            raise GateFull("no more choices can be kept in memory")
        with self._world.subjects.in_flight(records):  # so that what they touch is read afresh
            for record in records:
                self._held.keep(record)
                self.heard.add(touched_by(record))
        self.kept += len(records)
        self.changes += 1
