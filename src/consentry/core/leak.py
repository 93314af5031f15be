"""What a page tried to send without consent, as browsers and the page's guard tell it.

A report is a claim of whoever has the public key. So it is counted and never acted upon, and
little of it is kept: a host, a kind of request, and the shape of the page's path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MOST_REPORTS = 100  # of one request
LONGEST_PATH = 200
LONGEST_HOST = 253
MOST_SEGMENTS = 6
OTHER = "*"
"""Stands for what there was no room for, or what may name somebody."""

_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_END = re.compile(r"[?#]")
_KIND = re.compile(r"[a-z][a-z-]{0,19}")
_PLAIN = re.compile(r"[A-Za-z][A-Za-z_.~-]{0,39}|[0-9]{1,4}")
_KINDS = {
    "script-src": "script",
    "script-src-elem": "script",
    "script-src-attr": "script",
    "style-src": "style",
    "style-src-elem": "style",
    "style-src-attr": "style",
    "img-src": "image",
    "connect-src": "connect",
    "font-src": "font",
    "media-src": "media",
    "object-src": "object",
    "frame-src": "frame",
    "child-src": "frame",
    "worker-src": "worker",
    "manifest-src": "manifest",
    "prefetch-src": "prefetch",
    "default-src": "other",
    "form-action": "form",
}
"""Directives (CSP 3, 6) that are about sending something somewhere, and what it was."""


class Via(StrEnum):
    """Who noticed."""

    CSP = "csp"
    GUARD = "guard"


@dataclass(frozen=True, slots=True, order=True)
class Leak:
    """One sort of request to one host from one page. ``stopped``: it did not leave."""

    host: str
    kind: str
    page: str
    via: Via
    stopped: bool


def from_browser(report: Any) -> Leak | None:
    """One violation report, in either format; None for what is about no request to elsewhere.

    ``application/csp-report`` (CSP 2) has one object under ``csp-report``; the Reporting API
    (CSP 3, 5.4) an object with ``type`` and ``body``. Inline code and eval send nothing.
    """
    if not isinstance(report, dict):
        return None
    old = report.get("csp-report")
    if isinstance(old, dict):
        directive = old.get("effective-directive") or old.get("violated-directive")
        told = (old.get("blocked-uri"), directive, old.get("document-uri"), old.get("disposition"))
    elif report.get("type") == "csp-violation" and isinstance(report.get("body"), dict):
        body = report["body"]
        told = (
            body.get("blockedURL"),
            body.get("effectiveDirective"),
            body.get("documentURL") or report.get("url"),
            body.get("disposition"),
        )
    else:
        return None
    blocked, directive, document, disposition = (t if isinstance(t, str) else "" for t in told)
    host = host_of(blocked)
    kind = _KINDS.get(directive.split(" ")[0].lower())
    if host is None or kind is None or host == host_of(document):
        return None
    return Leak(host, kind, page_of(document), Via.CSP, disposition != "report")


def from_guard(host: str, kind: str, page: str = "") -> Leak | None:
    """What the page's own guard held back; None for what names no host."""
    found = host_of(f"//{host}")
    if found is None:
        return None
    kind = kind if _KIND.fullmatch(kind) else "other"
    return Leak(found, kind, page_of(page), Via.GUARD, True)


def host_of(url: str) -> str | None:
    """The host of a URL, without port; None for ``inline``, ``data:`` and what is no host."""
    authority = _authority_and_path(url)[0]
    host = authority.rpartition("@")[2].partition(":")[0].lower()
    if len(host) > LONGEST_HOST or not _HOST.fullmatch(host):
        return None
    return host.rstrip(".")


def page_of(url: str) -> str:
    """The path of a page, without query, and with ``*`` for each part that may name somebody.

    Only short words and short numbers stay: no ids, no names with digits, nothing escaped.
    """
    return shape_of(_authority_and_path(url)[1])


def shape_of(path: str) -> str:
    """As ``page_of``, of a path alone. A browser reads a backslash like a slash."""
    segments = path.replace("\\", "/").split("/")
    shown = [segment if not segment or _PLAIN.fullmatch(segment) else OTHER for segment in segments]
    if len(shown) > MOST_SEGMENTS + 1:
        shown = [*shown[: MOST_SEGMENTS + 1], OTHER]
    return "/".join(shown)[:LONGEST_PATH]


def _authority_and_path(url: str) -> tuple[str, str]:
    """What stands between ``//`` and the path, and the path; empty where there is none."""
    plain = _END.split(url.strip(), maxsplit=1)[0]
    scheme, slashes, rest = plain.partition("//")
    if slashes and (not scheme or _SCHEME.fullmatch(scheme)):
        authority, slash, path = rest.partition("/")
        return authority, slash + path
    return "", plain if plain.startswith("/") else ""


def names_host(pattern: str, host: str) -> bool:
    """Whether ``cdn.example`` or ``*.cdn.example`` is about this host, as in a policy."""
    pattern = pattern.partition(":")[0]
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def counted(leaks: Iterable[Leak | None]) -> tuple[dict[Leak, int], int]:
    """How often each one stands there, and how many were about nothing."""
    counts: dict[Leak, int] = {}
    ignored = 0
    for leak in leaks:
        if leak is None:
            ignored += 1
        else:
            counts[leak] = counts.get(leak, 0) + 1
    return counts, ignored


def narrowed(leak: Leak) -> Sequence[Leak]:
    """Where it is counted when there is no room: without its page, then without its host."""
    pageless = Leak(leak.host, leak.kind, OTHER, leak.via, leak.stopped)
    return (leak, pageless, Leak(OTHER, OTHER, OTHER, leak.via, leak.stopped))
