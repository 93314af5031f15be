"""10,000 withdrawals at once to ten destinations: none lost, none overtaken, and how long it takes.

Ten webhooks, so 100,000 orders. Every fifth person withdraws twice in a row. What arrived is
compared with what was acknowledged: each withdrawal reached each destination, or a later one of the
same person did and the server says that it took its place; and for one person and one destination
no order came after a later one. Where that is not so, the row breaks.

The time is from the first request to the last order's arrival. It stands beside the destinations'
own limit: how long the same process takes to receive as many such requests from wrk, which sends
as fast as it can.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import Iterator
from typing import Any

import uvloop

from bench import cpu, rows
from bench.latency import connect
from bench.load import wrk
from bench.preload import device
from bench.report import Limit, Result, Row
from bench.server import TEN, Server, consentry
from bench.sink import Book, Receiver
from bench.withdrawal import Arrival, order_in, record_in, withdrawal

ARRIVED = Limit("% of orders that arrived, each in its turn", "%", 100, 100)
ROW = Row(
    "withdrawals",
    "10,000 withdrawals at once to ten destinations",
    "as many requests from wrk to the same destinations",
    (ARRIVED,),
)
WITHDRAWALS, CONNECTIONS = 10_000, 64
AGAIN = 5  # every so manieth person withdraws a second time
LONGEST_S = 400.0
LOOK_EVERY_S = 0.5

Key = tuple[str, str]
"""A destination and an order or a record."""


class Journal(Book):
    """A sink that writes down every order."""

    def __init__(self) -> None:
        super().__init__(took=self._take)
        self.arrivals: list[Arrival] = []
        self.body = b""

    def _take(self, at: float, request: bytes) -> None:
        if (order := order_in(at, request)) is not None:
            self.arrivals.append(order)
            self.body = self.body or request[request.find(b"\r\n\r\n") + 4 :]


def people() -> Iterator[int]:
    """Who withdraws, one after the other."""
    for n in itertools.count():
        yield n
        if n % AGAIN == 0:
            yield n


async def withdraw_all(running: Server, times: int) -> dict[str, str]:
    """So many withdrawals over a few connections; the person of each record that was answered."""
    said: dict[str, str] = {}
    whom = iter(list(itertools.islice(people(), times)))

    async def one_after_the_other() -> None:
        client = await connect(running.port)
        for n in whom:
            await client.ask(withdrawal(device(n)))
            said[record_in(client.last)] = device(n)

    await asyncio.gather(*(one_after_the_other() for _ in range(CONNECTIONS)))
    return said


async def until_none_is_open(running: Server) -> None:
    async with asyncio.timeout(LONGEST_S):
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            found = await asyncio.to_thread(running.admin, "GET", "/v1/propagation/status")
            if not any(one["open"] for one in found.json["destinations"]):
                return


def superseded(running: Server) -> dict[Key, str]:
    """Of each order that was not sent, by (destination, order): the one that took its place."""
    found: dict[Key, str] = {}
    for order in _orders(running, "superseded"):
        if order["supersededBy"] is not None:
            found[order["destination"], order["recordId"]] = order["supersededBy"]
            found[order["destination"], order["orderId"]] = order["supersededBy"]
    return found


def _orders(running: Server, state: str) -> Iterator[dict[str, Any]]:
    cursor = None
    while True:
        more = "" if cursor is None else f"&cursor={cursor}"
        page = running.admin("GET", f"/v1/propagation/orders?state={state}{more}").json
        yield from page["orders"]
        if (cursor := page["next"]) is None:
            return


def lost(said: dict[str, str], arrivals: list[Arrival], instead: dict[Key, str]) -> int:
    """How many orders neither arrived nor had one of the same person arrive in their place."""
    came = {(one.destination, one.record) for one in arrivals}
    whose = {(one.destination, one.order): one.person for one in arrivals}
    missing = 0
    for (record, person), n in itertools.product(said.items(), range(len(TEN))):
        name = f"hook{n}"
        if (name, record) in came:
            continue
        by = instead.get((name, record))
        while by is not None and (name, by) not in whose:
            by = instead.get((name, by))
        missing += by is None or whose[name, by] != person
    return missing


def overtaken(arrivals: list[Arrival]) -> int:
    """How many orders came after a later one of the same person at the same destination."""
    newest: dict[tuple[str, str], int] = {}
    late = 0
    for one in arrivals:
        key = one.destination, one.person
        late += one.seq < newest.get(key, -1)
        newest[key] = max(one.seq, newest.get(key, -1))
    return late


async def run(running: Server, listening: socket.socket, times: int) -> dict[str, float | str]:
    loop = asyncio.get_running_loop()
    journal = Journal()
    server = await loop.create_server(lambda: Receiver(journal), sock=listening)
    used, began = running.cpu_s(), time.perf_counter()
    said = await withdraw_all(running, times)
    answered = time.perf_counter()
    await until_none_is_open(running)
    used = running.cpu_s() - used
    arrivals = journal.arrivals[:]
    instead = await asyncio.to_thread(superseded, running)
    counts = lost(said, arrivals, instead), overtaken(arrivals)
    if len(said) != times or any(counts):
        raise SystemExit(
            f"{times - len(said)} withdrawals unanswered, {counts[0]} orders lost, "
            f"{counts[1]} overtaken"
        )
    taken = max(one.at for one in arrivals) - began
    port, body = listening.getsockname()[1], journal.body.decode()
    alone = await asyncio.to_thread(
        wrk, port, "order.lua", body, connections=80, seconds=3, core=cpu.SERVER_CORE
    )
    server.close()
    limit = len(arrivals) / alone.per_second
    return {
        "s, first request to last arrival": taken,
        "s, the destinations' own limit": limit,
        "time / the destinations' own limit": taken / limit,
        "s, first request to last answer": answered - began,
        "orders/s": len(arrivals) / taken,
        "ms CPU/withdrawal with its ten orders": used * 1000 / times,
        "orders that arrived": float(len(arrivals)),
        "orders that a later one replaced": float(times * len(TEN) - len(arrivals)),
    }


def measure(quick: bool) -> Result:
    cpu.pin(cpu.LOAD_CORE)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        base = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with consentry(base, None, TEN) as running:
            times = WITHDRAWALS // 10 if quick else WITHDRAWALS
            return Result(ROW, {ARRIVED.name: 100.0}, uvloop.run(run(running, listening, times)))


if __name__ == "__main__":
    rows.main(ROW, measure)
