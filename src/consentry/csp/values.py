"""What a policy is made of: categories, the tags that need them, the hosts they reach.

Plain values without dependencies, so that an application can write them down in code. ``Rules``
checks all of it once; what is wrong is a ValueError when the application starts, never a header.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

DAY_S = 86_400
LONGEST_AGE_DAYS = 400.0
"""Browsers keep no cookie longer than 400 days (RFC 6265bis, 5.5)."""

_LABEL = "[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
HOST = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*(?::[0-9]{{1,5}})?")
"""A host-source of CSP 3, section 2.3.1, without scheme and path. No other text reaches a header."""
LONGEST_HOST = 253
_HOSTNAME = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
_POLICY = re.compile(r"[\x20-\x2b\x2d-\x7e]*")  # printable ASCII but the comma
_REPORT = re.compile(r"[!#$%&'()*+./0-9:=?@A-Z_a-z~-]+")


@dataclass(frozen=True, slots=True)
class Category:
    """What consent is asked for. ``gpc``: whether Global Privacy Control refuses it.

    A grant made more than ``max_age_s`` seconds ago, or before ``since_s`` (seconds since
    1970), is none any more.
    """

    id: str
    essential: bool = False
    gpc: bool = True
    max_age_s: float | None = None
    since_s: float | None = None


@dataclass(frozen=True, slots=True)
class Tag:
    """A script in the page, as ``[[tag]]`` of consentry.toml.

    ``categories``: all of them must be granted; a tag that names none never runs. ``hosts`` are
    ``cdn.example`` or ``*.cdn.example``. ``cookies`` are names, or patterns with ``*``; a name
    may have a path behind it, ``_ad_shop /shop``, which only the server's own page needs.
    ``advanced``: somebody decided that it runs before consent too, told of the no. Its hosts are
    open to everybody; its cookies are not.
    """

    name: str
    categories: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()
    advanced: bool = False


@dataclass(frozen=True)
class Rules:
    """What the middleware follows. Raises ValueError, naming what is wrong.

    ``own_hosts`` may always be reached: your CDN, your API. ``base`` is a policy of your own, in
    force where the application sends none; ``{nonce}`` in it becomes the nonce of the response.
    ``report_url`` is where browsers tell of violations. With ``report_only`` the policy of consent
    only reports. With ``twin`` a second policy, which only reports, tells of hosts that no tag names.
    ``skip`` are path prefixes under which there are neither documents nor workers.
    ``shared_caches``: an edge in front sets the Consentry-Granted header (docs/csp.md).
    ``silence`` are categories that who has not answered has granted: only where the law of every
    visitor says so. ``editions`` are the versions of the notice, each with the latest change of
    meaning in it, in seconds since 1970: a yes to an older one covers nothing that came after.
    """

    categories: tuple[Category, ...] = ()
    tags: tuple[Tag, ...] = ()
    own_hosts: tuple[str, ...] = ()
    base: str | None = None
    report_url: str | None = None
    report_only: bool = False
    twin: bool = False
    skip: tuple[str, ...] = ()
    shared_caches: bool = False
    silence: frozenset[str] = frozenset()
    max_age_days: float = 365.0
    editions: Mapping[str, float] = field(default_factory=dict)
    known: dict[str, Category] = field(init=False, repr=False, compare=False)
    memory: dict[frozenset[str], Any] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "known", {each.id: each for each in self.categories})
        if len(self.known) < len(self.categories):
            raise ValueError("categories: an id is there twice")
        for host in self.own_hosts:
            check_host(host, "own_hosts")
        for tag in self.tags:
            for host in tag.hosts:
                check_host(host, f"tag {tag.name!r}")
        if not self.silence <= self.everything:
            raise ValueError("silence: only categories that exist and are not essential")
        if self.base is not None and not _POLICY.fullmatch(self.base):
            raise ValueError("base: one policy on one line, in ASCII, without commas")
        if self.report_url is not None:
            _check_report_url(self.report_url)
        if not 0 < self.max_age_days <= LONGEST_AGE_DAYS:
            raise ValueError(f"max_age_days: over 0 and at most {LONGEST_AGE_DAYS:g}")

    def runs(self, tag: Tag, granted: frozenset[str]) -> bool:
        """Whether a tag has consent: each category it needs is essential or granted."""
        return bool(tag.categories) and all(
            identity in self.known and (self.known[identity].essential or identity in granted)
            for identity in tag.categories
        )

    @cached_property
    def everything(self) -> frozenset[str]:
        """Every category that can be granted: those that exist and are not essential."""
        return frozenset(each.id for each in self.categories if not each.essential)

    @cached_property
    def covered(self) -> frozenset[str]:
        """What Global Privacy Control refuses."""
        return frozenset(each.id for each in self.categories if each.gpc and not each.essential)


def check_host(host: str, place: str) -> None:
    """Raises ValueError for what is no host, naming the ``place`` it stands in."""
    if len(host) > LONGEST_HOST or not HOST.fullmatch(host):
        message = "must be a host in lower case, without scheme or path: cdn.example, *.cdn.example"
        raise ValueError(f"{place}: {host!r} {message}")


def _check_report_url(url: str) -> None:
    """A URL that can stand in a directive: a semicolon or a comma would end it."""
    parts = urlsplit(url)
    relative = url.startswith("/") and not url.startswith("//")
    absolute = parts.scheme in ("http", "https") and bool(parts.netloc)
    if not _REPORT.fullmatch(url) or not (relative or absolute):
        raise ValueError("report_url: an http or https URL or a path, without ; and ,")


def domains(host: str) -> list[str]:
    """The host, without a port, and what is above it but for the last label: where a browser may
    accept a cookie of it. None of an address."""
    labels = host.lower().split(".")
    if not _HOSTNAME.fullmatch(host.lower()) or labels[-1].isdigit():
        return []
    return [".".join(labels[n:]) for n in range(len(labels) - 1)]


def path_of_cookie(entry: str) -> tuple[str, str]:
    """The name and the path of one entry: ``_ad*`` is at ``/``, ``_ad_shop /shop`` at ``/shop``."""
    name, _, path = entry.partition(" /")
    return name, f"/{path}"


def names_cookie(patterns: Iterable[str], name: str) -> bool:
    """Whether one of the patterns is this cookie's; ``*`` stands for any characters."""
    return any(fnmatchcase(name, _escaped(path_of_cookie(each)[0])) for each in patterns)


def _escaped(pattern: str) -> str:
    """Only ``*`` means something: brackets and question marks are themselves."""
    return pattern.replace("[", "[[]").replace("?", "[?]")
