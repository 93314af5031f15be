"""A real listener on loopback in this process, with limits that a test need not wait for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from consentry.web.arriving import read_body
from consentry.web.listener import Limits, Listener
from consentry.web.problems import Problem

SOON_S = 10.0  # for what must happen; a test that meets it has failed


@dataclass
class House:
    """An application that remembers what came through, and the listener before it."""

    limits: Limits
    port: int = 0
    body_s: float = SOON_S
    seen: list[tuple[str, str, bytes, list[tuple[str, str]]]] = field(default_factory=list)
    worked_on: str = "/hold"
    held: asyncio.Event = field(default_factory=asyncio.Event)
    server: Listener | None = None

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            body = await read_body(request, 1_000_000, within_s=self.body_s)
            response = await self.answer(request, body)
        except Problem as problem:
            response = problem.as_response()
        await response(scope, receive, send)

    async def answer(self, request: Request, body: bytes) -> Response:
        self.seen.append((request.method, request.url.path, body, request.headers.items()))
        if request.url.path == self.worked_on:
            await self.held.wait()
        if request.url.path == "/large":
            return Response(b"x" * 20_000_000)
        return JSONResponse({"path": request.url.path, "bytes": len(body)})

    @property
    def connections(self) -> int:
        """How many the server holds."""
        assert self.server is not None
        return len(self.server.server_state.connections)

    async def connect(self) -> Visitor:
        return Visitor(*await asyncio.open_connection("127.0.0.1", self.port))


@dataclass
class Visitor:
    """One connection to it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, data: bytes) -> Visitor:
        with contextlib.suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()
        return self

    async def hear(self) -> tuple[int, Any]:
        """The next answer: status and JSON."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), SOON_S)
        lines = head.lower().split(b"\r\n")
        length = next(int(x[15:]) for x in lines if x.startswith(b"content-length:"))
        body = await asyncio.wait_for(self.reader.readexactly(length), SOON_S)
        return int(head.split(b" ")[1]), json.loads(body)

    async def ended(self) -> bytes:
        """What else comes until the server ends the connection."""
        found = b""
        with contextlib.suppress(ConnectionError):
            while piece := await asyncio.wait_for(self.reader.read(65536), SOON_S):
                found += piece
        return found

    def leave(self) -> None:
        self.writer.close()


def get(path: str = "/", *headers: str) -> bytes:
    """A whole request."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


async def until(condition: Any, what: str) -> None:
    """Wait for a moment on this loop."""
    async with asyncio.timeout(SOON_S):
        while not condition():
            await asyncio.sleep(0.005)
    assert condition(), what


@contextlib.asynccontextmanager
async def house(
    limits: Limits, *, keep_alive_s: int = 30, body_s: float = SOON_S
) -> AsyncIterator[House]:
    """Open one; closed at the end."""
    made = House(limits, body_s=body_s)
    settings = uvicorn.Config(
        made.app,
        http="httptools",
        interface="asgi3",
        proxy_headers=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=keep_alive_s,
        timeout_graceful_shutdown=1,
    )
    made.server = Listener(settings, lambda: None, limits)
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as listening:
        made.port = listening.getsockname()[1]
        serving = asyncio.create_task(made.server.serve([listening]))
        try:
            yield made
        finally:
            made.held.set()
            made.server.should_exit = True
            await serving
