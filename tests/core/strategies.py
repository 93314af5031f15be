"""Hypothesis strategies for the core's values.

Times are whole seconds from a short span, so that facts meet, overtake and tie often. Every
fact of a history has its own record id, as in a ledger.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st
from msgspec import structs

from consentry.core.decision import Decision, Question, decide
from consentry.core.moment import SECOND
from consentry.core.policy import (
    AccountChoices,
    Category,
    Devices,
    Mapping,
    Match,
    Policy,
    Regime,
    Settings,
    StampRule,
    Unmapped,
    Unstamped,
)
from consentry.core.preference import FOREVER, Block, Found, Grant, Standing, Why, stand
from consentry.core.record import Account, Fact, FactKind, History, Merge
from consentry.core.stamp import Stamp

KNOWN = ("ad", "analytics", "necessary")
UNKNOWN = "unheard_of"
NAMES = (*KNOWN, UNKNOWN)
SLOTS = ("device", "u1", "u2", "u3", "sibling", "contact")
LINKED = ("u3", "sibling", "contact")
SPAN_S = 40
END = 2 * SPAN_S * SECOND

moments = st.integers(0, SPAN_S).map(lambda n: n * SECOND)
later_moments = st.integers(0, 2 * SPAN_S).map(lambda n: n * SECOND)
names = st.frozensets(st.sampled_from(NAMES), max_size=3)
some_names = st.frozensets(st.sampled_from(NAMES), min_size=1, max_size=3)


def sorted_names(chosen: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(chosen))


@st.composite
def choices(
    draw: st.DrawFn,
    kind: FactKind = FactKind.CHOICE,
    grants: bool = True,
    denials: bool = True,
    proven: bool | None = None,
    made_by: int | None = None,
) -> Fact:
    """An answer without a record id; ``made_by`` is the latest moment at which it was made."""
    received = draw(moments)
    made = received + draw(st.integers(-15, 7)) * SECOND
    if made_by is not None:
        made = min(made, made_by)
    timed = draw(st.integers(0, 9)) > 0
    granted = draw(names) if grants else frozenset()
    denied = draw(names if grants else some_names) if denials else frozenset()
    return Fact(
        kind,
        "",
        received,
        max(made, 0) if timed else None,
        sorted_names(granted - denied),
        sorted_names(denied),
        proven=draw(st.booleans()) if proven is None else proven,
    )


@st.composite
def signals(draw: st.DrawFn, present: bool | None = None) -> Fact:
    present = draw(st.booleans()) if present is None else present
    return Fact(
        FactKind.SIGNAL,
        "",
        draw(moments),
        denied=sorted_names(draw(some_names)) if present else (),
        signal=draw(st.sampled_from(("gpc", "gpp"))),
        present=present,
    )


def _words() -> st.SearchStrategy[Fact]:
    kinds = st.sampled_from((FactKind.SUPPRESS, FactKind.UNSUPPRESS))
    return st.builds(lambda kind, at: Fact(kind, "", at), kinds, moments)


facts = st.one_of(choices(), choices(), choices(), choices(FactKind.IMPORT), signals(), _words())
quiet_facts = st.one_of(choices(), choices(), choices(FactKind.IMPORT), signals())
denials = choices(grants=False)


@st.composite
def focused_facts(draw: st.DrawFn) -> Fact:
    """One word about advertising, mostly fresh: so that grants and denials meet often."""
    received = draw(moments)
    made = received - draw(st.sampled_from((0, 0, 1, 4, -2))) * SECOND
    kind = draw(st.sampled_from(("yes", "yes", "no", "no", "import", "signal")))
    if kind == "signal":
        return Fact(FactKind.SIGNAL, "", received, denied=("ad",), signal="gpc")
    if kind == "no":
        return Fact(FactKind.CHOICE, "", received, made, denied=("ad",))
    fact_kind = FactKind.IMPORT if kind == "import" else FactKind.CHOICE
    return Fact(fact_kind, "", received, max(made, 0), granted=("ad",))


focused = focused_facts()


@dataclass(frozen=True)
class Past:
    """What was recorded, of whom; ``named`` is whether the event names the account ``u1``."""

    placed: tuple[tuple[str, Fact], ...]
    merges: tuple[Merge, ...] = ()
    named: bool = True

    def with_facts(self, *more: tuple[str, Fact]) -> Past:
        """The same with further facts, each under a record id of its own."""
        first = len(self.placed)
        numbered = (
            (slot, _numbered(fact, f"s{first + n:02d}")) for n, (slot, fact) in enumerate(more)
        )
        return replace(self, placed=(*self.placed, *numbered))

    def without(self, *slots: str) -> Past:
        return replace(self, placed=tuple(one for one in self.placed if one[0] not in slots))

    def of(self, slot: str) -> tuple[Fact, ...]:
        return tuple(fact for where, fact in self.placed if where == slot)

    @property
    def history(self) -> History:
        first = Account("u1", {"u1": self.of("u1"), "u2": self.of("u2")}, self.merges)
        third = Account("u3", {"u3": self.of("u3")}) if self.of("u3") else None
        others = (third,) if third is not None else ()
        return History(
            device=self.of("device"),
            account=first if self.named else None,
            others=others if self.named else (first, *others),
            siblings=(self.of("sibling"),) if self.of("sibling") else (),
            contacts=(self.of("contact"),) if self.of("contact") else (),
        )


def _numbered(fact: Fact, record_id: str) -> Fact:
    fields = {name: getattr(fact, name) for name in fact.__struct_fields__}
    return Fact(**(fields | {"record_id": record_id}))


@st.composite
def pasts(
    draw: st.DrawFn,
    of: st.SearchStrategy[Fact] = facts,
    slots: tuple[str, ...] = SLOTS,
    merging: bool = True,
    most: int = 8,
) -> Past:
    drawn = draw(st.lists(st.tuples(st.sampled_from(slots), of), max_size=most))
    ids = draw(st.permutations([f"r{n:02d}" for n in range(len(drawn))]))
    placed = tuple((s, _numbered(f, i)) for (s, f), i in zip(drawn, ids, strict=True))
    merges = (Merge("m01", draw(moments), "u2", "u1"),) if merging and draw(st.booleans()) else ()
    return Past(placed, merges, draw(st.booleans()))


@st.composite
def settings(draw: st.DrawFn, **fixed: Any) -> Settings:
    drawn = {
        "regime": draw(st.sampled_from(Regime)),
        "unstamped": draw(st.sampled_from(Unstamped)),
        "unmapped": draw(st.sampled_from(Unmapped)),
        "stamp": draw(st.sampled_from(StampRule)),
        "devices": draw(st.sampled_from(Devices)),
        "account_choices": draw(st.sampled_from(AccountChoices)),
        "max_age_us": draw(st.none() | st.integers(5, 30).map(lambda n: n * SECOND)),
    }
    return Settings(**(drawn | fixed))


@st.composite
def mappings(draw: st.DrawFn, name: str) -> Mapping:
    return Mapping(
        name,
        "webhook",
        categories=sorted_names(draw(names)),
        match=draw(st.sampled_from(Match)),
        enabled=draw(st.integers(0, 9)) > 0,
        exempt=draw(st.none() | st.just("a reason in writing")),
        share_consent=draw(st.booleans()),
    )


@st.composite
def policies(draw: st.DrawFn, **fixed: Any) -> Policy:
    categories = tuple(
        Category(
            name,
            essential=name == "necessary",
            enabled=draw(st.integers(0, 9)) > 0,
            regime=draw(st.none() | st.sampled_from(Regime)),
            requires_consent_since=draw(st.none() | st.none() | moments),
            since=draw(st.none() | st.none() | moments),
            gpc=draw(st.booleans()),
        )
        for name in KNOWN
    )
    drawn = tuple(draw(mappings(name)) for name in ("one", "two", "three"))
    return Policy("shop", draw(settings(**fixed)), categories, drawn)


stamps = st.builds(lambda granted, denied: Stamp(granted - denied, granted | denied), names, names)
integrations = st.none() | st.dictionaries(
    st.sampled_from(("All", "one", "two", "elsewhere")),
    st.sampled_from((True, False, {}, {"key": 1}, None, "true")),
    max_size=3,
)


@st.composite
def questions(draw: st.DrawFn, **fixed: Any) -> Question:
    accepted = draw(moments)
    made = draw(st.none() | st.integers(-20, 5).map(lambda n: accepted + n * SECOND))
    drawn = {
        "accepted_at": accepted,
        "made_at": made,
        "stamp": draw(st.none() | stamps),
        "integrations": draw(integrations),
        "regime": draw(st.none() | st.sampled_from(Regime)),
        "prohibited": draw(st.just(frozenset()) | names),
    }
    return Question(**(drawn | fixed))


def with_(question: Question, **changed: Any) -> Question:
    """The same question but for these."""
    return structs.replace(question, **changed)


def blocks(*why: Why) -> st.SearchStrategy[Block]:
    ids = st.sampled_from(("b1", "b2"))
    return st.builds(Block, ids, moments, st.sampled_from(why), st.just(""))


signalled = st.builds(
    Block, st.just("s1"), moments, st.just(Why.SIGNAL), st.sampled_from(("gpc", "gpp"))
)
silences = st.sampled_from((Why.EXPIRED, Why.STALE, Why.UNVERIFIED, Why.NEVER_COLLECTED))


@st.composite
def founds(draw: st.DrawFn) -> Found:
    """What may be found of one category, whether or not a history leads to it."""
    made = draw(st.none() | st.none() | moments)
    return Found(
        draw(st.none() | st.none() | blocks(Why.DENIED, Why.MISSING, Why.CONFLICT)),
        draw(st.none() | st.none() | st.none() | signalled),
        None if made is None else Grant("g1", made, made),
        FOREVER if made is None else made + draw(st.integers(0, 5)) * SECOND,
        draw(silences),
    )


@st.composite
def standings(draw: st.DrawFn) -> Standing:
    """Any standing; some categories are not spoken of."""
    named = draw(st.frozensets(st.sampled_from((*KNOWN, "topic:news:email")), min_size=1))
    found = {name: draw(founds()) for name in sorted(named)}
    return Standing(END, suppressed=draw(st.integers(0, 19)) == 0, found=found)


def standing(past: Past, policy: Policy, as_of: int) -> Standing:
    return stand(past.history, policy, as_of)


def allowed(policy: Policy, question: Question, past: Past, now: int) -> set[str]:
    """The destinations that may receive the event, as of its acceptance and as of ``now``."""
    then = decide(policy, question, standing(past, policy, question.accepted_at))
    again = decide(policy, question, standing(past, policy, max(now, question.accepted_at)))
    return _names(then) & _names(again)


def _names(decisions: Iterable[Decision]) -> set[str]:
    return {one.destination for one in decisions if one.allow}
