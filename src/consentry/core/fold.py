"""One identifier at a time: its facts folded per category, and what a merge makes of two.

A denial counts from when it was received, a grant if it was made after that and is fresh. So
three things suffice per category: the latest denial, the latest signal, and the fresh grants.
How identifiers are combined into a subject is in ``consentry.core.preference``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from consentry.core.event import FUTURE_TOLERANCE
from consentry.core.moment import Moment
from consentry.core.policy import AccountChoices, Category, Policy
from consentry.core.record import Account, Fact, FactKind, Facts, Merge

FOREVER: Moment = 1 << 62


class Why(StrEnum):
    """Why a category is not granted."""

    DENIED = "denied"
    NEVER_COLLECTED = "never_collected"
    MISSING = "missing"
    CONFLICT = "conflict"
    STALE = "stale"
    EXPIRED = "expired"
    SIGNAL = "signal"
    UNVERIFIED = "unverified"
    PROHIBITED = "prohibited"


class Grant(msgspec.Struct, frozen=True, gc=False):
    """One fresh grant. An ``imported`` one lifts nothing.

    ``made_at`` is never after ``received_at``: a clock may be five seconds fast, but nothing
    is made after it came. So a denial that comes within them stands.
    """

    record_id: str
    made_at: Moment
    received_at: Moment
    imported: bool = False

    def lifts(self, at: Moment) -> bool:
        """Whether it lifts a denial or signal that was received at this moment."""
        return not self.imported and self.made_at > at


class Block(msgspec.Struct, frozen=True, gc=False):
    """One denial, conflict or signal, at the moment from which it counts."""

    record_id: str
    at: Moment
    why: Why
    signal: str = ""


@dataclass(slots=True)
class Own:
    """One identifier, one category."""

    last: Block | None = None  # the latest denial, lifted or not
    last_signal: Block | None = None
    grants: list[Grant] = field(default_factory=list)
    stale: Why | None = None

    def standing(self) -> Block | None:
        return None if self.last is None or self.lifts(self.last) else self.last

    def standing_signal(self) -> Block | None:
        block = self.last_signal
        return None if block is None or self.lifts(block) else block

    def lifts(self, block: Block) -> bool:
        return any(grant.lifts(block.at) for grant in self.grants)

    def denied_until(self) -> Moment:
        """Grants made up to here were overtaken by a denial or signal of the same identifier."""
        return max(
            -1 if self.last is None else self.last.at,
            -1 if self.last_signal is None else self.last_signal.at,
        )

    def free_from(self, lifters: Iterable[Grant] = ()) -> Moment:
        """From when on this identifier refused no more; 0 if it never did, or still does.

        ``lifters`` are the grants of others that may lift its refusals. Its own grant may come
        later than theirs, and takes nothing away that they allowed. Of what it still refuses
        nothing is said here: a grant holds only if it was made later.
        """
        last = self.denied_until()
        own = [grant for grant in self.grants if grant.lifts(last)]
        if last < 0 or not own:
            return 0
        return min(grant.made_at for grant in (*own, *lifters) if grant.lifts(last))


Folded = dict[str, Own]
SILENT = Own()


class Reader:
    """Folds one identifier's facts at a time; remembers when the result changes by itself."""

    def __init__(self, policy: Policy, as_of: Moment, unsuppressed_at: Moment) -> None:
        self.policy = policy
        self.as_of = as_of
        self.unsuppressed_at = unsuppressed_at
        self.valid_from: Moment = 0
        self.valid_until = FOREVER

    def changes_at(self, moment: Moment) -> None:
        """From this moment on, the same history may give another answer."""
        if moment <= self.as_of:
            self.valid_from = max(self.valid_from, moment)
        else:
            self.valid_until = min(self.valid_until, moment - 1)

    def fold(self, facts: Facts, *, account: bool = False, as_of: Moment | None = None) -> Folded:
        as_of = self.as_of if as_of is None else as_of
        folded: Folded = {}
        chosen: set[str] = set()
        imports: list[Fact] = []
        signals: list[Fact] = []
        for fact in facts:
            if fact.received_at > as_of:
                continue
            if fact.kind is FactKind.CHOICE:
                chosen.update(self._take_denials(folded, fact))
                self._take_grants(folded, fact, as_of, account)
                if fact.proven:
                    chosen.update(fact.granted)
            elif fact.kind is FactKind.IMPORT:
                imports.append(fact)
            elif fact.kind is FactKind.SIGNAL:
                signals.append(fact)
        for fact in imports:
            self._take_denials(folded, fact)
            self._take_grants(folded, fact, as_of, unless=chosen)
        self._take_signals(folded, signals)
        return folded

    def fold_account(self, account: Account) -> Folded:
        """An account, with what a merge made of two: granted, denied or in conflict."""
        groups: dict[str, tuple[frozenset[str], Facts]] = {
            user_id: (frozenset({user_id}), facts) for user_id, facts in account.members.items()
        }
        for merge in sorted(account.merges, key=lambda m: (m.at, m.record_id)):
            left = groups.get(merge.left, (frozenset({merge.left}), ()))
            right = groups.get(merge.right, (frozenset({merge.right}), ()))
            if merge.at > self.as_of or left[0] == right[0]:
                continue
            joined = (left[0] | right[0], self._merged(left[1], right[1], merge))
            groups.update(dict.fromkeys(joined[0], joined))
        _, facts = groups.get(account.user_id, (frozenset(), ()))
        return self.fold(facts, account=True)

    def _merged(self, left: Facts, right: Facts, merge: Merge) -> Facts:
        """Rule 7: granted only if both hold valid grants, denied if neither, else a conflict."""
        before_left = [f for f in left if f.received_at <= merge.at]
        before_right = [f for f in right if f.received_at <= merge.at]
        if not self._has_choices(before_left) or not self._has_choices(before_right):
            return left + right  # a subject without records does not disagree
        one = self.fold(tuple(before_left), account=True, as_of=merge.at)
        two = self.fold(tuple(before_right), account=True, as_of=merge.at)
        made: list[Fact] = []
        for category in one.keys() | two.keys():
            made.extend(_merge_category(category, one.get(category), two.get(category), merge))
        kept = (f for f in left + right if f.received_at > merge.at or not _is_choice(f))
        return (*kept, *made)

    def _take_denials(self, folded: Folded, fact: Fact) -> Collection[str]:
        """The denials of one fact; returns what they reach.

        What a merge made speaks of each topic by itself: its channels were read before.
        """
        denied = fact.denied if fact.signal in _MERGED else self.policy.reached(fact.denied)
        for category in denied:
            own = folded.setdefault(category, Own())
            why = Why.MISSING if category in fact.missing else Why.DENIED
            if fact.signal == _CONFLICT:
                why = Why.CONFLICT
            block = Block(fact.record_id, fact.received_at, why)
            if own.last is None or _later(block, own.last):
                own.last = block
        return denied

    def _take_grants(
        self,
        folded: Folded,
        fact: Fact,
        as_of: Moment,
        account: bool = False,
        unless: set[str] | frozenset[str] = frozenset(),
    ) -> None:
        if self._said_at(fact) <= self.unsuppressed_at:
            return  # counts as never collected
        believed = self._believed(fact, account)
        for name in fact.granted:
            category = self.policy.category.get(name)
            if category is None or name in unless:
                continue
            own = folded.setdefault(name, Own())
            why = self._unusable(category, fact, as_of) if believed else Why.UNVERIFIED
            if why is not None:
                own.stale = why if own.stale is None else min(own.stale, why)
            elif fact.made_at is not None:
                made, imported = min(fact.made_at, fact.received_at), fact.kind is FactKind.IMPORT
                own.grants.append(Grant(fact.record_id, made, fact.received_at, imported))

    def _said_at(self, fact: Fact) -> Moment:
        """When a yes was given: what was held up on its way is as old as it says. Who imports
        vouches for what holds on that day."""
        if fact.made_at is None or fact.kind is FactKind.IMPORT:
            return fact.received_at
        return min(fact.made_at, fact.received_at)

    def _believed(self, fact: Fact, account: bool) -> bool:
        """Whether a grant counts. Only choices about accounts may be taken as they come."""
        as_given = self.policy.settings.account_choices is AccountChoices.AS_GIVEN
        return fact.proven or (account and as_given)

    def _has_choices(self, facts: Iterable[Fact]) -> bool:
        """Whether anything was answered for an account. An unproven grant is no answer."""
        return any(
            _is_choice(fact) and (fact.denied or (fact.granted and self._believed(fact, True)))
            for fact in facts
        )

    def _unusable(self, category: Category, fact: Fact, as_of: Moment) -> Why | None:
        if fact.made_at is None or fact.made_at > fact.received_at + FUTURE_TOLERANCE:
            # An import that states no date is expired; any other grant without a time that can
            # be true is as good as none.
            return Why.EXPIRED if fact.kind is FactKind.IMPORT else Why.UNVERIFIED
        since = category.requires_consent_since
        if since is not None and fact.made_at < since:
            return Why.STALE
        # Who imports vouches for what the category means on that day.
        meant_at = fact.received_at if fact.kind is FactKind.IMPORT else fact.made_at
        if category.since is not None and meant_at < category.since:
            return Why.STALE
        max_age = self.policy.max_age_us(category)
        if max_age is not None:
            expires = fact.made_at + max_age
            self.changes_at(expires + 1)
            if expires < as_of:
                return Why.EXPIRED
        return None

    def _take_signals(self, folded: Folded, signals: list[Fact]) -> None:
        """Rule 8: dated at first appearance or reappearance; repetition is not newer."""
        appeared: dict[str, Fact] = {}
        gone: set[str] = set()
        for fact in sorted(signals, key=lambda f: (f.received_at, f.present, f.record_id)):
            if not fact.present:
                gone.add(fact.signal)
            elif fact.signal not in appeared or fact.signal in gone:
                appeared[fact.signal] = fact
                gone.discard(fact.signal)
        for fact in appeared.values():
            for category in self._covered(fact):
                own = folded.setdefault(category, Own())
                block = Block(fact.record_id, fact.received_at, Why.SIGNAL, fact.signal)
                if own.last_signal is None or _later(block, own.last_signal):
                    own.last_signal = block

    def _covered(self, fact: Fact) -> set[str]:
        """What it covered when it came, and what the workspace has put under it since."""
        now = {c.id for c in self.policy.categories if c.gpc and not c.essential}
        return now | set(fact.denied)


_CONFLICT = "conflict"
_AGREED = "merged"
_MERGED = (_CONFLICT, _AGREED)  # how facts that a merge made are marked, in place of a signal


def _later(block: Block, than: Block) -> bool:
    return (block.at, block.record_id) > (than.at, than.record_id)


def _is_choice(fact: Fact) -> bool:
    return fact.kind in (FactKind.CHOICE, FactKind.IMPORT)


def _merge_category(category: str, one: Own | None, two: Own | None, merge: Merge) -> list[Fact]:
    if not _heard(one) and not _heard(two):
        return []
    grants = [_holding(own) for own in (one, two)]
    if grants[0] is not None and grants[1] is not None:
        older = min(grants[0], grants[1], key=lambda g: (g.made_at, g.record_id))
        kept = [own.last for own in (one, two) if own is not None and own.last is not None]
        # Both grants hold, so the refusals that they lifted must stay older than the one kept.
        facts = [
            Fact(
                FactKind.CHOICE,
                b.record_id,
                min(b.at, older.made_at - 1),
                denied=(category,),
                signal=_AGREED,
            )
            for b in kept
        ]
        imported = grants[0].imported and grants[1].imported
        kind = FactKind.IMPORT if imported else FactKind.CHOICE
        grant = Fact(kind, older.record_id, merge.at, older.made_at, granted=(category,))
        return [*facts, grant]
    disagree = any(grant is not None for grant in grants)
    return [
        Fact(
            FactKind.CHOICE,
            merge.record_id,
            merge.at,
            denied=(category,),
            signal=_CONFLICT if disagree else _AGREED,
        )
    ]


def _heard(own: Own | None) -> bool:
    """Whether anything that counts was said. An unverified grant leaves it as it was."""
    return own is not None and (
        own.last is not None or bool(own.grants) or own.stale not in (None, Why.UNVERIFIED)
    )


def _holding(own: Own | None) -> Grant | None:
    """The latest grant that holds on this identifier, or None.

    The latest, because no denial moves it: otherwise one that overtakes an early grant would
    hand the merge a later, stronger one.
    """
    if own is None or own.standing() is not None or own.standing_signal() is not None:
        return None  # an import lifts nothing, so it may stand beside a denial
    return max(own.grants, key=lambda g: (g.made_at, g.record_id), default=None)
