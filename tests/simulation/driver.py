"""The seed as driver: it draws the actions. And the end of every run, whoever drove it."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from structlog.testing import capture_logs

from tests.simulation import checks, forgetting, order_ends
from tests.simulation.actions import Action, step, tell_again
from tests.simulation.destination import BATCHES, TELLS
from tests.simulation.destination import MOODS as VENDOR_MOODS
from tests.simulation.policies import CATEGORIES, CHANGES, CHANNELS, MESSAGES
from tests.simulation.process import Parts
from tests.simulation.reports import report_what_was_told
from tests.simulation.store import MOODS as DISK_MOODS
from tests.simulation.world import Simulation

STEPS = 40
DEVICES = ("a0", "a1", "a2")
ACCOUNTS = ("u0", "u1")
QUIET_AFTER_S = 300
ASKED_AGAIN_S = 65
ID_OF = {"track": 0, "update": 15, "identify": 30, "alias": 45}
"""Where the ids of each kind begin: a sender that repeats an id repeats the message."""
WEIGHTS = {
    "send": 22,
    "choose": 12,
    "withdraw": 8,
    "bring": 2,
    "suppression": 2,
    "erase": 2,
    "look": 2,
    "report": 4,
    "ask": 3,
    "retry": 2,
    "replay": 2,
    "tell_again": 2,
    "configure": 3,
    "crash": 2,
    "restart": 1,
    "disk": 5,
    "vendor": 8,
    "set_wall": 2,
    "busy": 1,
    "wait": 2,
}


def run_seed(seed: int, steps: int = STEPS, parts: Parts | None = None) -> Simulation:
    """One run. Raises Violation; its ``simulation`` is the run that broke."""
    sim = Simulation(seed, parts)
    try:
        with capture_logs():
            sim.loop.run_until_complete(_run(sim, steps))
    except Exception as broken:
        broken.simulation = sim  # type: ignore[attr-defined]
        raise
    finally:
        close(sim)
    return sim


def close(sim: Simulation) -> None:
    """Let go of what a run that broke has left."""

    async def end() -> None:
        if sim.process is not None:
            await sim.process.crash()

    sim.loop.run_until_complete(end())
    sim.loop.close()


async def _run(sim: Simulation, steps: int) -> None:
    await begin(sim)
    for _ in range(steps):
        action = draw(sim.chance)
        await step(sim, action, gap_of(sim.chance))
    await finish(sim)


async def begin(sim: Simulation) -> None:
    """The first start."""
    sim.boot()
    assert sim.process is not None
    while not sim.process.up:
        await asyncio.sleep(0.01)


async def finish(sim: Simulation) -> None:
    """Faults stop, time passes, and then everything must have come to something."""
    sim.say("faults stop")
    sim.mood, sim.loop.busy_s = "well", 0.0
    for hostile in sim.hostiles.values():
        hostile.mood = "well"
    assert sim.process is not None
    sim.process.disk.mood = DISK_MOODS["well"]
    await _until_quiet(sim)
    for name in sim.hostiles:  # somebody looks at what failed for good
        await tell_again(sim, destination=name)
    await _until_quiet(sim)
    if any(hostile.lied for hostile in sim.hostiles.values()):
        await asyncio.sleep(ASKED_AGAIN_S)  # whoever can be asked was, and is told again
        await _until_quiet(sim)
    checks.quiet(sim)
    order_ends.quiet(sim)
    forgetting.quiet(sim)
    sim.raise_violations()
    await sim.process.stop()
    sim.raise_violations()


async def _until_quiet(sim: Simulation) -> None:
    """Faults have stopped; whoever was refused a key may be left alone for up to an hour yet."""
    if not await _quiet_within(sim, QUIET_AFTER_S):
        await asyncio.sleep(_alone_s(sim))
        if not await _quiet_within(sim, QUIET_AFTER_S):
            sim.violate(f"not quiet after {QUIET_AFTER_S} seconds without faults: {_why(sim)}")


def _alone_s(sim: Simulation) -> float:
    """Seconds until the last order that waits is due."""
    due = [o.next_at for name in sim.hostiles for o in sim.kept.orders.waiting(name)]
    return min(3600.0, max(0.0, (max(due, default=0) - sim.now()) / 1e6))


async def _quiet_within(sim: Simulation, seconds: int) -> bool:
    quiet_s = 0
    for _ in range(seconds):
        report_what_was_told(sim)
        await asyncio.sleep(1.0)
        sim.raise_violations()
        quiet_s = quiet_s + 1 if await _is_quiet(sim) else 0
        if quiet_s == 2:  # what the last attempt came to is written by now
            return True
    return False


async def _is_quiet(sim: Simulation) -> bool:
    process = sim.process
    assert process is not None
    if not process.up or sim.open or len(sim.possible) > 1 or process.running is None:
        return False
    for worker in process.running.workers.values():
        if worker.paused is not None:
            await worker.resume()
    return not _why(sim)


def _why(sim: Simulation) -> str:
    """Which destinations still have something to do."""
    assert sim.process is not None
    running = sim.process.running
    if running is None:
        return "not running"
    workers = running.workers
    owing = [name for name in running.orderers.all if sim.kept.orders.waiting(name)]
    if owing or sim.reported:
        return f"orders of {owing}, reports {sim.reported}"
    if jobs := forgetting.at_work(sim):
        return f"jobs of {jobs}"
    return ", ".join(
        f"{name} (stuck: {worker.stuck}, held: {worker.lane.held})"
        for name, worker in workers.items()
        if worker.lane.held
        or worker.lane.in_memory
        or worker.lane.position != sim.kept.end
        or worker.stuck
    )


# -- drawing ------------------------------------------------------------------------------------
def gap_of(chance: random.Random) -> float:
    """Seconds: mostly too few for anything to end before the next begins."""
    kind = chance.random()
    if kind < 0.7:
        return chance.uniform(0.0, 0.03)
    return chance.uniform(0.1, 2.0) if kind < 0.95 else chance.uniform(5.0, 25.0)


def draw(chance: random.Random) -> Action:
    """Some action."""
    name = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    return Action(name, _ARGS[name](chance))


def _who(chance: random.Random) -> dict[str, str | None]:
    device = chance.choice((DEVICES[0], *DEVICES, None))
    account = chance.choice((*ACCOUNTS, None, None))
    return {"device": device or (None if account else DEVICES[0]), "account": account}


def _answers(
    chance: random.Random, yes: float, messages: float = 0.0, refused: float = 0.15
) -> dict[str, bool]:
    """To some categories; with a chance to some messages too, and to none by some channel."""
    said: list[str] = chance.sample(CATEGORIES, chance.randint(1, len(CATEGORIES)))
    channels = []
    if chance.random() < messages:
        said = said[: chance.randint(0, 1)] + chance.sample(MESSAGES, chance.randint(1, 3))
        channels = [f"*@{way}" for way in CHANNELS if chance.random() < refused]
    return {c: chance.random() < yes for c in sorted(said)} | dict.fromkeys(channels, False)


def _door(chance: random.Random) -> str:
    return chance.choice(("public", "proven", "server"))


def _age(chance: random.Random) -> int | None:
    return chance.choice((None, None, 0, 1, 3, 10, 30, -3, -60))


def item(chance: random.Random) -> dict[str, Any]:
    """One message, as ``messages.read`` wants it."""
    kind = chance.choices(("track", "update", "identify", "alias"), (10, 4, 3, 1))[0]
    stamped = kind == "update" or chance.random() < 0.3
    previous = None
    who = _who(chance)
    if kind == "alias":
        previous = chance.choice((*ACCOUNTS, *DEVICES))
        who["account"] = who["account"] or chance.choice(ACCOUNTS)
    narrowed = ({"All": False}, {"beta": False}, {"All": False, "alpha": True})
    return {
        "kind": kind,
        "id": chance.randrange(15) + ID_OF[kind],
        **who,
        "previous": previous,
        "stamp": _answers(chance, 0.75, 0.2) if stamped else None,
        "integrations": chance.choice(narrowed) if chance.random() < 0.1 else None,
        "age": _age(chance),
        "skew": chance.choice((None, None, 0, 100, -100)),
    }


def _items(chance: random.Random) -> list[dict[str, Any]]:
    return [item(chance) for _ in range(chance.choice((1, 1, 2, 4)))]


def _choice(chance: random.Random) -> dict[str, Any]:
    once = chance.choice((None, None, "k1", "k2"))
    age = _age(chance)
    answers = _answers(chance, 0.85, 0.4)
    return {**_who(chance), "answers": answers, "door": _door(chance), "age": age, "once": once}


def _withdrawal(chance: random.Random) -> dict[str, Any]:
    whole = tuple(f"*@{way}" for way in CHANNELS)
    some = chance.sample((*CATEGORIES, *MESSAGES, *whole), chance.randint(1, 2))
    what = None if chance.random() < 0.3 else sorted(some)
    once = chance.choice((None, None, "k1"))
    return {**_who(chance), "what": what, "door": _door(chance), "once": once}


def _changes(chance: random.Random) -> tuple[str, ...]:
    return tuple(chance.sample(list(CHANGES), chance.randint(1, 2)))


def _down(chance: random.Random) -> dict[str, Any]:
    changes = _changes(chance) if chance.random() < 0.3 else None
    return {"down_s": chance.choice((0.01, 0.5, 3.0)), "changes": changes}


def _vendor(chance: random.Random) -> dict[str, Any]:
    moods = [mood for mood in VENDOR_MOODS for _ in range(2 if mood == "well" else 1)]
    return {"destination": chance.choice(list(BATCHES)), "mood": chance.choice(moods)}


def _report(chance: random.Random) -> dict[str, Any]:
    who = chance.choice((*(f"d:{d}" for d in DEVICES), *(f"u:{a}" for a in ACCOUNTS)))
    event = chance.choice((None, None, "e1", "e2"))
    name = chance.choice([name for name, tells in TELLS.items() if tells.verbs])
    about = chance.choice((None, None, *MESSAGES, *(f"*@{way}" for way in CHANNELS)))
    refuses = chance.random() < 0.6
    return {
        **{"destination": name, "who": who, "refuses": refuses, "event": event},
        "about": about,
    }


def _question(chance: random.Random) -> dict[str, Any]:
    place = chance.choice((None, None, "DE", ""))
    return {**_who(chance), "place": place, "door": _door(chance), "item": item(chance)}


def _disk(chance: random.Random) -> dict[str, Any]:
    return {"mood": chance.choice(("well", "well", *DISK_MOODS))}


_ARGS: dict[str, Any] = {
    "send": lambda c: {
        "door": _door(c),
        "items": _items(c),
        "gpc": c.choice((None, None, True, False)),
        "place": c.choice((None, None, "DE", "")),
    },
    "choose": _choice,
    "withdraw": _withdrawal,
    "bring": lambda c: {
        **_who(c),
        "answers": _answers(c, 0.8, 0.4, 0.05),
        "age": c.choice((None, 0, 5, 100)),
    },
    "suppression": lambda c: {**_who(c), "on": c.random() < 0.4},
    "erase": lambda c: {**_who(c), "once": c.choice((None, "k1")), "twice": c.random() < 0.3},
    "look": lambda c: {"which": c.randrange(4)},
    "report": _report,
    "ask": _question,
    "tell_again": lambda c: {"destination": c.choice(list(BATCHES))},
    "retry": lambda c: {"destination": c.choice(list(BATCHES))},
    "replay": lambda c: {"destination": c.choice(list(BATCHES))},
    "configure": lambda c: {"changes": _changes(c)},
    "crash": _down,
    "restart": _down,
    "disk": _disk,
    "vendor": _vendor,
    "set_wall": lambda c: {"by_s": c.choice((-3600, -20, -2, 2, 20, 3600))},
    "busy": lambda c: {"seconds": c.choice((0.0, 0.0, 0.02))},
    "wait": lambda c: {},
}
