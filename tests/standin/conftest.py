"""A stand-in on a loopback port and a client of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, ClientTimeout
from aiohttp.test_utils import TestServer
from standin_calls import Wire

from consentry.standin.app import build_app, serve


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """The stand-in as it is served, without webhook secrets."""
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve("127.0.0.1", 0, port.set_result))
    async with ClientSession(timeout=ClientTimeout(total=10)) as session:
        yield Wire(session, "127.0.0.1", await asyncio.wait_for(port, 5))
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving


@pytest.fixture(params=["serve", "cancelling"])
async def either_wire(request: pytest.FixtureRequest, wire: Wire) -> AsyncIterator[Wire]:
    """The stand-in as served, and in a server that cancels a handler whose client has gone."""
    if request.param == "serve":
        yield wire
        return
    async with TestServer(build_app(), host="127.0.0.1") as server:
        assert server.port is not None
        yield Wire(wire.session, "127.0.0.1", server.port)
