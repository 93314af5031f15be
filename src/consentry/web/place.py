"""Where a visitor is: what a trusted proxy says in its headers.

A header is believed only from a peer that ``[server] trusted_proxies`` names: anybody else can
write what they like. Whatever is odd, written twice or contradicts itself is an unknown place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from consentry.config.values import Spelling
from consentry.core.rule import UNKNOWN, How, Place
from consentry.jurisdictions.lookup import is_country

LONGEST_REGION = 3  # ISO 3166-2


class Headers(Protocol):
    """Request headers by lower-case name, as Starlette and ``web.call`` have them."""

    def getlist(self, name: str) -> list[str]: ...


def place_in(headers: Headers, spellings: Iterable[Spelling]) -> Place | None:
    """The place that a trusted proxy wrote; None where it wrote none."""
    said = [
        _place(countries, headers.getlist(region) if region else [])
        for country, region in spellings
        if (countries := headers.getlist(country))
    ]
    if not said:
        return None
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
