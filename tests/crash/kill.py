"""Kill the server again and again while clients talk and destinations misbehave.

Each cycle starts the server, waits a little, and sends SIGKILL; now and then before it is ready.
What the clients were told is in the journal. ``audit`` then asks whether it was true.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.crash.audit import Audit, audit
from tests.crash.clients import Crowd
from tests.crash.people import Talk
from tests.crash.place import Place, place
from tests.e2e.asking import verify

CLIENTS = 6
SOUND_EVERY = 10  # cycles, between two looks at the ledger
WEATHER: list[tuple[str, dict[str, int]]] = [
    ("ok", {}),
    ("ok", {}),
    ("429", {"count": 2, "retry_after": 0}),
    ("429", {"count": 1, "retry_after": 1}),
    ("5xx", {"count": 3}),
    ("reset", {"count": 3}),
    ("slow", {"count": 6, "delay_ms": 150}),
    ("slow", {"count": 1, "delay_ms": 2500}),  # longer than the server waits
]


async def kill_again_and_again(
    folder: Path,
    cycles: int,
    seed: int,
    *,
    say: Callable[[str], None] = lambda line: None,
    environment: dict[str, str] | None = None,
) -> Audit:
    """The whole run; raises AssertionError for what is not as promised."""
    chance = random.Random(seed)
    with place(folder, start=False, environment=environment) as here:
        talk = Talk(random.Random(chance.random()))
        crowd = Crowd(here.server.base, talk, here.journal)
        crowd.start(CLIENTS)
        weather = asyncio.create_task(_weather(here, random.Random(chance.random())))
        for cycle in range(cycles):
            await _cycle(here, crowd, chance)
            if cycle % SOUND_EVERY == SOUND_EVERY - 1:
                say(f"{cycle + 1} cycles, {len(here.journal.lines)} lines in the journal")
                await asyncio.to_thread(verify, here.server)
                await asyncio.to_thread(here.collect)
            talk.someone_new()
        await asyncio.to_thread(here.server.start)
        crowd.up.set()
        await crowd.stop()
        weather.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await weather
        return await asyncio.to_thread(audit, here, crowd)


async def _cycle(here: Place, crowd: Crowd, chance: random.Random) -> None:
    crowd.check()
    await asyncio.to_thread(here.server.spawn)
    if chance.random() < 0.15:
        crowd.up.set()
        await asyncio.sleep(chance.uniform(0.05, 0.8))  # somewhere in its start
    else:
        await asyncio.to_thread(here.server.ready)
        crowd.up.set()
        await asyncio.sleep(chance.uniform(0.02, 0.5))
    here.server.kill()
    crowd.up.clear()


async def _weather(here: Place, chance: random.Random) -> None:
    """The destinations behave well, and badly, and well again."""
    while True:
        mode, more = chance.choice(WEATHER)
        await asyncio.to_thread(partial(here.vendors.mode, "webhook", mode, **more))
        await asyncio.sleep(chance.uniform(0.05, 0.4))
