"""One visit: what a request says of consent, and what its response may carry. Pure.

Both wrappers (``asgi``, ``wsgi``) read a request into a :class:`Visit`, hand the application the
headers of ``asked``, and send what ``answered`` makes of its response.

What depends on a person's choice must not be kept for another person, nor for the same person
once the choice has changed. So a response that carries a consent policy is stored by no shared
cache (unless an edge keys on the normalised header), and asked about again by the browser each
time. Its validators name the choice too, so that a 304 never revives the policy of an older one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from consentry.csp import cookie, expiry
from consentry.csp.caching import is_known, kept_back, validators_for, wrapped_etag
from consentry.csp.policy import (
    GROUP,
    Reach,
    consent_policy,
    extended,
    reach,
    reported,
)
from consentry.csp.values import Rules, names_cookie

GRANTED = "consentry-granted"
"""The normalised request header: sorted ids of the granted categories, or ``-``."""
NONCE = "consentry.nonce"
"""Where the application finds the nonce: a key of the ASGI scope, or of the WSGI environ."""
MOST_REMEMBERED = 1000  # sets of granted categories
_CSP = "content-security-policy"
_REPORT_ONLY = "content-security-policy-report-only"
_RUNS = re.compile(
    r"(?:text/html|application/xhtml\+xml|(?:text|application)/xml|[^;]+\+xml|"
    r"(?P<script>(?:text|application)/(?:x-)?(?:java|ecma)script))(?:\s*;.*)?",
    re.IGNORECASE,
)

Headers = list[tuple[str, str]]


class Visit(NamedTuple):
    """What one request says. ``key`` is the normalised header; ``dest`` is Sec-Fetch-Dest.

    ``keyed``: the request came with that very header, so a cache in front knows it too.
    ``known``: the browser holds a response made for this choice, and asks whether it still holds.
    """

    granted: frozenset[str]
    key: str
    nonce: str
    secure: bool
    host: str
    dest: str
    method: str
    keyed: bool
    known: bool
    cookies: frozenset[str]
    skipped: bool
    path: str


def visit(
    rules: Rules,
    headers: Headers,
    *,
    method: str,
    path: str,
    scheme: str,
    now_s: float,
    nonce: str,
    root: str = "",
) -> Visit:
    """Read a request. Never raises: what cannot be read grants nothing.

    ``root`` is what stands before ``path`` in the URL, where an application is mounted.
    """
    named = _by_name(headers)
    jar = named.get("cookie", [])
    gpc = any(value.strip() == "1" for value in named.get("sec-gpc", []))
    granted = cookie.granted(rules, jar, gpc, now_s)
    key = cookie.normalised(granted)
    return Visit(
        granted,
        key,
        nonce,
        scheme in ("https", "wss"),
        "".join(named.get("host", [])[:1]).partition(":")[0].lower(),
        "".join(named.get("sec-fetch-dest", [])[:1]).lower(),
        method,
        named.get(GRANTED) == [key],
        is_known(headers, key),
        frozenset(name for name, _ in cookie.pairs(jar)),
        path.startswith(rules.skip),
        root + path,
    )


def asked(seen: Visit, headers: Headers) -> Headers:
    """The request's headers as the application gets them.

    The normalised header is ours: whatever a stranger wrote there is replaced.
    """
    kept = [(name, value) for name, value in headers if name.lower() != GRANTED]
    if not seen.skipped:
        kept = validators_for(kept, seen.key, seen.dest, seen.method)
    return [*kept, (GRANTED, seen.key)]


def answered(rules: Rules, seen: Visit, status: int, headers: Headers) -> Headers:
    """The response's headers as the visitor gets them."""
    jar = _remembered(rules, seen.granted)[1]
    headers = [pair for pair in headers if not _sets_refused(pair, jar)]
    if seen.skipped or not _has_policy(seen, status, headers):
        return headers
    if _is_script(headers):
        # The same URL may be a script of the page, or a worker, which obeys its own response.
        headers = _varied(headers, "Sec-Fetch-Dest")
        if seen.dest == "script" and status != 304:
            return headers
    expiries = _expiries(seen, jar)
    headers = _with_policies(rules, seen, headers)
    headers = wrapped_etag(headers, seen.key)
    shared = rules.shared_caches and seen.keyed and not expiries
    headers = _varied(kept_back(headers, shared=shared), "Consentry-Granted")
    return headers + expiries


def _has_policy(seen: Visit, status: int, headers: Headers) -> bool:
    """Whether this becomes a document or a worker, or renews one that the browser holds."""
    if status == 304:
        return seen.known
    if status in (204, 205) or 300 <= status < 400:
        return False
    content_type = _content_type(headers)
    return not content_type or _RUNS.fullmatch(content_type) is not None


def _is_script(headers: Headers) -> bool:
    found = _RUNS.fullmatch(_content_type(headers))
    return found is not None and bool(found["script"])


def _content_type(headers: Headers) -> str:
    return "".join(value for name, value in headers if name.lower() == "content-type").strip()


def _with_policies(rules: Rules, seen: Visit, headers: Headers) -> Headers:
    hosts = _remembered(rules, seen.granted)[0]
    sent = _policies(headers, _CSP)
    if not sent and rules.base is not None:
        sent = [rules.base.replace("{nonce}", f"'nonce-{seen.nonce}'")]
    watched = _policies(headers, _REPORT_ONLY)
    kept = [(n, v) for n, v in headers if n.lower() not in (_CSP, _REPORT_ONLY)]
    for name, policies in (("", sent), ("-Report-Only", watched)):
        header = f"Content-Security-Policy{name}"
        kept += [(header, extended(each, hosts.open, seen.secure)) for each in policies]
    own = consent_policy(hosts, rules.own_hosts, sent, secure=seen.secure)
    name = "Content-Security-Policy" + ("-Report-Only" if rules.report_only else "")
    kept.append((name, reported(own, rules.report_url)))
    if rules.twin:
        kept.append(("Content-Security-Policy-Report-Only", _twin(rules, seen, hosts, sent)))
    return _with_endpoint(kept, rules.report_url)


def _twin(rules: Rules, seen: Visit, hosts: Reach, sent: Sequence[str]) -> str:
    """Tells of every host that neither a tag nor the application names, also to who granted all."""
    text = consent_policy(hosts, rules.own_hosts, sent, secure=seen.secure, known_only=True)
    return reported(text, rules.report_url)


def _with_endpoint(headers: Headers, report_url: str | None) -> Headers:
    """Reporting-Endpoints is a dictionary (RFC 9651): ours is one more member of it."""
    if report_url is None:
        return headers
    return [*headers, ("Reporting-Endpoints", f'{GROUP}="{report_url}"')]


def _policies(headers: Headers, name: str) -> list[str]:
    """A header may come several times, and hold several policies between commas (RFC 9110, 5.3)."""
    values = (value for each, value in headers if each.lower() == name)
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


# -- cookies ------------------------------------------------------------------------------------
class Jar(NamedTuple):
    """Patterns of cookies: of tags that have consent, and of tags that have not."""

    kept: tuple[str, ...]
    refused: tuple[str, ...]

    def refuses(self, name: str) -> bool:
        """A cookie that a tag with consent sets too is kept; so are Consentry's own."""
        if name.startswith(cookie.NAME) or names_cookie(self.kept, name):
            return False
        return names_cookie(self.refused, name)


def _remembered(rules: Rules, granted: frozenset[str]) -> tuple[Reach, Jar]:
    """What follows from the granted categories alone; many visitors share one answer."""
    found: tuple[Reach, Jar] | None = rules.memory.get(granted)
    if found is None:
        if len(rules.memory) >= MOST_REMEMBERED:
            rules.memory.clear()
        found = rules.memory[granted] = (reach(rules, granted), _jar(rules, granted))
    return found


def _jar(rules: Rules, granted: frozenset[str]) -> Jar:
    runs = [(rules.runs(tag, granted), pattern) for tag in rules.tags for pattern in tag.cookies]
    return Jar(tuple(p for yes, p in runs if yes), tuple(p for yes, p in runs if not yes))


def _sets_refused(pair: tuple[str, str], jar: Jar) -> bool:
    """Whether the application sets a cookie here that belongs to what was refused.

    One that it takes away may go through.
    """
    name, value = pair
    if name.lower() != "set-cookie" or _takes_away(value):
        return False
    return jar.refuses(value.partition(";")[0].partition("=")[0].strip())


def _takes_away(value: str) -> bool:
    attributes = {part.strip().lower() for part in value.split(";")[1:]}
    return "max-age=0" in attributes


def _expiries(seen: Visit, jar: Jar) -> Headers:
    """Takes away the cookies of refused tags that the browser sent, HttpOnly ones too.

    One with another path than / came along because this page lies below it, so the paths above
    this page are tried too.
    """
    around = expiry.above(seen.path)
    places = [(name, around) for name in sorted(filter(jar.refuses, seen.cookies))]
    values = expiry.taken_away(places, seen.host, secure=seen.secure)
    return [("Set-Cookie", value) for value in values]


# -- headers ------------------------------------------------------------------------------------
def _varied(headers: Headers, name: str) -> Headers:
    values = [v for n, v in headers if n.lower() == "vary"]
    named = [part.strip() for value in values for part in value.split(",") if part.strip()]
    if "*" in named or name.lower() in (each.lower() for each in named):
        return headers
    kept = [(n, v) for n, v in headers if n.lower() != "vary"]
    return [*kept, ("Vary", ", ".join([*named, name]))]


def _by_name(headers: Headers) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name.lower(), []).append(value)
    return found
