"""Two policies that are both in force: the application's own, and the one that consent makes.

A browser allows only what every policy allows. So the application's policy is kept as it is,
and only the hosts of granted tags are added to it. The second policy is a plain list of hosts.
It cannot be loosened by a nonce, a hash, 'strict-dynamic' or ``https:`` in the first, because
none of these is in it. What can send nothing anywhere (inline code, ``data:``, ``blob:``) is
not its business, and is allowed.

A host is a pattern here: ``cdn.example``, or ``*.cdn.example`` for what is below it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from consentry.csp.values import HOST, Rules

FETCHES = frozenset(
    [
        "default-src",
        "script-src",
        "script-src-elem",
        "style-src",
        "style-src-elem",
        "img-src",
        "connect-src",
        "font-src",
        "media-src",
        "frame-src",
        "child-src",
        "worker-src",
        "object-src",
        "manifest-src",
        "prefetch-src",
    ]
)
"""Directives whose hosts a page sends requests to (CSP 3, 6.1), but for form-action."""
EXTENDED = FETCHES | {"form-action"}
TAGS_NEED = ("script-src", "style-src", "img-src", "connect-src", "font-src", "media-src")
"""What a tag gets of its own where ``default-src 'none'`` would refuse it; frames, see below."""
HARMLESS = ("'unsafe-inline'", "'unsafe-eval'", "data:", "blob:")
GROUP = "consentry"
"""The name of the reporting endpoint."""

_NONE = "'none'"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:")
_LOCAL = ("data:", "blob:", "filesystem:", "mediastream:", "about:")

Directives = list[tuple[str, list[str]]]


class Reach(NamedTuple):
    """Which hosts of tags are open and which are not, for one set of granted categories."""

    open: tuple[str, ...]
    closed: tuple[str, ...]


def reach(rules: Rules, granted: frozenset[str]) -> Reach:
    """The hosts of tags that may run, and of those that may not.

    A host that two tags name is open if one of them may run: a policy knows hosts, not purposes.
    """
    runs = [
        (tag.advanced or rules.runs(tag, granted), host) for tag in rules.tags for host in tag.hosts
    ]
    opened = dict.fromkeys(host for yes, host in runs if yes)
    closed = dict.fromkeys(host for yes, host in runs if not yes and host not in opened)
    return Reach(tuple(opened), tuple(closed))


def parse(text: str) -> Directives:
    """One policy; of a directive that stands twice browsers take the first (CSP 3, 2.2.1)."""
    found: dict[str, list[str]] = {}
    for part in text.split(";"):
        words = part.split()
        if words:
            found.setdefault(words[0].lower(), words[1:])
    return list(found.items())


def serialise(directives: Directives) -> str:
    """As it stands in a header."""
    return "; ".join(" ".join((name, *values)) for name, values in directives)


def extended(policy: str, hosts: Sequence[str], secure: bool) -> str:
    """The application's policy with the hosts of granted tags; untouched where there are none.

    ``'none'`` in a directive of its own is the application's last word. In ``default-src`` it
    means "say each one", so what tags need is said there for them.
    """
    if not hosts:
        return policy
    directives = parse(policy)
    named = dict(directives)
    result = [
        (name, [*values, *(s for s in sources_for(name, hosts, secure) if s not in values)])
        if name in EXTENDED and _can_grow(values)
        else (name, values)
        for name, values in directives
    ]
    if not _can_grow(named.get("default-src", ["'self'"])):
        framed = named.keys() & {"frame-src", "child-src"}
        wanted = [*TAGS_NEED, *(() if framed else ("frame-src",))]
        result += [(n, sources_for(n, hosts, secure)) for n in wanted if n not in named]
    return serialise(result)


def _can_grow(values: Sequence[str]) -> bool:
    """A list without sources says 'none' too (CSP 3, 6.7.2.7)."""
    return bool(values) and [value.lower() for value in values] != [_NONE]


def consent_policy(
    hosts: Reach,
    own: Iterable[str],
    policies: Iterable[str],
    *,
    secure: bool,
    known_only: bool = False,
) -> str:
    """The policy that consent makes: this site, what is its own, and the hosts that are open.

    ``own`` are hosts, ``policies`` the application's: hosts they name stay open, unless a host of
    a tag that may not run is among them. With ``known_only`` only single hosts are taken over.
    """
    plain = [*own, *hosts.open]
    kept = [
        source
        for policy in policies
        for name, values in parse(policy)
        if name in EXTENDED
        for source in _kept(values, hosts.closed, known_only)
    ]
    fetched = dict.fromkeys([*sources_for("default-src", plain, secure), *kept])
    posted = dict.fromkeys([*sources_for("form-action", plain, secure), *kept])
    return serialise(
        [("default-src", ["'self'", *HARMLESS, *fetched]), ("form-action", ["'self'", *posted])]
    )


def sources_for(directive: str, hosts: Iterable[str], secure: bool) -> list[str]:
    """Sources for hosts. Where sockets are opened the host is not enough: browsers ask for the
    scheme by name.

    ``ws`` matches ``wss`` too, so a page that only seems insecure behind its proxy is served.
    """
    if directive not in ("default-src", "connect-src"):
        return list(hosts)
    scheme = "wss" if secure else "ws"
    return [source for host in hosts for source in (host, f"{scheme}://{host}")]


def reported(policy: str, report_url: str | None) -> str:
    """With the place where violations are told: the new directive, and the old one beside it."""
    if report_url is None:
        return policy
    return f"{policy}; report-uri {report_url}; report-to {GROUP}"


def _kept(values: Sequence[str], closed: Sequence[str], known_only: bool) -> list[str]:
    """Sources of the application that reach no host that is closed. Nonces and words: none."""
    kept = []
    for value in values:
        pattern = pattern_of(value.lower())
        if pattern is None or (pattern == "*" and known_only):
            continue
        if not any(meets(pattern, host) for host in closed):
            kept.append(value)
    return kept


def pattern_of(source: str) -> str | None:
    """The hosts that a source expression matches, as a pattern; ``*`` for all, None for none."""
    if source in _LOCAL:
        return None
    if source == "*" or _SCHEME.fullmatch(source):
        return "*"
    rest = source.partition("://")[2] or source
    host = rest.partition("/")[0]
    if host.endswith(":*"):
        host = host.removesuffix(":*")
    if host == "*" or re.fullmatch(r"\*:[0-9]+", host):
        return "*"
    return host if HOST.fullmatch(host) else None


def meets(left: str, right: str) -> bool:
    """Whether there is a host that both patterns match. Ports are not told apart."""
    if "*" in (left, right):
        return True
    left, right = left.partition(":")[0], right.partition(":")[0]
    if left.startswith("*.") and right.startswith("*."):
        return left.endswith(right[1:]) or right.endswith(left[1:])
    if left.startswith("*."):
        return right.endswith(left[1:])
    if right.startswith("*."):
        return left.endswith(right[1:])
    return left == right
