"""The way of one event: looked at once more before each call, and what became of it."""

from __future__ import annotations

from inspect import isawaitable, iscoroutine
from threading import Lock
from types import MappingProxyType
from typing import Any

from consentry.client.deciding import Decided, Deciding
from consentry.client.quick import Call
from consentry.client.result import Result
from consentry.core.event import Event


class Way:
    """An event that was allowed to go to the destinations in ``ahead``.

    Whatever else is right by the time of a call, it goes to no other: both as of its acceptance
    and as of now the decision must be yes. ``raw`` is what was pushed; ``event`` and ``decided``
    are None where it was decided by a plan, and are worked out when they are needed.
    """

    def __init__(
        self,
        deciding: Deciding,
        lock: Lock,
        raw: Any,
        ahead: tuple[tuple[str, Call], ...],
        withheld: dict[str, str],
        event: Event | None = None,
        decided: Decided | None = None,
    ) -> None:
        self._deciding = deciding
        self._lock = lock
        self._raw = raw
        self._event = event
        self._decided = decided
        self._changes = deciding.changes
        self._told: dict[bool, dict[str, Any]] = {}
        self.ahead = ahead
        self.withheld = withheld
        self.delivered: list[str] = []
        self.failed: dict[str, Exception] = {}

    def go(self) -> Result:
        """Call one after the other."""
        for name, call in self.ahead:
            try:
                body = self._look(name)
                if body is None:
                    continue
                refuse_awaitable(call(body))
            except Exception as error:
                self.failed[name] = error
            else:
                self.delivered.append(name)
        return self.result()

    async def attempt(self, name: str, call: Call) -> None:
        """Call one, and wait for it."""
        try:
            body = self._look(name)
            if body is None:
                return
            returned = call(body)
            if isawaitable(returned):
                await returned
        except Exception as error:
            self.failed[name] = error
        else:
            self.delivered.append(name)

    def result(self) -> Result:
        """What became of it so far."""
        return Result(tuple(self.delivered), MappingProxyType(self.withheld), self.failed)

    def _look(self, name: str) -> dict[str, Any] | None:
        """The event as this destination may be handed it now; None when it may not.

        Raises StoreError when that cannot be known.
        """
        with self._lock:
            deciding, changes = self._deciding, self._deciding.look()
            if self._event is None:
                self._event = deciding.read(self._raw)
            if self._decided is None or changes != self._changes:
                self._decided, self._changes = deciding.again(self._event), changes
                self._told.clear()
            decisions = self._decided.decisions
            if not decisions.allows(name):
                decision = decisions.of(name)
                assert decision is not None  # a gate has one policy all its life
                self.withheld[name] = decision.reason.value
                return None
            shares = deciding.shares(self._event, name)
            if shares not in self._told:
                self._told[shares] = deciding.told(self._event, self._decided, name)
            return self._told[shares]


def refuse_awaitable(returned: Any) -> None:
    """An asynchronous callable has done nothing yet when it returns. Raises TypeError."""
    if returned is not None and isawaitable(returned):
        if iscoroutine(returned):
            returned.close()
        raise TypeError("the callable is asynchronous, so nothing was sent: use apush")
