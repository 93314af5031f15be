"""Where a database is: its URL taken apart once, its addresses checked, its TLS.

The driver would read a URL more generously (several hosts, service files, environment
variables) than a guard can follow. So the URL is parsed here, strictly, and the driver is
given the parts, with the checked addresses in place of the name.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import parse_qsl, unquote

from consentry.destinations.addresses import Address, TargetRefused, parse_target, refusal

PORT = 5432
LONGEST_URL = 4096  # characters

DISABLE, REQUIRE, VERIFY_FULL = "disable", "require", "verify-full"
SSL_MODES = frozenset({DISABLE, REQUIRE, VERIFY_FULL})

_FORM = "url: must be postgresql://user:password@host[:port]/database[?sslmode=…&sslrootcert=…]"
_URL = re.compile(
    r"postgres(?:ql)?://(?P<user>[^:@/?#]+)(?::(?P<password>[^@/?#]*))?@"
    r"(?P<authority>[^@/?#]*)/(?P<database>[^/?#]+)(?:\?(?P<query>[^#]*))?"
)
_WITH_PORT = re.compile(r"(?:\[[^\]]*\]|[^:]*):[0-9]+")


class PlaceRefused(Exception):
    """An address that is not connected to. The message holds the reason and the host."""


@dataclass(frozen=True, slots=True, repr=False)
class Place:
    """A database in checked parts.

    ``host`` is a lower-case name, a literal address, or, beginning with ``/``, the
    directory of a Unix socket. ``sslmode`` None means: whatever is right for the address.
    ``root_cert`` is a PEM file to trust instead of the system's authorities.
    """

    host: str
    port: int
    user: str
    password: str
    database: str
    sslmode: str | None
    root_cert: str | None

    def __repr__(self) -> str:
        return f"Place({self.host}:{self.port})"


@dataclass(frozen=True, slots=True)
class Checked:
    """What may be connected to: ``hosts`` for the driver, and with which TLS, if any."""

    hosts: tuple[str, ...]
    tls: ssl.SSLContext | None


def parse_place(url: str) -> Place:
    """Take ``url`` apart. Raises ValueError; the message never holds any of it."""
    if len(url) > LONGEST_URL or not url.isprintable() or " " in url:
        raise ValueError(_FORM)
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError(_FORM)
    options = _options(found["query"] or "")
    authority = found["authority"]
    directory = options.get("host")
    if (directory is None) == (not authority):
        raise ValueError("url: needs either a host or ?host=/directory of a Unix socket")
    if directory is None:
        host, port = _host_and_port(authority)
    elif directory.startswith("/"):
        host, port = directory, _port(options.get("port", str(PORT)))
    else:
        raise ValueError("url: host= must be the directory of a Unix socket, from the root")
    if directory is None and "port" in options:
        raise ValueError("url: port= belongs to a Unix socket; write host:port")
    sslmode = options.get("sslmode")
    if sslmode is not None and (sslmode not in SSL_MODES or directory is not None):
        raise ValueError("url: sslmode must be disable, require or verify-full, over TCP only")
    return Place(
        host,
        port,
        unquote(found["user"]),
        unquote(found["password"] or ""),
        unquote(found["database"]),
        sslmode,
        options.get("sslrootcert"),
    )


def _options(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, strict_parsing=bool(query), max_num_fields=4)
    except ValueError:
        raise ValueError("url: the part after ? is unreadable") from None
    options = dict(pairs)
    if len(options) != len(pairs) or not options.keys() <= {
        "host",
        "port",
        "sslmode",
        "sslrootcert",
    }:
        raise ValueError("url: after ? only host, port, sslmode and sslrootcert, each once")
    return options


def _host_and_port(authority: str) -> tuple[str, int]:
    """Read by the parser that reads every other host of this program."""
    full = authority if _WITH_PORT.fullmatch(authority) else f"{authority}:{PORT}"
    try:
        target = parse_target(f"https://{full}/", allow_private=True)
    except TargetRefused as reason:
        raise ValueError(f"url: {reason}") from None
    return target.host, target.port


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 65535):
        raise ValueError("url: the port is not between 1 and 65535")
    return int(text)


async def check(place: Place, *, allow_private: bool) -> Checked:
    """Find and check the addresses of ``place``, and choose its TLS.

    If one address is refused, none is used. Without ``sslmode`` an address of this
    machine is spoken to in the clear and every other with `verify-full`; in the clear
    never leaves private networks, even if asked to. Raises `PlaceRefused`, OSError.
    """
    if place.host.startswith("/"):
        if not allow_private:
            raise PlaceRefused("a Unix socket is on this machine; allow_private_host is not set")
        return Checked((place.host,), None)
    addresses = await _addresses(place)
    for address in addresses:
        reason = refusal(address, allow_private=allow_private)
        if reason is not None:
            raise PlaceRefused(f"the address of {place.host} is refused: {reason}")
    here = all(address.is_loopback for address in addresses)
    mode = place.sslmode or (DISABLE if here else VERIFY_FULL)
    if mode == DISABLE and any(refusal(a, allow_private=False) is None for a in addresses):
        raise PlaceRefused(f"{place.host} has a public address; sslmode=disable is refused")
    return Checked(tuple(map(str, addresses)), await asyncio.to_thread(_tls, place, mode))


async def _addresses(place: Place) -> list[Address]:
    found = await asyncio.get_running_loop().getaddrinfo(
        place.host, place.port, type=socket.SOCK_STREAM
    )
    texts = dict.fromkeys(str(address[0]) for *_, address in found)
    try:
        return [ip_address(text) for text in texts]
    except ValueError:  # an address with a scope
        raise PlaceRefused(f"the address of {place.host} is unreadable") from None


class _NamedContext(ssl.SSLContext):
    """Checks the certificate against the configured name, while the driver knows addresses."""

    name: str

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return super().wrap_bio(incoming, outgoing, server_side, self.name, session)


def _tls(place: Place, mode: str) -> ssl.SSLContext | None:
    """``require`` encrypts without asking who is there; ``verify-full`` asks."""
    if mode == DISABLE:
        return None
    context = _NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.name = place.host
    if mode == REQUIRE:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif place.root_cert is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cafile=place.root_cert)
    return context
