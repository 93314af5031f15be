"""Which suppression of one identifier stands: the rule that both adapters share.

It is the rule of ``consentry.core.preference``: the latest word counts, and of two words of
one moment the suppression.
"""

from __future__ import annotations

from collections.abc import Iterable

from consentry.core.record import Fact, FactKind

WORDS = (FactKind.SUPPRESS, FactKind.UNSUPPRESS)


def standing(words: Iterable[tuple[int, Fact]]) -> tuple[int, Fact] | None:
    """The suppression that put the identifier on the list, with its record's seq.

    ``words`` are the identifier's facts with the seq of each one's record, in any order; facts
    of other kinds are passed over. None when it is not on the list. Suppressing twice does
    not change since when.
    """
    said = [(seq, fact) for seq, fact in words if fact.kind in WORDS]
    lifted_at = max(
        (fact.received_at for _, fact in said if fact.kind is FactKind.UNSUPPRESS), default=None
    )
    standing = [
        (fact.received_at, seq, fact)
        for seq, fact in said
        if fact.kind is FactKind.SUPPRESS and (lifted_at is None or fact.received_at >= lifted_at)
    ]
    if not standing:
        return None
    _, seq, fact = min(standing, key=lambda entry: entry[:2])
    return seq, fact
