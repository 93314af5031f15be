"""Reads how the server is told of places: ``[server] place_from``."""

from __future__ import annotations

import re

from consentry.config.table import Table
from consentry.config.values import Spelling

CDNS: dict[str, Spelling] = {
    "cloudflare": ("cf-ipcountry", "cf-region-code"),
    "cloudfront": ("cloudfront-viewer-country", "cloudfront-viewer-country-region"),
    "vercel": ("x-vercel-ip-country", "x-vercel-ip-country-region"),
    "fastly": ("fastly-geo-country", "fastly-geo-region"),
}
"""The headers of country and region, as each network writes them."""

_HEADER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,99}")


def read_place_from(table: Table) -> Spelling | None:
    """The headers that say the place; None where none are stated. Names are in lower case."""
    key = "place_from"
    value = table.raw(key)
    if value is None:
        return None
    if isinstance(value, str) and value in CDNS:
        return CDNS[value]
    names = value if isinstance(value, list) else []
    texts = [n.lower() for n in names if isinstance(n, str) and _HEADER.fullmatch(n)]
    if not 1 <= len(names) <= 2 or len(texts) != len(names):
        table.error(
            key,
            f"must be one of {', '.join(CDNS)}, or your own headers: "
            '["X-Country", "X-Region"], the second may be left out',
        )
        return None
    return texts[0], texts[1] if len(texts) == 2 else ""
