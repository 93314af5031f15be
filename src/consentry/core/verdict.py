"""Which categories are granted for one event: all of them at once, as bits.

A verdict falls to the first layer that a category's bit lies in: prohibited, essential, denied
on record, signalled, stamped, granted on record, silent. Each layer is one integer, so what a
person agreed to costs the same however many categories and destinations there are. Why a
category is or is not granted is read off the same layers, by whoever asks.
"""

from __future__ import annotations

from collections.abc import Mapping as Dict
from typing import TYPE_CHECKING, Any

import msgspec

from consentry.core.moment import Moment
from consentry.core.policy import Policy, Regime, StampRule, Unstamped
from consentry.core.preference import Standing, Why
from consentry.core.stamp import Stamp

if TYPE_CHECKING:
    from consentry.core.rule import Rule

_NOBODY: frozenset[str] = frozenset()


class Ground(msgspec.Struct, frozen=True, gc=False):
    """What a verdict relies on: a record, the stamp, a signal, a regime or a setting."""

    kind: str  # recordId | stamp | signal | regime | setting
    value: str | bool
    rule: str | None = None  # which rule of a place says so, where one does

    def as_json(self) -> dict[str, str | bool]:
        said = {self.kind: self.value}
        return said if self.rule is None else {**said, "rule": self.rule}


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """One category: granted or not; ``why`` is None when granted."""

    id: str
    granted: bool
    why: Why | None
    ground: Ground


class Question(msgspec.Struct, frozen=True, gc=False):
    """What is asked about one event.

    ``made_at`` is None when the event's time cannot be true. ``accepted_at`` is when it was
    accepted. ``regime`` is the default of its source, ``rule`` what holds at its place, None
    where no place is looked for. A recorded grant made before ``grants_since`` is too old for the
    law of that place. ``superseded`` is whether a preference
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
    rule: Rule | None = None
    grants_since: Moment | None = None


class Layers(msgspec.Struct, frozen=True, gc=False):
    """The layers of one question that its verdicts are read off, and all that is granted, as bits."""

    granted: int
    prohibited: int
    blocked: int
    stamped: int
    recorded: int


def layers(
    policy: Policy, question: Question, standing: Standing, *, every_denial: bool = False
) -> Layers:
    """What each layer takes of what those before it have left.

    ``every_denial`` is for what a person said, whatever rows an event is decided by: every
    recorded denial counts, also one that a profile would not ask about this event.
    """
    bits, known, essential, topical = policy.sets
    settings, stamp = policy.settings, question.stamp
    blocked, signalled, faded, _, _ = standing.masks(bits)
    prohibited = bits.of(question.prohibited) if question.prohibited else 0
    if blocked and not every_denial and _asks_later_denials_alone(policy, stamp):
        blocked = standing.blocked_after(question.accepted_at, bits)
    granted = essential & ~prohibited
    rest = known & ~(prohibited | granted | blocked | signalled)
    since = question.grants_since
    old = 0 if since is None else standing.older(since, bits)
    faded |= old
    if stamp is not None:
        said = stamp.granted_bits(bits)
        # A stamp repeats an old answer: it renews no grant that has gone stale or expired.
        if settings.stamp is not StampRule.BOTH:
            faded = 0
        stamped = rest & said & ~faded
        rest &= said & faded
    else:
        stamped = rest & ~topical if settings.unstamped is Unstamped.ALLOW else 0
        rest &= ~stamped
    if not rest:
        return Layers(granted | stamped, prohibited, blocked, stamped, 0)
    # A recorded grant covers no unstamped event made before it.
    recorded = rest & standing.covering(question.made_at, bits) & ~old
    silent = rest & ~recorded & policy.silent_grants(question.regime, question.rule)
    granted |= stamped | recorded | silent
    return Layers(granted, prohibited, blocked, stamped, recorded)


class Judged:
    """The verdicts of one question: read off its layers."""

    __slots__ = ("_layers", "_policy", "_question", "_standing")

    def __init__(
        self, policy: Policy, question: Question, standing: Standing, *, every_denial: bool = False
    ) -> None:
        self._policy = policy
        self._question = question
        self._standing = standing
        self._layers = layers(policy, question, standing, every_denial=every_denial)

    def verdict(self, category: str) -> Verdict:
        """Why one category is granted or not: the first layer that it lies in."""
        found_in = self._layers
        bit = self._policy.bits.get(category, 0)
        if not bit & self._policy.known:
            # Mapped, but the workspace does not have it: nobody can have granted it.
            return Verdict(category, False, Why.NEVER_COLLECTED, _regime(Regime.OPT_IN))
        if bit & found_in.prohibited:
            return Verdict(category, False, Why.PROHIBITED, self._regime("prohibited"))
        if bit & self._policy.essential:
            return Verdict(category, True, None, Ground("setting", "essential"))
        found = self._standing.of(category)
        if bit & found_in.blocked and found.block is not None:
            block = found.block
            return Verdict(category, False, block.why, Ground("recordId", block.record_id))
        if found.signal is not None:
            return Verdict(category, False, Why.SIGNAL, Ground("signal", found.signal.signal))
        if bit & found_in.stamped:
            return Verdict(category, True, None, self._spoken)
        stamp = self._question.stamp
        if stamp is not None and category not in stamp.granted:
            denied = category in stamp.stated or not stamp.stated
            return Verdict(category, False, Why.DENIED if denied else Why.MISSING, _STAMP)
        if bit & found_in.recorded and found.grant is not None:
            return Verdict(category, True, None, Ground("recordId", found.grant.record_id))
        asked, question = self._policy.category[category], self._question
        ground = self._regime(self._policy.regime(asked, question.regime, question.rule))
        if bit & found_in.granted:
            return Verdict(category, True, None, ground)
        since = question.grants_since
        old = since is not None and found.grant is not None and found.grant.made_at < since
        return Verdict(category, False, Why.EXPIRED if old else found.silent, ground)

    def _regime(self, regime: str) -> Ground:
        rule = self._question.rule
        named = rule.id if rule is not None and rule.decides else None
        return Ground("regime", str(regime), named)

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
    return layers(policy, question, standing, every_denial=True).granted


def _asks_later_denials_alone(policy: Policy, stamp: Stamp | None) -> bool:
    """Where the stamp decides alone, only denials received after acceptance are asked."""
    if stamp is not None:
        return policy.settings.stamp is StampRule.ALONE
    return policy.settings.unstamped is Unstamped.ALLOW


_STAMP = Ground("stamp", True)


def _regime(regime: Regime) -> Ground:
    return Ground("regime", regime.value)
