"""One kept connection to a destination: a request goes out whole, one answer comes back.

httptools (llhttp, strict) reads the answer; what it leaves open is bounded here. A connection is
used again only after an answer that ended by its own length, with nothing behind it, and with all
of the request sent. Whatever else happens ends the connection, and drops what is not sent yet.

The last look is asked in the same call that writes, so that nothing can come in between.
"""

from __future__ import annotations

import asyncio
from typing import cast

import httptools

from consentry.destinations.http import Kind
from consentry.destinations.message import LastLook, Response

BODY_MAX = 64 * 1024  # bytes kept of an answer
HEAD_MAX = 32 * 1024  # bytes of its status line and headers
HEADERS_MAX = 128
ANSWER_MAX = 1024 * 1024  # bytes of all of it, chunks and trailers as they were written
_WITHOUT_BODY = frozenset({204, 304})
_SWITCHING = 101


class NoAnswer(Exception):
    """The exchange gave no whole answer. ``wrote``: whether the request was handed over."""

    def __init__(self, kind: Kind, *, wrote: bool) -> None:
        super().__init__(str(kind))
        self.kind = kind
        self.wrote = wrote


class Connection(asyncio.Protocol):
    """One connection. ``start`` an exchange when ``free``; what it returns ends with the answer."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.idle_since = 0.0
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Response] | None = None
        self._broken: Kind | None = None  # why it may not be used (again)
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._begin()

    # -- from outside -----------------------------------------------------------------------
    @property
    def free(self) -> bool:
        """Whether the next exchange may start."""
        return self._broken is None and self._waiting is None

    def start(
        self, request: bytes, last_look: LastLook | None, deadline: float
    ) -> asyncio.Future[Response]:
        """Write ``request`` and return what its answer will be.

        ``deadline`` is as the loop counts seconds. Raises whatever ``last_look`` raises; then
        nothing was written. The future raises `NoAnswer`.
        """
        if self._broken is not None or self._transport is None:
            raise NoAnswer(self._broken or Kind.RESET, wrote=False)
        if last_look is not None:
            last_look()
        self._transport.write(request)
        self._begin()
        self._seen = 0
        self._deadline = deadline
        if self._timer is not None and self._timer.when() > deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._overdue)
        self._waiting = self._loop.create_future()
        return self._waiting

    def abort(self, kind: Kind = Kind.RESET) -> None:
        """End it now; what is not sent yet is dropped."""
        self._broken = self._broken or kind
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()

    # -- coming and going -------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is of no common class

    def eof_received(self) -> None:
        """No more will come: that is the end of an answer that names no length."""
        if self._head_done and not self._framed and not self._done:
            self._finish(keep=False)
        else:
            self._fail(Kind.RESET)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(Kind.RESET)

    def _overdue(self) -> None:
        """One timer serves many exchanges: it is set anew when it comes up too early."""
        self._timer = None
        if self._waiting is None:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._overdue)
        else:
            self._fail(Kind.TIMEOUT)

    def _fail(self, kind: Kind) -> None:
        waiting, self._waiting = self._waiting, None
        self.abort(kind)
        if waiting is not None and not waiting.done():
            waiting.set_exception(NoAnswer(kind, wrote=True))

    def _finish(self, *, keep: bool) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return
        unsent = self._transport is not None and self._transport.get_write_buffer_size() > 0
        if not keep or unsent:
            self.abort()
        if not waiting.done():
            body = b"".join(self._pieces)[:BODY_MAX]
            waiting.set_result(Response(self._status, self._headers, body))

    # -- reading ----------------------------------------------------------------------------
    def data_received(self, data: bytes) -> None:
        if self._waiting is None:
            self.abort(Kind.PROTOCOL)  # an answer to nothing we said
            return
        self._seen += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._surplus = True
        if self._done and not self._wrong:
            self._finish(keep=self._keep and not self._surplus)
        elif self._wrong or self._surplus or self._seen > ANSWER_MAX:
            self._fail(Kind.PROTOCOL)
        elif self._size > BODY_MAX:
            self._finish(keep=False)
        elif not self._head_done and self._seen > HEAD_MAX:
            self._fail(Kind.PROTOCOL)

    def _begin(self) -> None:
        self._status = 0
        self._headers: dict[str, str] = {}
        self._pieces: list[bytes] = []
        self._size = 0  # of the body
        self._head_size = 0
        self._head_done = False
        self._framed = False  # its end is named
        self._done = False
        self._keep = False
        self._surplus = False  # something came that is no part of the answer
        self._wrong = False  # it is no answer that we can use

    def on_message_begin(self) -> None:
        """After the answer: one more, that nobody asked for."""
        self._surplus = self._done

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or a trailer, which says nothing."""
        if self._head_done:
            return
        self._head_size += len(name) + len(value) + 4
        if self._head_size > HEAD_MAX or len(self._headers) >= HEADERS_MAX:
            self._wrong = True
            return
        known, text = name.decode("latin-1").lower(), value.decode("latin-1")
        if known == "content-length" or (
            known == "transfer-encoding" and text.lower().endswith("chunked")
        ):
            self._framed = True
        self._headers.setdefault(known, text)

    def on_headers_complete(self) -> None:
        if self._done:
            return
        self._head_done = True
        self._status = self._parser.get_status_code()
        self._framed = self._framed or self._status in _WITHOUT_BODY
        self._wrong = self._wrong or self._status < 100 or self._status == _SWITCHING

    def on_body(self, body: bytes) -> None:
        if self._done or self._size > BODY_MAX:
            return
        self._size += len(body)
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        if self._done or self._wrong:
            return
        if self._status < 200:
            self._begin()  # a word in between; the answer is still to come
            return
        self._done = True
        self._keep = self._framed and self._parser.should_keep_alive()
