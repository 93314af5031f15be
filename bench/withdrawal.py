"""From an acknowledged withdrawal to the first attempt at every destination, a million events queued.

Ten webhooks. One withdrawal at a time, by devices of which events are queued, while the queue is
sent as fast as the server can: it never comes to rest. What counts is the last of the ten first
attempts, from the instant at which the answer was seen to the first byte at the destination. The
client and the destinations are one process, so one clock. Beside it the same with an empty queue.
Wall clock by nature: it describes this machine.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

import uvloop

from bench import cpu, rows
from bench.latency import connect
from bench.preload import device, queued
from bench.report import Limit, Result, Row
from bench.server import BASIC, TEN, Server, consentry
from bench.sink import Book, Receiver

P50 = Limit("p50 ms, answer to the last first attempt", "ms", 50, 50, higher=False)
P99 = Limit("p99 ms, answer to the last first attempt", "ms", 250, 250, higher=False)
ROW = Row(
    "withdrawal",
    "withdrawal answered to first attempt at ten destinations, 1,000,000 events queued",
    "itself with an empty queue",
    (P50, P99),
)
QUEUED, DEVICES = 1_000_000, 20_000
PAUSE_S = 0.02
LONGEST_S = 30.0
_RECORD = re.compile(rb'"recordId":"(\w+)"')
_ORDER = re.compile(
    rb'"orderId":"(\w+)","recordId":"(\w+)","seq":(\d+),.*?"anonymousIds":\["([\w-]+)"\]'
)
_WITHDRAWN = b'"type":"consent.withdrawn"'


class Arrival(NamedTuple):
    """An order at a destination: when its first byte came, which record it is of, and of whom."""

    at: float
    destination: str
    order: str
    record: str
    seq: int
    person: str


def order_in(at: float, request: bytes) -> Arrival | None:
    """The order that a request carries; None for an event."""
    body = request.find(b"\r\n\r\n")
    if request.find(_WITHDRAWN, body, body + 60) < 0:
        return None
    found = _ORDER.search(request, body)
    assert found is not None, request
    order, record, seq, person = (one.decode() for one in found.groups())
    destination = request[6 : request.find(b" ", 6)].decode()
    return Arrival(at, destination, order, record, int(seq), person)


def record_in(answer: bytes) -> str:
    """The record that an answer names."""
    found = _RECORD.search(answer)
    assert found is not None, answer
    return found[1].decode()


class Watch(Book):
    """A sink that knows when each order came first."""

    def __init__(self) -> None:
        super().__init__(took=self._take)
        self.came: dict[str, dict[str, float]] = defaultdict(dict)
        self._news = asyncio.Event()

    def _take(self, at: float, request: bytes) -> None:
        if (order := order_in(at, request)) is not None:
            self.came[order.record].setdefault(order.destination, at)
            self._news.set()

    async def everywhere(self, record: str) -> list[float]:
        """When each of the ten was told of a record, once all were. Raises TimeoutError."""
        async with asyncio.timeout(LONGEST_S):
            while len(self.came[record]) < len(TEN):
                self._news.clear()
                await self._news.wait()
        return sorted(self.came.pop(record).values())


def withdrawal(subject: str) -> bytes:
    """Everything that is not essential, said with the public key by the device itself."""
    raw = json.dumps({"subject": {"anonymousId": subject}}).encode()
    head = (
        "POST /v1/consent/withdraw HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: application/json\r\nAuthorization: {BASIC}\r\n"
        f"Content-Length: {len(raw)}\r\n\r\n"
    )
    return head.encode() + raw


class Side(NamedTuple):
    """Milliseconds for each withdrawal, from its answer: to the last destination, and to the
    first; from the request to the answer. And what else was received a second."""

    last: list[float]
    first: list[float]
    answer: list[float]
    events_per_s: float


async def sample(
    running: Server, listening: socket.socket, times: int, who: Iterator[int], *, busy: bool
) -> Side:
    loop = asyncio.get_running_loop()
    watch = Watch()
    server = await loop.create_server(lambda: Receiver(watch), sock=listening)
    client = await connect(running.port)
    if busy:
        await _under_way(watch)
    side = Side([], [], [], 0.0)
    began, before = time.perf_counter(), watch.count
    for n in who:
        sent = time.perf_counter()
        answered = await client.ask(withdrawal(device(n)))
        arrived = await watch.everywhere(record_in(client.last))
        side.last.append((arrived[-1] - answered) * 1000)
        side.first.append((arrived[0] - answered) * 1000)
        side.answer.append((answered - sent) * 1000)
        if len(side.last) == times:
            break
        await asyncio.sleep(PAUSE_S)
    taken = time.perf_counter() - began
    others = watch.count - before - times * len(TEN)
    server.close()
    return side._replace(events_per_s=others / taken)


async def _under_way(watch: Watch) -> None:
    """The queue is being sent: so many requests that every worker has found its pace."""
    async with asyncio.timeout(LONGEST_S):
        while watch.count < 5_000:
            await asyncio.sleep(0.05)


def side_of(preloaded: Path | None, times: int, who: Iterator[int]) -> Side:
    # It listens before the server starts: a destination that refuses is left alone for a while.
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        base = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with consentry(base, preloaded, TEN) as running:
            busy = preloaded is not None
            return uvloop.run(sample(running, listening, times, who, busy=busy))


def measure(quick: bool) -> Result:
    cpu.pin(cpu.LOAD_CORE)
    events, times = (QUEUED // 10, 60) if quick else (QUEUED, 400)
    who = count()
    idle = side_of(None, times, who)
    busy = side_of(queued(events, DEVICES, TEN), times, who)
    return Result(
        ROW,
        {P50.name: median(busy.last), P99.name: quantiles(busy.last, n=100)[-1]},
        {
            "p50 ms, empty queue": median(idle.last),
            "p99 ms, empty queue": quantiles(idle.last, n=100)[-1],
            "p50 / with an empty queue": median(busy.last) / median(idle.last),
            "p99 / with an empty queue": quantiles(busy.last, n=100)[-1]
            / quantiles(idle.last, n=100)[-1],
            "ms at most": max(busy.last),
            "ms at most, empty queue": max(idle.last),
            "p50 ms, answer to the first destination": median(busy.first),
            "p50 ms, request to answer": median(busy.answer),
            "p50 ms, request to answer, empty queue": median(idle.answer),
            "p99 ms, request to answer": quantiles(busy.answer, n=100)[-1],
            "requests with events/s meanwhile": busy.events_per_s,
            "events queued": float(events),
            "withdrawals": float(times),
        },
    )


if __name__ == "__main__":
    rows.main(ROW, measure)
