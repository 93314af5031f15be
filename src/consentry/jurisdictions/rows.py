"""The rows of ``rules.json``: what one law, or one choice of this product, says of some places."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from typing import Literal

import msgspec

from consentry.core.moment import HOUR, Moment, parse
from consentry.core.policy import Purpose, Regime

FIRST_TO_BEGIN = 14 * HOUR
"""A day begins at UTC+14 before it begins anywhere else.

No row says at which hour of which clock its law begins. It begins here as soon as the day has
begun anywhere, so that no place is served by the old law on the day of the new one.
"""


class LawCited(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A law as a row cites it; dates are ISO dates, the end is the first day without it."""

    law: str
    section: str
    url: str
    begins: str | None = msgspec.field(name="from", default=None)
    until: str | None = None


class GpcSaid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a row says of the opt-out signal."""

    duty: Literal["required", "conditional", "none", "unread"]
    begins: str | None = msgspec.field(name="from", default=None)
    covers: tuple[str, ...] = ()
    url: str | None = None


class AgeSaid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a row says of people below an age in years."""

    below: int
    needs: Literal["own_consent", "parent", "nothing_lifts"]
    purposes: tuple[str, ...]
    url: str
    certainty: str
    begins: str | None = msgspec.field(name="from", default=None)


class BanSaid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a row says of a kind of data."""

    data: str
    purposes: tuple[str, ...]
    url: str
    begins: str | None = msgspec.field(name="from", default=None)


class ExemptionSaid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A narrower use that a row names."""

    purpose: Purpose
    regime: Regime
    conditions: tuple[str, ...]
    url: str


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """One row. No countries means anywhere, no regions the whole country.

    ``chosen_by``: the visitor's place, the place of the business, or its registration; the
    last is never found by an address. A regime that is null is decided by a broader row of
    the same country, else it is opt_in.
    """

    id: str
    kind: Literal["law", "product_default"]
    name: str
    countries: tuple[str, ...]
    regions: tuple[str, ...]
    chosen_by: Literal["visitor", "establishment", "business"]
    laws: tuple[LawCited, ...]
    links: tuple[str, ...]
    regimes: dict[Purpose, Regime | None]
    gpc: GpcSaid
    shows: tuple[str, ...]
    reject_as_easy: bool | None
    grant_days: int | None
    refusal_days: int | None
    ask_again_after_days: int | None
    never_ask_again: bool
    ages: tuple[AgeSaid, ...]
    bans: tuple[BanSaid, ...]
    exemptions: tuple[ExemptionSaid, ...]
    certainty: Literal["verified", "verified_secondary", "unverified"]
    reviewed_on: str
    review_by: str
    begins: str | None = msgspec.field(name="from", default=None)
    until: str | None = None

    @property
    def version(self) -> str:
        """Sixteen hex digits that differ whenever the row does."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()[:16]

    def holds(self, at: Moment) -> bool:
        """Whether it is in force."""
        return in_force(self.begins, self.until, at)

    @property
    def dates(self) -> set[str]:
        """Every date on which something in it begins or ends."""
        found = {self.begins, self.until, self.gpc.begins}
        found |= {law.begins for law in self.laws} | {law.until for law in self.laws}
        found |= {age.begins for age in self.ages} | {ban.begins for ban in self.bans}
        return {date for date in found if date is not None}


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    as_of: str
    subdivisions: dict[str, tuple[str, ...]]
    rows: tuple[Row, ...]


def rows() -> tuple[Row, ...]:
    """Every row that ships, in the order of the file."""
    return _file().rows


def due(date: str) -> tuple[Row, ...]:
    """Rows that should have been reviewed before this ISO date."""
    return tuple(row for row in rows() if row.review_by < date)


def subdivisions() -> dict[str, frozenset[str]]:
    """The parts of those countries whose parts have laws of their own."""
    return {country: frozenset(parts) for country, parts in _file().subdivisions.items()}


@cache
def _file() -> _File:
    text = resources.files("consentry.jurisdictions").joinpath("rules.json").read_bytes()
    return msgspec.json.decode(text, type=_File)


def begins_at(date: str) -> Moment:
    """The moment from which something counts that begins on this ISO date."""
    return parse(date) - FIRST_TO_BEGIN


def in_force(begins: str | None, until: str | None, at: Moment) -> bool:
    """Whether ``at`` lies from one date on and before the other; None is open."""
    return (begins is None or begins_at(begins) <= at) and (until is None or at < begins_at(until))
