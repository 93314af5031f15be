"""What a workspace has decided: its categories, what each destination requires, its settings.

A Policy is a value. A changed configuration is another Policy with another version.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from consentry.core.bits import Bits
from consentry.core.moment import DAY, Microseconds, Moment

if TYPE_CHECKING:
    from collections.abc import Collection

    from consentry.core.rule import Rule


class Regime(StrEnum):
    """What silence means."""

    OPT_IN = "opt_in"  # denied
    OPT_OUT = "opt_out"  # granted until a refusal or a signal
    NOTICE = "notice"  # granted

    @property
    def silence_grants(self) -> bool:
        return self is not Regime.OPT_IN


def strictest(*regimes: Regime | None) -> Regime | None:
    """The one that denies most; None when there is none."""
    order = list(Regime)
    named = [regime for regime in regimes if regime is not None]
    return min(named, key=order.index) if named else None


class Purpose(StrEnum):
    """What a category is for, in the words that laws are read in."""

    ADVERTISING = "advertising"
    ANALYTICS = "analytics"
    PERSONALIZATION = "personalization"
    FUNCTIONAL = "functional"
    SALE_OR_SHARE = "sale_or_share"


_USUAL: dict[Purpose, tuple[str, ...]] = {
    Purpose.ADVERTISING: ("advertising", "advertisement", "ads", "ad", "marketing", "targeting"),
    Purpose.ANALYTICS: ("analytics", "statistics", "measurement"),
    Purpose.PERSONALIZATION: ("personalization", "personalisation"),
    Purpose.FUNCTIONAL: ("functional", "functionality"),
    Purpose.SALE_OR_SHARE: ("sale_or_share", "sale", "sale_of_data", "data_sale"),
}
USUAL_IDS = {name: purpose for purpose, names in _USUAL.items() for name in names}
"""Ids of categories that say what they are for."""


class Match(StrEnum):
    """How many of its mapped categories a destination needs."""

    ALL = "all"
    ANY = "any"


class Unstamped(StrEnum):
    """What decides an event that says nothing of consent."""

    RECORDED = "recorded"
    ALLOW = "allow"


class Unmapped(StrEnum):
    """What a destination without a category receives."""

    WITHHOLD = "withhold"
    ALLOW = "allow"


class StampRule(StrEnum):
    """Which of stamp and ledger is asked."""

    BOTH = "both"
    ALONE = "alone"


class Devices(StrEnum):
    """Who is right when devices of one account disagree."""

    LATEST = "latest"
    STRICTEST = "strictest"
    ACCOUNT = "account"
    ASK = "ask"


class AccountChoices(StrEnum):
    """Whether a choice about an account from a public source needs proof."""

    PROVEN = "proven"
    AS_GIVEN = "as_given"


@dataclass(frozen=True, slots=True)
class Category:
    """What consent is asked for. ``max_age_us`` counts from when the grant was made.

    ``since`` is when it took the meaning that it has: a grant made before was for another one.
    """

    id: str
    name: str = ""
    essential: bool = False
    enabled: bool = True
    regime: Regime | None = None
    requires_consent_since: Moment | None = None
    max_age_us: Microseconds | None = None
    gpc: bool = True
    purpose: Purpose | None = None
    description: str = ""
    since: Moment | None = None

    @property
    def is_for(self) -> Purpose | None:
        """Its purpose: as stated, else as its id says; None when neither says."""
        return self.purpose or USUAL_IDS.get(self.id.lower())


@dataclass(frozen=True, slots=True)
class Mapping:
    """What one destination requires before it may receive an event."""

    name: str
    kind: str
    categories: tuple[str, ...] = ()
    match: Match = Match.ALL
    enabled: bool = True
    exempt: str | None = None
    share_consent: bool = False


@dataclass(frozen=True, slots=True)
class Topic:
    """A subject of messages, and the channels it is sent by.

    ``transactional`` says in writing why it may be sent without consent; None for any other.
    """

    id: str
    name: str = ""
    channels: tuple[str, ...] = ("email",)
    transactional: str | None = None

    @property
    def keys(self) -> dict[str, str]:
        """The key of each of its channels, in their order."""
        return {channel: topic_key(self.id, channel) for channel in self.channels}


@dataclass(frozen=True, slots=True)
class Settings:
    """The rows of the two enforcement profiles, each one settable."""

    regime: Regime | None = None  # None: not stated, so opt_in where no rule decides
    unstamped: Unstamped = Unstamped.RECORDED
    unmapped: Unmapped = Unmapped.WITHHOLD
    stamp: StampRule = StampRule.BOTH
    devices: Devices = Devices.LATEST
    account_choices: AccountChoices = AccountChoices.PROVEN
    max_age_us: Microseconds | None = None


STRICT = Settings()
SEGMENT = Settings(
    unstamped=Unstamped.ALLOW,
    unmapped=Unmapped.ALLOW,
    stamp=StampRule.ALONE,
    account_choices=AccountChoices.AS_GIVEN,
)


@dataclass(frozen=True)
class Policy:
    """Everything a decision needs to know of a workspace."""

    workspace: str
    settings: Settings = STRICT
    categories: tuple[Category, ...] = ()
    mappings: tuple[Mapping, ...] = ()
    topics: tuple[Topic, ...] = field(default=())

    @cached_property
    def category(self) -> dict[str, Category]:
        """Categories by id; also those that only a topic needs, which are always opt-in."""
        found = {category.id: category for category in self.categories}
        for topic in self.topics:
            for key in topic.keys.values():
                needless = topic.transactional is not None
                found[key] = Category(key, topic.name, needless, regime=Regime.OPT_IN, gpc=False)
        return found

    @cached_property
    def of_channel(self) -> dict[str, tuple[str, ...]]:
        """For the key of each channel, the keys of all topics that are sent by it."""
        found: dict[str, tuple[str, ...]] = {}
        for topic in self.topics:
            for channel, key in topic.keys.items():
                whole = channel_key(channel)
                found[whole] = (*found.get(whole, ()), key)
        return found

    @cached_property
    def folded(self) -> dict[str, None]:
        """What records are folded for: every category, and every channel as a whole."""
        return dict.fromkeys((*self.category, *self.of_channel))

    @cached_property
    def transactional(self) -> dict[str, str]:
        """Why each key of a transactional topic needs no consent."""
        found = (t for t in self.topics if t.transactional is not None)
        return {key: topic.transactional or "" for topic in found for key in topic.keys.values()}

    @cached_property
    def messages(self) -> tuple[str, ...]:
        """Keys of topics that a person answers: not the transactional ones."""
        found = (topic for topic in self.topics if topic.transactional is None)
        return tuple(key for topic in found for key in topic.keys.values())

    def reached(self, refused: Collection[str]) -> Collection[str]:
        """What a refusal of these reaches: with a channel as a whole, every topic sent by it."""
        if not self.topics or self.of_channel.keys().isdisjoint(refused):
            return refused
        topics = (self.of_channel.get(key, ()) for key in refused)
        return dict.fromkeys((*refused, *(key for keys in topics for key in keys)))

    @cached_property
    def named(self) -> tuple[str, ...]:
        """Ids of its own categories, turned off or not."""
        return tuple(c.id for c in self.categories)

    @cached_property
    def enabled(self) -> tuple[str, ...]:
        """Ids of its own categories that are turned on."""
        return tuple(c.id for c in self.categories if c.enabled)

    @cached_property
    def asked(self) -> tuple[str, ...]:
        """Ids of the categories that a person answers: not the essential ones, not topics."""
        return tuple(c.id for c in self.categories if not c.essential)

    @cached_property
    def mapping(self) -> dict[str, Mapping]:
        return {mapping.name: mapping for mapping in self.mappings}

    @cached_property
    def all_on(self) -> Policy:
        """The same with every destination turned on: what one that is off may have, it holds."""
        if all(mapping.enabled for mapping in self.mappings):
            return self
        return replace(self, mappings=tuple(replace(m, enabled=True) for m in self.mappings))

    @cached_property
    def places(self) -> dict[str, int]:
        """Where each destination stands among the mappings: its bit in masks of destinations."""
        return {mapping.name: n for n, mapping in enumerate(self.mappings)}

    # -- sets of categories, as bits -----------------------------------------------------------
    @cached_property
    def bits(self) -> Bits:
        """The bit of each category, and of each that is mapped although nobody can grant it."""
        return Bits([*self.category, *(c for m in self.mappings for c in m.categories)])

    @cached_property
    def known(self) -> int:
        """The categories that the workspace has."""
        return self.bits.of(self.category)

    @cached_property
    def essential(self) -> int:
        return self.bits.of(c.id for c in self.category.values() if c.essential)

    @cached_property
    def topical(self) -> int:
        """Those that only a topic needs."""
        return self.bits.of(filter(is_topic, self.category))

    @cached_property
    def needed(self) -> int:
        """Those that some destination needs."""
        return self.bits.of(c for m in self.mappings for c in m.categories)

    @cached_property
    def _silent(self) -> dict[Regime | None, int]:
        return {source: self._silent_at(source, None) for source in (None, *Regime)}

    @cached_property
    def _silent_there(self) -> dict[tuple[Regime | None, Rule], int]:
        return {}

    def _silent_at(self, source: Regime | None, rule: Rule | None) -> int:
        found = (c for c in self.category.values() if self.regime(c, source, rule).silence_grants)
        return self.bits.of(c.id for c in found)

    @cached_property
    def sets(self) -> tuple[Bits, int, int, int]:
        """What is asked of every event at once: the bits, and known, essential, topical."""
        return self.bits, self.known, self.essential, self.topical

    def silent_grants(self, source: Regime | None, rule: Rule | None = None) -> int:
        """Those that silence grants, for a source with this default, where this rule holds."""
        if rule is None:
            return self._silent[source]
        found = self._silent_there.get((source, rule))
        if found is None:
            found = self._silent_there[source, rule] = self._silent_at(source, rule)
        return found

    def prohibited(self, rule: Rule, age: int | None, data: frozenset[str]) -> frozenset[str]:
        """Ids of the categories that no answer allows to somebody of this age, with this data."""
        asked = (c for c in self.categories if not c.essential)
        return frozenset(c.id for c in asked if rule.prohibits(c.is_for, age, data))

    @cached_property
    def rulings(self) -> dict[Any, Any]:
        """What ``consentry.core.decision`` has worked out for this policy, and may forget."""
        return {}

    @cached_property
    def version(self) -> str:
        """Sixteen hex digits that differ whenever anything a decision reads differs."""
        return hashlib.sha256(self.canonical).hexdigest()[:16]

    @cached_property
    def canonical(self) -> bytes:
        """The policy as canonical JSON: what is stored, and hashed for the version."""
        return msgspec.json.encode(asdict(self), order="sorted")

    def regime(self, category: Category, source: Regime | None, rule: Rule | None = None) -> Regime:
        """What silence means here. A source may have a default; a category's own is only tightened.

        Where the rule of a place decides, whatever is stated can only tighten it.
        """
        if rule is not None and rule.decides:
            said = rule.regime(category.is_for)
            if rule.only_tightens:
                return strictest(said, self.regime(category, source)) or Regime.OPT_IN
            stated = (category.regime, source, self.settings.regime)
            return strictest(said, *stated) or Regime.OPT_IN
        if category.regime is not None:
            return strictest(category.regime, source) or Regime.OPT_IN
        return source or self.settings.regime or Regime.OPT_IN

    def max_age_us(self, category: Category) -> Microseconds | None:
        ages = [a for a in (category.max_age_us, self.settings.max_age_us) if a is not None]
        return min(ages) if ages else None


def policy_from_canonical(data: bytes) -> Policy:
    """The Policy that ``canonical`` was written from. Raises msgspec.ValidationError."""
    return msgspec.json.decode(data, type=Policy)


def topic_key(topic: str, channel: str) -> str:
    """Topics are folded like categories, under a name that no category may have."""
    return f"topic:{topic}:{channel}"


def channel_key(channel: str) -> str:
    """Under which a channel is refused as a whole. No topic is called so, and nobody can grant it."""
    return topic_key(EVERY_TOPIC, channel)


EVERY_TOPIC = "*"


def is_topic(key: str) -> bool:
    """Whether this is a topic's key. Messages are opt-in, whatever a profile lets events do."""
    return key.startswith("topic:")


def days(count: float | None) -> Microseconds | None:
    """Days as microseconds."""
    return None if count is None else int(count * DAY)
