"""A hostile destination: slow, busy, locked, lying, hanging, gone before or after it heard.

``Line`` is a ``Connected``. It honours the last look just before the first byte, tells ``heard``
or ``told`` at that instant, and then answers as its mood has it. What it was told of people it
holds, unless it lies; it can be asked, and some report back whatever they were told.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from consentry.core.delivery import Grade, Outcome
from consentry.core.order import Verb
from consentry.destinations.instruction import Found, Instruction, Orders, Person, Reading
from consentry.destinations.message import Attempted, LastLook, Message
from consentry.destinations.registry import gated
from consentry.destinations.spec import ALL_EVENTS, Spec
from consentry.orders import Order
from tests.simulation.policies import REACHES

BATCHES = {"alpha": 4, "beta": 1, "gamma": 2, "delta": 3}


class Tells(NamedTuple):
    """What a destination can be told: the verbs, the kinds of identifier by which it knows
    people, how many orders at once, whether it can be asked and whether it calls back."""

    verbs: tuple[str, ...] = ()
    knows: str = ""
    batch: int = 1
    asked: bool = False


TELLS = {
    "alpha": Tells(("suppress", "erase", "grant"), "du", 3, asked=True),
    "beta": Tells(("suppress", "grant"), "u", 1, asked=True),
    "gamma": Tells(("suppress", "erase"), "du", 2),
    "delta": Tells(),
}
"""One of them cannot erase, and one knows no device."""


class Witness(Protocol):
    """Who is told what happens on a line, at the instant at which it does."""

    def heard(self, name: str, line: int, messages: Sequence[Message]) -> None: ...

    def told(self, name: str, line: int, instructions: Sequence[Instruction]) -> None: ...

    def reports(self, name: str, one: Instruction) -> None: ...


class Broken(Exception):
    """A destination's own code failed."""


MOODS: dict[str, dict[str, int]] = {
    "well": {"ok": 1},
    "slow": {"slow": 4, "ok": 1},
    "shaky": {"ok": 3, "refuses": 2, "resets": 2, "loses": 1, "raises": 1},
    "lying": {"ok": 3, "noop": 2, "garbage": 1, "partial": 2, "lies": 2},
    "busy": {"ok": 2, "busy": 2, "resets": 1},
    "locked": {"ok": 3, "locked": 2},
    "hanging": {"hangs": 2, "slow": 2, "ok": 1},
    "down": {"refuses": 3, "resets": 1},
}

RETRY = Outcome(Grade.FAILED_RETRY, detail="the connection broke")
OUTCOMES = {
    "ok": Outcome(Grade.ACCEPTED, 200),
    "lies": Outcome(Grade.ACCEPTED, 200),
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
OBEYS = frozenset({"ok", "slow", "hangs", "loses"})
"""It does what it is told, whatever it answers."""
SECONDS = {"slow": (0.2, 4.0), "hangs": (5.0, 15.0)}


def people_of(person: Person) -> list[str]:
    """Those named, in the model's words."""
    return [*(f"d:{one}" for one in person.anonymous_ids), *(f"u:{one}" for one in person.user_ids)]


def scope_of(one: Instruction | Order) -> str | None:
    """What is said: of one message, in the model's words, or of the whole person."""
    return None if one.whole else " ".join(f"{topic}@{way}" for topic, way in one.topics)


class Hostile:
    """One destination of the outside world. It outlives the processes that send to it.

    ``held`` is what it does with people by now, and as to which message. ``echoes``: it reports what it was told.
    ``lied``: it has said that it did what it did not.
    """

    def __init__(self, name: str, chance: random.Random, witness: Witness) -> None:
        self.name = name
        self.chance = chance
        self.witness = witness
        self.mood = "well"
        self.lines = 0
        self.held: dict[tuple[str, str | None], str] = {}
        self.lied = False
        self.echoes = chance.random() < 0.35

    def fate(self) -> str:
        fates = MOODS[self.mood]
        return self.chance.choices(list(fates), list(fates.values()))[0]

    def orders(self) -> Orders | None:
        """What its kind can be told."""
        tells = TELLS[self.name]
        if not tells.verbs:
            return None
        names = {"d": "anonymous_ids", "u": "user_ids"}
        return Orders(
            {Verb(verb): Grade.CONFIRMED for verb in tells.verbs},
            frozenset(names[kind] for kind in tells.knows),
            "It is hostile.",
            frozenset(REACHES[self.name]),
            batch_max=tells.batch,
            reads_back=tells.asked,
            hears=True,
        )

    def obey(self, instruction: Instruction) -> None:
        """Do it, and say so to whoever told it, if that is its way."""
        for who in people_of(instruction.person):
            self.held[who, scope_of(instruction)] = instruction.verb.value
        if self.echoes and people_of(instruction.person):
            self.witness.reports(self.name, instruction)


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
        fate = self.hostile.fate()
        if not await self._begin(fate, last_look):
            return Attempted((RETRY,) * len(messages))
        self.hostile.witness.heard(self.hostile.name, self.number, messages)
        await self._answer(fate)
        return Attempted(tuple(OUTCOMES[one] for one in self._fates(fate, messages)))

    async def obey(
        self, instructions: Sequence[Instruction], last_look: LastLook | None
    ) -> Attempted:
        if not TELLS[self.hostile.name].verbs:
            return gated(instructions)
        fate = self.hostile.fate()
        if not await self._begin(fate, last_look):
            return Attempted((RETRY,) * len(instructions))
        self.hostile.witness.told(self.hostile.name, self.number, instructions)
        fates = list(self._fates(fate, instructions))
        for instruction, one in zip(instructions, fates, strict=True):
            if one in OBEYS:
                self.hostile.obey(instruction)
            self.hostile.lied = self.hostile.lied or one == "lies"
        await self._answer(fate)
        return Attempted(tuple(OUTCOMES[one] for one in fates))

    async def read_back(self, instruction: Instruction, ref: str) -> Reading:
        fate, chance = self.hostile.fate(), self.hostile.chance
        await asyncio.sleep(chance.uniform(*SECONDS.get(fate, (0.001, 0.1))))
        if fate == "raises":
            raise Broken("while it was asked")
        if fate not in OBEYS | {"lies"}:
            return Reading(Found.UNKNOWN)
        if fate == "slow" and chance.random() < 0.3:
            return Reading(Found.PENDING)
        scope = scope_of(instruction)
        held = {self.hostile.held.get((who, scope)) for who in people_of(instruction.person)}
        return Reading(Found.EQUAL if held == {instruction.verb.value} else Found.DIFFERENT)

    async def _begin(self, fate: str, last_look: LastLook | None) -> bool:
        """Up to the first byte. False: there is nobody to send to."""
        chance = self.hostile.chance
        await asyncio.sleep(chance.uniform(0.0, 1.0 if fate == "slow" else 0.02))
        if fate == "refuses":
            return False
        if fate == "raises" and chance.random() < 0.5:
            raise Broken("before the first byte")
        self.look(last_look)
        if not self._alive():
            raise ConnectionError("the process that would send is gone")
        return True

    async def _answer(self, fate: str) -> None:
        await asyncio.sleep(self.hostile.chance.uniform(*SECONDS.get(fate, (0.001, 0.1))))
        if fate == "raises":
            raise Broken("after the first byte")

    def look(self, last_look: LastLook | None) -> None:
        """The last look, just before the first byte."""
        assert last_look is not None
        last_look()

    def _fates(self, fate: str, several: Sequence[Any]) -> Iterator[str]:
        for _ in several:
            if fate == "partial":
                yield self.hostile.chance.choice(["ok", "noop", "garbage", "resets", "lies"])
            else:
                yield fate

    async def close(self) -> None:
        """Nothing is held."""
