"""What can be done: requests, restarts, faults. Each action is a name with plain arguments.

``step`` does one and lets some time pass. What a request asks for goes on while others follow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import msgspec

from consentry.core.choice import Answer
from consentry.core.delivery import State
from consentry.core.event import Envelope
from consentry.core.moment import SECOND
from consentry.core.record import Node, NodeKind
from consentry.core.rule import place_of_code
from consentry.flow.accept import Incoming, accept
from consentry.flow.record_choice import (
    Once,
    answer_of,
    record_choice,
    suppress,
    withdrawal_of,
)
from consentry.flow.records import Origin, Said
from consentry.ledger.entry import RecordType
from consentry.ports import Delivery, StoreError
from tests.simulation import checks, messages
from tests.simulation.model import Fact
from tests.simulation.policies import changed, config_of
from tests.simulation.store import ASKED_BY, MOODS
from tests.simulation.world import Request, Simulation

ADMIN = Origin("", "admin")


class Action(NamedTuple):
    """A name out of ``ACTIONS``, and what it is called with."""

    name: str
    args: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.args.items())})"


def origin_of(door: str, account: str | None) -> Origin:
    """public: a page. proven: a page with a subject token. server: a backend."""
    if door == "server":
        return Origin("backend", "server")
    return Origin("website", "public", account if door == "proven" else None)


# -- requests -----------------------------------------------------------------------------------
async def send(
    sim: Simulation,
    *,
    door: str,
    items: list[Any],
    gpc: bool | None = None,
    place: str | None = None,
) -> None:
    """A tracking request of one or more messages. ``place`` is a code; a server's has none."""
    world = _world(sim)
    at = world.clock.now()
    account = next((item["account"] for item in items if item["account"]), None)
    origin = origin_of(door, account)
    if door != "server":
        origin = msgspec.structs.replace(origin, place=place_of_code(place))
    gpc = None if door == "server" else gpc
    raw, request, gpc = messages.read(sim.messages, items, origin, gpc, at)
    incoming = Incoming(origin, raw, Envelope(at), gpc=gpc)
    with asked(sim, request):
        await accept(world, incoming)
        answered(sim, request)


async def choose(
    sim: Simulation,
    *,
    device: str | None,
    account: str | None,
    answers: dict[str, bool],
    door: str,
    age: int | None = None,
    once: str | None = None,
) -> None:
    """POST /v1/consent."""
    at = _world(sim).clock.now()
    await _choose(sim, at, device, account, answer_of(answers, None), door, age, once)


async def withdraw(
    sim: Simulation,
    *,
    device: str | None,
    account: str | None,
    categories: list[str] | None,
    door: str,
    once: str | None = None,
) -> None:
    """POST /v1/consent/withdraw."""
    world = _world(sim)
    answer = withdrawal_of(world, categories, None)
    await _choose(sim, world.clock.now(), device, account, answer, door, None, once)


async def _choose(
    sim: Simulation,
    at: int,
    device: str | None,
    account: str | None,
    answer: Answer,
    door: str,
    age: int | None,
    once: str | None,
) -> None:
    world, origin = _world(sim), origin_of(door, account)
    claimed = None if age is None else at - age * SECOND
    made = messages.made_at(claimed, None, at)
    facts = [
        messages.answer(who, c, yes, at, made, origin)
        for who in messages.whom(device, account)
        for yes, said in ((True, answer.granted), (False, answer.denied))
        for c in sorted(said)
    ]
    request = Request(f"choice of {device}/{account}", at, facts)
    said = Said(_nodes(device, account), answer, at, made, claimed)
    digest = repr((device, account, answer, door)).encode()
    with asked(sim, request):
        key = None if once is None else Once(f"{door}/{once}/{digest!r}", digest)
        result = await record_choice(world, said, origin, once=key)
        answered(sim, request, again=result.again)


async def bring(
    sim: Simulation, *, device: str | None, account: str | None, answers: dict[str, bool], age: Any
) -> None:
    """An import. ``age`` in seconds; None states no date."""
    world = _world(sim)
    at = world.clock.now()
    made = None if age is None else messages.made_at(at - age * SECOND, None, at)
    facts = [
        Fact("yes" if yes else "no", who, c, at, made, imported=True)
        for who in messages.whom(device, account)
        for c, yes in answers.items()
    ]
    request = Request(f"import of {device}/{account}", at, facts)
    said = Said(_nodes(device, account), answer_of(answers, None), at, made)
    with asked(sim, request):
        await record_choice(world, said, ADMIN, type_=RecordType.IMPORT)
        answered(sim, request)


async def suppression(
    sim: Simulation, *, device: str | None, account: str | None, on: bool
) -> None:
    """Onto the suppression list, or off it."""
    world = _world(sim)
    at = world.clock.now()
    kind = "suppress" if on else "unsuppress"
    # The flow reads the clock itself, one tick later: nothing else does in between.
    facts = [Fact(kind, who, "", at) for who in messages.whom(device, account)]
    request = Request(f"{kind} {device}/{account}", at, facts)
    with asked(sim, request):
        await suppress(world, _nodes(device, account), ADMIN, None, on=on)
        answered(sim, request)


# -- the operator -------------------------------------------------------------------------------
async def retry(sim: Simulation, *, destination: str) -> None:
    """What waits is tried now; a paused destination is taken up again."""
    await _requeue(sim, destination, State.WAITING)


async def replay(sim: Simulation, *, destination: str) -> None:
    """Dead letters are tried again, if they may be."""
    await _requeue(sim, destination, State.DEAD)


async def _requeue(sim: Simulation, destination: str, state: State) -> None:
    running = sim.process.running if sim.process is not None else None
    assert running is not None
    worker = running.workers.get(destination)
    if worker is None:
        return
    if state is State.WAITING and worker.paused is not None:
        await worker.resume()
    rows: list[Delivery] = list(running.world.store.deliveries(destination, state))
    if state is State.DEAD:
        sim.revived.update((destination, row.position) for row in rows)
    await running.requeue(rows)


async def configure(sim: Simulation, *, changes: tuple[str, ...]) -> None:
    """Another configuration, while it runs."""
    process = sim.process
    assert process is not None
    assert process.running is not None
    if len(sim.possible) > 1:
        return  # the one before is not yet in force
    plain, before = changed(changes, sim.now()), sim.possible[0]
    sim.enter(plain)
    try:
        await process.running.take_config(config_of(plain))
    except StoreError:
        sim.doubted = True
        sim.leave_all_but(before)
        raise
    sim.took(plain)


# -- faults -------------------------------------------------------------------------------------
async def crash(sim: Simulation, *, down_s: float, changes: tuple[str, ...] | None) -> None:
    """kill -9, and a start some time later."""
    assert sim.process is not None
    await sim.process.crash()
    sim.counts.crashes += 1
    await _start_again(sim, down_s, changes)


async def restart(sim: Simulation, *, down_s: float, changes: tuple[str, ...] | None) -> None:
    """An orderly end: requests are waited for, as the web server does; then a start."""
    process = sim.process
    assert process is not None
    process.up = False
    for _ in range(300):
        if not sim.open:
            break
        await asyncio.sleep(0.1)
    await process.stop()
    await process.crash()  # whoever still waits for the store waits in vain
    await _start_again(sim, down_s, changes)


async def _start_again(sim: Simulation, down_s: float, changes: tuple[str, ...] | None) -> None:
    sim.ended()
    await asyncio.sleep(down_s)
    sim.boot(changes)


async def disk(sim: Simulation, *, mood: str) -> None:
    """From now on the disk is like this."""
    sim.mood = mood
    assert sim.process is not None
    sim.process.disk.mood = MOODS[mood]


async def vendor(sim: Simulation, *, destination: str, mood: str) -> None:
    """From now on the destination is like this."""
    sim.hostiles[destination].mood = mood


async def set_wall(sim: Simulation, *, by_s: int) -> None:
    """Somebody sets the wall clock."""
    sim.wall_off_s += by_s


async def busy(sim: Simulation, *, seconds: float) -> None:
    """From now on each look at the clock takes up to so long."""
    sim.loop.busy_s = seconds


async def wait(sim: Simulation) -> None:
    """Nothing but time passes."""


ACTIONS: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
    one.__name__: one
    for one in (
        *(send, choose, withdraw, bring, suppression, retry, replay, configure),
        *(crash, restart, disk, vendor, set_wall, busy, wait),
    )
}
NEED_A_SERVER = frozenset(
    {"send", "choose", "withdraw", "bring", "suppression", "retry", "replay", "configure"}
)
"""These go on while others follow; the rest is done at once."""


async def step(sim: Simulation, action: Action, gap_s: float) -> None:
    """Do it, and let ``gap_s`` seconds pass. Raises Violation."""
    sim.counts.actions += 1
    sim.say(str(action))
    work = ACTIONS[action.name](sim, **action.args)
    if action.name not in NEED_A_SERVER:
        await work
    elif sim.process is not None and sim.process.up:
        sim.spawn(_go_on(sim, action, work))
    else:
        sim.counts.refused += 1
        work.close()
    await asyncio.sleep(gap_s)
    sim.raise_violations()


async def _go_on(sim: Simulation, action: Action, work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except StoreError as error:
        sim.counts.refused += 1
        sim.say(f"refused: {action.name} ({type(error).__name__}: {error})")
    except Exception as fault:
        sim.violate(f"{action.name} raised {type(fault).__name__}: {fault}")


# -- what all share -----------------------------------------------------------------------------
class asked:
    """While this is entered, writes are this request's; leaving it closes the request."""

    def __init__(self, sim: Simulation, request: Request) -> None:
        self._sim = sim
        self._request = request

    def __enter__(self) -> None:
        self._sim.begin(self._request)
        ASKED_BY.set(self._request)  # each action is a task, with a context of its own

    def __exit__(self, *_: object) -> None:
        self._sim.close(self._request)


def answered(sim: Simulation, request: Request, *, again: bool = False) -> None:
    """The answer was sent."""
    if sim.process is not None and sim.process.gone:
        return
    sim.say(f"answered: {request.what}")
    if again:
        request.landed = True  # what it says is on record already, by the first of its kind
    sim.close(request)
    checks.acknowledged(sim, request, again=again)


def _world(sim: Simulation) -> Any:
    assert sim.process is not None
    return sim.process.world


def _nodes(device: str | None, account: str | None) -> tuple[Node, ...]:
    nodes = []
    if device:
        nodes.append(Node(NodeKind.DEVICE, device))
    if account:
        nodes.append(Node(NodeKind.ACCOUNT, account))
    return tuple(nodes)
