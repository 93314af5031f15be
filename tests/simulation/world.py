"""What happens: processes over a durable store, requests, destinations, and what is known of it.

``Simulation`` keeps what the model needs in the model's words. A request tells beforehand what it
says; whether that counts is known when it is durable (``landed``) or acknowledged.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from consentry.core.order import Verb
from consentry.destinations.instruction import Instruction
from consentry.destinations.message import Message
from consentry.ports import Commit, Committed, Progress
from consentry.store.memory import MemoryStore
from tests.simulation import checks, clocks, forgetting, order_checks
from tests.simulation.destination import BATCHES, Broken, Hostile, people_of, scope_of
from tests.simulation.loop import VirtualLoop
from tests.simulation.model import FOREVER, Event, Fact, Known, variants
from tests.simulation.policies import (
    Plain,
    changed,
    config_of,
    covers,
    policy_of,
    with_meaning,
)
from tests.simulation.process import Parts, Process
from tests.simulation.store import MOODS
from tests.store.makers import notary

LATE = frozenset({"merge", "unsuppress"})
"""They let through more and less; a server may know of them when they are answered."""
BEGAN_S = 1_790_000_000
DELIVERED = frozenset({"accepted", "confirmed", "job_done", "sent_unverifiable"})


class Violation(AssertionError):
    """A promise was broken."""


@dataclass(slots=True)
class Told:
    """One message of a request: its id, the event it is, the grants it makes if it is new."""

    message_id: str
    event: Event
    grants: list[Fact] = field(default_factory=list)


@dataclass(eq=False)
class Request:
    """What one call says. ``facts`` count once it is durable, refusals as soon as it is made.
    ``unsure``: of these its record says whether they were overtaken (``clocks``)."""

    what: str
    at: int
    facts: list[Fact] = field(default_factory=list)
    messages: list[Told] = field(default_factory=list)
    landed: bool = False
    counted: list[Fact] = field(default_factory=list)
    unsure: list[Fact] = field(default_factory=list)

    def told(self, message_id: str, named: set[str]) -> Told:
        """The first message with this id about these identifiers."""
        return next(
            one
            for one in self.messages
            if one.message_id == message_id
            and {one.event.device, one.event.account} - {None} == named
        )


@dataclass(slots=True)
class Owed:
    """An accepted event: under which policy it was accepted."""

    event: Event
    plain: Plain
    message_id: str


@dataclass(slots=True)
class Era:
    """A policy, and the moments from and up to which it may have been in force."""

    plain: Plain
    began: int
    ended: int = FOREVER


@dataclass
class Counts:
    """What a run came to."""

    actions: int = 0
    refused: int = 0
    events: int = 0
    sends: int = 0
    withheld: int = 0
    crashes: int = 0
    orders: int = 0
    told: int = 0
    reports: int = 0

    def add(self, other: Counts) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


class Simulation:
    """One run. ``violations`` is what was found; ``trace`` the story, for a person."""

    def __init__(self, seed: int, parts: Parts | None = None) -> None:
        self.chance = random.Random(seed)
        self.parts = parts or Parts()
        self.loop = VirtualLoop(self.chance, shuffled=self.chance.random() < 0.5)
        self.kept = MemoryStore(notary(), clock=lambda: self.wall_ns() // 1000)
        self.wall_off_s = 0.0
        self.hostiles = {name: Hostile(name, self.chance, self) for name in BATCHES}
        self.process: Process | None = None
        self.mood = "well"
        self.counts = Counts()
        self.violations: list[str] = []
        self.trace: list[str] = []
        # what the model is asked with
        self.facts: list[Fact] = []
        self.doubts: list[Fact] = []
        self.open: list[Request] = []
        self.eras: list[Era] = []
        self.owed: dict[int, Owed] = {}
        self.position: dict[str, int] = {}
        self.newest = 0
        self.lifted_at = 0  # when the end of a suppression was asked for last
        self.messages: dict[str, dict[str, Any]] = {}
        # what was seen of deliveries
        # by destination: each position sent, with the line and the boot that sent it last
        self.sent: dict[str, dict[int, tuple[int, int]]] = {name: {} for name in BATCHES}
        self.boots = 0
        self.tried: set[tuple[str, int, int]] = set()  # on record, with the boot that wrote it
        self.delivered: set[tuple[str, int]] = set()
        self.revived: set[tuple[str, int]] = set()
        self.records = 0
        self.orders = order_checks.Orders()
        self.watch = forgetting.Watch()
        self.landings = 0
        self.reported: list[dict[str, Any]] = []  # as ``reports.report`` takes them
        self._tasks: set[asyncio.Task[None]] = set()
        self._plain_of: dict[int, Plain] = {}
        self._plains: dict[str, Plain] = {}
        # what people were told: who is behind each category, and since when; whether a
        # configuration that never came into force may have been told
        self.covered: dict[str, set[str]] = {}
        self.means: dict[str, int] = {}
        self.doubted = False

    # -- time -----------------------------------------------------------------------------------
    def wall_ns(self) -> int:
        """The wall clock, which may be set."""
        return round((BEGAN_S + self.wall_off_s) * 1e9) + self.loop.elapsed_ns()

    def now(self) -> int:
        """The present moment, as the process counts."""
        assert self.process is not None
        return self.process.clock.now()

    # -- telling --------------------------------------------------------------------------------
    def say(self, line: str) -> None:
        self.trace.append(f"{self.loop.elapsed_ns() / 1e9:9.4f}  {line}")

    def violate(self, what: str) -> None:
        self.violations.append(what)
        self.say(f"VIOLATION  {what}")

    def raise_violations(self) -> None:
        """Raises Violation with all that was found."""
        for context in self.loop.faults:
            if not _expected(context):
                self.violate(f"a fault of our own: {context}")
        self.loop.faults.clear()
        if self.violations:
            raise Violation("; ".join(self.violations))

    # -- processes --------------------------------------------------------------------------------
    def boot(self, changes: tuple[str, ...] | None = None) -> None:
        """Start the server; with another configuration if that changed meanwhile."""
        self.boots += 1
        self.doubted = self.doubted or len(self.possible) > 1
        progressed = partial(self._progressed, self.boots)
        disk = self.parts.disk(
            *(self.kept, self.chance),
            **{"on_landed": self.landed, "on_progress": progressed},
            forgot=partial(forgetting.forgot, self),
        )
        disk.mood = MOODS[self.mood]
        self.process = Process(
            self.parts, disk, self.hostiles, self.chance, self.wall_ns, self.loop.elapsed_ns
        )
        plain = self.eras[-1].plain if changes is None and self.eras else changed(changes or (), 0)
        self.enter(plain)
        self.spawn(self._begin(self.process, plain))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Let it go on by itself."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _begin(self, process: Process, plain: Plain) -> None:
        await process.begin(config_of(plain))
        self.took(plain)

    def ended(self) -> None:
        """The process is gone: what it had not made durable counted up to here at most."""
        for request in list(self.open):
            self.close(request)
        forgetting.process_ended(self)

    # -- policies ---------------------------------------------------------------------------------
    def enter(self, plain: Plain) -> None:
        """From now on this policy may be in force, with what has grown in it told now or later."""
        self._plains[policy_of(plain).version] = plain
        began = self.now()
        for told in (began, FOREVER):
            means = dict.fromkeys(self.grown(plain), told)
            self.eras.append(Era(with_meaning(plain, {**self.means, **means}), began))

    def grown(self, plain: Plain) -> list[str]:
        """The categories in which more receive than people were told; none at first (R12)."""
        if not self.covered:
            return []
        return [c for c, who in covers(plain).items() if not who <= self.covered.get(c, set())]

    def took(self, plain: Plain) -> None:
        """It is in force: what had grown was told after it was entered, and nothing else was."""
        assert self.process is not None
        began, now = self.eras[-1].began, self.now()
        found = {c.id: c.since for c in self.process.world.policy.categories if c.since}
        grown = self.grown(plain)
        for name, at in found.items():
            if at != self.means.get(name) and not (name in grown or self.doubted):
                self.violate(f"{name} is asked anew and did not grow")
        for name in grown:
            if not began <= found.get(name, 0) <= now and not self.doubted:
                self.violate(f"{name} grew and is not asked anew")
        self.means, self.doubted = found, False
        for name, who in covers(plain).items():
            self.covered[name] = who
        final = with_meaning(plain, found)
        self.eras.append(Era(final, now))
        self.orders.taken.append((now, final))
        self.leave_all_but(final)

    def leave_all_but(self, plain: Plain) -> None:
        """Now it is, and no other."""
        now = self.now()
        for era in self.eras:
            if era.plain is not plain:
                era.ended = min(era.ended, now)

    @property
    def possible(self) -> list[Plain]:
        """The policies that may be in force now."""
        return list({id(e.plain): e.plain for e in self.eras if e.ended == FOREVER}.values())

    def known(self, now: int, more: Sequence[Fact] = ()) -> list[Known]:
        """What may hold now, each as the model reads it: under each policy that may be in force,
        with and without what is durable but has not been answered, and may tighten. ``more`` is
        what would be said."""
        late = [f for f in self.facts if f.kind in LATE and f.seen == FOREVER]
        readings = [[*self.facts, *more]]
        if late:
            readings.append([f for f in readings[0] if f not in late])
        known = [one for facts in readings for one in variants(facts, now)]
        return [Known(facts, plain, now) for facts in known for plain in self.possible]

    def gone(self) -> frozenset[str]:
        """Who has been erased, or is about to be: nothing may be put on record of them."""
        going = [f for request in self.open for f in request.facts if f.kind == "erased"]
        erased = {fact.who for fact in self.facts if fact.kind == "erased"}
        if erased:
            now = Known(self.facts, {}, self.now())
            erased = {who for who in erased if now.erased(who)}
        return frozenset({*erased, *(fact.who for fact in going)})

    def lifted(self) -> frozenset[str]:
        """Whose erasure somebody is about to lift: a request waits for that, and may see it."""
        said = [f for request in self.open for f in request.facts if f.kind == "unsuppress"]
        return frozenset(fact.who for fact in said)

    def updating(self) -> dict[str, list[int]]:
        """When the preference updates came that are being written, by their id."""
        found: dict[str, list[int]] = {}
        for request in self.open:
            if request.facts or any(one.grants for one in request.messages):
                for one in request.messages:
                    if one.event.update:
                        found.setdefault(one.message_id, []).append(request.at)
        return found

    # -- requests ---------------------------------------------------------------------------------
    def begin(self, request: Request) -> Request:
        if request.at <= self.newest:
            self.violate(f"the clock went back: {request.at} after {self.newest} was durable")
        clocks.compare(self, request)
        self.open.append(request)
        return request

    def close(self, request: Request) -> None:
        """It was answered, failed, or died."""
        if request not in self.open:
            return
        self.open.remove(request)
        now = self.now()
        for fact in request.counted:
            fact.seen = now
        if not request.landed:
            self.doubts += [replace(fact, until=now) for fact in request.facts]

    def landed(self, request: Request | None, commit: Commit, committed: Committed) -> None:
        """A commit is durable, whether anybody will be told or not."""
        self.records += len(commit.records)
        if request is not None:
            clocks.landed(request, commit)
            self.take(request)
        order_checks.landed(self, request, commit)
        forgetting.landed(self, request, commit)
        if request is None:
            return
        if commit.records:
            self.newest = max(self.newest, request.at)
        for event, position in zip(commit.events, committed.positions, strict=True):
            if position is not None:
                one = request.told(event.message_id, {f"{n.kind}:{n.value}" for n in event.nodes})
                self.position[event.message_id] = position
                self.owed[position] = Owed(one.event, self._plain(event.policy_id), one.message_id)
                self.newest = max(self.newest, one.event.at)
                self.counts.events += 1
                checks.stored(self, one)

    def take(self, request: Request) -> None:
        """From now on what it says counts."""
        if request.landed:
            return
        request.landed = True
        facts = request.counted = list(request.facts)
        new: set[str] = set(self.position)
        for one in request.messages:
            if one.message_id not in new:  # R10: of a repeated message only the denials count
                facts += one.grants
            new.add(one.message_id)
        self.landings += 1
        for fact in facts:
            fact.landed = self.landings
        self.facts += facts

    def _plain(self, policy_id: int) -> Plain:
        if policy_id not in self._plain_of:
            policy = self.kept.policy(policy_id)
            assert policy is not None
            categories = tuple(replace(c, since=None) for c in policy.categories)
            plain = self._plains[replace(policy, categories=categories).version]
            means = {c.id: c.since for c in policy.categories if c.since}
            self._plain_of[policy_id] = with_meaning(plain, means)
        return self._plain_of[policy_id]

    # -- deliveries -------------------------------------------------------------------------------
    def heard(self, name: str, line: int, messages: Sequence[Message]) -> None:
        """An attempt at events starts."""
        self.counts.sends += 1
        self.say(f"{name} <- {' '.join(m.message_id for m in messages)}")
        checks.send_started(self, name, line, messages)

    def told(self, name: str, line: int, instructions: Sequence[Instruction]) -> None:
        """An attempt at orders starts."""
        self.counts.told += len(instructions)
        order_checks.told(self, name, instructions)

    def reports(self, name: str, one: Instruction) -> None:
        """A vendor is about to report what it was told, of one of the people."""
        who = self.chance.choice(people_of(one.person))
        told = {"refuses": one.verb is not Verb.GRANT, "about": scope_of(one), "event": None}
        self.reported.append({"destination": name, "who": who, **told})

    def _progressed(self, boot: int, progress: Progress) -> None:
        for attempt in progress.attempts:
            self.tried.add((progress.destination, attempt.position, boot))
            if attempt.grade in DELIVERED:
                self.delivered.add((progress.destination, attempt.position))
            elif attempt.grade == "withheld":
                self.counts.withheld += 1


def _expected(context: dict[str, Any]) -> bool:
    """A destination that raises is said aloud by the worker; that is as it should be."""
    return isinstance(context.get("exception"), Broken | ConnectionError)
