"""Which categories are granted for one event: all of them at once, as bits.

A verdict falls to the first layer that a category's bit lies in: prohibited, essential, denied
on record, signalled, stamped, granted on record, silent. Each layer is one integer, so what a
person agreed to costs the same however many categories and destinations there are. Why a
category is or is not granted is read off the same layers, by whoever asks.
"""

from __future__ import annotations

from collections.abc import Mapping as Dict
from dataclasses import dataclass
from typing import Any

import msgspec

from consentry.core.moment import Moment
from consentry.core.policy import Policy, Regime, StampRule, Unstamped
from consentry.core.preference import Standing, Why
from consentry.core.stamp import Stamp

_NOBODY: frozenset[str] = frozenset()


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


class Question(msgspec.Struct, frozen=True, gc=False):
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
    prohibited: frozenset[str] = _NOBODY
    superseded: bool = False


class Judged:
    """The layers of one question, and the categories that they grant, as bits of ``policy``.

    ``every_denial`` is for what a person said, whatever rows an event is decided by: every
    recorded denial counts, also one that a profile would not ask about this event.
    """

    __slots__ = (
        "_blocked",
        "_policy",
        "_prohibited",
        "_question",
        "_recorded",
        "_signalled",
        "_stamped",
        "_standing",
        "granted",
    )

    def __init__(
        self, policy: Policy, question: Question, standing: Standing, *, every_denial: bool = False
    ) -> None:
        self._policy = policy
        self._question = question
        self._standing = standing
        bits, settings, stamp = policy.bits, policy.settings, question.stamp
        recorded = standing.masks(bits)
        self._prohibited = bits.of(question.prohibited) if question.prohibited else 0
        self._blocked = recorded.blocked
        if not every_denial and _asks_later_denials_alone(policy, stamp):
            self._blocked = standing.blocked_after(question.accepted_at, bits)
        self._signalled = recorded.signalled
        granted = policy.essential & ~self._prohibited
        rest = policy.known & ~(self._prohibited | granted | self._blocked | self._signalled)
        if stamp is not None:
            said = stamp.granted_bits(bits)
            # A stamp repeats an old answer: it renews no grant that has gone stale or expired.
            faded = recorded.faded if settings.stamp is StampRule.BOTH else 0
            self._stamped = rest & (said & ~faded)
            rest &= said & faded
        else:
            freely = settings.unstamped is Unstamped.ALLOW
            self._stamped = rest & ~policy.topical if freely else 0
            rest &= ~self._stamped
        # A recorded grant covers no unstamped event made before it.
        self._recorded = rest & standing.covering(question.made_at, bits) if rest else 0
        rest &= ~self._recorded
        silent = rest & policy.silent_grants(question.regime) if rest else 0
        self.granted: int = granted | self._stamped | self._recorded | silent

    def verdict(self, category: str) -> Verdict:
        """Why one category is granted or not: the first layer that it lies in."""
        bit = self._policy.bits.get(category, 0)
        if not bit & self._policy.known:
            # Mapped, but the workspace does not have it: nobody can have granted it.
            return Verdict(category, False, Why.NEVER_COLLECTED, _regime(Regime.OPT_IN))
        if bit & self._prohibited:
            return Verdict(category, False, Why.PROHIBITED, Ground("regime", "prohibited"))
        if bit & self._policy.essential:
            return Verdict(category, True, None, Ground("setting", "essential"))
        found = self._standing.of(category)
        if bit & self._blocked and found.block is not None:
            block = found.block
            return Verdict(category, False, block.why, Ground("recordId", block.record_id))
        if bit & self._signalled and found.signal is not None:
            return Verdict(category, False, Why.SIGNAL, Ground("signal", found.signal.signal))
        if bit & self._stamped:
            return Verdict(category, True, None, self._spoken)
        stamp = self._question.stamp
        if stamp is not None and category not in stamp.granted:
            denied = category in stamp.stated or not stamp.stated
            return Verdict(category, False, Why.DENIED if denied else Why.MISSING, _STAMP)
        if bit & self._recorded and found.grant is not None:
            return Verdict(category, True, None, Ground("recordId", found.grant.record_id))
        regime = self._policy.regime(self._policy.category[category], self._question.regime)
        granted = bool(bit & self.granted)
        return Verdict(category, granted, None if granted else found.silent, _regime(regime))

    @property
    def _spoken(self) -> Ground:
        return _STAMP if self._question.stamp is not None else Ground("setting", "unstamped=allow")


def verdict(policy: Policy, question: Question, standing: Standing, category: str) -> Verdict:
    """One category by itself: for preferences, topics and explanations."""
    return Judged(policy, question, standing, every_denial=True).verdict(category)


def verdicts(
    policy: Policy, question: Question, standing: Standing, categories: tuple[str, ...]
) -> tuple[Verdict, ...]:
    """As ``verdict``, for several at once."""
    judged = Judged(policy, question, standing, every_denial=True)
    return tuple(map(judged.verdict, categories))


def granted(policy: Policy, question: Question, standing: Standing) -> int:
    """The categories of which ``verdict`` says yes; none of somebody who is suppressed."""
    if standing.suppressed:
        return 0
    return Judged(policy, question, standing, every_denial=True).granted


def _asks_later_denials_alone(policy: Policy, stamp: Stamp | None) -> bool:
    """Where the stamp decides alone, only denials received after acceptance are asked."""
    if stamp is not None:
        return policy.settings.stamp is StampRule.ALONE
    return policy.settings.unstamped is Unstamped.ALLOW


_STAMP = Ground("stamp", True)


def _regime(regime: Regime) -> Ground:
    return Ground("regime", regime.value)
