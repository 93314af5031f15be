"""One connection, byte by byte: which answers are whole, and after which it is used again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from consentry.destinations.http import Kind
from consentry.destinations.message import LastLookRefused, Request, Response
from consentry.destinations.pool import CONNECTIONS_PER_HOST, Pool
from consentry.destinations.transport import OutboundClient, TransportError
from consentry.destinations.wire import ANSWER_MAX, BODY_MAX, HEAD_MAX, HEADERS_MAX

from .wire_server import OK, Answer, WireServer, serving, silence

REQUEST = Request("POST", "", (), b"{}")


@dataclass(frozen=True)
class Said:
    """What a server says and how it was read: ``kept`` whether the connection is used again."""

    name: str
    raw: bytes
    status: int
    body: bytes = b""
    kept: bool = True
    ends: bool = False  # the server closes behind it


WHOLE = [
    Said("a length", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi"),
    Said("no body", b"HTTP/1.1 204 No\r\n\r\n", 204),
    Said("not modified", b"HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n", 304),
    Said(
        "chunks",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1;x=y\r\ni\r\n0\r\nT: 1\r\n\r\n",
        200,
        b"hi",
    ),
    Said(
        "a word in between",
        b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        200,
        b"hi",
    ),
    Said(
        "asked to close",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
        200,
        b"hi",
        kept=False,
    ),
    Said("the old version", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", False),
    Said("until the end", b"HTTP/1.1 200 OK\r\n\r\nhi", 200, b"hi", kept=False, ends=True),
    Said(
        "one answer too many",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        200,
        b"hi",
        kept=False,
    ),
    Said(
        "something behind",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi\x00\x01",
        200,
        b"hi",
        kept=False,
    ),
]

UNREADABLE = {
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
    "chunks and a length": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "a broken chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "another protocol": b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhi",
    "another protocol without its name": b"HTTP/1.1 101 S\r\n\r\n" + OK,
    "a status below all": b"HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n",
    "a long line": b"HTTP/1.1 200 OK\r\nX: " + b"x" * HEAD_MAX + b"\r\n\r\n",
    "many headers": b"HTTP/1.1 200 OK\r\n"
    + b"".join(b"X-%d: 1\r\n" % n for n in range(HEADERS_MAX + 1))
    + b"Content-Length: 0\r\n\r\n",
    "endless words in between": b"HTTP/1.1 102 Wait\r\n\r\n" * (ANSWER_MAX // 10),
    "an endless trailer": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: "
    + b"x" * (2 * ANSWER_MAX),
}


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    made = OutboundClient(allow_private=True, timeout_s=5)
    yield made
    await made.close()


def to(server: WireServer, body: bytes = b"{}") -> Request:
    return Request("POST", server.url, (), body)


def saying(said: Said, cut: int = 0) -> Answer:
    """The answer in two pieces, which the client reads one by one."""

    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in (said.raw[:cut], said.raw[cut:]):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.002)
        if said.ends:
            writer.close()

    return say


@pytest.mark.parametrize("said", WHOLE, ids=lambda said: said.name)
async def test_an_answer_is_read_wherever_it_is_cut(said: Said, client: OutboundClient) -> None:
    last = min(len(said.raw), 60)
    for cut in range(0, last, 7):
        async with serving(saying(said, cut), OK) as server:
            got = await client.send(to(server))
            assert (got.status, got.body) == (said.status, said.body), cut
            assert (await client.send(to(server))).status == 200
            # What comes behind an answer may be seen before the next request or while it waits.
            assert server.connections == (1 if said.kept else 2), cut


@pytest.mark.parametrize("raw", UNREADABLE.values(), ids=UNREADABLE)
async def test_what_cannot_be_read_is_no_answer(raw: bytes, client: OutboundClient) -> None:
    async with serving(saying(Said("", raw, 0)), OK) as server:
        with pytest.raises(TransportError) as failed:
            await client.send(to(server))
        assert (failed.value.kind, failed.value.wrote) == (Kind.PROTOCOL, True)
        assert (await client.send(to(server))).status == 200  # the pool is sound
        assert server.connections == 2


async def test_what_comes_unasked_is_no_answer_to_the_next_request(client: OutboundClient) -> None:
    """Whoever could put an answer there could make a refusal look like a delivery."""
    unasked = asyncio.Event()

    async def twice(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await writer.drain()
        await unasked.wait()
        writer.write(OK)
        await writer.drain()

    refused = b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"
    async with serving(twice, refused) as server:
        assert (await client.send(to(server))).status == 200
        unasked.set()
        await server.all_ended()
        assert (await client.send(to(server))).status == 401


async def test_an_answer_before_the_request_was_sent_ends_the_connection(
    client: OutboundClient,
) -> None:
    early = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not early.is_set():
            early.set()
            writer.write(b"HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.sleep(0.05)
            return
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n{}")
            writer.write(OK)

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server:
        got = await client.send(Request("POST", url, (), b"x" * 20_000_000))
        assert got.status == 413
        assert (await client.send(Request("POST", url, (), b"{}"))).status == 200


async def test_no_more_at_once_than_one_host_may_have(client: OutboundClient) -> None:
    async with serving(silence) as server:
        many = [
            asyncio.ensure_future(client.send(to(server))) for _ in range(CONNECTIONS_PER_HOST + 8)
        ]
        async with asyncio.timeout(5):
            while len(server.requests) < CONNECTIONS_PER_HOST:
                await asyncio.sleep(0.001)
        assert server.connections == CONNECTIONS_PER_HOST
        async with serving(OK) as other:
            assert (await client.send(to(other))).status == 200  # others have their own places
        for one in many[:8]:
            one.cancel()
        async with asyncio.timeout(5):
            while len(server.requests) < CONNECTIONS_PER_HOST + 8:
                await asyncio.sleep(0.001)
        for one in many:
            one.cancel()
        await asyncio.gather(*many, return_exceptions=True)
        server.answers = [OK]
        got = await asyncio.gather(*(client.send(to(server)) for _ in many))
        assert {answer.status for answer in got} == {200}  # no place was lost


async def test_a_place_given_to_somebody_who_just_left_is_free() -> None:
    pool = Pool(asyncio.get_running_loop(), per_origin=1)
    assert pool.try_enter("a")
    assert not pool.try_enter("a")
    waiting = asyncio.ensure_future(pool.enter("a", 1e12))
    await asyncio.sleep(0)
    pool.leave("a")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert pool.try_enter("a")


async def test_who_waits_for_all_places_is_let_in_by_another_origin() -> None:
    pool = Pool(asyncio.get_running_loop(), limit=2, per_origin=2)
    assert pool.try_enter("a")
    assert pool.try_enter("a")
    waiting = asyncio.ensure_future(pool.enter("b", 1e12))
    await asyncio.sleep(0)
    assert not waiting.done()
    pool.leave("a")
    await waiting
    assert not pool.try_enter("a")


async def test_a_closed_pool_turns_away_who_waits() -> None:
    pool = Pool(asyncio.get_running_loop(), per_origin=1)
    assert pool.try_enter("a")
    waiting = asyncio.ensure_future(pool.enter("a", 1e12))
    await asyncio.sleep(0)
    pool.close()
    assert await waiting is False


async def test_who_waits_for_a_place_is_asked_again_when_it_is_free(client: OutboundClient) -> None:
    withdrawn = False

    def look() -> None:
        if withdrawn:
            raise LastLookRefused

    async with serving(silence) as server:
        first = [
            asyncio.ensure_future(client.send(to(server))) for _ in range(CONNECTIONS_PER_HOST)
        ]
        waiting = asyncio.ensure_future(client.send(to(server), look))
        async with asyncio.timeout(5):
            while len(server.requests) < CONNECTIONS_PER_HOST:
                await asyncio.sleep(0.001)
        withdrawn = True
        for one in first:
            one.cancel()
        with pytest.raises(LastLookRefused):
            await waiting
        await asyncio.gather(*first, return_exceptions=True)
        assert len(server.requests) == CONNECTIONS_PER_HOST


async def test_who_waits_for_a_place_waits_no_longer_than_it_may(client: OutboundClient) -> None:
    async with serving(silence) as server:
        first = [
            asyncio.ensure_future(client.send(to(server))) for _ in range(CONNECTIONS_PER_HOST)
        ]
        await asyncio.sleep(0)
        with pytest.raises(TransportError) as failed:
            await client.send(to(server), timeout_s=0.05)
        assert (failed.value.kind, failed.value.wrote) == (Kind.TIMEOUT, False)
        for one in first:
            one.cancel()
        await asyncio.gather(*first, return_exceptions=True)


async def test_one_timer_serves_requests_with_other_limits(client: OutboundClient) -> None:
    """The first request sets a timer for long; the second, on its connection, may wait little."""
    async with serving(OK, silence) as server:
        assert (await client.send(to(server), timeout_s=3600)).status == 200
        with pytest.raises(TransportError) as failed:
            async with asyncio.timeout(60):
                await client.send(to(server), timeout_s=0.05)
        assert failed.value.kind is Kind.TIMEOUT
        assert server.connections == 1


async def test_a_closed_client_ends_what_is_on_the_wire() -> None:
    client = OutboundClient(allow_private=True)
    async with serving(silence) as server:
        sending: asyncio.Future[Response] = asyncio.ensure_future(client.send(to(server)))
        async with asyncio.timeout(5):
            while not server.requests:
                await asyncio.sleep(0.001)
        await client.close()
        with pytest.raises(TransportError, match="reset"):
            await sending
        await server.all_ended()


async def test_a_body_beyond_the_limit_ends_without_waiting_for_the_rest(
    client: OutboundClient,
) -> None:
    async def more(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (BODY_MAX + 1))
        await reader.read()

    async with serving(more) as server:
        got = await client.send(to(server))
        assert len(got.body) == BODY_MAX
        await server.all_ended()
