"""A destination that costs next to nothing: reads a request, counts it, answers.

    python -m bench.sink PORT

`POST /_mode/ok`, `/_mode/refuse` and `/_mode/hold` say what comes back; `GET /_count` how many
requests came, `GET /_held` how many wait. What is held is answered as the next mode says.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import cast

import uvloop

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"
REFUSED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
ANSWERS = {"ok": OK, "refuse": REFUSED, "hold": b""}


class Book:
    """What came, what is held, and what is answered."""

    def __init__(
        self,
        seen: Callable[[float], None] | None = None,
        took: Callable[[float, bytes], None] | None = None,
    ) -> None:
        """``seen`` hears when a request's first byte came, ``took`` that and the whole of it."""
        self.count = 0
        self.mode = "ok"
        self.held: list[asyncio.Transport] = []
        self.seen = seen
        self.took = took

    def take_mode(self, mode: str) -> None:
        self.mode = mode
        if mode != "hold":
            for transport in self.held:
                transport.write(ANSWERS[mode])
            self.held.clear()


class Receiver(asyncio.Protocol):
    """One connection. Requests have a Content-Length or no body, as all of ours have."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.buffer = b""
        self.began = 0.0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is of no common class

    def data_received(self, data: bytes) -> None:
        if not self.buffer and (self.book.seen is not None or self.book.took is not None):
            self.began = time.perf_counter()
            if self.book.seen is not None:
                self.book.seen(self.began)
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            whole = end + 4 + _length(self.buffer[:end])
            if len(self.buffer) < whole:
                return
            if self.book.took is not None:
                self.book.took(self.began, self.buffer[:whole])
            self._answer(self.buffer[: self.buffer.find(b" ", 5)])
            self.buffer = self.buffer[whole:]

    def _answer(self, line: bytes) -> None:
        assert self.transport is not None
        book = self.book
        if line.startswith((b"GET /_count", b"GET /_held")):
            said = str(book.count if line.endswith(b"count") else len(book.held)).encode()
            self.transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said)
            )
        elif line.startswith(b"POST /_mode/"):
            book.take_mode(line.rpartition(b"/")[2].decode())
            self.transport.write(OK)
        else:
            book.count += 1
            if book.mode == "hold":
                book.held.append(self.transport)
            else:
                self.transport.write(ANSWERS[book.mode])

    def connection_lost(self, exc: Exception | None) -> None:
        self.book.held = [one for one in self.book.held if one is not self.transport]


def _length(head: bytes) -> int:
    lower = head.lower()
    at = lower.find(b"\r\ncontent-length:")
    return 0 if at < 0 else int(lower[at + 17 :].split(b"\r\n", 1)[0])


async def serve(port: int) -> None:
    book = Book()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Receiver(book), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
