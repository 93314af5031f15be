"""What a decision costs, at 5 and at 100 destinations, as a ratio inside one run."""

from __future__ import annotations

import time
from statistics import median

from consentry.core.decision import Question, decide
from consentry.core.policy import Category, Mapping, Policy
from consentry.core.preference import stand
from consentry.core.record import Account, Fact, FactKind, History
from consentry.core.stamp import Stamp

NOW = 1_790_000_000_000_000
CATEGORIES = tuple(f"c{n}" for n in range(12))


def policy(destinations: int) -> Policy:
    """A workspace of twelve categories; each destination needs one to three of them."""
    mappings = tuple(
        Mapping(f"d{n}", "webhook", tuple(CATEGORIES[(n + k) % 12] for k in range(1 + n % 3)))
        for n in range(destinations)
    )
    return Policy("bench", categories=tuple(Category(c) for c in CATEGORIES), mappings=mappings)


def micros_per_decision(destinations: int, rounds: int = 2000) -> float:
    """CPU microseconds for one stamped event, all destinations, standing at hand."""
    rules = policy(destinations)
    device = (Fact(FactKind.CHOICE, "r1", NOW - 10, NOW - 10, granted=CATEGORIES[:8]),)
    account = Account("u", {"u": (Fact(FactKind.CHOICE, "r2", NOW - 5, NOW - 5, CATEGORIES[:6]),)})
    standing = stand(History(device=device, account=account), rules, NOW)
    stamp = Stamp(frozenset(CATEGORIES[:5]), frozenset(CATEGORIES[:9]))
    question = Question(accepted_at=NOW, made_at=NOW, stamp=stamp)
    began = time.process_time()
    for _ in range(rounds):
        decide(rules, question, standing)
    return (time.process_time() - began) / rounds * 1e6


def main() -> None:
    small, large = [], []
    for _ in range(5):
        small.append(micros_per_decision(5))
        large.append(micros_per_decision(100, 200))
    print(f"decision, 5 destinations      {median(small):8.1f} us")
    print(f"decision, 100 destinations    {median(large):8.1f} us")
    ratio = median(b / a for a, b in zip(small, large, strict=True))
    print(f"100 / 5 destinations          {ratio:8.1f} x")


if __name__ == "__main__":
    main()
