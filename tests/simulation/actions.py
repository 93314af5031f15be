"""What can be done: requests, restarts, faults. Each action is a name with plain arguments.

``step`` does one and lets some time pass. What a request asks for goes on while others follow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import msgspec

from consentry.core.choice import Answer
from consentry.core.delivery import Grade, State
from consentry.core.event import Envelope
from consentry.core.moment import SECOND
from consentry.core.order import OrderState
from consentry.core.rule import place_of_code
from consentry.flow.accept import Incoming, accept
from consentry.flow.person import is_erased
from consentry.flow.record_choice import (
    Once,
    answer_of,
    record_choice,
    suppress,
)
from consentry.flow.records import Said
from consentry.ledger.entry import RecordType
from consentry.orders import Order
from consentry.ports import Delivery, StoreError
from tests.simulation import messages
from tests.simulation.asking import answered, asked, go_on, nodes_of, origin_of, world_of
from tests.simulation.erasing import ADMIN, erase, look
from tests.simulation.model import Fact
from tests.simulation.policies import changed, config_of
from tests.simulation.questions import ask
from tests.simulation.reports import report, report_what_was_told
from tests.simulation.store import MOODS
from tests.simulation.world import Request, Simulation


class Action(NamedTuple):
    """A name out of ``ACTIONS``, and what it is called with."""

    name: str
    args: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.args.items())})"


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
    world = world_of(sim)
    at = world.clock.now()
    account = next((item["account"] for item in items if item["account"]), None)
    origin = origin_of(door, account)
    if door != "server":
        origin = msgspec.structs.replace(origin, place=place_of_code(place))
    gpc = None if door == "server" else gpc
    known = messages.known_to(world)
    gone, lifted = sim.gone(), sim.lifted()
    raw, request, gpc = messages.read(
        sim.messages, items, origin, gpc, at, known, gone, lifted, sim.updating(), sim.lifted_at
    )
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
    """POST /v1/consent. ``answers`` are to categories, messages, and channels as a whole."""
    world = world_of(sim)
    answer, said = (
        answer_of(*messages.parts_of(answers)),
        messages.counted(answers, messages.known_to(world)),
    )
    await _choose(sim, world.clock.now(), device, account, answer, said, door, age, once)


async def withdraw(
    sim: Simulation,
    *,
    device: str | None,
    account: str | None,
    what: list[str] | None,
    door: str,
    once: str | None = None,
) -> None:
    """POST /v1/consent/withdraw, of all that is named; of everything, where nothing is."""
    world = world_of(sim)
    if what is None:
        answer = sim.parts.withdraw(world, None, None, None)
        said = messages.everything(sim, answer)
    else:
        said = dict.fromkeys(what, False)
        categories, topics, channels = messages.parts_of(said)
        answer = sim.parts.withdraw(world, list(categories), topics, channels)
    await _choose(sim, world.clock.now(), device, account, answer, said, door, None, once)


async def _choose(
    sim: Simulation,
    at: int,
    device: str | None,
    account: str | None,
    answer: Answer,
    answers: dict[str, bool],
    door: str,
    age: int | None,
    once: str | None,
) -> None:
    world, origin = world_of(sim), origin_of(door, account)
    claimed = None if age is None else at - age * SECOND
    # By a clock that is so fast: a page keeps a letter, and sends it as it was when it was written.
    sent = claimed if age is not None and -age * SECOND > messages.FUTURE_TOLERANCE else None
    made = messages.made_at(claimed, sent, at)
    facts = [
        messages.answer(who, c, yes, at, made, origin, messages.pair(device, account), claimed)
        for who in messages.whom(device, account)
        for c, yes in sorted(answers.items())
    ]
    request = Request(f"choice of {device}/{account}", at, facts)
    said = Said(nodes_of(device, account), answer, at, made, claimed)
    digest = repr((device, account, answer, door)).encode()
    with asked(sim, request):
        key = None if once is None else Once(f"{door}/{once}/{digest!r}", digest)
        result = await record_choice(world, said, origin, once=key)
        answered(sim, request, again=result.again)
    gone = [o for o in result.body["orders"] if sim.kept.orders.order(o) is None]
    if gone:
        sim.violate(f"{request.what} was acknowledged, and of its orders {gone} are nowhere")


async def bring(
    sim: Simulation, *, device: str | None, account: str | None, answers: dict[str, bool], age: Any
) -> None:
    """An import. ``age`` in seconds; None states no date. As the endpoint does, it leaves out who
    was erased."""
    world = world_of(sim)
    left_out = is_erased(world, nodes_of(device, account))
    if left_out is sim.gone().isdisjoint(messages.whom(device, account)):
        sim.violate(f"{device}/{account} was erased, or was not, and the import says otherwise")
    if left_out:
        return
    at = world.clock.now()
    made = None if age is None else messages.made_at(at - age * SECOND, None, at)
    whom = messages.pair(device, account)
    facts = [
        Fact("yes" if yes else "no", who, c, at, made, imported=True, trusted=True, whom=whom)
        for who in messages.whom(device, account)
        for c, yes in messages.counted(answers, messages.known_to(world)).items()
    ]
    request = Request(f"import of {device}/{account}", at, facts)
    answer = answer_of(*messages.parts_of(answers))
    said = Said(nodes_of(device, account), answer, at, made)
    with asked(sim, request):
        await record_choice(world, said, ADMIN, type_=RecordType.IMPORT)
        answered(sim, request)


async def suppression(
    sim: Simulation, *, device: str | None, account: str | None, on: bool
) -> None:
    """Onto the suppression list, or off it."""
    world = world_of(sim)
    at = world.clock.now()
    kind = "suppress" if on else "unsuppress"
    # The flow reads the clock itself, one tick later: nothing else does in between.
    whom = messages.pair(device, account)
    facts = [
        Fact(kind, who, "", at, trusted=True, whom=whom) for who in messages.whom(device, account)
    ]
    request = Request(f"{kind} {device}/{account}", at, facts)
    if not on:
        sim.lifted_at = at + 1
    with asked(sim, request):
        await suppress(world, nodes_of(device, account), ADMIN, None, on=on)
        answered(sim, request)


# -- the operator -------------------------------------------------------------------------------
async def retry(sim: Simulation, *, destination: str) -> None:
    """What waits is tried now; a paused destination is taken up again."""
    await _requeue(sim, destination, State.WAITING)


async def replay(sim: Simulation, *, destination: str) -> None:
    """Dead letters are tried again, if they may be."""
    await _requeue(sim, destination, State.DEAD)


async def tell_again(sim: Simulation, *, destination: str) -> None:
    """Orders that failed for good, or wait, are tried now."""
    running = sim.process.running if sim.process is not None else None
    assert running is not None
    if destination not in running.world.policy.mapping:
        return  # as the endpoint does: nobody is there to be told
    found = running.world.store.orders.find(None, destination, limit=1000)
    orders = [o for o in found if _may_be_tried(o) and not running.on_the_wire(o)]
    sim.orders.retried.update(order.order_id for order in orders)
    await running.try_orders(orders)


def _may_be_tried(order: Order) -> bool:
    failed = order.state is OrderState.TERMINAL and order.grade is Grade.FAILED_FINAL
    return failed or order.state is OrderState.WAITING


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
    """An orderly end: requests are waited for, as the web server does, and a configuration that
    is being taken; then a start."""
    process = sim.process
    assert process is not None
    process.up = False
    for _ in range(300):
        if not sim.open and len(sim.possible) == 1:
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
        *(send, choose, withdraw, bring, suppression, erase, look, report, ask),
        *(retry, replay, tell_again, configure),
        *(crash, restart, disk, vendor, set_wall, busy, wait),
    )
}
NEED_A_SERVER = frozenset(
    {
        *("send", "choose", "withdraw", "bring", "suppression", "erase", "look", "report"),
        "ask",
        *("retry", "replay", "tell_again", "configure"),
    }
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
        sim.spawn(go_on(sim, action.name, work))
    else:
        sim.counts.refused += 1
        work.close()
    report_what_was_told(sim)
    await asyncio.sleep(gap_s)
    sim.raise_violations()
