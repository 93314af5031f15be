"""The HTTP server, and what it does when it is asked to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from consentry.web.problems import Problem

_NO_HTTP = b'{"code":"invalid_http","message":"this is no HTTP request"}'
_HEADERS = {"content-type": "application/json", "cache-control": "no-store"}
ASKED_TO_STOP = (signal.SIGINT, signal.SIGTERM)


class JsonProtocol(HttpToolsProtocol):
    """uvicorn's protocol, whose own refusals have a ``code`` and a ``message`` like all others."""

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, or not finished, and end the connection."""
        head = "HTTP/1.1 400 Bad Request\r\n"
        headers = {**_HEADERS, "content-length": str(len(_NO_HTTP)), "connection": "close"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.transport.write(f"{head}{lines}\r\n".encode() + _NO_HTTP)
        self.transport.close()

    def on_headers_complete(self) -> None:
        """As uvicorn does, but the answer to too many connections is our own."""
        most = self.config.limit_concurrency
        # Asked here, because uvicorn would answer by itself; its own limit is off.
        self.limit_concurrency = None
        busy = most is not None and max(len(self.connections), len(self.tasks)) >= most
        self.app = overloaded if busy else self.config.loaded_app
        super().on_headers_complete()


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

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None]) -> None:
        if config.http == "httptools":
            config.http = JsonProtocol
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
