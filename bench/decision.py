"""One decision: a stamped event, the records of its device and account in memory, every destination.

What acceptance needs of it is asked: what may go where. 5,000 events of 40 subjects, each
stating three to eight of twelve categories. CPU microseconds for one event, at 5, 20 and 100
destinations. At 20, casbin and Cedar decide the same events from the same grants, already folded
for them; all three must agree before anything is timed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench import cpu, rows
from bench.peers import Engines, Unavailable
from bench.report import Limit, Result, Row, ratio
from bench.server import workplace
from consentry.core import decision
from consentry.core.decision import Question, decide
from consentry.core.policy import Category, Mapping, Policy
from consentry.core.preference import Standing, stand
from consentry.core.record import Account, Fact, FactKind, History
from consentry.core.stamp import Stamp

LARGEST, GROWTH, ENGINE = (
    Limit("us CPU, worst of 5, 20, 100 places", "us", 2.5, 1.0, higher=False),
    Limit("100 / 5 destinations", "x", 1.3, 1.1, higher=False),
    Limit("faster than casbin and Cedar at 20", "x", 300, 1000),
)
ROW = Row(
    "decision",
    "a stamped event decided for every destination",
    "itself; casbin and Cedar (cedarpy)",
    (LARGEST, GROWTH, ENGINE),
)
NOW = 1_790_000_000_000_000
CATEGORIES = tuple(f"c{n}" for n in range(12))
SIZES = (5, 20, 100)
SUBJECTS = 40
EVENTS = 5_000
AGREED = 60

Asked = tuple[Question, Standing]


def policy(destinations: int) -> Policy:
    """A workspace of twelve categories; each destination needs one to three of them."""
    mappings = tuple(
        Mapping(f"d{n}", "webhook", tuple(CATEGORIES[(n + k) % 12] for k in range(1 + n % 3)))
        for n in range(destinations)
    )
    return Policy("bench", categories=tuple(Category(c) for c in CATEGORIES), mappings=mappings)


def what_may_go(rules: Policy) -> Callable[[Question, Standing], int]:
    """What acceptance keeps of a decision: a bit for each destination that may have the event."""

    def given(question: Question, standing: Standing) -> int:
        decisions: Any = decide(rules, question, standing)
        mask: int = decisions.allowed
        return mask

    def summed(question: Question, standing: Standing) -> int:
        decisions = decide(rules, question, standing)
        return sum(1 << n for n, one in enumerate(decisions) if one.allow)

    # A product that answers with the bits is asked for them; else they are put together here, as
    # acceptance has to.
    return given if hasattr(decision, "Decisions") else summed


def standings(rules: Policy, chance: random.Random) -> list[Standing]:
    """Subjects with a device and an account; each has made one choice on both."""

    def choice(record_id: str) -> Fact:
        granted = [c for c in CATEGORIES if chance.random() < 0.8]
        denied = [c for c in CATEGORIES if c not in granted and chance.random() < 0.5]
        return Fact(FactKind.CHOICE, record_id, NOW - 10, NOW - 10, tuple(granted), tuple(denied))

    return [
        stand(
            History(device=(choice(f"d{n}"),), account=Account("u", {"u": (choice(f"u{n}"),)})),
            rules,
            NOW,
        )
        for n in range(SUBJECTS)
    ]


def questions(chance: random.Random, count: int) -> list[Question]:
    """Events that state three to eight categories each, most of them granted."""
    found = []
    for _ in range(count):
        stated = chance.sample(CATEGORIES, chance.randint(3, 8))
        granted = frozenset(c for c in stated if chance.random() < 0.75)
        stamp = Stamp(granted, frozenset(stated))
        found.append(Question(accepted_at=NOW, made_at=NOW, stamp=stamp))
    return found


@dataclass
class Side:
    """One size of workspace, ready to be asked."""

    rules: Policy
    asked: list[Asked]

    @classmethod
    def of(cls, destinations: int, events: int) -> Side:
        chance = random.Random(7)
        rules = policy(destinations)
        known = standings(rules, chance)
        made = questions(chance, events)
        return cls(rules, [(q, known[n % SUBJECTS]) for n, q in enumerate(made)])

    def micros(self) -> float:
        """CPU microseconds for one event, the loop included."""
        mask, asked = what_may_go(self.rules), self.asked
        began = time.process_time()
        for question, standing in asked:
            mask(question, standing)
        return (time.process_time() - began) / len(asked) * 1e6


def measure(quick: bool) -> Result:
    cpu.pin(cpu.SERVER_CORE)
    sides = {size: Side.of(size, EVENTS // 20 if quick else EVENTS) for size in SIZES}
    taken: dict[int, list[float]] = {size: [] for size in SIZES}
    engines: Engines | None = None
    missing = None
    theirs: dict[str, list[float]] = {}
    with workplace() as folder:
        try:
            engines = Engines(folder, question_for(sides[20]))
            agree(sides[20], engines.answers)
        except Unavailable as error:
            missing = str(error)
        try:
            for side in sides.values():
                side.micros()  # what is remembered between events is remembered from here on
            for _ in range(rows.rounds(quick)):
                for size, side in sides.items():
                    taken[size].append(side.micros())
                for name, micros in (engines.round() if engines else {}).items():
                    theirs.setdefault(name, []).append(micros)
        finally:
            if engines is not None:
                engines.close()
    return told(taken, theirs, missing)


def told(
    taken: dict[int, list[float]], theirs: dict[str, list[float]], missing: str | None
) -> Result:
    """Without the engines there are figures, but no result."""
    figures: dict[str, float | str] = {
        **{f"us CPU at {size} destinations": median(taken[size]) for size in SIZES},
        **{f"{name} us CPU at 20": median(micros) for name, micros in theirs.items()},
    }
    if missing is not None:
        return Result(ROW, figures=figures, missing=missing)
    best = [min(pair) for pair in zip(*theirs.values(), strict=True)]
    values = {
        LARGEST.name: max(median(taken[size]) for size in SIZES),
        GROWTH.name: ratio(taken[100], taken[5]),
        ENGINE.name: ratio(best, taken[20]),
    }
    return Result(ROW, values, figures)


def question_for(side: Side) -> dict[str, object]:
    """The engines' question: what each destination needs, and what each event has granted."""
    found = []
    for question, standing in side.asked[:AGREED]:
        # A destination for each category alone tells what is granted in the end.
        single = Policy(
            "bench",
            categories=side.rules.categories,
            mappings=tuple(Mapping(c, "webhook", (c,)) for c in CATEGORIES),
        )
        mask = what_may_go(single)(question, standing)
        found.append([c for n, c in enumerate(CATEGORIES) if mask >> n & 1])
    return {
        "needs": {m.name: list(m.categories) for m in side.rules.mappings},
        "granted": found,
    }


def agree(side: Side, answers: dict[str, list[list[str]]]) -> None:
    """All engines and ours send the same events to the same destinations, or nothing is timed."""
    mask = what_may_go(side.rules)
    names = [mapping.name for mapping in side.rules.mappings]
    for n, (question, standing) in enumerate(side.asked[:AGREED]):
        found = mask(question, standing)
        ours = [name for k, name in enumerate(names) if found >> k & 1]
        for engine, theirs in answers.items():
            if theirs[n] != ours:
                raise SystemExit(f"{engine} and ours disagree: {theirs[n]} and {ours}")


if __name__ == "__main__":
    rows.main(ROW, measure)
