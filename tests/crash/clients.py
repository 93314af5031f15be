"""Clients that talk to the server at once, and write down what they asked and were told."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.crash.journal import Journal
from tests.crash.people import Request, Talk


@dataclass(slots=True)
class Told:
    """A choice that was acknowledged, with the record that the answer named."""

    request: Request
    record: str


@dataclass(slots=True)
class Crowd:
    """Several clients, each with one connection and one request at a time.

    ``up`` is set while the server is thought to answer; ``timeout_s`` is what a client waits for
    an answer. A request that was lost is sent again in most cases, and stays in doubt in others.
    """

    base: str
    talk: Talk
    journal: Journal
    timeout_s: float = 10.0
    pause_s: float = 0.01
    up: asyncio.Event = field(default_factory=asyncio.Event)
    told: list[Told] = field(default_factory=list)
    updates: list[tuple[str, str]] = field(default_factory=list)
    lost: int = 0
    refused: int = 0
    _over: bool = False
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self, clients: int) -> None:
        """They talk until ``stop``."""
        self._tasks = [asyncio.create_task(self._client(f"c{n}")) for n in range(clients)]

    async def stop(self) -> None:
        """Each finishes what it is about; raises what went wrong in any of them."""
        self._over = True
        await asyncio.gather(*self._tasks)

    def check(self) -> None:
        """Raise what ended a client early."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def _client(self, name: str) -> None:
        timeout = aiohttp.ClientTimeout(total=self.timeout_s)
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            while not self._over:
                await self._one(session, name, self.talk.next())
                await asyncio.sleep(self.talk.chance.uniform(0.0, 2 * self.pause_s))

    async def _one(self, session: aiohttp.ClientSession, name: str, request: Request) -> None:
        await self.up.wait()
        op = self.journal.invoke(name, request.says)
        answer = await self._ask(session, request)
        tried = 1
        while answer is None or (answer[0] in (429, 503) and tried > 1):
            self.journal.lost(op)
            if not request.repeatable or self.talk.chance.random() < 0.15:
                return
            await asyncio.sleep(0.02)
            await self.up.wait()
            answer = await self._ask(session, request)
            tried += 1
        status, body = answer
        if status in (429, 503):
            self.journal.refused(op)
            self.refused += 1
            return
        assert status in (200, 201), (request, status, body)
        assert "rejected" not in body, (request, body)
        self._acknowledged(op, request, body)

    def _acknowledged(self, op: int, request: Request, body: dict[str, Any]) -> None:
        record = body.get("recordId")
        self.journal.ok(op, **({} if record is None else {"recordId": record}))
        if record is not None:
            self.told.append(Told(request, record))
        if request.updates:
            ids = {event.id: event.nodes[0] for event in request.says.events}
            self.updates += [(ids[update], update) for update in request.updates]

    async def _ask(
        self, session: aiohttp.ClientSession, request: Request
    ) -> tuple[int, dict[str, Any]] | None:
        """Status and body, or None when no whole answer came."""
        data = json.dumps(request.body).encode()
        headers = {"Content-Type": "application/json", **request.headers}
        try:
            async with session.post(self.base + request.path, data=data, headers=headers) as got:
                return got.status, json.loads(await got.read())
        except (aiohttp.ClientError, OSError, TimeoutError):
            self.lost += 1
            return None
