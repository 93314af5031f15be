"""Where an outbound request may go. Pure: no DNS, no socket.

Two questions are answered here and nowhere else: is this URL one we send to at all
(`parse_target`), and may this IP address be connected to (`refusal`).

A server that sends to addresses its owner types in can be turned against its own
network (SSRF). Two parsers that read one URL differently are the usual way in, so a URL
is taken apart once, by a strict parser, and put together again from the checked parts:
what the HTTP library sees is `Target.url`, never the text that was configured.
Addresses follow the IANA special-purpose registries and OWASP ASVS 5.0, 1.3.6 and 13.2.4.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import idna

Address = IPv4Address | IPv6Address

HTTPS_PORT = 443
LONGEST_URL = 4096  # characters; longer is a mistake or an attack


class TargetRefused(ValueError):
    """A URL or an address we do not send to. The message holds the reason, never the URL."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A network that is not connected to, and why.

    ``local`` marks a network a developer may own; those open with ``allow_private``.
    The others never open: the metadata service of a cloud is no development target.
    """

    network: IPv4Network | IPv6Network
    reason: str
    local: bool = False


def _row(network: str, reason: str, *, local: bool = False) -> Refused:
    return Refused(ip_network(network), reason, local)


# The first row that matches decides, so single addresses stand before their network.
REFUSED: tuple[Refused, ...] = (
    _row("100.100.100.200/32", "cloud metadata service"),
    _row("168.63.129.16/32", "cloud platform service"),
    _row("0.0.0.0/8", "this network"),
    _row("10.0.0.0/8", "private use", local=True),
    _row("100.64.0.0/10", "shared address space", local=True),
    _row("127.0.0.0/8", "loopback", local=True),
    _row("169.254.0.0/16", "link-local, cloud metadata service"),
    _row("172.16.0.0/12", "private use", local=True),
    _row("192.0.0.0/24", "protocol assignments"),
    _row("192.0.2.0/24", "documentation"),
    _row("192.88.99.0/24", "6to4 relay"),
    _row("192.168.0.0/16", "private use", local=True),
    _row("198.18.0.0/15", "benchmarking"),
    _row("198.51.100.0/24", "documentation"),
    _row("203.0.113.0/24", "documentation"),
    _row("224.0.0.0/4", "multicast"),
    _row("240.0.0.0/4", "reserved and broadcast"),
    _row("fd00:ec2::/32", "cloud metadata service"),
    _row("fd20:ce::/32", "cloud metadata service"),
    _row("::/128", "unspecified"),
    _row("::1/128", "loopback", local=True),
    _row("::/96", "IPv4-compatible"),
    _row("::ffff:0:0:0/96", "IPv4-translated"),
    _row("64:ff9b::/96", "NAT64"),
    _row("64:ff9b:1::/48", "local NAT64"),
    _row("100::/64", "discard only"),
    _row("100:0:0:1::/64", "dummy prefix"),
    _row("2001::/23", "protocol assignments, Teredo, ORCHID"),
    _row("2001:db8::/32", "documentation"),
    _row("2002::/16", "6to4"),
    _row("3fff::/20", "documentation"),
    _row("5f00::/16", "segment routing"),
    _row("fc00::/7", "unique local", local=True),
    _row("fe80::/10", "link-local"),
    _row("fec0::/10", "site-local"),
    _row("ff00::/8", "multicast"),
)

_GLOBAL_UNICAST_6 = IPv6Network("2000::/3")


def refusal(address: Address, *, allow_private: bool) -> str | None:
    """Why ``address`` is not connected to, or None if it may be.

    An IPv4 address inside an IPv6 one (``::ffff:0:0/96``) is judged as the IPv4 address,
    because that is where the packet goes. IPv6 outside 2000::/3 is refused even where no
    row names it: unassigned space is not ours to trust.
    """
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return refusal(address.ipv4_mapped, allow_private=allow_private)
        if address.scope_id is not None:
            return "scoped address"
    for row in REFUSED:
        if address.version == row.network.version and address in row.network:
            return None if row.local and allow_private else row.reason
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST_6:
        return "not global unicast"
    return None


@dataclass(frozen=True, slots=True, repr=False)
class Target:
    """A URL in checked parts. ``host`` is lower-case ASCII without brackets or final dot.

    ``address`` is set when the host is a literal IP address. ``path`` begins with ``/``
    and includes the query; it may hold a secret, so it is never shown.
    """

    scheme: str
    host: str
    port: int
    address: Address | None
    path: str

    @property
    def origin(self) -> str:
        """Scheme, host and, where it is not the scheme's own, port."""
        host = f"[{self.host}]" if isinstance(self.address, IPv6Address) else self.host
        usual = HTTPS_PORT if self.scheme == "https" else 80
        return f"{self.scheme}://{host}" + ("" if self.port == usual else f":{self.port}")

    @property
    def url(self) -> str:
        """The URL rebuilt from its checked parts. May hold a secret."""
        return self.origin + self.path

    def __repr__(self) -> str:
        return f"Target({self.origin})"


_URL = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<query>\?[^#]*)?")
_BRACKETED = re.compile(r"\[(?P<host>[0-9A-Fa-f:.]+)\](?::(?P<port>[0-9]{1,5}))?")
_NAMED = re.compile(r"(?P<host>[^:\[\]@%]+)(?::(?P<port>[0-9]{1,5}))?")
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_NUMBER = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)")


@lru_cache(maxsize=256)  # a destination has one address, or a few
def parse_target(
    url: str, *, allow_private: bool, ports: frozenset[int] = frozenset({HTTPS_PORT})
) -> Target:
    """Take ``url`` apart and check every part that can be checked without DNS.

    Without ``allow_private``: https only, a port of ``ports`` only, no literal address of
    a refused network, no ``localhost``. With it: http too, any port, local networks.
    An address must be written in its usual form; octal, hexadecimal and short forms are
    refused, since programs disagree about what they mean. Raises `TargetRefused`.
    """
    if len(url) > LONGEST_URL:
        raise TargetRefused(f"the URL is longer than {LONGEST_URL} characters")
    if not url.isprintable() or any(c.isspace() or c == "\\" for c in url):
        raise TargetRefused("the URL holds a space, a backslash or a control character")
    scheme, colon, rest = url.partition(":")
    found = _URL.fullmatch(scheme.lower() + colon + rest)
    if found is None:
        raise TargetRefused("the URL must be http(s)://host[:port]/path without a fragment")
    if found["scheme"] != "https" and not allow_private:
        raise TargetRefused("the URL must be https")
    path = (found["path"] or "/") + (found["query"] or "")
    if not path.isascii():
        raise TargetRefused("the path must be ASCII; percent-encode the rest")
    host, address, port = _authority(found["authority"])
    port = port or (HTTPS_PORT if found["scheme"] == "https" else 80)
    if not allow_private:
        if port not in ports:
            raise TargetRefused(f"port {port} is not one we send to")
        if host == "localhost" or host.endswith(".localhost"):
            raise TargetRefused("the host is this machine")
    if address is not None:
        reason = refusal(address, allow_private=allow_private)
        if reason is not None:
            raise TargetRefused(f"the address is refused: {reason}")
    return Target(found["scheme"], host, port, address, path)


def _authority(text: str) -> tuple[str, Address | None, int | None]:
    """Host, its literal address if it is one, and the port if one is given."""
    if "@" in text:
        raise TargetRefused("the URL must not hold a name or a password")
    found = _BRACKETED.fullmatch(text) or _NAMED.fullmatch(text)
    if found is None:
        raise TargetRefused("the host or the port is empty or malformed")
    port = None if found["port"] is None else int(found["port"])
    if port is not None and not 1 <= port <= 65535:
        raise TargetRefused("the port is not between 1 and 65535")
    if text.startswith("["):
        try:
            literal = IPv6Address(found["host"])
        except ValueError:
            raise TargetRefused("the host is no IPv6 address") from None
        if literal.ipv4_mapped is not None:  # one address, one spelling
            return str(literal.ipv4_mapped), literal.ipv4_mapped, port
        return literal.compressed, literal, port
    host, address = _name(found["host"])
    return host, address, port


def _name(text: str) -> tuple[str, Address | None]:
    """A host name in lower-case ASCII, or a dotted IPv4 address."""
    if text.isascii():
        host = text.lower()
    else:
        try:
            host = idna.encode(text, uts46=True, std3_rules=True).decode("ascii")
        except idna.IDNAError:
            raise TargetRefused("the host is no valid international name") from None
    host = host.removesuffix(".")
    if not _NAME.fullmatch(host) or len(host) > 253:
        raise TargetRefused("the host is no valid name")
    if not _NUMBER.fullmatch(host):
        return host, None
    if not text.isascii():
        raise TargetRefused("the host is an address in letters that only look like digits")
    try:
        literal = ip_address(host)
    except ValueError:
        raise TargetRefused("the address must be four decimal numbers without zeros") from None
    return host, literal
