"""The one way out: every HTTP request this program makes to a destination passes here.

The guard, in order: the URL is taken apart and rebuilt (`addresses.parse_target`); a
literal address is judged there; a name is resolved by our resolver, and if *any* of its
addresses is refused nothing is connected to, else exactly the checked addresses are. No
second look-up happens, so a name that changes its address in between (DNS rebinding) gains
nothing. Redirects are not followed, the environment's proxies are not read, cookies are not
kept.

The last look. Consent may be withdrawn while we wait in line, resolve and connect, so the
decision is asked again when the connection stands: `wire.Connection.start` asks and writes in
one call, so nothing is awaited in between. (asyncio gives the bytes to the kernel in that
same call; uvloop at the end of the same turn of its loop.)
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import Protocol

from aiohappyeyeballs import AddrInfoType, start_connection

from consentry.destinations.addresses import Address, Target, TargetRefused, parse_target, refusal
from consentry.destinations.http import Kind, TransportError
from consentry.destinations.message import LastLook, Request, Response
from consentry.destinations.pool import Pool
from consentry.destinations.wire import Connection, NoAnswer

__all__ = ["Kind", "OutboundClient", "Resolver", "SystemResolver", "TransportError"]

TIMEOUT_S = 15.0  # Standard Webhooks asks for 15 to 30
CONNECT_TIMEOUT_S = 5.0
HAPPY_EYEBALLS_S = 0.25  # until the next address is tried beside one that is slow (RFC 8305)


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


def _forgetful_socket(address: AddrInfoType) -> socket.socket:
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
        self._resolver = resolver or SystemResolver()
        self._loop = asyncio.get_running_loop()
        self._pool = Pool(self._loop)
        self._trust: ssl.SSLContext | None = None

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
        written = _written(request, target)
        if written is None:
            raise TransportError(Kind.BLOCKED, target.host)
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            return await self._exchange(target, written, last_look, self._loop.time() + limit_s)
        except NoAnswer as error:
            kind, wrote = error.kind, error.wrote
        # Raised out here, so that nothing that may hold the request is chained.
        raise TransportError(kind, target.host, wrote=wrote)

    async def _exchange(
        self, target: Target, written: bytes, last_look: LastLook | None, deadline: float
    ) -> Response:
        pool, origin = self._pool, target.origin
        if not pool.try_enter(origin) and not await pool.enter(origin, deadline):
            raise NoAnswer(Kind.TIMEOUT, wrote=False)
        connection: Connection | None = None
        whole = False
        try:
            connection = pool.idle(origin) or await self._connect(target, deadline)
            answer = await connection.start(written, last_look, deadline)
            whole = True
            return answer
        finally:
            if connection is not None and not whole:
                connection.abort()  # closing alone would still send what is not sent yet
            pool.leave(origin, connection)

    async def _connect(self, target: Target, deadline: float) -> Connection:
        """A new connection to an address of ``target`` that was checked just now."""
        try:
            async with asyncio.timeout_at(deadline):
                addresses = await self._addresses(target)
                async with asyncio.timeout(self._connect_timeout_s):
                    sock = await start_connection(
                        addresses,
                        happy_eyeballs_delay=HAPPY_EYEBALLS_S,
                        socket_factory=_forgetful_socket,
                    )
                return await self._opened(sock, target)
        except TimeoutError:  # also ETIMEDOUT
            kind = Kind.TIMEOUT
        except ssl.SSLError:
            kind = Kind.TLS
        except (OSError, RuntimeError):  # uvloop's own sockets raise the latter
            kind = Kind.REFUSED
        raise NoAnswer(kind, wrote=False)

    async def _opened(self, sock: socket.socket, target: Target) -> Connection:
        secure = target.scheme == "https"
        try:
            _, connection = await self._loop.create_connection(
                lambda: Connection(self._loop),
                sock=sock,
                ssl=self._tls() if secure else None,
                server_hostname=target.host if secure else None,
            )
        except BaseException:
            sock.close()
            raise
        self._pool.add(connection)
        return connection

    async def _addresses(self, target: Target) -> list[AddrInfoType]:
        """Where to connect to: all of them checked, or none."""
        found = [target.address] if target.address is not None else await self._resolved(target)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(a), target.port))
            if a.version == 4
            else (
                socket.AF_INET6,
                socket.SOCK_STREAM,
                socket.IPPROTO_TCP,
                "",
                (str(a), target.port, 0, 0),
            )
            for a in found
        ]

    async def _resolved(self, target: Target) -> list[Address]:
        try:
            texts = await self._resolver.resolve(target.host)
        except OSError:
            texts = []
        if not texts:
            raise NoAnswer(Kind.UNRESOLVED, wrote=False)
        addresses: list[Address] = []
        for text in texts:
            try:
                address = ip_address(text)
            except ValueError:
                raise NoAnswer(Kind.BLOCKED, wrote=False) from None
            if refusal(address, allow_private=self._allow_private) is not None:
                raise NoAnswer(Kind.BLOCKED, wrote=False)
            addresses.append(address)
        return addresses

    def _tls(self) -> ssl.SSLContext:
        """Certificates are checked against those that the system trusts; HTTP/1.1 is spoken."""
        if self._trust is None:
            self._trust = ssl.create_default_context()
            self._trust.set_alpn_protocols(["http/1.1"])
        return self._trust

    async def close(self) -> None:
        """Close every connection. The client cannot be used again."""
        self._pool.close()


_METHODS = frozenset({"DELETE", "GET", "PATCH", "POST", "PUT"})  # their answers have a body
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUES = re.compile(r"[\x20-\x7e\t]*")
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
        "user-agent",
    }
)


def _written(request: Request, target: Target) -> bytes | None:
    """The request as its bytes; None if a method, name or value would break out of its line."""
    if request.method not in _METHODS:
        return None
    lines = [_first_lines(request.method, target)]
    for name, value in request.headers:
        if not _may_be_sent(name) or _VALUES.fullmatch(value) is None:
            return None
        lines.append(f"{name}: {value}\r\n")
    body = request.body
    if body or request.method != "GET":
        lines.append(f"Content-Length: {len(body)}\r\n")
    lines.append("\r\n")
    return "".join(lines).encode("ascii") + body


@lru_cache(maxsize=256)
def _first_lines(method: str, target: Target) -> str:
    """What stands before the headers of a request. Checked: a target has no space or line end."""
    host = target.origin.partition("://")[2]
    return (
        f"{method} {target.path} HTTP/1.1\r\nHost: {host}\r\n"
        "User-Agent: Consentry\r\nAccept: */*\r\nAccept-Encoding: identity\r\n"
    )


@lru_cache(maxsize=256)
def _may_be_sent(name: str) -> bool:
    return _TOKEN.fullmatch(name) is not None and name.lower() not in _OURS
