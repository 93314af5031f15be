"""Where a visitor is: what a trusted proxy says in its headers.

A header is believed only from a peer that ``[server] trusted_proxies`` names: anybody else can
write what they like. Whatever is odd, written twice or contradicts itself is an unknown place.
"""

from __future__ import annotations

from typing import Protocol

from consentry.core.rule import NOBODY_LOOKED, UNKNOWN, How, Place
from consentry.jurisdictions.lookup import is_country

CDNS: dict[str, tuple[str, str]] = {
    "cloudflare": ("cf-ipcountry", "cf-region-code"),
    "cloudfront": ("cloudfront-viewer-country", "cloudfront-viewer-country-region"),
    "vercel": ("x-vercel-ip-country", "x-vercel-ip-country-region"),
    "fastly": ("fastly-geo-country", "fastly-geo-region"),
}
"""The headers of country and region, as each network writes them."""

LONGEST_REGION = 3  # ISO 3166-2


class Headers(Protocol):
    """Request headers by lower-case name, as Starlette and ``web.call`` have them."""

    def getlist(self, name: str) -> list[str]: ...


def place_in(headers: Headers, spellings: list[tuple[str, str]], *, expected: bool) -> Place:
    """The place that a trusted proxy wrote; ``expected`` is whether it should have written one.

    Without any of the headers nobody looked, or, where one was expected, the place is unknown.
    """
    said = [
        _place(countries, headers.getlist(region) if region else [])
        for country, region in spellings
        if (countries := headers.getlist(country))
    ]
    if not said:
        return UNKNOWN if expected else NOBODY_LOOKED
    if any(place.country != said[0].country for place in said):
        return UNKNOWN
    regions = {place.region for place in said if place.region is not None}
    region = regions.pop() if len(regions) == 1 else None
    return UNKNOWN if said[0].country is None else Place(said[0].country, region, How.HEADER)


def _place(countries: list[str], regions: list[str]) -> Place:
    country = countries[0].strip().upper()
    if len(countries) > 1 or not is_country(country):
        return UNKNOWN
    region = regions[0].strip().upper().removeprefix(country + "-") if len(regions) == 1 else ""
    good = 0 < len(region) <= LONGEST_REGION and region.isascii() and region.isalnum()
    return Place(country, region if good else None, How.HEADER)
