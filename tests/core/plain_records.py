"""The rules of records, read plainly out of spec/enforcement.md: every denial against every grant.

It keeps no latest denial and no floor per identifier, as ``consentry.core.fold`` does; it asks of
each pair whether the one lifts the other. Merges are not read here: they have laws of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from consentry.core.moment import SECOND
from consentry.core.policy import Policy
from consentry.core.record import Fact, Facts, History

NEVER = 1 << 62


class No(NamedTuple):
    """One denial, conflict or signal."""

    at: int
    id: str
    why: str
    signal: str = ""


class Yes(NamedTuple):
    """One grant that is believed and fresh, made at the earlier of its two times (C8)."""

    made: int
    received: int
    id: str
    imported: bool

    def lifts(self, no: int) -> bool:  # R2, R9
        return self.made > no and not self.imported


class Person(NamedTuple):
    """One identifier and one category: all that counts, and the words for what does not."""

    noes: list[No]
    yeses: list[Yes]
    faded: list[str]

    def open(self, no: No) -> bool:
        return not any(yes.lifts(no.at) for yes in self.yeses)


class Read(NamedTuple):
    """What is found of one category, as plain values."""

    block: tuple[int, str, str] | None
    signal: tuple[int, str, str] | None
    grant: str | None
    covers_from: int
    silent: str


def _before(facts: Facts, as_of: int) -> list[Fact]:
    return sorted((f for f in facts if f.received_at <= as_of), key=lambda f: f.received_at)


def suppressed(history: History, as_of: int) -> bool:
    """D1: the last word about any identifier is a suppression; of two at once it is too."""
    accounts = [a for a in (history.account, *history.others) if a is not None]
    each = [history.device or (), history.contact or (), *history.siblings, *history.contacts]
    for facts in [*each, *(facts for a in accounts for facts in a.members.values())]:
        words = [f for f in _before(facts, as_of) if f.kind in ("suppress", "unsuppress")]
        last = [f.kind for f in words if f.received_at == words[-1].received_at]
        if "suppress" in last:
            return True
    return False


def read(history: History, policy: Policy, as_of: int) -> dict[str, Read]:
    cleared = [f.received_at for f in history.all_facts() if f.kind == "unsuppress"]
    since = max((at for at in cleared if at <= as_of), default=-1)
    channels = {channel for topic in policy.topics for channel in topic.channels}
    names = [*policy.category, *(f"topic:*:{channel}" for channel in channels)]
    return {name: _category(history, policy, as_of, since, name) for name in names}


def _category(history: History, policy: Policy, as_of: int, since: int, name: str) -> Read:
    def one(facts: Facts | None, account: bool = False) -> Person:
        return _person(_before(facts or (), as_of), policy, as_of, since, name, account)

    device, contact = one(history.device), one(history.contact)
    account = one(history.account.facts if history.account else (), True)
    others = [one(other.facts, True) for other in history.others]
    siblings, contacts = list(map(one, history.siblings)), list(map(one, history.contacts))
    how = policy.settings.devices
    of_account = account.yeses
    if history.account is None:
        of_account = _of_every(others)
    if how == "strictest":
        of_account = []
    of_device = device.yeses if how == "latest" else []

    named: list[tuple[Person, list[Yes]]] = [(device, of_account), (account, []), (contact, [])]
    linked = [(p, [*of_account, *of_device]) for p in siblings]
    linked += [(p, of_device if history.account else []) for p in others]
    linked += [(p, [] if how == "strictest" else account.yeses) for p in contacts]
    crossing: list[No] = []  # stood where it was said, whether or not another identifier lifts it
    blocking: list[No] = []
    for person, lifters in (*named, *linked):
        for no in filter(person.open, person.noes):
            crossing.append(no)
            if any(yes.lifts(no.at) for yes in lifters):
                continue
            if how == "ask" and device.yeses and any(person is p for p in siblings):
                if _answered(no, device.yeses):
                    continue
                no = No(no.at, no.id, "conflict")
            blocking.append(no)

    own = [device, account, contact]
    floor = max((no.at for no in (*crossing, *(n for p in own for n in p.noes))), default=-1)
    holding = [yes for person in own for yes in person.yeses if yes.made > floor]
    latest = max(holding, key=lambda y: (y.made, y.id), default=None)
    covers = min((yes.made for yes in holding), default=NEVER)
    taken_back = [_taken_back(person, lifters) for person, lifters in linked]
    faded = sorted({word for person in own for word in person.faded})
    return Read(
        _last(no for no in blocking if no.why != "signal"),
        _last(no for no in blocking if no.why == "signal"),
        latest.id if latest else None,
        max([covers, *taken_back]),
        faded[0] if faded else "never_collected",
    )


def _last(noes: Iterable[No]) -> tuple[int, str, str] | None:
    last = max(noes, key=lambda no: (no.at, no.id), default=None)
    return None if last is None else (last.at, last.id, last.signal or last.why)


def _of_every(others: list[Person]) -> list[Yes]:
    """Without a named account, every one that is linked must have granted later."""
    latest = [max((y for y in p.yeses if not y.imported), default=None) for p in others]
    if not latest or None in latest:
        return []
    return [min(yes for yes in latest if yes is not None)]


def _answered(no: No, yeses: list[Yes]) -> bool:
    """A disagreement is answered by a grant made when both sides of it were known."""
    spoken = [yes for yes in yeses if not yes.imported]
    known = max(no.at, min((yes.received for yes in spoken), default=NEVER))
    return any(yes.made > known for yes in spoken)


def _taken_back(person: Person, lifters: list[Yes]) -> int:
    """From when on somebody who is linked refuses no more. Who never refused does not narrow.

    Where they took it back themselves, whoever might lift it did so from the first grant on.
    """
    if not person.noes:
        return 0
    last = max(no.at for no in person.noes)
    if not any(yes.lifts(last) for yes in person.yeses):
        return last + 1
    return min(yes.made for yes in (*person.yeses, *lifters) if yes.lifts(last))


def _person(
    facts: list[Fact], policy: Policy, as_of: int, since: int, name: str, account: bool
) -> Person:
    person = Person(_signals(facts, policy, name), [], [])
    believing = account and policy.settings.account_choices == "as_given"
    named = _named(name)
    chosen = any(
        f.kind == "choice" and (named & set(f.denied) or (name in f.granted and f.proven))
        for f in facts
    )
    for fact in facts:
        if fact.kind not in ("choice", "import"):
            continue
        if named & set(fact.denied):  # R1, M4: from when it is received, whoever said it
            why = "missing" if name in fact.missing else "denied"
            why = "conflict" if fact.signal == "conflict" else why
            person.noes.append(No(fact.received_at, fact.record_id, why))
        imported = fact.kind == "import"
        as_it_came = imported or fact.made_at is None
        said = fact.received_at if as_it_came else min(fact.made_at, fact.received_at)
        if name not in fact.granted or said <= since or (imported and chosen):  # C10, R9
            continue
        if name not in policy.category:  # M5: nobody grants a channel as a whole
            continue
        word = _unusable(fact, policy, as_of, name)
        if not fact.proven and (imported or not believing):  # R3
            word = "unverified"
        if word is not None:
            person.faded.append(word)
        else:
            made = min(fact.made_at, fact.received_at)
            person.yeses.append(Yes(made, fact.received_at, fact.record_id, imported))
    return person


def _named(name: str) -> set[str]:
    """What a refusal may name it by: M4, a topic also by its channel as a whole."""
    kind, _, rest = name.partition(":")
    return {name, f"topic:*:{rest.split(':')[1]}"} if kind == "topic" else {name}


def _unusable(fact: Fact, policy: Policy, as_of: int, name: str) -> str | None:
    if fact.made_at is None or fact.made_at - fact.received_at > 5 * SECOND:
        return "expired" if fact.kind == "import" else "unverified"
    category = policy.category[name]
    if fact.made_at < (category.requires_consent_since or 0):
        return "stale"
    # R12: an import is vouched for on the day it comes
    meant = fact.received_at if fact.kind == "import" else fact.made_at
    if meant < (category.since or 0):
        return "stale"
    ages = [age for age in (category.max_age_us, policy.settings.max_age_us) if age is not None]
    return "expired" if any(fact.made_at + age < as_of for age in ages) else None


def _signals(facts: list[Fact], policy: Policy, name: str) -> list[No]:
    """R8: dated at the first appearance, or the first after it was gone."""
    covered_now = any(c.id == name and c.gpc and not c.essential for c in policy.categories)
    dated: dict[str, Fact] = {}
    gone: set[str] = set()
    spoken = [f for f in facts if f.kind == "signal"]
    for fact in sorted(spoken, key=lambda f: (f.received_at, f.present, f.record_id)):
        if not fact.present:
            gone.add(fact.signal)
        elif fact.signal not in dated or fact.signal in gone:
            dated[fact.signal] = fact
            gone.discard(fact.signal)
    return [
        No(f.received_at, f.record_id, "signal", f.signal)
        for f in dated.values()
        if covered_now or name in f.denied
    ]
