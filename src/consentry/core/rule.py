"""What the law of a place says, as values. ``consentry.jurisdictions`` knows which holds where.

A rule says what silence means per purpose, what no consent lifts, and what people must be
shown. It can say only that; what a workspace asks beyond it is in its Policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

from consentry.core.moment import DAY, Moment
from consentry.core.policy import Purpose, Regime, strictest

MAYBE_ANY = "all"  # an age item for every purpose
CONSENTED = "consented"  # an age item for every purpose that needs consent


class How(StrEnum):
    """How a place was found."""

    NOBODY_LOOKED = "nobody_looked"  # this server is not told of places: the source's regime holds
    UNKNOWN = "unknown"  # looked for and not found: the strictest rule holds
    HEADER = "header"  # said by a trusted proxy
    TOLD = "told"  # said by a server that holds a key
    ADDRESS = "address"  # from the file of addresses
    CLAIMED = "claimed"  # said by whoever asks; can only tighten


@dataclass(frozen=True, slots=True)
class Place:
    """Where somebody is: ISO 3166-1 alpha-2 and the subdivision part of ISO 3166-2."""

    country: str | None = None
    region: str | None = None
    how: How = How.UNKNOWN

    @property
    def code(self) -> str | None:
        """What an event keeps of it: ``US-CA``, ``US``, ``""`` if unknown, None if not looked for.

        One that was claimed has a question mark before it.
        """
        if self.how is How.NOBODY_LOOKED:
            return None
        country = self.country or ""
        named = country if self.region is None else f"{country}-{self.region}"
        return f"?{named}" if self.how is How.CLAIMED else named


NOBODY_LOOKED = Place(how=How.NOBODY_LOOKED)
UNKNOWN = Place()


@dataclass(frozen=True, slots=True)
class Law:
    """One source of a rule: the law, its section, and where it can be read."""

    law: str
    section: str
    url: str
    begins: Moment | None = None
    ends: Moment | None = None


class Duty(StrEnum):
    """Whether an opt-out signal must be honoured by law, strictest first.

    The product honours it everywhere.
    """

    REQUIRED = "required"
    CONDITIONAL = "conditional"  # a duty under conditions that nobody can check: taken as one
    UNREAD = "unread"  # nobody has read it: taken as a duty
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Gpc:
    """The duty about Global Privacy Control at one moment."""

    duty: Duty = Duty.UNREAD
    since: Moment | None = None
    covers: tuple[str, ...] = ()
    url: str | None = None

    @property
    def required(self) -> bool:
        """Whether to act as if the law asks for it."""
        return self.duty is not Duty.NONE


class Needs(StrEnum):
    """What a young person's yes needs before it counts."""

    OWN_CONSENT = "own_consent"  # silence is no
    PARENT = "parent"  # a parent's consent
    NOTHING_LIFTS = "nothing_lifts"  # prohibited


@dataclass(frozen=True, slots=True)
class Age:
    """People known to be younger than ``below``, for some purposes."""

    below: int
    needs: Needs
    purposes: tuple[str, ...]
    url: str


@dataclass(frozen=True, slots=True)
class Ban:
    """A kind of data that may not be used for some purposes, whatever was answered."""

    data: str
    purposes: tuple[str, ...]
    url: str


@dataclass(frozen=True, slots=True)
class Exemption:
    """A narrower use that may run under another regime, if the workspace can show the conditions.

    No decision applies it: nobody here can check the conditions.
    """

    purpose: Purpose
    regime: Regime
    conditions: tuple[str, ...]
    url: str


@dataclass(frozen=True, eq=False)
class Rule:
    """What holds at a place at a moment. Two rules are the same if they are the same object.

    ``rows`` are the ids of the rows it was made of. ``laws`` is empty where the product decides
    and no law was read. Days are of 24 hours; ``grant_days`` None means that no law states a
    life for a yes, ``ask_again_after_days`` None that none states a wait after a no.
    ``review_by`` is an ISO date. ``version`` differs whenever anything here does.
    """

    rows: tuple[str, ...]
    name: str
    version: str
    regimes: Mapping[Purpose, Regime]
    laws: tuple[Law, ...] = ()
    gpc: Gpc = Gpc()
    shows: tuple[str, ...] = ()
    reject_as_easy: bool = True
    grant_days: int | None = None
    refusal_days: int | None = None
    ask_again_after_days: int | None = None
    never_ask_again: bool = False
    ages: tuple[Age, ...] = ()
    bans: tuple[Ban, ...] = ()
    exemptions: tuple[Exemption, ...] = ()
    certainty: str = ""
    reviewed_on: str = ""
    review_by: str = ""
    until: Moment | None = None
    decides: bool = True
    only_tightens: bool = False

    @property
    def id(self) -> str:
        """What grounds name: the row, or what several rows were asked for."""
        return self.rows[0] if len(self.rows) == 1 or self.laws else self.name

    def regime(self, purpose: Purpose | None) -> Regime:
        """What silence means for a purpose; for one that nobody named, the strictest."""
        if purpose is not None:
            return self.regimes[purpose]
        return strictest(*self.regimes.values()) or Regime.OPT_IN

    @cached_property
    def claimed(self) -> Rule:
        """The same where the place was only claimed: it loosens nothing."""
        return replace(self, only_tightens=True)

    @cached_property
    def _younger(self) -> dict[frozenset[Purpose], Rule]:
        return {}

    def for_age(self, age: int | None) -> Rule:
        """What holds for somebody of this age in years: below some, silence is no."""
        if age is None or not self.ages:
            return self
        asked = frozenset(p for p in Purpose if self._touched(p, age, (Needs.OWN_CONSENT,)))
        if not asked:
            return self
        rule = self._younger.get(asked)
        if rule is None:
            regimes = {p: Regime.OPT_IN if p in asked else r for p, r in self.regimes.items()}
            rule = self._younger[asked] = replace(self, regimes=regimes)
        return rule

    def grants_since(self, at: Moment) -> Moment | None:
        """A grant made before this moment is too old as of ``at``; None if none is."""
        return None if self.grant_days is None else at - self.grant_days * DAY

    def prohibits(
        self, purpose: Purpose | None, age: int | None = None, data: frozenset[str] = frozenset()
    ) -> bool:
        """Whether no answer of this person can allow a purpose.

        ``age`` is in years, ``data`` the kinds that an event is known to hold; what is not
        known prohibits nothing. A yes that needs a parent's cannot be given by the child.
        """
        if self._touched(purpose, age, (Needs.PARENT, Needs.NOTHING_LIFTS)):
            return True
        return any(ban.data in data and _covers(ban.purposes, purpose) for ban in self.bans)

    def _touched(self, purpose: Purpose | None, age: int | None, needs: tuple[Needs, ...]) -> bool:
        if age is None:
            return False
        return any(
            age < item.below and item.needs in needs and self._about(item.purposes, purpose)
            for item in self.ages
        )

    def _about(self, purposes: tuple[str, ...], purpose: Purpose | None) -> bool:
        if CONSENTED in purposes and self.regime(purpose) is Regime.OPT_IN:
            return True
        return _covers(purposes, purpose)


def _covers(purposes: tuple[str, ...], purpose: Purpose | None) -> bool:
    """A purpose that nobody named may be any."""
    return MAYBE_ANY in purposes or purpose in purposes or (purpose is None and bool(purposes))


def place_of_code(code: str | None) -> Place:
    """The place that an event keeps."""
    if code is None:
        return NOBODY_LOOKED
    country, _, region = code.removeprefix("?").partition("-")
    found = How.HEADER if country else How.UNKNOWN
    how = How.CLAIMED if code.startswith("?") else found
    return Place(country or None, region or None, how)
