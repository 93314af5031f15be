"""A proxy between an SDK and the server: it keeps what was sent, and can lose an answer.

What stands on the wire is the truth that the tests compare with, whatever an SDK says of
itself. The proxy changes nothing; a fault is asked for by name and holds for a number of
tracking requests.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LONGEST_HOLD_S = 10.0
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})


class Fault(Enum):
    """What goes wrong with a request."""

    LOST_ANSWER = "the server takes it, and the connection ends before its answer"
    HELD_ANSWER = "the server takes it, and its answer never comes"
    UNAVAILABLE = "the server never sees it; the answer is 503"


@dataclass(frozen=True)
class Exchange:
    """One request and its answer. ``status`` is None where no answer reached the sender."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    status: int | None
    answer_headers: dict[str, str]
    answer: bytes
    started_s: float
    ended_s: float

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages that the request carried."""
        if self.method != "POST" or not isinstance(self.body, dict):
            return []
        batch = self.body.get("batch", [self.body])
        return [one for one in batch if isinstance(one, dict)]


@dataclass
class Proxy:
    """A running proxy."""

    target_port: int
    port: int = 0
    exchanges: list[Exchange] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)
    _faults: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def posts(self) -> list[Exchange]:
        """Tracking requests, in the order in which they ended."""
        with self._lock:
            return [e for e in self.exchanges if e.method == "POST"]

    @property
    def sent(self) -> list[dict[str, Any]]:
        """Every message, each once, in the order in which it was first sent."""
        found: dict[str, dict[str, Any]] = {}
        for exchange in sorted(self.posts, key=lambda e: e.started_s):
            for message in exchange.messages:
                found.setdefault(message["messageId"], message)
        return list(found.values())

    def clear(self) -> None:
        """Forget what was seen, and the faults that were asked for."""
        with self._lock:
            self.exchanges.clear()
            self._faults.clear()
        self.release.clear()

    def fail(self, fault: Fault, count: int = 1) -> None:
        """The next ``count`` tracking requests have this fault."""
        with self._lock:
            self._faults += [fault] * count

    def take_fault(self, method: str) -> Fault | None:
        """The fault of a request that has just arrived."""
        with self._lock:
            return self._faults.pop(0) if method == "POST" and self._faults else None

    def keep(self, exchange: Exchange) -> None:
        """Remember a request."""
        with self._lock:
            self.exchanges.append(exchange)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def do_POST(self) -> None:
        self._pass_on()

    do_GET = do_OPTIONS = do_POST

    def _pass_on(self) -> None:
        started = time.monotonic()
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        fault = self.proxy.take_fault(self.command)
        if fault is Fault.UNAVAILABLE:
            body = b'{"code":"unavailable","message":"asked for by the test"}'
            answer = (503, {"Content-Type": "application/json"}, body)
        else:
            answer = self._ask(raw)
        if fault in (Fault.LOST_ANSWER, Fault.HELD_ANSWER):
            self._keep(raw, started, None, answer[1], b"")
            if fault is Fault.HELD_ANSWER:
                self.proxy.release.wait(LONGEST_HOLD_S)
            self.close_connection = True
            return
        self._keep(raw, started, answer[0], answer[1], answer[2])
        with contextlib.suppress(ConnectionError):
            self._answer(*answer)

    def _ask(self, raw: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.proxy.target_port, timeout=30)
        try:
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                if name.lower() not in _HOP:
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(raw)))
            connection.endheaders(raw)
            response = connection.getresponse()
            headers = {n: v for n, v in response.getheaders() if n.lower() not in _HOP}
            return response.status, headers, response.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _keep(
        self, raw: bytes, started: float, status: int | None, headers: dict[str, str], body: bytes
    ) -> None:
        sent = {name.lower(): value for name, value in self.headers.items()}
        self.proxy.keep(
            Exchange(
                method=self.command,
                path=self.path,
                headers=sent,
                body=_read(raw, sent),
                status=status,
                answer_headers={name.lower(): value for name, value in headers.items()},
                answer=body,
                started_s=started,
                ended_s=time.monotonic(),
            )
        )

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _read(raw: bytes, headers: dict[str, str]) -> Any:
    if not raw:
        return None
    plain = gzip.decompress(raw) if headers.get("content-encoding") == "gzip" else raw
    return json.loads(plain)


@contextlib.contextmanager
def proxy(target_port: int) -> Iterator[Proxy]:
    """Start one on a free loopback port; stop it at the end."""
    running = Proxy(target_port)
    handler = type("Handler", (_Handler,), {"proxy": running})
    listening = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    listening.daemon_threads = True
    listening.block_on_close = False
    running.port = listening.server_address[1]
    thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield running
    finally:
        running.release.set()
        listening.shutdown()
        listening.server_close()
        thread.join()
