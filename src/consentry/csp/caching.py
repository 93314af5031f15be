"""What caches may do with a response whose policy depends on a choice. Pure."""

from __future__ import annotations

import hashlib
import re

Headers = list[tuple[str, str]]

_DOCUMENTS = frozenset(
    ("", "document", "iframe", "frame", "embed", "object", "worker", "sharedworker")
) | {"serviceworker"}
"""Sec-Fetch-Dest of what may come back with a policy. Absent: it may be anything."""
_TELL_SHARED = frozenset(
    ("surrogate-control", "cdn-cache-control", "cloudflare-cdn-cache-control")
) | {"vercel-cdn-cache-control", "netlify-cdn-cache-control", "edge-control", "x-accel-expires"}
"""What shared caches obey before Cache-Control (RFC 9213, and vendors' own)."""
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_MARK = "-cg"
_MARKED = re.compile(r'-cg[0-9a-f]{8}"$')
_SECONDS = re.compile(r'"?([0-9]{1,10})"?')


def validators_for(headers: Headers, key: str, dest: str, method: str) -> Headers:
    """A request's validators as the application knows them.

    One that was given out for another choice is taken away, so that the answer is a whole one.
    Of documents from before there was a policy nothing is known, so the same is done. What
    guards a write (If-Match) names the application's own text, whatever the choice was.
    """
    reads = method in ("GET", "HEAD")
    document = reads and dest in _DOCUMENTS
    kept: Headers = []
    stale_range = False
    for name, value in headers:
        lower = name.lower()
        if lower == "if-match" or (lower == "if-none-match" and not reads):
            value = _ETAG.sub(lambda tag: _unmarked(tag[0]), value)
        elif lower in ("if-none-match", "if-range"):
            tags = [_unwrapped(tag, key, document) for tag in _ETAG.findall(value)]
            value = ", ".join(tag for tag in tags if tag is not None)
            if not value:
                stale_range = stale_range or lower == "if-range"
                continue
        elif lower == "if-modified-since" and document:
            continue
        kept.append((name, value))
    return [pair for pair in kept if pair[0].lower() != "range"] if stale_range else kept


def is_known(headers: Headers, key: str) -> bool:
    """Whether the browser holds a response that was made for this very choice."""
    values = (value for name, value in headers if name.lower() == "if-none-match")
    return any(_marked_for(tag, key) for value in values for tag in _ETAG.findall(value))


def _unwrapped(tag: str, key: str, document: bool) -> str | None:
    if _MARK not in tag:
        return None if document else tag
    return _unmarked(tag) if _marked_for(tag, key) else None


def _marked_for(tag: str, key: str) -> bool:
    return tag.endswith(f'{_MARK}{_digest(key)}"')


def _unmarked(tag: str) -> str:
    return _MARKED.sub('"', tag)


def wrapped_etag(headers: Headers, key: str) -> Headers:
    """Validators that name the choice. A time of change cannot, so it goes."""
    found: Headers = []
    for name, value in headers:
        lower = name.lower()
        if lower == "last-modified":
            continue
        if lower == "etag":
            if not _ETAG.fullmatch(value.strip()):
                continue
            value = f'{value.strip()[:-1]}{_MARK}{_digest(key)}"'
        found.append((name, value))
    return found


def kept_back(headers: Headers, *, shared: bool) -> Headers:
    """The response as caches may keep it: the browser asks each time, others do not store it.

    ``shared``: a cache in front keys on the normalised header. Then what the application said of
    freshness holds for that cache alone. A longer life than stated is never made up.
    """
    kept: Headers = []
    said: list[str] = []
    for name, value in headers:
        lower = name.lower()
        if lower == "cache-control":
            said += [part.strip() for part in _split(value) if part.strip()]
        elif lower in ("expires", "pragma") or (lower in _TELL_SHARED and not shared):
            continue
        else:
            kept.append((name, value))
    return [*kept, ("Cache-Control", ", ".join(_directives(said, shared)))]


def _directives(said: list[str], shared: bool) -> list[str]:
    names = {part.partition("=")[0].strip().lower() for part in said}
    if "no-store" in names:
        return ["no-store"]
    rest = [part for part in said if part.partition("=")[0].strip().lower() == "no-transform"]
    lifetime = _seconds(said, "s-maxage", "max-age")
    if not shared or names & {"private", "no-cache"} or not lifetime:
        return ["private", "no-cache", *rest]
    return ["public", "max-age=0", "must-revalidate", f"s-maxage={lifetime}", *rest]


def _seconds(said: list[str], *names: str) -> int | None:
    """The first of these directives that states a number; None where none does."""
    for wanted in names:
        for part in said:
            name, _, value = part.partition("=")
            if name.strip().lower() == wanted:
                number = _SECONDS.fullmatch(value.strip())
                return int(number[1]) if number else None
    return None


def _split(value: str) -> list[str]:
    """Between commas, but not those within quotes: ``no-cache="set-cookie, x"``."""
    return re.findall(r'(?:[^,"]|"[^"]*"?)+', value)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:8]
