"""The HTTP server: what it bears of those who connect, and what it does when asked to stop.

uvicorn reads HTTP. What it leaves open is bounded here: how long a head may take, how much
stands around a body, how many requests may be sent ahead, how long nobody may read, and how
many connections there may be. A flood of half-open connections must not keep a withdrawal out,
so it is the connection that has owed us bytes for the longest that makes room for a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, cast

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from consentry.web.app import App
from consentry.web.call import Call
from consentry.web.problems import Problem

FRAMING_BYTES = 16  # around each piece of a body; a chunk's own size and line ends are fewer
ASKED_TO_STOP = (signal.SIGINT, signal.SIGTERM)
# Choices are written first and are few; whoever keeps the others busy does not stop them.
_NEVER_TURNED_AWAY = (b"/v1/consent", b"/healthz", b"/readyz")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a listener bears of its connections. Times are in seconds.

    ``head_s``: for the head of a request, from connecting or from its first byte after an answer.
    ``write_s``: for a client that does not read, until its connection ends.
    ``head_bytes``: for all of a request that is no body: head, what is written beside chunks, trailers.
    ``pipelined``: requests that may wait behind another one of their connection.
    """

    connections: int = 5000
    head_s: float = 10.0
    write_s: float = 30.0
    head_bytes: int = 32 * 1024
    headers: int = 100
    pipelined: int = 100

    @classmethod
    def of_process(cls) -> Limits:
        """The usual ones, but of the files that the process may open half are for other things.

        It asks the system for as many files as it is allowed.
        """
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 4 * cls().connections
        allowed = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        if soft != resource.RLIM_INFINITY and soft < allowed:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
                soft = allowed
        files = wanted if soft == resource.RLIM_INFINITY else soft
        return cls(connections=max(1, min(cls().connections, files // 2)))


@dataclass(eq=False, slots=True)
class Door:
    """The connections of one listener. ``owing`` are those of which bytes are due, oldest first."""

    limits: Limits = field(default_factory=Limits)
    owing: dict[JsonProtocol, None] = field(default_factory=dict)

    def make_room(self, newcomer: JsonProtocol, connections: int) -> bool:
        """Let a connection in, at the cost of another one if need be. False: all are at work."""
        if connections <= self.limits.connections:
            return True
        oldest = next(iter(self.owing))
        if oldest is not newcomer:
            self.owing.pop(oldest)
            oldest.transport.abort()
            return True
        if connections > 2 * self.limits.connections:
            newcomer.transport.abort()
        return False


class JsonProtocol(HttpToolsProtocol):
    """One connection: uvicorn's, with limits, and refusals that are JSON like all others."""

    def __init__(self, *, door: Door, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self.limit_concurrency = None  # uvicorn's own would turn away choices too
        self._door = door
        self._limits = door.limits
        self._due: asyncio.TimerHandle | None = None  # for the head
        self._unread: asyncio.TimerHandle | None = None  # for what we wrote
        self._loose = 0  # bytes of the request that are no body
        self._head_done = False
        self._crowded = False
        self._deaf = False
        self._why: Problem | None = None

    # -- coming and going ---------------------------------------------------------------------
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._door.owing[self] = None
        self._expect_head()
        self._crowded = not self._door.make_room(self, len(self.connections))

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.owing.pop(self, None)
        self._cancel_due()
        self.resume_writing()
        self.pipeline.clear()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        if self._due is None:
            self._due = self.loop.call_later(self._limits.head_s, self._overdue)

    def _cancel_due(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _overdue(self) -> None:
        if self._loose:
            self._refuse(Problem(408, "timeout", "the head of the request did not arrive in time"))
        else:
            self._end()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came after an answer."""
        self._end()

    def _end(self) -> None:
        """Close; but whoever does not read what was written may not hold the connection."""
        self.transport.close()
        self.loop.call_later(self._limits.head_s, self.transport.abort)

    # -- reading ------------------------------------------------------------------------------
    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._loose += len(data)
        super().data_received(data)
        if self._loose > self._limits.head_bytes:
            self._refuse(_too_large_head())
        elif self._request is None and not self.transport.is_closing():
            self._expect_head()

    @property
    def _request(self) -> RequestResponseCycle | None:
        """The newest request that is not answered yet."""
        newest = cast("RequestResponseCycle | None", self.cycle)
        return None if newest is None or newest.response_complete else newest

    def on_message_begin(self) -> None:
        self._head_done = False
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """As uvicorn does, but a trailer is no header, and there is an end to them."""
        if self._head_done:
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        if len(self.headers) >= self._limits.headers:
            self._stop_reading(_too_large_head())
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._head_done = True
        self._cancel_due()
        if len(self.pipeline) >= self._limits.pipelined:
            self._stop_reading(Problem(429, "pipelined", "too many requests were sent ahead"))
        # The parser takes what follows an upgrade for no body, and then for the next request.
        if self.parser.should_upgrade() or _is_ambiguous(self.headers):
            self._stop_reading(_no_http())
        self.app = self.config.loaded_app
        if self._crowded and not self.url.startswith(_NEVER_TURNED_AWAY):
            self.app = overloaded
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._loose = max(0, self._loose - len(body) - FRAMING_BYTES)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._loose = 0
        self._door.owing.pop(self, None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if not self.pipeline or self.cycle.more_body:
            self._door.owing[self] = None
        super().on_response_complete()

    # -- answering ----------------------------------------------------------------------------
    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """As uvicorn does, but a hot path whose body is there is answered without ASGI."""
        if isinstance(app, App) and app.is_direct(cycle.scope):  # type: ignore[arg-type]
            task = self.loop.create_task(self._answer(cycle, app))
            task.add_done_callback(self.tasks.discard)
            self.tasks.add(task)
        else:
            super()._start_asgi_task(cycle, app)

    async def _answer(self, cycle: RequestResponseCycle, app: App) -> None:
        if cycle.more_body or cycle.waiting_for_100_continue or cycle.disconnected:
            await cycle.run_asgi(cast("Any", app))
            return
        scope = cast("Scope", cycle.scope)
        reply = await app.answer(Call(scope, _nothing_more, bytes(cycle.body)))
        if self.flow.write_paused and not cycle.disconnected:
            await self.flow.drain()
        cycle.response_started = cycle.response_complete = True
        if not cycle.disconnected:
            headers = (*cycle.default_headers, *reply.raw_headers)
            if not cycle.keep_alive:
                headers = (*headers, (b"connection", b"close"))
            self.transport.write(_head(reply.status_code, headers) + reply.body)
            if not cycle.keep_alive:
                self.transport.close()
        cycle.on_response()

    # -- refusing -----------------------------------------------------------------------------
    def _stop_reading(self, why: Problem) -> None:
        """Leave the parser. What called it goes on in ``send_400_response``."""
        self._why = why
        raise _Unreadable

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, or not finished, and end the connection."""
        self._refuse(self._why or _no_http())

    def _refuse(self, problem: Problem) -> None:
        """Answer, and end the connection. What came whole before is answered in its turn."""
        if self._deaf or self.transport.is_closing():
            return
        self._deaf = True
        request = self._request
        if request is not None and not request.more_body:
            request.keep_alive = False
            return
        answer = problem.as_response()
        headers = [*answer.raw_headers, (b"connection", b"close")]
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        if request is None or not request.response_started:
            head = STATUS_LINE[problem.status] + lines + b"\r\n"
            self.transport.write(head + bytes(answer.body))
        self._end()

    # -- writing ------------------------------------------------------------------------------
    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self._limits.write_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


@lru_cache(maxsize=256)
def _head(status: int, headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """The head of an answer. Most answers of a second have one of a few."""
    lines = [b"%b: %b\r\n" % header for header in headers]
    return b"".join([STATUS_LINE[status], *lines, b"\r\n"])


async def _nothing_more() -> Any:
    raise AssertionError("the whole body was there")


class _Unreadable(Exception):
    """Ends the reading of a connection, from within the parser."""


def _no_http() -> Problem:
    return Problem(400, "invalid_http", "this is no HTTP request")


def _too_large_head() -> Problem:
    return Problem(431, "head_too_large", "the head of the request is too large")


def _is_ambiguous(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a reader in between may see another host, or another end of the body."""
    hosts = 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
        elif name == b"transfer-encoding" and value.strip().lower() != b"chunked":
            return True
    return hosts > 1


async def overloaded(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers 503 to every request."""
    message = "too many connections at once"
    response = Problem(503, "overloaded", message, retry_after_s=1).as_response()
    response.raw_headers.append((b"connection", b"close"))
    await response(scope, receive, send)


class Listener(uvicorn.Server):
    """uvicorn, which ends by itself after SIGTERM or SIGINT.

    uvicorn raises the signal once more when it has stopped, so that the process would die of
    it; here that it was heard is enough, and the exit code says that all went well.
    ``on_stop`` is called at once, on the loop: connections without an end must be ended.
    """

    def __init__(
        self, config: uvicorn.Config, on_stop: Callable[[], None], limits: Limits | None = None
    ) -> None:
        if config.http == "httptools":
            door = Door(limits or Limits())
            config.http = cast("type[asyncio.Protocol]", partial(JsonProtocol, door=door))
        super().__init__(config)
        self._on_stop = on_stop

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Listen for signals while serving. Only the main thread may."""
        loop = asyncio.get_running_loop()
        for number in ASKED_TO_STOP:
            loop.add_signal_handler(number, self._asked, number)
        try:
            yield
        finally:
            for number in ASKED_TO_STOP:
                loop.remove_signal_handler(number)

    def _asked(self, number: int) -> None:
        self._on_stop()
        self.handle_exit(number, None)
