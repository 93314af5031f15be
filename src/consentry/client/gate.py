"""One gate: who is added, and the way of each event to those whom it may reach.

Several threads may use one gate. What is known changes, and is decided by, under one lock.
Callables are called outside it, and just before each call the gate looks whether anything was
recorded since the decision; if so it decides again. So once ``record`` has returned, no call is
begun that the recorded denial forbids. One that had begun may still be running.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from consentry.client.deciding import Decided, Deciding
from consentry.client.quick import MOST_PLANS, Call, Plan, text_of
from consentry.client.result import NOT_ADDED, SHADOW, Counts, Decisions, Refused, Result
from consentry.client.said import read_choice
from consentry.client.way import Way, refuse_awaitable
from consentry.clock import Clock
from consentry.config import Source, load_config
from consentry.core.policy import Policy
from consentry.flow.configure import history_in
from consentry.flow.offline import NoRecords, Records, ToldRecords
from consentry.notice import as_told
from consentry.ports import StoreError

MOST_RECORDS = 1_000_000
"""Some two gigabytes."""


class Gate:
    """Decides about events in this process, and hands each to those that may have it.

    ``source`` is where the events come from: what their choices may grant, and what silence
    means. ``records`` are read besides what this process records itself. Raises StoreError when
    they cannot be read. ``most`` choices and links are kept in memory; past it, see ``GateFull``.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        source: Source = Source(""),  # noqa: B008  (a value; public, which may grant least)
        records: Records | None = None,
        shadow: bool = False,
        clock: Clock | None = None,
        most: int = MOST_RECORDS,
    ) -> None:
        self._deciding = Deciding(policy, source, records or NoRecords(), clock, most)
        self._shadow = shadow
        self._lock = threading.Lock()
        self._calls: dict[str, Call] = {}
        self._plans: dict[bytes | None, Plan] = {}  # by the text of a consent object
        self._outcomes: dict[tuple[object, ...], Plan] = {}  # the same, each once
        self._counts = Counts()

    @classmethod
    def from_config(
        cls,
        path: str | os.PathLike[str],
        *,
        source: str | None = None,
        store: str | os.PathLike[str] | None = None,
    ) -> Gate:
        """A gate with the policy of a configuration file; no secret of it is looked up.

        ``source`` names one of its sources; without it the events are taken for a public
        source's, which may grant least. ``store`` is a store's SQLite file, read and never
        written: choices in it count as soon as the server has written them. Raises ConfigError,
        ValueError for a source that is not there, StoreError for a store that cannot be read.
        """
        config = load_config(path, None)
        sources = {known.name: known for known in config.sources}
        if source is not None and source not in sources:
            raise ValueError(f"there is no source {source!r}: there are {', '.join(sources)}")
        named = Source("") if source is None else sources[source]
        records = _file(store)
        now, policy = Clock().now(), config.policy
        told = history_in(records, policy, config.notice, config.tags, now)
        return cls(as_told(policy, told), source=named, records=records, shadow=config.shadow)

    def add(self, destination: str, call: Call) -> None:
        """Hand events for a destination of the configuration to this callable from now on.

        It is called with the event, a dictionary that others are handed too: read it, and copy
        what you change. It may be asynchronous if ``apush`` is used. Raises ValueError for a
        name that is not configured or was added before.
        """
        known = self._deciding.policy.mapping
        if destination not in known:
            raise ValueError(
                f"there is no destination {destination!r}: there are {', '.join(known)}"
            )
        if not callable(call):
            raise TypeError(f"what is added for {destination!r} cannot be called")
        with self._lock:
            if destination in self._calls:
                raise ValueError(f"{destination!r} was added already")
            self._calls[destination] = call
            self._plans.clear()

    def decide(self, event: Any) -> Decisions:
        """What is decided about an event, as POST /v1/decisions would say.

        Nothing is recorded and nobody is called. Raises Refused, StoreError.
        """
        with self._lock:
            return Decisions(self._deciding.explain(self._deciding.read(event)))

    def record(
        self,
        subject: Mapping[str, str],
        preferences: Mapping[str, bool],
        made_at: datetime | str | None = None,
    ) -> dict[str, bool]:
        """Keep somebody's choice in this process's memory. It counts when this returns.

        ``subject`` has ``anonymousId``, ``userId``, ``email`` or ``phone``; ``preferences`` what
        was answered per category: others stay as they were. ``made_at`` is when, if not now; a
        time without a zone is UTC. Returns what then holds, per category. Raises Refused, and
        StoreError when it could not be kept.
        """
        nodes, answer, claimed = read_choice(subject, preferences, made_at)
        with self._lock:
            return self._deciding.record(nodes, answer, claimed)

    def push(self, event: Any) -> Result:
        """Hand an event to every destination that may have it, one after the other.

        A choice and the links in it are recorded first. What a callable raises is in the
        result, and the others are called all the same. Raises Refused for a malformed event, and
        StoreError when the consent state cannot be read; then nobody was called.
        """
        deciding, at, error = self._deciding, "", None
        changes = deciding.changes
        plan = self._plans.get(text_of(event, deciding.heard)) if deciding.quick else None
        if plan is None:
            return self._finish(self._accept(event))
        try:
            for at, call in plan.calls:  # noqa: B007  (where it was left)
                if deciding.changes != changes:
                    break
                returned = call(event)
                if returned is not None:
                    refuse_awaitable(returned)
            else:
                plan.tick()
                return plan.result
        except Exception as raised:
            error = raised
        return self._finish(self._rest(event, plan, at, error))

    async def apush(self, event: Any) -> Result:
        """As ``push``, for callables that may be asynchronous: all of them run at once."""
        way = self._accept(event)
        try:
            await asyncio.gather(*(way.attempt(name, call) for name, call in way.ahead))
        finally:
            result = way.result()
            self._count(result)
        return result

    @property
    def counts(self) -> Counts:
        """What became of all events so far."""
        with self._lock:
            total = self._counts.copy()
            total.recorded = self._deciding.kept
            for plan in self._outcomes.values():
                total.add(plan.result, plan.used)
            return total

    def _accept(self, raw: Any) -> Way:
        deciding = self._deciding
        with self._lock:
            try:
                event = deciding.read(raw)
                decided = deciding.accept(event)
            except Refused:
                self._counts.refused += 1
                raise
            except StoreError:
                self._counts.unreadable += 1
                raise
            ahead, withheld = self._sorted(decided)
            # Read again under the lock: somebody may have been recorded in between.
            text = text_of(raw, deciding.heard) if deciding.quick else None
            if text is not None:
                self._remember(text, ahead, withheld)
            return Way(deciding, self._lock, raw, ahead, withheld, event, decided)

    def _sorted(self, decided: Decided) -> tuple[tuple[tuple[str, Call], ...], dict[str, str]]:
        """Whom to call, and why the others are withheld."""
        ahead: list[tuple[str, Call]] = []
        withheld: dict[str, str] = {}
        for name, allow, reason, _ in decided.decisions.ruling.each:
            call = self._calls.get(name)
            if not allow:
                withheld[name] = reason.value
            elif self._shadow:
                withheld[name] = SHADOW
            elif call is None:
                withheld[name] = NOT_ADDED
            else:
                ahead.append((name, call))
        return tuple(ahead), withheld

    def _remember(
        self, text: bytes, ahead: tuple[tuple[str, Call], ...], withheld: dict[str, str]
    ) -> None:
        """Plan what to do with events of this text, while there is room for another plan."""
        outcome = tuple(withheld.items())
        plan = self._outcomes.get(outcome)
        if plan is None:
            if len(self._outcomes) >= MOST_PLANS:
                return
            plan = self._outcomes[outcome] = Plan(ahead, MappingProxyType(withheld.copy()))
        if len(self._plans) >= MOST_PLANS:
            self._plans.clear()
        self._plans[text] = plan

    def _rest(self, raw: Any, plan: Plan, at: str, error: Exception | None) -> Way:
        """What is left to do of a plan that was left at a destination, before or in its call."""
        names = plan.result.delivered
        done = names.index(at)
        ahead = plan.calls[done if error is None else done + 1 :]
        way = Way(self._deciding, self._lock, raw, ahead, dict(plan.result.withheld))
        way.delivered += names[:done]
        if error is not None:
            way.failed[at] = error
        return way

    def _finish(self, way: Way) -> Result:
        result = way.go()
        self._count(result)
        return result

    def _count(self, result: Result) -> None:
        with self._lock:
            self._counts.add(result)


def _file(store: str | os.PathLike[str] | None) -> ToldRecords:
    if store is None:
        return NoRecords()
    from consentry.store.record_file import RecordFile  # only who reads a store needs SQLite

    return RecordFile(os.fspath(store))
