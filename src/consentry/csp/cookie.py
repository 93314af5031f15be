"""The consent cookie, as a server reads it: what is granted, and nothing where there is a doubt.

The cookie is a claim of the browser, written by the page or by the server's own pages. It can
only open hosts for the browser that sends it, so it needs no signature. It records nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from consentry.csp.values import DAY_S, Category, Rules

NAME = "consentry"
VERSION = "1"
LONGEST = 4096  # characters, as browsers keep
MAY_LEAD_S = DAY_S
"""How far a visitor's clock may be ahead: what is dated later has no age that can be known."""
NOTHING = "-"
"""The normalised header of who has granted nothing."""

_ESCAPED = re.compile(r"(?:[^%]|%[0-9A-Fa-f]{2})*")


class Claim(NamedTuple):
    """What the cookie says. Times are in seconds since 1970. ``device`` is the anonymousId.

    ``signal_at_s`` is when Global Privacy Control was first seen in this browser; 0 for never.
    ``version`` is that of the notice that was shown.
    """

    granted: frozenset[str]
    denied: frozenset[str]
    at_s: int
    signal_at_s: int = 0
    device: str = ""
    version: str = ""


def cookies_named(headers: Iterable[str], name: str = NAME) -> list[str]:
    """Every value of one cookie in the Cookie headers of a request."""
    return [value for each, value in pairs(headers) if each == name]


def pairs(headers: Iterable[str]) -> list[tuple[str, str]]:
    """Names and values as they stand there (RFC 6265, 4.2.1)."""
    parts = (part.strip(" \t").partition("=") for each in headers for part in each.split(";"))
    return [(name.strip(" \t"), value.strip(" \t")) for name, equals, value in parts if equals]


def read(value: str) -> Claim | None:
    """The claim in one cookie; None when any of it is unreadable or of another version."""
    if len(value) > LONGEST:
        return None
    members: dict[str, str] = {}
    for part in value.split("&"):
        name, equals, escaped = part.partition("=")
        text = _unescaped(escaped)
        if not equals or name in members or text is None:
            return None
        members[name] = text
    at_s, signal_at_s = _seconds(members.get("t", "")), _seconds(members.get("s", "0"))
    if members.get("v") != VERSION or not members.get("id") or "g" not in members:
        return None
    if at_s is None or signal_at_s is None:
        return None
    granted, denied = _ids(members["g"]), _ids(members.get("d", ""))
    version = members.get("n", "").rpartition("@")[2]
    return Claim(granted, denied, at_s, signal_at_s, members["id"], version)


def write(
    device: str,
    *,
    notice: str,
    at_s: int,
    granted: Iterable[str],
    denied: Iterable[str],
    signal_at_s: int = 0,
) -> str:
    """The cookie's value, as the page's own script writes it (``sdk/js/src/cookie.ts``).

    ``notice`` is ``id@version`` of what was shown. ``read`` gives back what was written.
    """
    members: list[tuple[str, object]] = [
        ("v", VERSION),
        ("id", device),
        ("n", notice),
        ("t", at_s),
        ("g", ",".join(granted)),
        ("d", ",".join(denied)),
    ]
    if signal_at_s:
        members.append(("s", signal_at_s))
    return "&".join(f"{name}={quote(str(value), safe='')}" for name, value in members)


def granted(rules: Rules, headers: Iterable[str], gpc: bool, now_s: float) -> frozenset[str]:
    """The categories a request has a grant for, essential ones aside.

    ``headers`` are its Cookie headers. Silence is no cookie at all: one that cannot be read may be
    a refusal. Two consent cookies contradict each other even where
    they say the same: nobody knows which of them the page goes on writing.
    """
    values = cookies_named(headers)
    if not values:
        return rules.silence - rules.covered if gpc else rules.silence
    claim = read(values[0]) if len(values) == 1 else None
    if claim is None or claim.at_s > now_s + MAY_LEAD_S:
        return frozenset()
    named = (claim.granted - claim.denied) & rules.everything
    if _signal_refuses(claim, gpc):
        named -= rules.covered
    return frozenset(each for each in named if _holds(rules, rules.known[each], claim, now_s))


def normalised(granted: frozenset[str]) -> str:
    """What caches key on: the granted ids in order, percent-encoded, or ``-`` for none."""
    return ",".join(sorted(quote(each, safe="") for each in granted)) or NOTHING


def _signal_refuses(claim: Claim, gpc: bool) -> bool:
    """A signal refuses until a choice made no earlier than it was first seen (spec/enforcement.md).

    When that was stands in the cookie. If it does not, nobody knows that the choice came later.
    """
    if claim.signal_at_s == 0:
        return gpc
    return claim.at_s < claim.signal_at_s


def _holds(rules: Rules, category: Category, claim: Claim, now_s: float) -> bool:
    age_s = now_s - claim.at_s
    if age_s > rules.max_age_days * DAY_S:
        return False
    if category.max_age_s is not None and age_s > category.max_age_s:
        return False
    if category.since_s is None:
        return True
    return min(claim.at_s, rules.editions.get(claim.version, claim.at_s)) >= category.since_s


def _seconds(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 11 else None


def _ids(text: str) -> frozenset[str]:
    return frozenset(part for part in text.split(",") if part)


def _unescaped(text: str) -> str | None:
    if not text.isascii() or not _ESCAPED.fullmatch(text):
        return None
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        return None
