"""Set-Cookie headers that take a cookie away, wherever it may be.

A request says the name of a cookie and neither its domain nor its path, and a browser takes away
only what agrees in both (RFC 6265, 5.3). So each domain and each path that may be meant is named.
Nor does it say whether the cookie is partitioned (CHIPS): that would be another one of the same
name, so each is named once more as such.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from consentry.csp.values import domains

MOST_HEADERS = 90
"""Of one response; a proxy takes 4 to 8 KB of headers by default."""
DEEPEST = 6
"""How many folders of a page's path are tried, from the root."""
LONGEST_PATH = 1024
"""Browsers ignore a longer Path (RFC 6265bis, 5.6)."""
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
_HOST_ONLY = "__host-"
_PREFIXES = (_HOST_ONLY, "__secure-")
_KEPT = "/!$&'()*+,:=@%"  # of RFC 3986, 3.3, all but the semicolon, which ends the attribute


def is_name(text: str) -> bool:
    """Whether a cookie of this name can be named in a header."""
    return _NAME.fullmatch(text) is not None


def above(path: str) -> list[str]:
    """Where a cookie may be that is sent with this page (RFC 6265, 5.1.4): ``/``, the path itself,
    and every folder above it, with and without a slash at its end.

    ``path`` is that of a URL, percent-encoded or not. What is no path has none above it.
    """
    found = ["/"]
    if not path.startswith("/"):
        return found
    steps = quote(path, _KEPT, errors="replace").split("/")[1:]
    for n in range(1, min(len(steps), DEEPEST) + 1):
        whole = "/" + "/".join(steps[:n])
        if steps[n - 1] and len(whole) < LONGEST_PATH:
            found += [whole, f"{whole}/"] if n < len(steps) else [whole]
    return found


def taken_away(
    places: Iterable[tuple[str, Sequence[str]]], host: str, *, secure: bool = False
) -> list[str]:
    """The values of Set-Cookie for these names, each with the paths where it may be.

    The first path of each name comes first, so that ``MOST_HEADERS`` cuts off the least likely
    ones. ``secure``: the page came by HTTPS. A proxy may hide that, so partitioned ones, which are
    always secure, are named in any case.
    """
    rows = sorted(
        (rank, partitioned, name, path)
        for name, paths in places
        # One with this prefix has no domain, and the path / (RFC 6265bis, 4.1.3.2).
        for rank, path in enumerate(["/"] if name.lower().startswith(_HOST_ONLY) else paths)
        for partitioned in (False, True)
        if is_name(name)
    )
    found: list[str] = []
    for _, partitioned, name, path in rows:
        safe = secure or partitioned or name.lower().startswith(_PREFIXES)
        end = f"; Path={path}" + "; Secure" * safe + "; Partitioned" * partitioned
        of = [] if name.lower().startswith(_HOST_ONLY) else domains(host)
        found += [f"{name}=; Max-Age=0{end}{on}" for on in ("", *(f"; Domain={one}" for one in of))]
        if len(found) >= MOST_HEADERS:
            break
    return found[:MOST_HEADERS]
