"""The stage: the stand-in, the server and its pages, started together and cleared away."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import uvicorn

from consentry import compose
from consentry.config import Config, read_config
from consentry.demo.backend import BackEnd
from consentry.demo.front import Demo, create_front
from consentry.demo.overheard import Overheard
from consentry.demo.stand_ins import StandIns
from consentry.destinations.registry import KINDS
from consentry.standin.app import serve as serve_stand_in

HOST = "127.0.0.1"
STAND_IN_PORT = 9100
WRITE_KEY = "wk_demo_shop"
STOP_GRACE_S = 3


def stop_signals() -> asyncio.Event:
    """An event that SIGINT or SIGTERM sets; a second signal interrupts at once."""
    asked, loop = asyncio.Event(), asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def stop() -> None:
        asked.set()
        for number in numbers:
            loop.remove_signal_handler(number)

    for number in numbers:
        loop.add_signal_handler(number, stop)
    return asked


class PortTaken(Exception):
    """The port cannot be listened on. The message names it and why."""


def listen(port: int) -> socket.socket:
    """A listening socket on loopback; port 0 takes a free one. Raises PortTaken."""
    # With the protocol named, asyncio switches Nagle's algorithm off: 40 ms less per answer.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        raise PortTaken(f"cannot serve on {HOST}:{port}: {reason}") from None
    return listener


@dataclass(frozen=True)
class Keys:
    """Keys for one run. Not shown."""

    admin: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    backend: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    token: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    vendor: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    hook: str = field(
        default_factory=lambda: "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
        repr=False,
    )


class Server(uvicorn.Server):
    """uvicorn, that leaves signals to us and tells open streams to end when it stops."""

    def __init__(self, config: uvicorn.Config, closing: asyncio.Event) -> None:
        super().__init__(config)
        self._closing = closing

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The default raises the signal again once it has stopped, before anything is cleared."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._closing.set()
        await super().shutdown(sockets)


@dataclass
class Stage:
    """What runs: the server's and the stand-in's addresses, and the run's keys.

    ``vendors`` maps each destination to its kind.
    """

    base: str
    stand_in: str
    vendors: dict[str, str]
    keys: Keys
    serving: asyncio.Task[None]

    async def until(self, asked_to_stop: asyncio.Event) -> None:
        """Return when it is asked to stop, or when the server ends by itself."""
        asked = asyncio.ensure_future(asked_to_stop.wait())
        await asyncio.wait({self.serving, asked}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()


@contextlib.asynccontextmanager
async def stage(listener: socket.socket) -> AsyncIterator[Stage]:
    """Start everything on a listening socket; stop it all and remove the store at the end."""
    keys = Keys()
    port = int(listener.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="consentry-demo-") as folder:
        async with _stand_in(keys) as stand_in:
            config = configuration(keys, Path(folder) / "consentry.db", stand_in, port)
            overheard = Overheard()
            running = await compose.start(config, overheard.kinds(KINDS))
            closing = running.site.closing
            vendors = {given.name: given.kind for given in config.destinations}
            async with StandIns(stand_in, vendors) as stand_ins:
                back_end = BackEnd(f"http://{HOST}:{port}", keys.backend, keys.token)
                demo = Demo(running.site, stand_ins, overheard, back_end, closing)
                front = create_front(demo, port=port, stop=running.stop)
                server = Server(_uvicorn(front), closing)
                serving = asyncio.create_task(server.serve([listener]))
                try:
                    await _started(server, serving)
                    yield Stage(f"http://localhost:{port}", stand_in, vendors, keys, serving)
                finally:
                    server.should_exit = True
                    await serving


def configuration(keys: Keys, store: Path, stand_in: str, port: int) -> Config:
    """The demo's configuration, read as any other is."""
    text = resources.files("consentry.demo").joinpath("demo.toml").read_text(encoding="utf-8")
    origins = ", ".join(f'"http://{name}:{port}"' for name in ("localhost", HOST))
    environ = {
        "STORE": f"sqlite:///{store}",
        "ADMIN_KEY": keys.admin,
        "BACKEND_KEY": keys.backend,
        "TOKEN_SECRET": keys.token,
        "VENDOR_KEY": keys.vendor,
        "HOOK_SECRET": keys.hook,
    }
    filled = text.replace("{stand_in}", stand_in).replace("{origins}", origins)
    return read_config(filled, environ, kinds=KINDS)


def _uvicorn(front: object) -> uvicorn.Config:
    return uvicorn.Config(
        front,  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=STOP_GRACE_S,
    )


async def _started(server: Server, serving: asyncio.Task[None]) -> None:
    while not server.started:
        if serving.done():
            await serving
            raise RuntimeError("the server ended while starting")
        await asyncio.sleep(0.01)  # uvicorn has no event for it


@contextlib.asynccontextmanager
async def _stand_in(keys: Keys) -> AsyncIterator[str]:
    """The stand-in on its usual port, or on a free one where that is taken; its URL."""
    tasks: list[asyncio.Task[None]] = []
    try:
        for port in (STAND_IN_PORT, 0):
            ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(
                serve_stand_in(HOST, port, ready.set_result, webhook_secrets=(keys.hook,))
            )
            tasks.append(task)
            either: set[asyncio.Future[Any]] = {task, ready}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if ready.done():
                yield f"http://{HOST}:{ready.result()}"
                return
        raise PortTaken("cannot start the stand-in: no port is free")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
