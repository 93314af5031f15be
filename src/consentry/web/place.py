"""Where a visitor is: what a trusted proxy says in its headers, else what the address says.

A header is believed only from a peer that ``[server] trusted_proxies`` names: anybody else can
write what they like. Whatever is odd, written twice or contradicts itself is an unknown place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from consentry.config.places import CDNS
from consentry.config.values import Server, Spelling
from consentry.core.rule import NOBODY_LOOKED, UNKNOWN, How, Place
from consentry.jurisdictions.lookup import LONGEST_REGION, is_country
from consentry.web.address_file import AddressFile


class Headers(Protocol):
    """Request headers by lower-case name, as Starlette and ``web.call`` have them."""

    def getlist(self, name: str) -> list[str]: ...


class Places:
    """How one server finds places. Before ``take`` it looks for none."""

    def __init__(self) -> None:
        self.looks = False
        self.file: AddressFile | None = None
        self._stated: Spelling | None = None

    def take(self, server: Server) -> None:
        """Another configuration. A file that stays the same is not read again."""
        self.looks = bool(server.trusted_proxies or server.mmdb)
        self._stated = server.place_from
        if server.mmdb is None:
            self.file = None
        elif self.file is None or self.file.path != server.mmdb:
            self.file = AddressFile(server.mmdb)

    @property
    def locate(self) -> Callable[[str], Place] | None:
        """Finds the place of an IP address; None without a file."""
        return None if self.file is None else self.file.place_of

    def find(self, headers: Headers | None, address: Callable[[], str | None]) -> Place:
        """The place of a visitor. ``headers`` are those of a trusted proxy, None of anybody else."""
        spellings: Iterable[Spelling] = CDNS.values()
        if self._stated is not None:
            spellings = (self._stated,)
        elif self.file is not None:
            # A proxy in front that is of no CDN hands on what the visitor wrote into its headers.
            spellings = ()
        place = None if headers is None else place_in(headers, spellings)
        found = NOBODY_LOOKED
        if self.file is not None and (place is None or place.country is not None):
            named = address()
            found = UNKNOWN if named is None else self.file.place_of(named)
        if place is None:
            if self.file is not None:
                return found
            # Headers that were promised and are not there were not written by the network.
            return NOBODY_LOOKED if self._stated is None else UNKNOWN
        if found.country is not None and found.country != place.country:
            return UNKNOWN  # one of the two is wrong, and nobody knows which
        return found if place.region is None and found.country is not None else place


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
