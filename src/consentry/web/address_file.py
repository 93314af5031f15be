"""Places by IP address, from a file in MaxMind's format that the operator provides.

The file is read whole: one that is mapped into memory and then cut short would end the process.
It is looked at again every few seconds and read again when it has changed and has settled. What
cannot be read is no place, also where an older file could be: the place is then unknown.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from consentry.core.rule import UNKNOWN, How, Place
from consentry.jurisdictions.lookup import LONGEST_REGION, is_country

LOOK_EVERY_S = 5.0
MOST_REMEMBERED = 16_384
LARGEST_FILE = 1 << 30  # bytes

log = structlog.get_logger(__name__)

Look = tuple[int, int, int]  # modified in nanoseconds, size, inode


class AddressFile:
    """One file. ``broken`` says why it cannot be used; None while it can."""

    def __init__(self, path: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self.broken: str | None = None
        self._monotonic = monotonic
        self._reader: Any = None
        self._known: dict[str, Place] = {}
        self._seen: Look | None = None
        self._taken: Look | None = None
        self._looked_at = monotonic()
        self._seen = self._stat()
        self._read()

    def place_of(self, address: str) -> Place:
        """Where an address is, as the file has it; unknown for whatever it does not say."""
        now = self._monotonic()
        if now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            self._look()
        place = self._known.get(address)
        if place is None:
            place = self._found(address)
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            self._known[address] = place
        return place

    def _found(self, address: str) -> Place:
        if self._reader is None:
            return UNKNOWN
        try:
            return place_of_entry(self._reader.get(address))
        except Exception:  # a damaged file raises whatever its bytes lead to
            return UNKNOWN

    def _look(self) -> None:
        """Read it again once it looks the same twice and not as when it was read."""
        before, self._seen = self._seen, self._stat()
        if self._seen == before and self._seen != self._taken:
            self._read()

    def _stat(self) -> Look | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> None:
        # With the first file: a start without one does not wait for it.
        import maxminddb

        self._taken = self._seen
        self._known.clear()
        self._reader = None
        try:
            if self._seen is not None and self._seen[1] > LARGEST_FILE:
                raise ValueError(f"is larger than {LARGEST_FILE} bytes")
            self._reader = maxminddb.open_database(self.path, maxminddb.MODE_MEMORY)
            self.broken = None
            log.info("address_file_read", path=self.path, built=self._reader.metadata().build_epoch)
        except Exception as error:
            self.broken = type(error).__name__
            log.error("address_file_unreadable", path=self.path, error=self.broken)


def place_of_entry(entry: Any) -> Place:
    """The place in an entry, as MaxMind and DB-IP write it, or with the codes at its top."""
    if not isinstance(entry, Mapping):
        return UNKNOWN
    country = entry.get("country")
    code = country.get("iso_code") if isinstance(country, Mapping) else country
    if not isinstance(code, str) or not is_country(code):
        code = entry.get("country_code")
    if not isinstance(code, str) or not is_country(code):
        return UNKNOWN
    return Place(code, _region(entry), How.ADDRESS)


def _region(entry: Mapping[Any, Any]) -> str | None:
    parts = entry.get("subdivisions")
    first = parts[0] if isinstance(parts, list) and parts else None
    region = first.get("iso_code") if isinstance(first, Mapping) else entry.get("region_code")
    if not isinstance(region, str) or not region.isascii() or not region.isalnum():
        return None
    return region if len(region) <= LONGEST_REGION else None
