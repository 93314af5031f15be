"""``consentry demo``: a shop, a server, ten destinations and a page that explains.

Everything runs in this process, on loopback, with keys made for this run and a store in a
temporary folder: the real server, real HTTP between all of them, and nothing left behind.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

UNREACHABLE = 4


def run(port: int, once: bool) -> int:
    """Serve the demo on ``port`` until stopped, or play the scripted visitor ``once``.

    Returns the exit code: 0 done, 1 what arrived is not what was allowed, 4 the port is
    taken. Port 0 takes a free one; the scripted visitor takes a free one if ``port`` is taken.
    """
    from consentry import log
    from consentry.demo.stage import PortTaken
    from consentry.demo.visitor import play

    log.set_up(level="critical" if once else "error")
    try:
        if once:
            return asyncio.run(play(port))
        with suppress(KeyboardInterrupt):
            asyncio.run(_serve(port))
    except PortTaken as taken:
        print(f"consentry: {taken}: choose another --port", file=sys.stderr)
        return UNREACHABLE
    return 0


async def _serve(port: int) -> None:
    from consentry.demo.stage import listen, stage, stop_signals

    listener = listen(port)
    asked_to_stop = stop_signals()
    async with stage(listener) as running:
        print(
            f"""
Consentry's demo is running.

  The shop      {running.base}/
  Live          {running.base}/live   who was told of a choice, what is withheld, and why
  Destinations  {running.stand_in}/_ctl   a stand-in plays all ten

Open both pages side by side. In the shop sign in, accept all, and withdraw: ten systems are told,
and the live page says what each answered and how far that can be believed. Stop one of them for a
minute there: it catches up by itself. Press Ctrl-C to stop; nothing is kept.
""",
            flush=True,
        )
        await running.until(asked_to_stop)
    print("Stopped.")
