"""A hostile destination: slow, busy, locked, lying, hanging, gone before or after it heard.

``Line`` is a ``Connected``. It honours the last look just before the first byte, tells ``heard``
at that instant, and then answers as its mood has it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

from consentry.core.delivery import Grade, Outcome
from consentry.destinations.message import Attempted, LastLook, Message
from consentry.destinations.spec import ALL_EVENTS, Spec

Heard = Callable[[str, int, Sequence[Message]], None]
"""The destination's name, the number of the line, what was sent."""
BATCHES = {"alpha": 4, "beta": 1, "gamma": 2, "delta": 3}


class Broken(Exception):
    """A destination's own code failed."""


MOODS: dict[str, dict[str, int]] = {
    "well": {"ok": 1},
    "slow": {"slow": 4, "ok": 1},
    "shaky": {"ok": 3, "refuses": 2, "resets": 2, "loses": 1, "raises": 1},
    "lying": {"ok": 3, "noop": 2, "garbage": 1, "partial": 2},
    "busy": {"ok": 2, "busy": 2, "resets": 1},
    "locked": {"ok": 3, "locked": 2},
    "hanging": {"hangs": 2, "slow": 2, "ok": 1},
    "down": {"refuses": 3, "resets": 1},
}

RETRY = Outcome(Grade.FAILED_RETRY, detail="the connection broke")
OUTCOMES = {
    "ok": Outcome(Grade.ACCEPTED, 200),
    "slow": Outcome(Grade.ACCEPTED, 200),
    "hangs": Outcome(Grade.FAILED_RETRY, detail="no answer in time"),
    "resets": RETRY,
    "loses": RETRY,
    "refuses": RETRY,
    "noop": Outcome(Grade.NOOP, 200, "it answered 200 and did nothing"),
    "garbage": Outcome(Grade.FAILED_FINAL, 400, "it said that the request makes no sense"),
    "busy": Outcome(Grade.RATE_LIMITED, 429, "too many requests", retry_after_s=3.0),
    "locked": Outcome(Grade.AUTH_BLOCKED, 401, "the key was refused", pause=True),
}
SECONDS = {"slow": (0.2, 4.0), "hangs": (5.0, 15.0)}


class Hostile:
    """One destination of the outside world. It outlives the processes that send to it."""

    def __init__(self, name: str, chance: random.Random, heard: Heard) -> None:
        self.name = name
        self.chance = chance
        self.heard = heard
        self.mood = "well"
        self.lines = 0

    def fate(self) -> str:
        fates = MOODS[self.mood]
        return self.chance.choices(list(fates), list(fates.values()))[0]


class Line:
    """How one process reaches it. ``alive`` is whether that process is."""

    def __init__(self, hostile: Hostile, alive: Callable[[], bool]) -> None:
        self.hostile = hostile
        self._alive = alive
        hostile.lines += 1
        self.number = hostile.lines
        batch_max = BATCHES[hostile.name]
        self.spec = Spec("hostile", "Hostile", batch_max, 10**6, ALL_EVENTS, "", Grade.ACCEPTED)

    async def send(self, messages: Sequence[Message], last_look: LastLook | None) -> Attempted:
        fate, chance = self.hostile.fate(), self.hostile.chance
        await asyncio.sleep(chance.uniform(0.0, 1.0 if fate == "slow" else 0.02))
        if fate == "refuses":
            return Attempted((RETRY,) * len(messages))
        if fate == "raises" and chance.random() < 0.5:
            raise Broken("before the first byte")
        self.look(last_look)
        if not self._alive():
            raise ConnectionError("the process that would send is gone")
        self.hostile.heard(self.hostile.name, self.number, messages)
        await asyncio.sleep(chance.uniform(*SECONDS.get(fate, (0.001, 0.1))))
        if fate == "raises":
            raise Broken("after the first byte")
        return Attempted(tuple(self._outcome(fate) for _ in messages))

    def look(self, last_look: LastLook | None) -> None:
        """The last look, just before the first byte."""
        assert last_look is not None
        last_look()

    def _outcome(self, fate: str) -> Outcome:
        if fate == "partial":
            fate = self.hostile.chance.choice(["ok", "noop", "garbage", "resets"])
        return OUTCOMES[fate]

    async def close(self) -> None:
        """Nothing is held."""
