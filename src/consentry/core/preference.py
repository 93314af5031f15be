"""Preferences: the facts of a subject, folded per category, as of a moment.

Denial is easy, a grant must be earned (spec/enforcement.md):

* a denial counts from when it was *received*; a grant counts only if it was *made* after the
  latest denial was received, and is fresh;
* so per identifier and category three things suffice: the latest denial, the latest signal,
  and the fresh grants. Nothing depends on the order in which facts are read;
* identifiers are then combined: every denial that still stands blocks, unless a grant that
  may lift it was made after it. Silence neither grants nor denies.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from consentry.core.event import FUTURE_TOLERANCE
from consentry.core.moment import Moment
from consentry.core.policy import AccountChoices, Category, Devices, Policy
from consentry.core.record import Account, Fact, FactKind, Facts, History, Merge

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


@dataclass(frozen=True, slots=True)
class Grant:
    """One fresh grant. ``made_at`` is always known. An ``imported`` one lifts nothing."""

    record_id: str
    made_at: Moment
    received_at: Moment
    imported: bool = False

    @property
    def counts_at(self) -> Moment:
        """What denials are compared with: a grant cannot be made after it was received.

        A clock may be five seconds fast, and a denial that comes within them must stand.
        """
        return min(self.made_at, self.received_at)

    def lifts(self, at: Moment) -> bool:
        """Whether it lifts a denial or signal that was received at this moment."""
        return not self.imported and self.counts_at > at


@dataclass(frozen=True, slots=True)
class Block:
    """One denial, conflict or signal, at the moment from which it counts."""

    record_id: str
    at: Moment
    why: Why
    signal: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What the ledger says of one category for one subject.

    ``block`` stands and nothing lifts it. ``grant`` is the latest that holds; it covers what
    was made from ``covers_from`` on. ``silent`` says what kind of silence there is otherwise.
    """

    block: Block | None = None
    signal: Block | None = None
    grant: Grant | None = None
    covers_from: Moment = FOREVER
    silent: Why = Why.NEVER_COLLECTED


NOTHING_FOUND = Found()
_SILENCES = (Why.EXPIRED, Why.STALE, Why.UNVERIFIED, Why.NEVER_COLLECTED)


@dataclass(frozen=True, slots=True)
class Standing:
    """The preferences of one subject as of a moment.

    The same history gives the same answer from ``valid_from`` to ``valid_until``, both included.
    """

    as_of: Moment
    valid_until: Moment = FOREVER
    suppressed: bool = False
    found: dict[str, Found] = field(default_factory=dict)
    valid_from: Moment = 0

    def holds_at(self, moment: Moment) -> bool:
        """Whether it may be used for this moment, while no new fact is known."""
        return self.valid_from <= moment <= self.valid_until

    def of(self, category: str) -> Found:
        return self.found.get(category, NOTHING_FOUND)


@dataclass(slots=True)
class _Own:
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


_Folded = dict[str, _Own]
_SILENT = _Own()


def stand(history: History, policy: Policy, as_of: Moment) -> Standing:
    """Fold a subject's history into what holds at ``as_of``."""
    everything = history.all_facts()
    facts = [fact for fact in everything if fact.received_at <= as_of]
    reader = _Reader(policy, as_of, _last_unsuppressed(facts))
    for at in (*(f.received_at for f in everything), *(m.at for m in history.all_merges())):
        reader.changes_at(at)
    people = _People(
        device=None if history.device is None else reader.fold(history.device),
        account=None if history.account is None else reader.fold_account(history.account),
        others=[reader.fold_account(account) for account in history.others],
        siblings=[reader.fold(device) for device in history.siblings],
        contacts=[reader.fold(contact) for contact in history.contacts],
        contact=None if history.contact is None else reader.fold(history.contact),
    )
    found = {
        category: _combine(people, category, policy.settings.devices)
        for category in policy.category
    }
    suppressed = _is_suppressed(history, as_of)
    return Standing(as_of, reader.valid_until, suppressed, found, reader.valid_from)


def narrower(one: Standing, two: Standing) -> Standing:
    """What neither refuses: every block of both, and a grant only where both hold one."""
    return Standing(
        max(one.as_of, two.as_of),
        min(one.valid_until, two.valid_until),
        one.suppressed or two.suppressed,
        {c: _narrower(one.of(c), two.of(c)) for c in one.found.keys() | two.found.keys()},
        max(one.valid_from, two.valid_from),
    )


def _narrower(one: Found, two: Found) -> Found:
    later = one if one.covers_from >= two.covers_from else two
    return Found(
        block=_latest(one.block, two.block),
        signal=_latest(one.signal, two.signal),
        grant=later.grant,  # without a grant nothing is covered, for ever
        covers_from=later.covers_from,
        silent=min(one.silent, two.silent, key=_SILENCES.index),
    )


def _latest(*blocks: Block | None) -> Block | None:
    found = [block for block in blocks if block is not None]
    return max(found, key=lambda b: (b.at, b.record_id), default=None)


def fold_one(facts: Facts, policy: Policy, as_of: Moment) -> dict[str, Found]:
    """One identifier by itself, without what is linked to it."""
    return stand(History(device=facts), policy, as_of).found


def _last_unsuppressed(facts: Iterable[Fact]) -> Moment:
    return max((f.received_at for f in facts if f.kind is FactKind.UNSUPPRESS), default=-1)


def _is_suppressed(history: History, as_of: Moment) -> bool:
    """Whether any identifier is on the suppression list: its latest word is a suppression."""
    identifiers: list[Facts] = [*history.siblings, *history.contacts]
    identifiers += [history.device or (), history.contact or ()]
    for account in (history.account, *history.others):
        if account is not None:
            identifiers.extend(account.members.values())
    return any(_suppressed(facts, as_of) for facts in identifiers)


def _suppressed(facts: Facts, as_of: Moment) -> bool:
    words = [
        (f.received_at, f.kind is FactKind.SUPPRESS)
        for f in facts
        if f.kind in (FactKind.SUPPRESS, FactKind.UNSUPPRESS) and f.received_at <= as_of
    ]
    return bool(words) and max(words)[1]


class _Reader:
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

    def fold(self, facts: Facts, *, account: bool = False, as_of: Moment | None = None) -> _Folded:
        as_of = self.as_of if as_of is None else as_of
        folded: _Folded = {}
        chosen: set[str] = set()
        imports: list[Fact] = []
        signals: list[Fact] = []
        for fact in facts:
            if fact.received_at > as_of:
                continue
            if fact.kind is FactKind.CHOICE:
                self._take_denials(folded, fact)
                self._take_grants(folded, fact, as_of, account)
                chosen.update(fact.denied)
                if fact.proven:
                    chosen.update(fact.granted)
            elif fact.kind is FactKind.IMPORT:
                imports.append(fact)
            elif fact.kind is FactKind.SIGNAL:
                signals.append(fact)
        for fact in imports:
            self._take_denials(folded, fact)
            self._take_grants(folded, fact, as_of, False, unless=chosen)
        self._take_signals(folded, signals)
        return folded

    def fold_account(self, account: Account) -> _Folded:
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

    def _take_denials(self, folded: _Folded, fact: Fact) -> None:
        for category in fact.denied:
            own = folded.setdefault(category, _Own())
            why = Why.MISSING if category in fact.missing else Why.DENIED
            if fact.signal == _CONFLICT:
                why = Why.CONFLICT
            block = Block(fact.record_id, fact.received_at, why)
            if own.last is None or _later(block, own.last):
                own.last = block

    def _take_grants(
        self,
        folded: _Folded,
        fact: Fact,
        as_of: Moment,
        account: bool,
        unless: set[str] | frozenset[str] = frozenset(),
    ) -> None:
        if fact.received_at <= self.unsuppressed_at:
            return  # counts as never collected
        believed = self._believed(fact, account)
        for name in fact.granted:
            category = self.policy.category.get(name)
            if category is None or name in unless:
                continue
            own = folded.setdefault(name, _Own())
            why = self._unusable(category, fact, as_of) if believed else Why.UNVERIFIED
            if why is not None:
                own.stale = why if own.stale is None else min(own.stale, why)
            elif fact.made_at is not None:
                imported = fact.kind is FactKind.IMPORT
                own.grants.append(Grant(fact.record_id, fact.made_at, fact.received_at, imported))

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
        max_age = self.policy.max_age_us(category)
        if max_age is not None:
            expires = fact.made_at + max_age
            self.changes_at(expires + 1)
            if expires < as_of:
                return Why.EXPIRED
        return None

    def _take_signals(self, folded: _Folded, signals: list[Fact]) -> None:
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
                own = folded.setdefault(category, _Own())
                block = Block(fact.record_id, fact.received_at, Why.SIGNAL, fact.signal)
                if own.last_signal is None or _later(block, own.last_signal):
                    own.last_signal = block

    def _covered(self, fact: Fact) -> set[str]:
        """What it covered when it came, and what the workspace has put under it since."""
        now = {c.id for c in self.policy.categories if c.gpc and not c.essential}
        return now | set(fact.denied)


_CONFLICT = "conflict"


def _later(block: Block, than: Block) -> bool:
    return (block.at, block.record_id) > (than.at, than.record_id)


def _is_choice(fact: Fact) -> bool:
    return fact.kind in (FactKind.CHOICE, FactKind.IMPORT)


def _merge_category(category: str, one: _Own | None, two: _Own | None, merge: Merge) -> list[Fact]:
    if not _heard(one) and not _heard(two):
        return []
    grants = [_holding(own) for own in (one, two)]
    if grants[0] is not None and grants[1] is not None:
        older = min(grants[0], grants[1], key=lambda g: (g.counts_at, g.record_id))
        kept = [own.last for own in (one, two) if own is not None and own.last is not None]
        # Both grants hold, so the refusals that they lifted must stay older than the one kept.
        facts = [
            Fact(FactKind.CHOICE, b.record_id, min(b.at, older.counts_at - 1), denied=(category,))
            for b in kept
        ]
        imported = grants[0].imported and grants[1].imported
        kind = FactKind.IMPORT if imported else FactKind.CHOICE
        grant = Fact(kind, older.record_id, merge.at, older.counts_at, granted=(category,))
        return [*facts, grant]
    disagree = any(grant is not None for grant in grants)
    return [
        Fact(
            FactKind.CHOICE,
            merge.record_id,
            merge.at,
            denied=(category,),
            signal=_CONFLICT if disagree else "",
        )
    ]


def _heard(own: _Own | None) -> bool:
    """Whether anything that counts was said. An unverified grant leaves it as it was."""
    return own is not None and (
        own.last is not None or bool(own.grants) or own.stale not in (None, Why.UNVERIFIED)
    )


def _holding(own: _Own | None) -> Grant | None:
    """The latest grant that holds on this identifier, or None.

    The latest, because no denial moves it: otherwise one that overtakes an early grant would
    hand the merge a later, stronger one.
    """
    if own is None:
        return None
    floor = own.denied_until()
    holding = [grant for grant in own.grants if grant.counts_at > floor]
    return max(holding, key=lambda g: (g.counts_at, g.record_id), default=None)


@dataclass(slots=True)
class _People:
    device: _Folded | None
    account: _Folded | None
    others: list[_Folded]
    siblings: list[_Folded]
    contacts: list[_Folded]
    contact: _Folded | None


def _combine(people: _People, category: str, devices: Devices) -> Found:
    """Rules 5 and 6: blocks cross links, grants do not, silence is neutral."""
    device = _of(people.device, category)
    account = _of(people.account, category)
    contact = _of(people.contact, category)
    standing: list[tuple[Block, bool]] = []  # each block of each identifier, and whether lifted

    def weigh(own: _Own, *lifters: Iterable[Grant], asked: bool = False) -> None:
        for block in (own.standing(), own.standing_signal()):
            if block is None:
                continue
            lifted = any(g.lifts(block.at) for grants in lifters for g in grants)
            if asked and not lifted and device.grants:
                lifted = _answered(block, device.grants)
                block = Block(block.record_id, block.at, Why.CONFLICT)
            standing.append((block, lifted))

    by_account = _account_lifts(people, category, devices)
    by_device = device.grants if devices is Devices.LATEST else ()
    weigh(device, by_account)
    weigh(account)
    weigh(contact)
    for sibling in people.siblings:
        weigh(_of(sibling, category), by_account, by_device, asked=devices is Devices.ASK)
    for other in people.others:
        weigh(_of(other, category), by_device if people.account is not None else ())
    to_contacts = () if devices is Devices.STRICTEST else account.grants
    for other in people.contacts:
        weigh(_of(other, category), to_contacts)
    linked = (_of(one, category) for one in (*people.siblings, *people.others, *people.contacts))
    crossed = max((own.denied_until() for own in linked), default=-1)
    return _found((device, account, contact), standing, crossed)


def _of(folded: _Folded | None, category: str) -> _Own:
    return _SILENT if folded is None else folded.get(category, _SILENT)


def _account_lifts(people: _People, category: str, devices: Devices) -> list[Grant]:
    """A verified account grant lifts its devices' older denials, but not under ``strictest``.

    Without a named account every linked one must have granted, so the earliest of their
    latest grants is the one that counts.
    """
    if devices is Devices.STRICTEST:
        return []
    if people.account is not None:
        return _of(people.account, category).grants
    latest = [
        max(
            (g for g in _of(other, category).grants if not g.imported),
            key=lambda g: (g.counts_at, g.record_id),
            default=None,
        )
        for other in people.others
    ]
    given = [grant for grant in latest if grant is not None]
    if not latest or len(given) < len(latest):
        return []
    return [min(given, key=lambda g: (g.counts_at, g.record_id))]


def _answered(block: Block, grants: list[Grant]) -> bool:
    """Under ``ask``: a grant answers if it was made after denial and grant were both known."""
    given = [grant for grant in grants if not grant.imported]
    began = max(block.at, min((g.received_at for g in given), default=FOREVER))
    return any(g.lifts(began) for g in given)


def _found(own: tuple[_Own, ...], standing: list[tuple[Block, bool]], crossed: Moment) -> Found:
    """What those who are named said, under the blocks of everyone.

    A grant holds if it was made after every denial of those named and every denial that
    crossed a link and was not taken back where it was given. ``crossed`` is the last denial of
    anyone linked: what was made before it was made under a refusal, and stays uncovered.
    """
    unlifted = [block for block, lifted in standing if not lifted]
    denials = [block for block in unlifted if block.why is not Why.SIGNAL]
    signals = [block for block in unlifted if block.why is Why.SIGNAL]
    floor = max(
        max((block.at for block, _ in standing), default=-1), *(one.denied_until() for one in own)
    )
    grants = [grant for one in own for grant in one.grants if grant.counts_at > floor]
    covers_from = min((g.made_at for g in grants), default=FOREVER)
    return Found(
        block=_latest(*denials),
        signal=_latest(*signals),
        grant=max(grants, key=lambda g: (g.made_at, g.record_id), default=None),
        covers_from=max(covers_from, crossed + 1),
        silent=min((one.stale for one in own if one.stale is not None), default=_NEVER),
    )


_NEVER = Why.NEVER_COLLECTED
