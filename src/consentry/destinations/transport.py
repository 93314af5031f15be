"""The one way out: every HTTP request this program makes to a destination passes here.

The guard, in order: the URL is taken apart and rebuilt (`addresses.parse_target`); a
literal address is judged there, because aiohttp does not ask a resolver for one; a name
is resolved by our resolver, and if *any* of its addresses is refused nothing is connected
to, else exactly the checked addresses go to the connector. No second look-up happens, so
a name that changes its address in between (DNS rebinding) gains nothing. Redirects are
not followed, the environment's proxies are not read, cookies are not kept.

The last look. Consent may be withdrawn while we resolve and connect, so the decision is
asked again when the connection stands. aiohttp buffers the headers and writes them with
the first piece of the body; the body's own `write_with_length` is therefore the moment
before the first byte, and between the look and the write nothing is awaited. A payload
class is a documented extension point of aiohttp; no private name is used. (asyncio gives
the bytes to the kernel in that same call; uvloop at the end of the same turn of its loop.)
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import struct
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import Protocol

import aiohttp
from aiohttp.abc import AbstractResolver, AbstractStreamWriter, ResolveResult
from aiohttp.http import StreamWriter
from yarl import URL

from consentry.destinations.addresses import Target, TargetRefused, parse_target, refusal
from consentry.destinations.http import Kind, TransportError
from consentry.destinations.message import LastLook, Request, Response

__all__ = ["Kind", "OutboundClient", "Resolver", "SystemResolver", "TransportError"]

BODY_MAX = 64 * 1024  # bytes kept of an answer
TIMEOUT_S = 15.0  # Standard Webhooks asks for 15 to 30
CONNECT_TIMEOUT_S = 5.0
CONNECTIONS = 256
CONNECTIONS_PER_HOST = 32  # one slow destination must not take every connection
KEEPALIVE_S = 30.0


class Resolver(Protocol):
    """Finds the addresses of a name. Raises OSError if there are none."""

    async def resolve(self, host: str) -> Sequence[str]:
        """Every A and AAAA address of ``host``, as text."""
        ...


class SystemResolver:
    """The resolver of the operating system."""

    async def resolve(self, host: str) -> Sequence[str]:
        """Every address ``getaddrinfo`` knows for ``host``."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))


class _GuardedResolver(AbstractResolver):
    """Hands aiohttp the addresses of a name, all of them checked, or none."""

    def __init__(self, resolver: Resolver, *, allow_private: bool) -> None:
        self._resolver = resolver
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = []
        for text in await self._resolver.resolve(host):
            try:
                address = ip_address(text)
            except ValueError:
                raise TransportError(Kind.BLOCKED, host) from None
            if refusal(address, allow_private=self._allow_private) is not None:
                raise TransportError(Kind.BLOCKED, host)
            addresses.append(address)
        if not addresses:
            raise TransportError(Kind.UNRESOLVED, host)
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


class _GuardedBody(aiohttp.payload.BytesPayload):
    """A request body that asks once more before it, and the headers with it, is written."""

    def __init__(self, body: bytes, last_look: LastLook | None) -> None:
        super().__init__(body)
        self._last_look = last_look
        self.stopped: Exception | None = None
        self.wrote = False
        self._connection: asyncio.Transport | None = None

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        if self._last_look is not None:
            try:
                self._last_look()
            except Exception as refused:  # whatever it raises, the answer is no
                self.stopped = refused
                raise
        self.wrote = True
        if isinstance(writer, StreamWriter):
            self._connection = writer.transport
        await super().write_with_length(writer, content_length)

    def hang_up(self) -> None:
        """Drop what is not sent yet: closing alone would still send it when it can."""
        if self._connection is not None:
            self._connection.abort()


def _forgetful_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """A socket that drops what it has not sent when it is closed.

    Else the kernel goes on sending a request that timed out, for minutes, and delivers it when
    the network is back: after a withdrawal that nobody knows it crossed (tcp(7), socket(7)).
    """
    family, kind, protocol, _, _ = address
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return sock


class OutboundClient:
    """A guarded HTTP client with a pool of kept connections.

    Make it inside a running event loop and close it there. ``allow_private`` is for
    development and tests: http and local networks. ``ports`` are the ports that may be
    sent to without it. ``timeout_s`` bounds a whole exchange, ``connect_timeout_s`` each
    attempt to connect, both in seconds.
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        ports: frozenset[int] = frozenset({443}),
        timeout_s: float = TIMEOUT_S,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        resolver: Resolver | None = None,
    ) -> None:
        self._allow_private = allow_private
        self._ports = ports
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=_GuardedResolver(
                    resolver or SystemResolver(), allow_private=allow_private
                ),
                use_dns_cache=False,  # an address is checked when it is connected to
                limit=CONNECTIONS,
                limit_per_host=CONNECTIONS_PER_HOST,
                keepalive_timeout=KEEPALIVE_S,
                socket_factory=_forgetful_socket,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,  # a small answer must not grow
            headers={"User-Agent": "Consentry"},
        )

    @property
    def allow_private(self) -> bool:
        """Whether addresses of this machine and its network may be reached."""
        return self._allow_private

    async def send(
        self,
        request: Request,
        last_look: LastLook | None = None,
        *,
        timeout_s: float | None = None,
    ) -> Response:
        """Send ``request`` once and return the answer, its body cut at 64 KiB.

        A redirect is an answer like any other. ``last_look`` is called when the
        connection stands, just before the first byte; if it raises, nothing is written
        and its exception propagates. Raises `TransportError` if no whole answer came.
        """
        try:
            target = parse_target(request.url, allow_private=self._allow_private, ports=self._ports)
        except TargetRefused:
            raise TransportError(Kind.BLOCKED) from None
        if not _headers_are_safe(request):
            raise TransportError(Kind.BLOCKED, target.host)
        body = _GuardedBody(request.body, last_look)
        total_s = self._timeout_s if timeout_s is None else timeout_s
        limits = _limits(total_s, min(self._connect_timeout_s, total_s))
        try:
            return await self._exchange(request, target, body, limits)
        except TransportError as error:
            body.hang_up()
            kind = error.kind
        except BaseException as error:
            body.hang_up()
            if not isinstance(error, Exception):
                raise  # cancelled
            if body.stopped is None:
                known = _kind_of(error)
                if known is None:
                    raise
                kind = known
        # Raised out here, so that no exception of aiohttp, which holds the URL, is chained.
        if body.stopped is not None:
            raise body.stopped
        raise TransportError(kind, target.host, wrote=body.wrote)

    async def _exchange(
        self, request: Request, target: Target, body: _GuardedBody, limits: aiohttp.ClientTimeout
    ) -> Response:
        async with self._session.request(
            request.method,
            URL(target.url, encoded=True),
            data=body,
            headers=[*request.headers, ("Accept-Encoding", "identity")],
            allow_redirects=False,
            timeout=limits,
        ) as answer:
            if not body.wrote or answer.status < 200:
                # An answer to nothing we said, or the start of another protocol.
                answer.close()
                raise TransportError(Kind.PROTOCOL, target.host)
            content = await _read(answer)
            headers: dict[str, str] = {}
            for name, value in answer.headers.items():
                headers.setdefault(name.lower(), value)
            return Response(answer.status, headers, content)

    async def close(self) -> None:
        """Close every connection. The client cannot be used again."""
        await self._session.close()


@lru_cache(maxsize=64)
def _limits(total_s: float, connect_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=total_s, sock_connect=connect_s, ceil_threshold=60)


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """At most 64 KiB. If there is more, the connection is closed, not kept."""
    content = bytearray()
    async for piece in answer.content.iter_any():
        content += piece
        if len(content) > BODY_MAX:
            answer.close()
            break
    return bytes(content[:BODY_MAX])


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x20-\x7e\t]*")
# Headers that frame the message or its connection are the client's own business. `Expect`
# would put the headers on the wire before the last look.
_OURS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def _headers_are_safe(request: Request) -> bool:
    """Whether no method, name or value can end its line and begin another."""
    return _is_token(request.method) and all(
        _may_be_sent(name) and _VALUE.fullmatch(value) for name, value in request.headers
    )


@lru_cache(maxsize=256)
def _may_be_sent(name: str) -> bool:
    return _is_token(name) and name.lower() not in _OURS


@lru_cache(maxsize=16)
def _is_token(text: str) -> bool:
    return _TOKEN.fullmatch(text) is not None


_KINDS: tuple[tuple[type[Exception], Kind], ...] = (  # the first that fits
    (aiohttp.ClientConnectorDNSError, Kind.UNRESOLVED),
    (aiohttp.ClientSSLError, Kind.TLS),
    (TimeoutError, Kind.TIMEOUT),
    (aiohttp.ClientConnectorError, Kind.REFUSED),
    (aiohttp.ServerDisconnectedError, Kind.RESET),
    (aiohttp.ClientPayloadError, Kind.RESET),
    (aiohttp.ClientOSError, Kind.RESET),
    (aiohttp.ClientResponseError, Kind.PROTOCOL),
    (aiohttp.InvalidURL, Kind.BLOCKED),
    (aiohttp.ClientConnectionError, Kind.RESET),
    (aiohttp.ClientError, Kind.PROTOCOL),
    (OSError, Kind.RESET),
)


def _kind_of(error: Exception) -> Kind | None:
    """The kind of an error of aiohttp, or None if it is not one of the network's."""
    if isinstance(error, aiohttp.ClientConnectorError) and error.errno == errno.ETIMEDOUT:
        return Kind.TIMEOUT
    return next((kind for known, kind in _KINDS if isinstance(error, known)), None)
