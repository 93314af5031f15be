"""A world in memory with one destination that keeps what it is handed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from consentry.clock import Clock
from consentry.core.delivery import Grade, Outcome
from consentry.core.event import Envelope
from consentry.core.policy import Category, Mapping, Policy, Settings
from consentry.core.record import Node
from consentry.destinations.message import Attempted, LastLook, Message
from consentry.destinations.spec import ALL_EVENTS, Spec
from consentry.flow.accept import Accepted, Incoming, accept
from consentry.flow.configure import take_policy
from consentry.flow.deliver import Settled, deliver
from consentry.flow.record_choice import answer_of, record_choice
from consentry.flow.records import Origin, Said
from consentry.flow.subjects import Subjects
from consentry.flow.world import World
from consentry.ports import Store
from consentry.store.memory import MemoryStore
from tests.store.makers import notary

PUBLIC = Origin("website", "public")
SERVER = Origin("backend", "server")
CATEGORIES = (Category("analytics"), Category("advertising"))
SPEC = Spec("kept", "Kept", 10, 1_000_000, ALL_EVENTS, "", Grade.ACCEPTED)


class Kept:
    """A destination. ``meanwhile`` runs between being chosen and the last look."""

    def __init__(self, meanwhile: Callable[[], Awaitable[Any]] | None = None) -> None:
        self.spec = SPEC
        self.received: list[Message] = []
        self._meanwhile = meanwhile

    async def send(self, messages: Sequence[Message], last_look: LastLook | None) -> Attempted:
        if self._meanwhile is not None:
            meanwhile, self._meanwhile = self._meanwhile, None
            await meanwhile()
        if last_look is not None:
            last_look()
        self.received += messages
        return Attempted((Outcome(Grade.ACCEPTED, 200),) * len(messages))

    async def close(self) -> None:
        """Nothing is held."""


async def world(*mappings: Mapping, store: Store | None = None, **settings: Any) -> World:
    """A workspace with two categories and these mappings."""
    clock = Clock()
    store = store or MemoryStore(notary(), clock=clock.now)
    made = World(store, Subjects(store), clock, Policy("shop"), 0)
    await take_policy(made, Policy("shop", Settings(**settings), CATEGORIES, mappings))
    return made


async def send(made: World, *messages: dict[str, Any], origin: Origin = PUBLIC) -> Accepted:
    """Accept messages as one request."""
    return await accept(made, Incoming(origin, list(messages), Envelope(made.clock.now())))


async def choose(made: World, *nodes: Node, origin: Origin = SERVER, **answers: bool) -> Any:
    """Record a choice."""
    now = made.clock.now()
    said = Said(nodes, answer_of(answers, None), now, now)
    return (await record_choice(made, said, origin)).body


async def attempt(made: World, name: str, kept: Kept) -> list[Settled]:
    """One attempt for everything in the log that was allowed at acceptance."""
    return await deliver(made, kept, name, made.store.events_from(0, 1000))


def track(message_id: str, device: str, **answers: bool) -> dict[str, Any]:
    """An event; with answers it is stamped."""
    message: dict[str, Any] = {
        "type": "track",
        "event": "Order Completed",
        "messageId": message_id,
        "anonymousId": device,
    }
    if answers:
        message["context"] = {"consent": {"categoryPreferences": answers}}
    return message


def update(message_id: str, device: str, **answers: bool) -> dict[str, Any]:
    """A change of preferences."""
    return {**track(message_id, device, **answers), "event": "Segment Consent Preference Updated"}
