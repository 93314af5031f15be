"""A real server on loopback that keeps every byte it was sent and answers as told."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from consentry.destinations.message import Message

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class WireServer:
    """Counts connections and bytes; answers each whole request with the next answer.

    The last answer is repeated. ``on_connect`` runs when a connection is accepted.
    """

    def __init__(self, *answers: bytes | Answer) -> None:
        self.answers = list(answers)
        self.received = bytearray()
        self.requests: list[bytes] = []
        self.connections = 0
        self.ended = 0
        self.on_connect: Callable[[], None] = lambda: None
        self.changed = asyncio.Condition()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def all_ended(self) -> None:
        """Wait until every connection has been closed by the client or by us."""
        async with self.changed:
            await asyncio.wait_for(
                self.changed.wait_for(lambda: self.ended == self.connections > 0), 5
            )

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.on_connect()
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self.request(reader):
                    answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                    if isinstance(answer, bytes):
                        writer.write(answer)
                        await writer.drain()
                    else:
                        await answer(reader, writer)
        finally:
            writer.close()
            self.ended += 1
            async with self.changed:
                self.changed.notify_all()

    async def request(self, reader: asyncio.StreamReader) -> bool:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = await reader.read(1)
            if not piece:
                return False
            self.received += piece
            head += piece
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        body = await reader.readexactly(length)
        self.received += body
        self.requests.append(head + body)
        return True


@contextlib.asynccontextmanager
async def serving(
    *answers: bytes | Answer, tls: ssl.SSLContext | None = None
) -> AsyncIterator[WireServer]:
    """A `WireServer` on a free port of 127.0.0.1."""
    wire = WireServer(*answers)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0, ssl=tls)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()


def answer(status: int, body: bytes = b"", headers: Sequence[str] = ()) -> bytes:
    """The bytes of one whole answer."""
    lines = [f"HTTP/1.1 {status} Words", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


OK = answer(200, b'{"success":true}')


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End the connection without an answer."""
    writer.transport.abort()


async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Say nothing until the client has gone."""
    await reader.read()


def message(**changes: object) -> Message:
    """One track event, with what a case changes."""
    body: dict[str, object] = {
        "type": "track",
        "messageId": "m-1",
        "event": "Video Played",
        "anonymousId": "anon-1",
        "userId": "user-1",
        "timestamp": "2026-11-22T10:00:00.000Z",
        "originalTimestamp": "2026-11-22T09:59:59.000Z",
        "receivedAt": "2026-11-22T10:00:01.000Z",
        "sentAt": "2026-11-22T10:00:00.000Z",
        "properties": {"title": "Film"},
        "context": {"page": {"url": "https://shop.example/film"}},
        "integrations": {"All": True},
    }
    extra = changes.pop("body", {})
    assert isinstance(extra, dict)
    body.update(extra)
    values: dict[str, object] = {
        "message_id": "m-1",
        "type": body["type"],
        "anonymous_id": "anon-1",
        "user_id": "user-1",
        "timestamp": body["timestamp"],
        "received_at": "2026-11-22T10:00:01.000Z",
        "body": body,
        "consent": {"analytics": True, "advertising": False},
    }
    values.update(changes)
    return Message(**values)  # type: ignore[arg-type]
