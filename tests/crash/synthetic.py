"""Histories of a system that keeps its promises, made up step by step, and ways to break them."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis import strategies as st

from tests.crash.history import Event, History, Operation, Said, Send
from tests.crash.people import CATEGORIES, NEEDS

CLIENTS, PERSONS = 3, 2
KINDS = ("event", "event", "event", "deny", "grant", "link", "both", "deliver", "deliver")
STAMPS = (None, None, CATEGORIES, CATEGORIES, ("analytics",), ())


class Step(NamedTuple):
    """One thing that happens. ``before`` and ``after`` are how far its interval reaches."""

    kind: str
    client: int
    person: int
    named: tuple[int, ...]
    stamp: tuple[str, ...] | None
    category: str
    before: int
    after: int | None


steps = st.lists(
    st.builds(
        Step,
        st.sampled_from(KINDS),
        st.integers(0, CLIENTS - 1),
        st.integers(0, PERSONS - 1),
        st.sampled_from([(0,), (1,), (0, 1)]),
        st.sampled_from(STAMPS),
        st.sampled_from(CATEGORIES),
        st.integers(0, 6),
        st.none() | st.integers(0, 6) | st.integers(0, 6) | st.integers(0, 6),
    ),
    min_size=5,
    max_size=40,
)


@dataclass(slots=True)
class Model:
    """A system in which everything happens at one moment, in order."""

    history: History = field(default_factory=lambda: History(NEEDS))
    now: int = 0
    free: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    said: dict[tuple[str, str], bool] = field(default_factory=dict)
    linked: set[int] = field(default_factory=set)
    waiting: dict[tuple[str, str], deque[Event]] = field(default_factory=lambda: defaultdict(deque))

    def take(self, step: Step) -> None:
        """Let one step happen."""
        self.now = max(self.now, self.free[step.client]) + 1
        if step.kind == "deliver":
            self._deliver()
            return
        invoke = max(self.free[step.client] + 1, self.now - step.before)
        ok = None if step.after is None else self.now + step.after
        self.free[step.client] = self.now + 6 if ok is None else ok
        one = Operation(len(self.history.operations) + 1, f"c{step.client}", invoke, ok)
        self.history.operations.append(one)
        nodes = tuple(f"{kind}:{step.person}" for n, kind in enumerate("du") if n in step.named)
        if step.kind in ("deny", "both"):
            one.denies = (Said(nodes, (step.category,)),)
            self._note(one.denies, False)
        if step.kind == "grant":
            one.grants = (Said((f"d:{step.person}", f"u:{step.person}"), (step.category,)),)
            self._note(one.grants, True)
        if step.kind == "link":
            one.links = ((f"d:{step.person}", f"u:{step.person}"),)
            self.linked.add(step.person)
        if step.kind in ("event", "both"):
            one.events = (Event(f"m{one.op}", nodes, step.stamp),)
            self._accept(one.events[0])

    def finish(self) -> History:
        """Deliver what waits."""
        while any(self.waiting.values()):
            self._deliver()
        return self.history

    def _note(self, said: tuple[Said, ...], granted: bool) -> None:
        for nodes, categories in said:
            self.said.update({(n, c): granted for n in nodes for c in categories})

    def _accept(self, event: Event) -> None:
        for destination in NEEDS:
            if self._allows(event, destination):
                self.waiting[destination, event.subject].append(event)

    def _deliver(self) -> None:
        """The next event of one subject, if it still may go."""
        for (destination, _), queue in sorted(self.waiting.items()):
            if queue:
                event = queue.popleft()
                self.now += 1
                if self._allows(event, destination):
                    self.history.sends.append(Send(event.id, destination, self.now))
                return

    def _allows(self, event: Event, destination: str) -> bool:
        return all(self._granted(event, category) for category in NEEDS[destination])

    def _granted(self, event: Event, category: str) -> bool:
        person = int(event.nodes[0][2:])
        both = (f"d:{person}", f"u:{person}")
        nodes = both if person in self.linked else event.nodes
        if any(self.said.get((node, category)) is False for node in nodes):
            return False
        if event.granted is not None:
            return category in event.granted
        return any(self.said.get((node, category)) for node in event.nodes)


_BOUGHT = Step("event", 0, PERSONS, (0, 1), CATEGORIES, CATEGORIES[0], 1, 1)
"""Of somebody who never objects, so that every history has something that was sent."""


@st.composite
def legal(draw: st.DrawFn) -> History:
    """A history on which every promise was kept, and everything was delivered."""
    happened = draw(steps)
    for _ in range(2):
        happened.insert(draw(st.integers(0, len(happened))), _BOUGHT)
    model = Model()
    for step in happened:
        model.take(step)
    return model.finish()
