"""A run under load without a crash: many clients at once, and the history of it."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from pathlib import Path

from tests.crash.audit import Audit, audit
from tests.crash.clients import Crowd
from tests.crash.people import Talk
from tests.crash.place import Place, place

CLIENTS = 8


async def under_load(
    folder: Path, operations: int, seed: int, *, environment: dict[str, str] | None = None
) -> Audit:
    """Talk until so many operations are answered; the destination is well or slow meanwhile."""
    with place(folder, environment=environment) as here:
        crowd = Crowd(here.server.base, Talk(random.Random(seed)), here.journal, pause_s=0.001)
        crowd.up.set()
        crowd.start(CLIENTS)
        await _until(here, crowd, operations)
        await crowd.stop()
        return await asyncio.to_thread(audit, here, crowd)


async def _until(here: Place, crowd: Crowd, operations: int) -> None:
    slow = False
    while here.journal.answered < operations:
        crowd.check()
        slow = not slow
        mode, more = ("slow", {"delay_ms": 40}) if slow else ("ok", {})
        await asyncio.to_thread(partial(here.vendors.mode, "webhook", mode, **more))
        await asyncio.sleep(0.3)
        crowd.talk.someone_new()
