"""One request on a hot path, without a framework around it.

It offers those members of Starlette's Request that the site asks of every request, so that
what is checked of a caller is checked by the same code everywhere.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from typing import NamedTuple

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class Address(NamedTuple):
    """Where the connection comes from."""

    host: str
    port: int


class Headers(dict[str, str]):
    """By lower-case name; of a repeated one the first, as Starlette has it."""

    __slots__ = ("_all",)

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self._all = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw]
        super().__init__(reversed(self._all))

    def getlist(self, name: str) -> list[str]:
        """Every value of one header."""
        if name not in self:
            return []
        return [value for other, value in self._all if other == name]


class Call:
    """A request as ASGI describes it.

    ``body`` is there when all of it has arrived; else ``stream`` may be read, once.
    """

    __slots__ = ("_receive", "body", "client", "headers", "method", "path", "scope")

    def __init__(self, scope: Scope, receive: Receive, body: bytes | None = None) -> None:
        client = scope.get("client")
        self.scope = scope
        self.body = body
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers = Headers(scope["headers"])
        self.client = None if client is None else Address(*client)
        self._receive = receive

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The parts of the body as they arrive. Raises ClientDisconnect."""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            if body := message.get("body", b""):
                yield body
            if not message.get("more_body", False):
                return


class Reply:
    """An answer that is one piece. ``raw_headers`` are complete, and may be added to."""

    __slots__ = ("body", "raw_headers", "status_code")

    def __init__(
        self, body: bytes, status_code: int, raw_headers: Iterable[tuple[bytes, bytes]]
    ) -> None:
        self.body = body
        self.status_code = status_code
        self.raw_headers = [*raw_headers, (b"content-length", b"%d" % len(body))]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body})


Asked = Call | Request
"""Whichever of the two a handler is given."""

Answer = Reply | Response
"""Whichever of the two it gives."""
