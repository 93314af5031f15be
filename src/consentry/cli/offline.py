"""Decisions without a server: the same ``decide``, from a configuration and a store's file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

from consentry.clock import Clock
from consentry.config import Config
from consentry.core.choice import answer_of_update, subject_of
from consentry.core.decision import decide, question_of
from consentry.core.event import Envelope, Event, Malformed, parse_event, read_time
from consentry.core.moment import Moment, format_exact
from consentry.core.preference import Standing
from consentry.core.record import Facts, Merge, Node
from consentry.core.stamp import Invalid
from consentry.flow import describe
from consentry.flow.accept import nodes_of
from consentry.flow.records import Origin, Said, choice_record
from consentry.flow.subjects import Subjects
from consentry.flow.world import World
from consentry.ledger.entry import Record
from consentry.ports import Store


class Records(Protocol):
    """What a decision reads of a store, and nothing more."""

    def knows(self, node: Node) -> bool: ...

    def facts_of(self, node: Node) -> Facts: ...

    def links_of(self, node: Node) -> tuple[Node, ...]: ...

    def merges_of(self, user_id: str) -> tuple[Merge, ...]: ...


class NoRecords:
    """Nothing was ever recorded: what a decision is without a store."""

    def knows(self, node: Node) -> bool:
        return False

    def facts_of(self, node: Node) -> Facts:
        return ()

    def links_of(self, node: Node) -> tuple[Node, ...]:
        return ()

    def merges_of(self, user_id: str) -> tuple[Merge, ...]:
        return ()


class Offline:
    """Answers as POST /v1/decisions would, at this instant. Sends and records nothing.

    ``source`` names the source that the events are taken to come from; without one they are
    taken for a public source's, which may grant least.
    """

    def __init__(self, config: Config, records: Records, source: str | None = None) -> None:
        # Deciding asks a store for facts, links and merges only: see flow.subjects.
        store = cast(Store, records)
        self._world = World(
            store=store,
            subjects=Subjects(store),
            clock=Clock(),
            policy=config.policy,
            policy_id=0,
            regimes={s.name: s.regime for s in config.sources if s.regime is not None},
        )
        trusted = any(s.trusted for s in config.sources if s.name == source)
        self._origin = Origin(source or "", "server" if trusted else "public")

    def explain(self, ids: Sequence[str], events: Sequence[Any], batch: dict[str, Any]) -> Any:
        """The reply of POST /v1/decisions for these events."""
        now = self._world.clock.now()
        envelope = _envelope(now, batch)
        return {
            "decidedAt": format_exact(now),
            "policyVersion": self._world.policy.version,
            "items": [
                self._item(item_id, raw, envelope) for item_id, raw in zip(ids, events, strict=True)
            ],
        }

    def _item(self, item_id: str, raw: Any, envelope: Envelope | Malformed) -> dict[str, Any]:
        event: Event | Malformed
        if isinstance(envelope, Malformed):
            event = envelope
        else:
            event = parse_event(raw, envelope, fallback_id=item_id)
        if isinstance(event, Malformed):
            error = {"code": event.code, "message": event.message, "field": event.field}
            return {"id": item_id, "error": {k: v for k, v in error.items() if v is not None}}
        world = self._world
        question = question_of(event, world.regimes.get(self._origin.source))
        decisions = decide(world.policy, question, self._standing(event))
        return {"id": item_id, "decisions": [describe.decision(one) for one in decisions]}

    def _standing(self, event: Event) -> Standing:
        """With what the event itself would record: choices are recorded before deciding."""
        world = self._world
        own: list[Record] = []
        if event.is_preference_update:
            answer = answer_of_update(event, world.policy)
            said = Said(subject_of(event), answer, event.received_at, event.made_at)
            own.append(choice_record(world, said, self._origin))
        return world.subjects.standing_with(nodes_of(event), world.policy, event.received_at, own)


def _envelope(now: Moment, batch: dict[str, Any]) -> Envelope | Malformed:
    """What a batch says of all its events; Malformed as the server would find it."""
    try:
        for name in ("context", "integrations"):
            if batch.get(name) is not None and not isinstance(batch[name], dict):
                raise Invalid(name, f"{name} must be an object")
        sent = batch.get("sentAt")
        return Envelope(
            received_at=now,
            sent_at=None if sent is None else read_time(sent, "sentAt"),
            context=batch.get("context"),
            integrations=batch.get("integrations"),
        )
    except Invalid as error:
        return Malformed(error.code, error.message, error.field)
