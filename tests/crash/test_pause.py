"""A server that is stopped for longer than anybody waits, and goes on (SIGSTOP, SIGCONT)."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from pathlib import Path

from tests.crash.audit import audit
from tests.crash.clients import Crowd
from tests.crash.direct import Teller
from tests.crash.people import Talk
from tests.crash.place import TIMEOUT_S, Place, place

SEED = 20261125
CLIENTS = 4
CLIENT_TIMEOUT_S = 1.0


async def test_stopped_past_every_time_out_it_goes_on_as_promised(tmp_path: Path) -> None:
    with place(tmp_path) as here:
        talk = Talk(random.Random(SEED))
        crowd = Crowd(here.server.base, talk, here.journal, timeout_s=CLIENT_TIMEOUT_S)
        crowd.up.set()
        crowd.start(CLIENTS)
        withdrawn: list[str] = []
        stops: list[int] = []  # as the journal counts: nanoseconds
        for mode in ("ok", "slow"):
            withdrawn += await asyncio.to_thread(_withdrawn_while_it_waits, here)
            await asyncio.to_thread(here.resume)
            here.vendors.mode("webhook", mode, delay_ms=300)  # stopped while something is sent
            await _answered(crowd, 80)
            stops.append(await _stop_past_time_outs(here, crowd))
        await _answered(crowd, 80)
        await crowd.stop()
        await asyncio.to_thread(audit, here, crowd)
        assert crowd.lost >= 2 * CLIENTS
        sends = here.journal.history().sends
        assert any(one.start < stops[-1] < (one.end or stops[-1]) for one in sends)  # on the wire
        assert not any(here.arrived[e, d] for e in withdrawn for d in here.journal.needs)


async def _stop_past_time_outs(here: Place, crowd: Crowd) -> int:
    """Stopped until every client has given up, and every request to a destination is too old.

    When it was stopped. What was on the wire then is sent again, or its answer came meanwhile.
    """
    assert here.server.process is not None
    stopped = time.monotonic_ns()
    here.server.process.send_signal(signal.SIGSTOP)
    until = time.monotonic() + TIMEOUT_S + 0.5
    lost = crowd.lost + CLIENTS
    while time.monotonic() < until or crowd.lost < lost:
        crowd.check()
        await asyncio.sleep(0.05)
    here.server.process.send_signal(signal.SIGCONT)
    return stopped


async def _answered(crowd: Crowd, more: int) -> None:
    """Wait for so many further answers."""
    wanted = crowd.journal.answered + more
    async with asyncio.timeout(60):
        while crowd.journal.answered < wanted:
            crowd.check()
            await asyncio.sleep(0.02)


def _withdrawn_while_it_waits(here: Place) -> list[str]:
    """Events that no destination took yet, whose person has withdrawn when this returns."""
    teller = Teller(here.server, here.journal)
    person = teller.person()
    here.vendors.mode("webhook", "5xx")
    events = [teller.buys(person) for _ in range(3)]
    assert teller.withdraws(person).status == 201
    return events
