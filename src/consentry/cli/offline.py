"""Decisions without a server: the same ``decide``, from a configuration and a store's file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from consentry.clock import Clock
from consentry.config import Config
from consentry.core.event import Envelope, Event, Malformed, parse_event, read_time
from consentry.core.moment import Moment, format_exact
from consentry.core.rule import NOBODY_LOOKED, Place
from consentry.core.stamp import Invalid
from consentry.flow import describe
from consentry.flow.configure import history_in
from consentry.flow.explain import explain_event
from consentry.flow.offline import Held, ToldRecords, world_of
from consentry.flow.records import Origin
from consentry.notice import as_told


class Offline:
    """Answers as POST /v1/decisions would, at this instant. Sends and records nothing.

    ``source`` names the source that the events are taken to come from; without one they are
    taken for a public source's, which may grant least. ``place`` is where they happen.
    """

    def __init__(
        self,
        config: Config,
        records: ToldRecords,
        source: str | None = None,
        place: Place | None = None,
    ) -> None:
        regimes = {s.name: s.regime for s in config.sources if s.regime is not None}
        clock, policy = Clock(), config.policy
        told = history_in(records, policy, config.notice, config.tags, clock.now())
        self._world = world_of(Held(records), as_told(policy, told), regimes, clock)
        trusted = any(s.trusted for s in config.sources if s.name == source)
        trust = "server" if trusted else "public"
        self._origin = Origin(source or "", trust, None, place or NOBODY_LOOKED)

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
        decisions = explain_event(self._world, event, self._origin)
        return {"id": item_id, "decisions": [describe.decision(one) for one in decisions]}


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
