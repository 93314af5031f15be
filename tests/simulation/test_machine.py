"""Hypothesis as driver of the same world: what breaks is made as short as it can be.

Rules choose the actions and their arguments; chance within a mood comes from one seed, which
Hypothesis chooses too. The checks are those of ``checks``, called from the world itself.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from structlog.testing import capture_logs

from tests.simulation.actions import Action, step
from tests.simulation.defects import DEFECTS
from tests.simulation.destination import BATCHES, TELLS
from tests.simulation.destination import MOODS as VENDOR_MOODS
from tests.simulation.driver import ACCOUNTS, DEVICES, ID_OF, begin, close, finish
from tests.simulation.policies import CATEGORIES, CHANGES, CHANNELS, MESSAGES
from tests.simulation.process import Parts
from tests.simulation.store import MOODS as DISK_MOODS
from tests.simulation.world import Simulation, Violation

GAPS_S = st.sampled_from([0.0, 0.003, 0.02, 0.5, 2.0, 21.0])
WHO = st.sampled_from([(d, a) for d in (*DEVICES, None) for a in (None, *ACCOUNTS) if d or a])
WHOLE = tuple(f"*@{channel}" for channel in CHANNELS)
ANSWERS = st.dictionaries(st.sampled_from((*CATEGORIES, *MESSAGES)), st.booleans(), min_size=1)
DOORS = st.sampled_from(["public", "proven", "server"])
AGES = st.sampled_from([None, 0, 1, 10, 30, -3, -60])
NAMES = st.sampled_from(list(BATCHES))
TELLING = st.sampled_from([name for name, tells in TELLS.items() if tells.verbs])
IDS = st.sampled_from([*(f"d:{d}" for d in DEVICES), *(f"u:{a}" for a in ACCOUNTS)])
EVENTS = st.sampled_from([None, "e1"])
CHANGED = st.lists(st.sampled_from(list(CHANGES)), max_size=2, unique=True).map(tuple)

GPC = st.sampled_from([None, True, False])
PLACES = st.sampled_from([None, "DE", ""])
KEYS = st.sampled_from([None, "k1"])
EVERYTHING = st.sampled_from((*CATEGORIES, *MESSAGES, *WHOLE))
SOME = st.none() | st.lists(EVERYTHING, min_size=1, unique=True)
ABOUT = st.none() | st.sampled_from((*MESSAGES, *WHOLE))
REFUSED = st.lists(st.sampled_from(WHOLE), max_size=1).map(lambda said: dict.fromkeys(said, False))


@st.composite
def items(draw: st.DrawFn) -> dict[str, Any]:
    """One message, as ``messages.read`` wants it."""
    kind = draw(st.sampled_from(["track", "update", "identify", "alias"]))
    device, account = draw(WHO)
    alias = kind == "alias"
    narrowed = st.sampled_from([None, None, {"All": False}, {"beta": False}])
    return {
        "kind": kind,
        "id": draw(st.integers(0, 14)) + ID_OF[kind],
        "device": device,
        "account": account or (ACCOUNTS[0] if alias else None),
        "previous": draw(st.sampled_from([*ACCOUNTS, *DEVICES])) if alias else None,
        "stamp": draw(ANSWERS if kind == "update" else st.none() | ANSWERS),
        "integrations": draw(narrowed),
        "age": draw(AGES),
        "skew": draw(st.sampled_from([None, 0, 100, -100])),
    }


MESSAGES = st.lists(items(), min_size=1, max_size=3)


class Machine(RuleBasedStateMachine):
    """One run. ``parts`` are what the processes are made of."""

    parts = Parts()

    @initialize(seed=st.integers(0, 1000))
    def begin(self, seed: int) -> None:
        self.broken = False
        self.logs = ExitStack()
        self.logs.enter_context(capture_logs())
        self.sim = Simulation(seed, self.parts)
        self.sim.loop.run_until_complete(begin(self.sim))

    def act(self, name: str, gap_s: float, **args: Any) -> None:
        try:
            self.sim.loop.run_until_complete(step(self.sim, Action(name, args), gap_s))
        except AssertionError:
            self.broken = True
            raise

    @rule(gap_s=GAPS_S, door=DOORS, sent=MESSAGES, gpc=GPC, place=PLACES)
    def send(self, gap_s: float, door: str, sent: Any, gpc: bool | None, place: str | None) -> None:
        self.act("send", gap_s, door=door, items=sent, gpc=gpc, place=place)

    @rule(gap_s=GAPS_S, who=WHO, answers=ANSWERS, no=REFUSED, door=DOORS, age=AGES, once=KEYS)
    def choose(
        self, gap_s: float, who: Any, answers: Any, no: Any, door: str, age: Any, once: Any
    ) -> None:
        more = {"answers": answers | no, "door": door, "age": age, "once": once}
        self.act("choose", gap_s, device=who[0], account=who[1], **more)

    @rule(gap_s=GAPS_S, who=WHO, some=SOME, door=DOORS, once=KEYS)
    def withdraw(self, gap_s: float, who: Any, some: Any, door: str, once: Any) -> None:
        more = {"what": some, "door": door, "once": once}
        self.act("withdraw", gap_s, device=who[0], account=who[1], **more)

    @rule(gap_s=GAPS_S, who=WHO, answers=ANSWERS, age=st.sampled_from([None, 0, 100]))
    def bring(self, gap_s: float, who: Any, answers: Any, age: Any) -> None:
        self.act("bring", gap_s, device=who[0], account=who[1], answers=answers, age=age)

    @rule(gap_s=GAPS_S, who=WHO, on=st.booleans())
    def suppression(self, gap_s: float, who: Any, on: bool) -> None:
        self.act("suppression", gap_s, device=who[0], account=who[1], on=on)

    @rule(gap_s=GAPS_S, who=WHO, once=KEYS, twice=st.booleans())
    def erase(self, gap_s: float, who: Any, once: Any, twice: bool) -> None:
        self.act("erase", gap_s, device=who[0], account=who[1], once=once, twice=twice)

    @rule(gap_s=GAPS_S, which=st.integers(0, 3))
    def look(self, gap_s: float, which: int) -> None:
        self.act("look", gap_s, which=which)

    @rule(gap_s=GAPS_S, by=TELLING, who=IDS, refuses=st.booleans(), event=EVENTS, about=ABOUT)
    def report(
        self, gap_s: float, by: str, who: str, refuses: bool, event: Any, about: Any
    ) -> None:
        more = {"who": who, "refuses": refuses, "event": event, "about": about}
        self.act("report", gap_s, destination=by, **more)

    @rule(gap_s=GAPS_S, who=WHO, place=PLACES, door=DOORS, item=items())
    def ask(self, gap_s: float, who: Any, place: str | None, door: str, item: Any) -> None:
        more = {"place": place, "door": door, "item": item}
        self.act("ask", gap_s, device=who[0], account=who[1], **more)

    @rule(gap_s=GAPS_S, destination=TELLING)
    def tell_again(self, gap_s: float, destination: str) -> None:
        self.act("tell_again", gap_s, destination=destination)

    @rule(gap_s=GAPS_S, destination=NAMES, dead=st.booleans())
    def requeue(self, gap_s: float, destination: str, dead: bool) -> None:
        self.act("replay" if dead else "retry", gap_s, destination=destination)

    @rule(gap_s=GAPS_S, changes=CHANGED)
    def configure(self, gap_s: float, changes: tuple[str, ...]) -> None:
        self.act("configure", gap_s, changes=changes)

    @rule(gap_s=GAPS_S, changes=st.none() | CHANGED, orderly=st.booleans())
    def start_again(self, gap_s: float, changes: Any, orderly: bool) -> None:
        self.act("restart" if orderly else "crash", gap_s, down_s=0.5, changes=changes)

    @rule(gap_s=GAPS_S, mood=st.sampled_from(list(DISK_MOODS)))
    def disk(self, gap_s: float, mood: str) -> None:
        self.act("disk", gap_s, mood=mood)

    @rule(gap_s=GAPS_S, destination=NAMES, mood=st.sampled_from(list(VENDOR_MOODS)))
    def vendor(self, gap_s: float, destination: str, mood: str) -> None:
        self.act("vendor", gap_s, destination=destination, mood=mood)

    @rule(gap_s=GAPS_S, by_s=st.sampled_from([-3600, -2, 2, 3600]))
    def set_wall(self, gap_s: float, by_s: int) -> None:
        self.act("set_wall", gap_s, by_s=by_s)

    def teardown(self) -> None:
        try:
            if not self.broken:
                self.sim.loop.run_until_complete(finish(self.sim))
        finally:
            close(self.sim)
            self.logs.close()


TestMachine = Machine.TestCase


def test_what_breaks_is_made_short() -> None:
    """A server whose memory is not told of records breaks after very few actions."""

    class Forgetful(Machine):
        parts = DEFECTS["HearsNothing"]
        shortest: ClassVar[list[str]] = []

        def teardown(self) -> None:
            try:
                super().teardown()
            finally:
                if self.sim.violations:
                    acts = [line for line in self.sim.trace if "=" in line and "<=" not in line]
                    type(self).shortest = acts

    found = settings(
        max_examples=100,
        stateful_step_count=20,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    with pytest.raises(Violation):
        run_state_machine_as_test(Forgetful, settings=found)
    assert 1 <= len(Forgetful.shortest) <= 3, Forgetful.shortest
