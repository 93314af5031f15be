"""The oracle: what spec/enforcement.md says of one event and one destination, on one page.

Plain values, nothing remembered, nothing taken from ``consentry``. Times are microseconds.
``Known(facts, policy, now).allows(destination, event)``; who asks chooses the facts:

* MUST_NOT: all that is durable or was acknowledged. Says it no, then a send is a violation.
* MUST: says it yes at every moment from acceptance on, with whatever may have counted then, an
  event that was withheld or lost is a violation.
* Neither: while a link, a merge or an unsuppression has not been answered yet; a choice that was
  superseded; what may have been refused by a request that failed.

``Known(...).may_write(message, event)`` says the same of a message: a topic by a channel, written
``news@sms``. A channel refused as a whole is ``*@sms``.

Not known here, and never made by the drivers: contacts, prohibitions, signals of accounts, the
settings of the segment profile.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

FOREVER = 1 << 62
EVERY_TOPIC = "*"
_LISTING = frozenset({"suppress", "erased", "unsuppress"})
_MESSAGE: dict[str, Any] = {  # M1: silence denies, whatever else is configured
    "essential": False,
    "regime": "opt_in",
    **dict.fromkeys(("since", "max_age", "means")),
}


@dataclass(slots=True)
class Fact:
    """One thing said of one identifier. kind: yes, no, gpc, gone, suppress, erased, unsuppress, or
    link (device, account), merge (two accounts). ``seen``: durable and answered since. ``until``:
    what was never written may have counted up to here. ``made`` is None when it cannot be true.
    ``trusted``: no page said it. ``whom``: device and account of whom it was said together. ``by``:
    the destination that told us. ``claimed``: when it was made by the clock of its sender, whose
    ``source`` that is. ``landed``: its place in the order in which all became durable. ``done``:
    when what was known of an erased person had surely gone."""

    kind: str
    who: str
    what: str
    at: int
    made: int | None = None
    entitled: bool = True
    imported: bool = False
    seen: int = FOREVER
    until: int = FOREVER
    trusted: bool = False
    whom: tuple[str | None, str | None] = (None, None)
    by: str | None = None
    claimed: int | None = None
    source: str = ""
    landed: int = FOREVER
    done: int = FOREVER

    @property
    def of(self) -> tuple[str, ...]:
        """Whom it names."""
        return (self.who, self.what) if self.kind in ("link", "merge") else (self.who,)

    def about(self, c: str) -> bool:
        """M4, M5: a channel as a whole is refused, and never granted."""
        whole = self.kind == "no" and self.what.startswith(EVERY_TOPIC)
        return self.what == c or (whole and c.endswith(self.what[1:]))

    @property
    def counts(self) -> int:
        return -1 if self.made is None else min(self.made, self.at)


@dataclass(slots=True)
class Event:
    """What is asked about. ``stamp`` holds the categories granted, None for no stamp. ``strict``:
    by the law of its place silence is no. ``before``: as whom its own person was known, and none of
    these may have been erased. ``gone``: one of them was when it came."""

    device: str | None
    account: str | None
    at: int
    made: int | None
    stamp: frozenset[str] | None = None
    integrations: dict[str, Any] = field(default_factory=dict)
    update: bool = False
    strict: bool = False
    gone: bool = False
    before: frozenset[str] = frozenset()


def variants(facts: list[Fact], now: int) -> list[list[Fact]]:
    """What may be known of these: of whom was erased everything said before it goes, but for the
    erasure itself; at some time after it, and by the time at which that was done at the latest."""
    erasures = [f for f in facts if f.kind == "erased" and f.at <= now]
    if not erasures:
        return [facts]
    left = _without(facts, erasures)
    done = [f for f in erasures if f.done <= now]
    return [left] if len(done) == len(erasures) else [_without(facts, done), left]


def _without(facts: list[Fact], erasures: list[Fact]) -> list[Fact]:
    """What an erasure takes: what came before it, or was durable before it."""
    at: dict[str, int] = {}
    landed: dict[str, int] = {}
    for fact in erasures:
        at[fact.who] = max(fact.at, at.get(fact.who, -1))
        place = fact.landed if fact.landed < FOREVER else -1
        landed[fact.who] = max(place, landed.get(fact.who, -1))
    return [
        f
        for f in facts
        if f.kind == "erased"
        or not any(f.at <= at.get(w, -1) or f.landed < landed.get(w, -1) for w in f.of)
    ]


class Said(NamedTuple):
    """One identifier, one category: the times of its last refusals, its usable grants."""

    refusals: tuple[int, ...] = ()
    grants: tuple[Fact, ...] = ()
    faded: bool = False

    @property
    def lifts(self) -> list[int]:
        return [g.counts for g in self.grants if not g.imported]

    @property
    def standing(self) -> list[int]:
        return [at for at in self.refusals if not any(x > at for x in self.lifts)]

    def over(self, lifters: list[int]) -> int:
        """Since when its refusals are lifted, by itself or by others; 0 if it never refused."""
        last = max(self.refusals, default=-1)
        own = [x for x in self.lifts if x > last]
        return min(x for x in own + lifters if x > last) if own and last >= 0 else last + 1


class Known:
    """What these facts come to at one moment, under one policy."""

    def __init__(self, facts: list[Fact], policy: dict[str, Any], now: int) -> None:
        self.policy, self.now = policy, now
        self.facts = sorted((f for f in facts if f.at <= now < f.until), key=lambda f: f.at)
        self.merges = [f for f in self.facts if f.kind == "merge"]
        self.links = [f for f in self.facts if f.kind == "link"]
        self.of: dict[str, list[Fact]] = {}
        for fact in self.facts:
            self.of.setdefault(fact.who, []).append(fact)
        self._near: dict[Any, tuple[list[str], list[str], set[str]]] = {}

    def allows(self, destination: str, event: Event) -> bool:
        """D1 to D8 in their order."""
        on: bool = self.policy["destinations"][destination]["enabled"]
        return on and self.may_have(destination, event)

    def may_have(self, destination: str, event: Event) -> bool:
        """The same, turned on or not: one that is off still holds what it has."""
        needs = self.policy["destinations"][destination]
        if self.suppressed(event):
            return False
        if event.update and needs["share"]:
            return True
        word = event.integrations.get(destination)
        if word is False or (event.integrations.get("All") is False and word is not True):
            return False
        wanted = {c: self.policy["categories"][c] for c in needs["categories"]}
        asked = [c for c, spec in wanted.items() if spec["enabled"]]
        if not asked:
            return bool(needs["exempt"])
        if needs["match"] == "any":  # an essential category alone is no consent
            asked = [c for c in asked if not wanted[c]["essential"]] or asked
            return any(self.grants(c, event) for c in asked)
        return all(self.grants(c, event) for c in asked)

    def may_write(self, message: str, event: Event) -> bool:
        """M1 to M5: a topic by a channel."""
        topic, _, channel = message.partition("@")
        spec = self.policy["topics"].get(topic)
        if spec is None or channel not in spec["channels"] or self.suppressed(event):
            return False
        return spec["why"] is not None or self.grants(message, event)

    def suppressed(self, event: Event) -> bool:
        """D1: the latest word on any identifier is a suppression; an erasure is one too."""
        if event.gone or any(map(self.erased, event.before)):
            return True
        for who in self._people(event)[2]:
            words = [f.kind for f in self.of.get(who, ()) if f.kind in _LISTING]
            if words and words[-1] != "unsuppress":
                return True
        return False

    def erased(self, who: str, by: int | None = None) -> bool:
        """Whether they were erased, and nobody has lifted that since; by an erasure of a moment."""
        lifted = max((f.at for f in self.of.get(who, ()) if f.kind == "unsuppress"), default=-1)
        erasures = [f.at for f in self.of.get(who, ()) if f.kind == "erased"]
        return any(at >= lifted and by in (None, at) for at in erasures)

    def theirs_alone(self, named: set[str]) -> set[str]:
        """Whom an erasure takes: who is named, the accounts merged with them, and what is linked
        to these; but nothing that somebody else's account has too."""
        accounts = self._group({who for who in named if who.startswith("u:")})
        theirs = named | accounts | {f.who for f in self.links if f.what in accounts}
        shared = {f.who for f in self.links if f.what not in accounts}
        return theirs - (shared - accounts)

    def refused(self, category: str, event: Event) -> bool:
        """R5: whether a refusal stands."""
        return self._recorded(category, event)[0]

    def grants(self, category: str, event: Event) -> bool:
        """D7: one category of one event. One denial outweighs every grant."""
        spec = self._spec(category)
        if spec["essential"]:
            return True
        refused, holding, over, faded = self._recorded(category, event)
        if refused:
            return False
        if event.stamp is not None and category not in event.stamp:
            return False
        if event.stamp is not None and (holding or not faded):  # R4: it renews nothing faded
            return True
        # T3: a grant covers nothing made before it, nor what was made under a linked refusal.
        if event.made is not None and any(event.made >= max(g.counts, over) for g in holding):
            return True
        return bool(spec["regime"] != "opt_in") and not event.strict  # P1

    def _spec(self, c: str) -> dict[str, Any]:
        found: dict[str, Any] = _MESSAGE if "@" in c else self.policy["categories"][c]
        return found

    def _recorded(self, c: str, event: Event) -> tuple[bool, list[Fact], int, bool]:
        """R5, R6: is it refused; which grants hold; since when does nobody linked refuse; has a
        grant faded."""
        others, siblings, everybody = self._people(event)
        facts = (f for who in everybody for f in self.of.get(who, ()))
        cleared = max((f.at for f in facts if f.kind == "unsuppress"), default=-1)
        own = self._said(event.device, c, cleared) if event.device else Said()
        account = self._said(event.account, c, cleared) if event.account else Said()
        linked = [self._said(who, c, cleared) for who in others]
        devices = [self._said(who, c, cleared) for who in siblings]
        if event.account:
            lifting = account.lifts
        else:  # every linked account must have granted: the earliest of their latest counts
            latest = [max(one.lifts, default=-1) for one in linked]
            lifting = [min(latest)] if latest and min(latest) >= 0 else []
        crossing = [(one, lifting + own.lifts) for one in devices]
        crossing += [(one, own.lifts if event.account else []) for one in linked]
        blocks = [(at, lifters) for one, lifters in crossing for at in one.standing]
        blocks += [(at, lifting) for at in own.standing] + [(at, []) for at in account.standing]
        floor = max((*own.refusals, *account.refusals, *(at for at, _ in blocks)), default=-1)
        holding = [g for g in own.grants + account.grants if g.counts > floor]
        refused = any(not any(x > at for x in lifters) for at, lifters in blocks)
        over = max((one.over(lifters) for one, lifters in crossing), default=0)
        return refused, holding, over, own.faded or account.faded

    def _said(self, who: str, c: str, cleared: int) -> Said:
        facts = [f for f in self._answers(who, c, cleared) if f.about(c)]
        said = self._fold(facts, c, cleared, self.now)
        if "@" in c:
            return said  # no signal is about messages
        date, present = -1, False  # R8: dated at its first appearance, or its reappearance
        for f in self.of.get(who, ()):
            if f.kind in ("gpc", "gone"):
                date = f.at if f.kind == "gpc" and not present else date
                present = f.kind == "gpc"
        return said if date < 0 else said._replace(refusals=(*said.refusals, date))

    def _fold(self, facts: list[Fact], c: str, cleared: int, now: int) -> Said:
        """R2, R3, R9: the last no; the grants that are entitled and fresh."""
        spec = self._spec(c)
        no = [f.at for f in facts if f.kind == "no"]
        chosen = any(not f.imported and (f.kind == "no" or f.entitled) for f in facts)
        usable, faded = [], False
        for f in facts:
            said = f.at if f.imported or f.made is None else f.counts
            if f.kind != "yes" or said <= cleared or not f.entitled or (f.imported and chosen):
                continue
            if f.made is None:
                faded = faded or f.imported
            elif (
                f.made < (spec["since"] or 0)
                or f.made + (spec["max_age"] or FOREVER) < now
                or (f.at if f.imported else f.made) < (spec["means"] or 0)
            ):
                faded = True
            else:
                usable.append(f)
        return Said((max(no),) if no else (), tuple(usable), faded)

    def _answers(self, who: str, c: str, cleared: int) -> list[Fact]:
        """Yes and no of one identifier; of an account, with what merges made of it."""
        sides: dict[str, tuple[frozenset[str], list[Fact]]] = {}

        def side(of: str) -> tuple[frozenset[str], list[Fact]]:
            own = [f for f in self.of.get(of, ()) if f.kind in ("yes", "no")]
            return sides.get(of) or (frozenset({of}), own)

        for merge in self.merges:
            (left, ours), (right, theirs) = side(merge.who), side(merge.what)
            if left != right:
                joined = left | right, self._joined(ours, theirs, merge.at, c, cleared)
                sides.update(dict.fromkeys(left | right, joined))
        return side(who)[1]

    def _joined(
        self, ours: list[Fact], theirs: list[Fact], at: int, c: str, cleared: int
    ) -> list[Fact]:
        """R7: granted if both hold a grant, else refused; who has no records does not disagree."""
        sides = [[f for f in facts if f.at <= at] for facts in (ours, theirs)]
        if not all(any(f.kind == "no" or f.entitled for f in facts) for facts in sides):
            return ours + theirs
        kept = [f for f in ours + theirs if f.at > at or not f.about(c)]
        said = [self._fold([f for f in facts if f.about(c)], c, cleared, at) for facts in sides]
        held = [[g for g in one.grants if g.counts > max(one.refusals, default=-1)] for one in said]
        if not any(one.refusals or one.grants or one.faded for one in said):
            return kept
        if not all(held):
            return [*kept, Fact("no", "", c, at)]
        latest = [max(grants, key=lambda g: g.counts) for grants in held]
        imported = all(g.imported for g in latest)
        made = min(g.counts for g in latest)
        kept += [Fact("no", "", c, min(*one.refusals, made - 1)) for one in said if one.refusals]
        return [*kept, Fact("yes", "", c, at, made, imported=imported)]

    def _people(self, event: Event) -> tuple[list[str], list[str], set[str]]:
        """Further accounts of the device, further devices of all accounts, and everybody."""
        whom = event.device, event.account
        if whom not in self._near:
            self._near[whom] = self._near_to(event)
        return self._near[whom]

    def _near_to(self, event: Event) -> tuple[list[str], list[str], set[str]]:
        links = self.links
        named = self._group({event.account}) if event.account else set()
        others = {f.what for f in links if f.who == event.device} - named
        accounts = named | self._group(others)
        devices = {f.who for f in links if f.what in accounts} - {event.device}
        everybody = accounts | devices | ({event.device} if event.device else set())
        return sorted(others), sorted(devices), everybody

    def _group(self, accounts: set[str]) -> set[str]:
        found = set(accounts)
        for _ in self.merges:
            found |= {x for m in self.merges if {m.who, m.what} & found for x in (m.who, m.what)}
        return found
