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
from typing import Any, NamedTuple

import msgspec

from consentry.core.bits import Bits
from consentry.core.fold import FOREVER, SILENT, Block, Folded, Grant, Own, Reader, Why
from consentry.core.moment import Moment
from consentry.core.policy import Devices, Policy
from consentry.core.record import Fact, FactKind, Facts, History

__all__ = ["FOREVER", "Block", "Found", "Grant", "Standing", "Why", "fold_one", "narrower", "stand"]


class Found(msgspec.Struct, frozen=True, gc=False):
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
    ``whole`` is false where not everything could be read: then nobody knows who is suppressed.
    """

    as_of: Moment
    valid_until: Moment = FOREVER
    suppressed: bool = False
    found: dict[str, Found] = field(default_factory=dict)
    valid_from: Moment = 0
    whole: bool = True
    _masks: list[Any] = field(
        default_factory=lambda: [None, None], init=False, repr=False, compare=False
    )

    def holds_at(self, moment: Moment) -> bool:
        """Whether it may be used for this moment, while no new fact is known."""
        return self.valid_from <= moment <= self.valid_until

    def of(self, category: str) -> Found:
        return self.found.get(category, NOTHING_FOUND)

    # -- the same as sets of categories ---------------------------------------------------------
    def masks(self, bits: Bits) -> Masks:
        """What is found, as sets; worked out once, for a standing is asked about many events."""
        known = self._masks
        if known[0] is not bits:
            known[:] = bits, _masks_of(self.found, bits)
        masks: Masks = known[1]
        return masks

    def blocked_after(self, moment: Moment, bits: Bits) -> int:
        """Those with a denial that was received after this moment."""
        return bits.of(c for c, f in self.found.items() if f.block and f.block.at > moment)

    def covering(self, made_at: Moment | None, bits: Bits) -> int:
        """Those with a grant that covers what was made then; none when that is not known."""
        masks = self.masks(bits)
        if made_at is None or not masks.granted:
            return 0
        if made_at >= masks.covers_from:
            return masks.granted
        covers = (c for c, f in self.found.items() if f.grant and made_at >= f.covers_from)
        return bits.of(covers)

    def older(self, than: Moment, bits: Bits) -> int:
        """Those with a grant that was made before this moment."""
        return bits.of(c for c, f in self.found.items() if f.grant and f.grant.made_at < than)


class Masks(NamedTuple):
    """What a standing holds, as sets of categories.

    ``faded`` are those whose grants have all gone stale or expired. From ``covers_from`` on
    every grant covers what is made.
    """

    blocked: int
    signalled: int
    faded: int
    granted: int
    covers_from: Moment


def _masks_of(found: dict[str, Found], bits: Bits) -> Masks:
    blocked = signalled = faded = granted = 0
    covered: list[Moment] = []
    for category, one in found.items():
        if one is NOTHING_FOUND:
            continue
        bit = bits.get(category, 0)
        if one.block is not None:
            blocked |= bit
        if one.signal is not None:
            signalled |= bit
        if one.grant is not None:
            granted |= bit
            covered.append(one.covers_from)
        elif one.silent in _FADED:
            faded |= bit
    return Masks(blocked, signalled, faded, granted, max(covered, default=FOREVER))


_FADED = (Why.STALE, Why.EXPIRED)


def silence(policy: Policy, as_of: Moment) -> Standing:
    """The standing of somebody of whom nothing is recorded, whenever it is asked."""
    return Standing(as_of, found=dict.fromkeys(policy.folded, NOTHING_FOUND))


def stand(history: History, policy: Policy, as_of: Moment) -> Standing:
    """Fold a subject's history into what holds at ``as_of``."""
    everything = history.all_facts()
    if not everything:
        return silence(policy, as_of)
    facts = [fact for fact in everything if fact.received_at <= as_of]
    reader = Reader(policy, as_of, _last_unsuppressed(facts))
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
    found = dict.fromkeys(policy.folded, NOTHING_FOUND)
    alone = people.alone
    if alone is not None:
        found.update((c, _alone(own)) for c, own in alone.items() if c in found)
    else:
        devices = policy.settings.devices
        found.update((c, _combine(people, c, devices)) for c in people.heard if c in found)
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
        one.whole and two.whole,
    )


def _narrower(one: Found, two: Found) -> Found:
    later = max(one, two, key=lambda found: found.covers_from)
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


@dataclass(slots=True)
class _People:
    device: Folded | None
    account: Folded | None
    others: list[Folded]
    siblings: list[Folded]
    contacts: list[Folded]
    contact: Folded | None

    @property
    def alone(self) -> Folded | None:
        """The one identifier that there is, if there is one: nobody adds to it or lifts anything."""
        named = [one for one in (self.device, self.account, self.contact) if one is not None]
        linked = self.others or self.siblings or self.contacts
        return named[0] if len(named) == 1 and not linked else None

    @property
    def heard(self) -> set[str]:
        """The categories of which anybody said anything."""
        lists = (*self.others, *self.siblings, *self.contacts)
        named = (self.device, self.account, self.contact)
        return set().union(*lists, *(one for one in named if one is not None))


def _alone(own: Own) -> Found:
    """What ``_combine`` comes to for one identifier by itself: most people have one."""
    silent = _NEVER if own.stale is None else own.stale
    if not own.grants:
        return Found(own.last, own.last_signal, silent=silent)
    floor = own.denied_until()
    grants = [grant for grant in own.grants if grant.made_at > floor]
    return Found(
        block=own.standing(),
        signal=own.standing_signal(),
        grant=max(grants, key=lambda g: (g.made_at, g.record_id), default=None),
        covers_from=min((g.made_at for g in grants), default=FOREVER),
        silent=silent,
    )


def _combine(people: _People, category: str, devices: Devices) -> Found:
    """Rules 5 and 6: blocks cross links, grants do not, silence is neutral."""
    device = _of(people.device, category)
    account = _of(people.account, category)
    contact = _of(people.contact, category)
    standing: list[tuple[Block, bool]] = []  # each block of each identifier, and whether lifted

    def weigh(own: Own, *lifters: Iterable[Grant], asked: bool = False) -> None:
        for block in (own.standing(), own.standing_signal()):
            if block is None:
                continue
            lifted = any(g.lifts(block.at) for grants in lifters for g in grants)
            if asked and not lifted and device.grants:
                lifted = _answered(block, device.grants)
                block = Block(block.record_id, block.at, Why.CONFLICT)
            standing.append((block, lifted))

    by_account = _account_lifts(people, category, devices)
    by_device = device.grants if devices is Devices.LATEST else []
    by_named = by_device if people.account is not None else []
    to_contacts = [] if devices is Devices.STRICTEST else account.grants
    siblings = [_of(one, category) for one in people.siblings]
    further = [(_of(one, category), by_named) for one in people.others]
    further += [(_of(one, category), to_contacts) for one in people.contacts]
    weigh(device, by_account)
    weigh(account)
    weigh(contact)
    for sibling in siblings:
        weigh(sibling, by_account, by_device, asked=devices is Devices.ASK)
    for other, lifters in further:
        weigh(other, lifters)
    linked = [(one, by_account + by_device) for one in siblings] + further
    crossed = max((own.free_from(lifters) for own, lifters in linked), default=0)
    return _found((device, account, contact), standing, crossed)


def _of(folded: Folded | None, category: str) -> Own:
    return SILENT if folded is None else folded.get(category, SILENT)


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
            key=lambda g: (g.made_at, g.record_id),
            default=None,
        )
        for other in people.others
    ]
    given = [grant for grant in latest if grant is not None]
    if not latest or len(given) < len(latest):
        return []
    return [min(given, key=lambda g: (g.made_at, g.record_id))]


def _answered(block: Block, grants: list[Grant]) -> bool:
    """Under ``ask``: a grant answers if it was made after denial and grant were both known."""
    given = [grant for grant in grants if not grant.imported]
    began = max(block.at, min((g.received_at for g in given), default=FOREVER))
    return any(g.lifts(began) for g in given)


def _found(own: tuple[Own, ...], standing: list[tuple[Block, bool]], crossed: Moment) -> Found:
    """What those who are named said, under the blocks of everyone.

    A grant holds if it was made after every denial of those named and every denial that
    crossed a link and was not taken back where it was given. ``crossed`` is from when on nobody
    linked refused: what was made before it was made under a refusal, and stays uncovered.
    """
    unlifted = [block for block, lifted in standing if not lifted]
    denials = [block for block in unlifted if block.why is not Why.SIGNAL]
    signals = [block for block in unlifted if block.why is Why.SIGNAL]
    floor = max(*(block.at for block, _ in standing), *(one.denied_until() for one in own))
    grants = [grant for one in own for grant in one.grants if grant.made_at > floor]
    covers_from = min((g.made_at for g in grants), default=FOREVER)
    return Found(
        block=_latest(*denials),
        signal=_latest(*signals),
        grant=max(grants, key=lambda g: (g.made_at, g.record_id), default=None),
        covers_from=max(covers_from, crossed),
        silent=min((one.stale for one in own if one.stale is not None), default=_NEVER),
    )


_NEVER = Why.NEVER_COLLECTED
