"""The one decision: for one event and each destination, allow or withhold, and why.

Everything that sends asks ``decide``; nothing decides anywhere else. The tests are asked
in the order of spec/enforcement.md, and the first that applies gives the reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping as Dict
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from consentry.core.event import Event, narrowed
from consentry.core.moment import Moment
from consentry.core.policy import (
    Category,
    Mapping,
    Match,
    Policy,
    Regime,
    StampRule,
    Unmapped,
    Unstamped,
    is_topic,
)
from consentry.core.preference import Found, Standing, Why
from consentry.core.stamp import Stamp


class Reason(StrEnum):
    """The test that decided, in the order in which the tests are asked."""

    SUPPRESSED = "suppressed"
    DESTINATION_DISABLED = "destination_disabled"
    PREFERENCE_UPDATE = "preference_update"
    INTEGRATIONS_OBJECT = "integrations_object"
    EXEMPT = "exempt"
    UNMAPPED = "unmapped"
    PROHIBITED = "prohibited"
    CONSENTED = "consented"
    FILTERED = "filtered_by_end_user_consent"


@dataclass(frozen=True, slots=True)
class Ground:
    """What a verdict relies on: a record, the stamp, a signal, a regime or a setting."""

    kind: str  # recordId | stamp | signal | regime | setting
    value: str | bool

    def as_json(self) -> dict[str, str | bool]:
        return {self.kind: self.value}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One category: granted or not; ``why`` is None when granted."""

    id: str
    granted: bool
    why: Why | None
    ground: Ground


@dataclass(frozen=True, slots=True)
class Decision:
    """Allow or withhold, with the reason, the categories that decided, and their grounds."""

    destination: str
    allow: bool
    reason: Reason
    verdicts: tuple[Verdict, ...] = ()

    @property
    def grounds(self) -> tuple[Ground, ...]:
        return tuple(dict.fromkeys(verdict.ground for verdict in self.verdicts))


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about one event.

    ``made_at`` is None when the event's time cannot be true. ``accepted_at`` is when it was
    accepted. ``regime`` is the default of its source. ``superseded`` is whether a preference
    update is no longer the subject's latest choice.
    """

    accepted_at: Moment
    made_at: Moment | None
    stamp: Stamp | None = None
    integrations: Dict[str, Any] | None = None
    preference_update: bool = False
    regime: Regime | None = None
    prohibited: frozenset[str] = frozenset()
    superseded: bool = False


def question_of(
    event: Event, regime: Regime | None = None, *, superseded: bool = False
) -> Question:
    """The question that an event poses."""
    return Question(
        accepted_at=event.received_at,
        made_at=event.made_at,
        stamp=event.stamp,
        integrations=event.integrations,
        preference_update=event.is_preference_update,
        regime=regime,
        superseded=superseded,
    )


def decide(
    policy: Policy,
    question: Question,
    standing: Standing,
    destinations: Iterable[str] | None = None,
) -> tuple[Decision, ...]:
    """Decide for each destination, or for those named. An unknown name is left out."""
    asked = _Asked(policy, question, standing)
    if destinations is None:
        return tuple(asked.about(mapping) for mapping in policy.mappings)
    known = policy.mapping
    return tuple(asked.about(known[name]) for name in destinations if name in known)


def verdict(policy: Policy, question: Question, standing: Standing, category: str) -> Verdict:
    """One category by itself: for preferences, topics and explanations.

    What a person said is what they said, whatever rows an event is decided by: every recorded
    denial counts here.
    """
    return _Asked(policy, question, standing, every_denial=True).verdict(category)


class _Asked:
    """One question; each category is judged once, however many destinations need it."""

    def __init__(
        self, policy: Policy, question: Question, standing: Standing, *, every_denial: bool = False
    ) -> None:
        self.policy = policy
        self.every_denial = every_denial
        self.question = question
        self.standing = standing
        self._verdicts: dict[str, Verdict] = {}

    def about(self, mapping: Mapping) -> Decision:
        name, question = mapping.name, self.question
        if self.standing.suppressed:
            return Decision(name, False, Reason.SUPPRESSED)
        if not mapping.enabled:
            return Decision(name, False, Reason.DESTINATION_DISABLED)
        if question.preference_update and mapping.share_consent:
            return Decision(name, not question.superseded, Reason.PREFERENCE_UPDATE)
        if narrowed(question.integrations, name):
            return Decision(name, False, Reason.INTEGRATIONS_OBJECT)
        needed = self._needed(mapping)
        if not needed:
            return self._unmapped(mapping)
        forbidden = [c.id for c in needed if c.id in question.prohibited]
        if forbidden:
            return Decision(name, False, Reason.PROHIBITED, tuple(map(self.verdict, forbidden)))
        return self._by_consent(mapping, needed)

    def _needed(self, mapping: Mapping) -> list[Category]:
        """Mapped categories that are turned on. One the workspace does not have stays needed."""
        known = self.policy.category
        found = (known.get(c) or Category(c) for c in mapping.categories)
        return [category for category in found if category.enabled]

    def _unmapped(self, mapping: Mapping) -> Decision:
        if mapping.exempt:
            return Decision(mapping.name, True, Reason.EXEMPT)
        allow = self.policy.settings.unmapped is Unmapped.ALLOW
        return Decision(mapping.name, allow, Reason.UNMAPPED)

    def _by_consent(self, mapping: Mapping, needed: list[Category]) -> Decision:
        verdicts = [self.verdict(category.id) for category in needed]
        granted = [v for v in verdicts if v.granted]
        if mapping.match is Match.ANY and not all(c.essential for c in needed):
            # An essential category alone is no consent.
            essential = {c.id for c in needed if c.essential}
            granted = [v for v in granted if v.id not in essential]
            allow = bool(granted)
        else:
            allow = len(granted) == len(verdicts)
        if allow:
            return Decision(mapping.name, True, Reason.CONSENTED, tuple(granted))
        failed = tuple(v for v in verdicts if not v.granted)
        return Decision(mapping.name, False, Reason.FILTERED, failed)

    def verdict(self, category_id: str) -> Verdict:
        """Whether one category is granted for this event: one denial outweighs every grant."""
        known = self._verdicts.get(category_id)
        if known is None:
            known = self._verdicts[category_id] = self._judge(category_id)
        return known

    def _judge(self, category_id: str) -> Verdict:
        category = self.policy.category.get(category_id)
        if category is None:
            # Mapped, but the workspace does not have it: nobody can have granted it.
            return Verdict(category_id, False, Why.NEVER_COLLECTED, _regime(Regime.OPT_IN))
        if category_id in self.question.prohibited:
            return Verdict(category_id, False, Why.PROHIBITED, Ground("regime", "prohibited"))
        if category.essential:
            return Verdict(category_id, True, None, Ground("setting", "essential"))
        found = self.standing.of(category_id)
        return (
            self._recorded_denial(category_id, found)
            or self._by_stamp(category_id, found)
            or self._by_record(category_id, found)
            or self._by_silence(category, found)
        )

    def _recorded_denial(self, category_id: str, found: Found) -> Verdict | None:
        block = found.block
        if block is not None and self._denial_counts(block.at):
            return Verdict(category_id, False, block.why, Ground("recordId", block.record_id))
        if found.signal is not None:
            return Verdict(category_id, False, Why.SIGNAL, Ground("signal", found.signal.signal))
        return None

    def _denial_counts(self, received_at: Moment) -> bool:
        """Where the stamp decides alone, only denials received after acceptance are asked."""
        if self.every_denial:
            return True
        settings = self.policy.settings
        stamped = self.question.stamp is not None
        if stamped and settings.stamp is StampRule.ALONE:
            return received_at > self.question.accepted_at
        if not stamped and settings.unstamped is Unstamped.ALLOW:
            return received_at > self.question.accepted_at
        return True

    def _by_stamp(self, category_id: str, found: Found) -> Verdict | None:
        stamp = self.question.stamp
        if stamp is None:
            if self.policy.settings.unstamped is Unstamped.ALLOW and not is_topic(category_id):
                return Verdict(category_id, True, None, Ground("setting", "unstamped=allow"))
            return None
        if category_id in stamp.granted:
            if self._faded(found):
                return None
            return Verdict(category_id, True, None, _STAMP)
        denied = category_id in stamp.stated or not stamp.stated
        return Verdict(category_id, False, Why.DENIED if denied else Why.MISSING, _STAMP)

    def _faded(self, found: Found) -> bool:
        """A stamp repeats an old answer: it renews no grant that has gone stale or expired."""
        both = self.policy.settings.stamp is StampRule.BOTH
        return both and found.grant is None and found.silent in (Why.STALE, Why.EXPIRED)

    def _by_record(self, category_id: str, found: Found) -> Verdict | None:
        """A recorded grant covers no unstamped event made before it."""
        made_at = self.question.made_at
        if found.grant is None or made_at is None or made_at < found.covers_from:
            return None
        return Verdict(category_id, True, None, Ground("recordId", found.grant.record_id))

    def _by_silence(self, category: Category, found: Found) -> Verdict:
        regime = self.policy.regime(category, self.question.regime)
        if regime.silence_grants:
            return Verdict(category.id, True, None, _regime(regime))
        return Verdict(category.id, False, found.silent, _regime(regime))


_STAMP = Ground("stamp", True)


def _regime(regime: Regime) -> Ground:
    return Ground("regime", regime.value)
