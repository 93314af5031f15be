"""A configuration as values: read once, then frozen."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from consentry.config.problem import Problem
from consentry.core.delivery import Backoff
from consentry.core.policy import Policy, Regime
from consentry.destinations.instruction import Orders
from consentry.destinations.spec import Spec
from consentry.notice import Notice
from consentry.secret import Secret

Network = IPv4Network | IPv6Network
Spelling = tuple[str, str]
"""The headers of country and region, in lower case; no region header is empty."""


class Enforcement(StrEnum):
    """Which profile gives the settings that a workspace does not state."""

    STRICT = "strict"
    SEGMENT = "segment"


class Kind(Protocol):
    """What a configuration needs to know of one kind of destination."""

    @property
    def spec(self) -> Spec: ...

    @property
    def options(self) -> type[msgspec.Struct]: ...

    @property
    def orders(self) -> Orders | None: ...


@dataclass(frozen=True, slots=True)
class Source:
    """Where events come from: public with ``write_keys``, server with ``secret_keys``.

    ``origins`` are as browsers send them; empty means any. ``rate_limit`` is in events per
    second, None for no limit. ``subject_token_secrets`` prove who a person is.
    """

    name: str
    write_keys: tuple[str, ...] = ()
    secret_keys: tuple[Secret, ...] = ()
    origins: tuple[str, ...] = ()
    regime: Regime | None = None
    subject_token_secrets: tuple[Secret, ...] = ()
    rate_limit: float | None = None

    @property
    def trusted(self) -> bool:
        """True for a server source: only who holds its secret speaks through it."""
        return bool(self.secret_keys)


@dataclass(frozen=True, slots=True)
class DestinationConfig:
    """How one destination is reached. What it requires is in the policy, under its name.

    ``options`` is the kind's own. ``concurrency`` is in requests at once, ``rate_limit`` in
    requests per second, None for no limit. ``topics`` are the ids of those it carries.
    """

    name: str
    kind: str
    options: msgspec.Struct
    retry_hours: float = 4.0
    concurrency: int = 8
    rate_limit: float | None = None
    topics: tuple[str, ...] = ()

    @property
    def reach(self) -> str:
        """The host that it sends to, where an option that is no secret says it; else empty."""
        for name in ("url", "base_url"):
            url = getattr(self.options, name, None)
            if isinstance(url, str):
                return urlsplit(url).hostname or ""
        return ""

    @property
    def backoff(self) -> Backoff:
        """When to try again; given up after ``retry_hours``."""
        return Backoff(give_up_after_s=self.retry_hours * 3600.0)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things are kept, in days. Records are kept for ever."""

    events_days: float = 30.0
    deliveries_days: float = 90.0
    dead_letters_days: float = 30.0


@dataclass(frozen=True, slots=True)
class Server:
    """How the program is reached, and whom it may reach.

    ``base_url`` is what people see, without a final slash. ``trusted_proxies`` may say who a
    client is, and where. ``place_from`` are the headers of it, None for those of the usual
    networks. ``mmdb`` is the path of a file that tells places by address.
    ``destination_ports`` may be sent to, besides what ``allow_private_destinations`` opens.
    """

    admin_keys: tuple[Secret, ...] = ()
    base_url: str | None = None
    allow_private_destinations: bool = False
    trusted_proxies: tuple[Network, ...] = ()
    place_from: Spelling | None = None
    mmdb: str | None = None
    destination_ports: frozenset[int] = frozenset({443})


class SmtpTls(StrEnum):
    """How the way to the mail server is encrypted."""

    STARTTLS = "starttls"  # before anything is said (RFC 3207); without it nothing is sent
    TLS = "tls"  # from the start (RFC 8314)
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Smtp:
    """How mail is sent. ``url`` may hold a password; ``sender`` is the From address.

    ``ca`` is the path of a file of certificates that are trusted instead of the system's.
    """

    url: Secret
    sender: str
    tls: SmtpTls = SmtpTls.STARTTLS
    ca: str | None = None


@dataclass(frozen=True, slots=True)
class Sms:
    """Where text messages are handed over, by HTTP POST that is signed with ``secrets``."""

    url: str
    secrets: tuple[Secret, ...]


@dataclass(frozen=True, slots=True)
class Alarm:
    """Where it is said that an order is open for long, by HTTP POST signed with ``secrets``."""

    url: str
    secrets: tuple[Secret, ...]


@dataclass(frozen=True, slots=True)
class Pages:
    """Links to the pages, and how long each kind of them works.

    ``secrets`` encrypt the links, the new one first. ``mails_a_day`` is how many mails strangers
    may cause to one address in 24 hours.
    """

    secrets: tuple[Secret, ...] = ()
    withdraw_days: int = 400
    edit_minutes: int = 30
    confirm_hours: int = 48
    mails_a_day: int = 3


class Mode(StrEnum):
    """When a tag runs: ``basic`` with consent only, ``advanced`` before it too, told of the no."""

    BASIC = "basic"
    ADVANCED = "advanced"


@dataclass(frozen=True, slots=True)
class Tag:
    """A script in the page: what it needs, the hosts it reaches, the cookies it sets.

    ``revoke`` is what to call when consent is withdrawn, from ``window`` on (``adPixel.stop``); without it,
    or where the page has no such function, the page is loaded anew.
    """

    name: str
    categories: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()
    revoke: str | None = None
    mode: Mode = Mode.BASIC


@dataclass(frozen=True)
class Config:
    """One configuration file, checked. ``store_url`` may hold a password and is not shown."""

    workspace: str
    enforcement: Enforcement
    shadow: bool
    policy: Policy
    sources: tuple[Source, ...] = ()
    destinations: tuple[DestinationConfig, ...] = ()
    tags: tuple[Tag, ...] = ()
    notice: Notice = field(default_factory=Notice)
    retention: Retention = Retention()
    store_url: str = field(default="sqlite:///consentry.db", repr=False)
    server: Server = Server()
    smtp: Smtp | None = None
    sms: Sms | None = None
    alarm: Alarm | None = None
    pages: Pages = Pages()
    warnings: tuple[Problem, ...] = ()
