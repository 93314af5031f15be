"""How long after an event is sent its destination sees the first byte; an idle server.

One event at a time, for one destination, with a pause after each. The client and the destination
are one process, so one clock. Beside it, after every event, a loopback round trip: the same
request to a server that answers at once. Wall clock by nature: it describes this machine.
"""

from __future__ import annotations

import asyncio
import json
import time
from itertools import count
from statistics import median, quantiles
from typing import cast

import uvloop

from bench import cpu, rows
from bench.report import Limit, Result, Row
from bench.server import BASIC, Server, consentry, event, sink
from bench.sink import Book, Receiver
from tests.running import free_port

ROW = Row(
    "latency",
    "request sent to first byte at a destination, idle server",
    "loopback round trip",
    (Limit("p50 ms, request sent to first byte", "ms", 5, 2, higher=False),),
)
PAUSE_S = 0.01
WARM_UP = 20
_ids = count()


class Exchange(asyncio.Protocol):
    """One kept connection: send a request, learn when the answer's first byte came."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.answered: asyncio.Future[float] | None = None
        self.last = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"HTTP/") and self.answered is not None:
            self.last = data
            self.answered.set_result(time.perf_counter())

    async def ask(self, request: bytes) -> float:
        """The moment of the answer. Raises AssertionError if it is no success."""
        assert self.transport is not None
        self.answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        at = await asyncio.wait_for(self.answered, 10)
        assert b" 20" in self.last[:12], self.last
        return at


async def connect(port: int) -> Exchange:
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_connection(Exchange, "127.0.0.1", port)
    return protocol


def request() -> bytes:
    """An event that consents to what one destination needs, and to nothing else."""
    body = event(f"latency-{next(_ids):08d}")
    body["context"]["consent"] = {"categoryPreferences": {"functional": True}}
    raw = json.dumps(body).encode()
    head = (
        "POST /v1/track HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Authorization: {BASIC}\r\nContent-Length: {len(raw)}\r\n\r\n"
    )
    return head.encode() + raw


async def sample(running: Server, port: int, bare_port: int, times: int) -> list[list[float]]:
    """Milliseconds: sent to first byte, 200 to first byte, sent to 200, loopback round trip."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[float] = asyncio.Queue()
    book = Book(arrived.put_nowait)
    server = await loop.create_server(lambda: Receiver(book), "127.0.0.1", port)
    client, bare = await connect(running.port), await connect(bare_port)
    found: list[list[float]] = [[], [], [], []]
    for n in range(WARM_UP + times):
        raw = request()
        sent = time.perf_counter()
        answered = await client.ask(raw)
        first = await asyncio.wait_for(arrived.get(), 10)
        await asyncio.sleep(PAUSE_S)
        began = time.perf_counter()
        ended = await bare.ask(raw)
        if n >= WARM_UP:
            spans = (first - sent, first - answered, answered - sent, ended - began)
            for kept, span in zip(found, spans, strict=True):
                kept.append(span * 1000)
    server.close()
    return found


def measure(quick: bool) -> Result:
    cpu.pin(cpu.LOAD_CORE)
    port = free_port()
    with sink() as bare, consentry(f"http://127.0.0.1:{port}") as running:
        times = 100 if quick else 500
        whole, after, answer, floor = uvloop.run(sample(running, port, bare.port, times))
    return Result(
        ROW,
        {ROW.limits[0].name: median(whole)},
        {
            "p95 ms, request sent to first byte": quantiles(whole, n=20)[-1],
            "p50 ms, 200 seen to first byte": median(after),
            "p50 ms, request sent to 200": median(answer),
            "p50 ms, loopback round trip": median(floor),
            "p50 / loopback": median(whole) / median(floor),
        },
    )


if __name__ == "__main__":
    rows.main(ROW, measure)
