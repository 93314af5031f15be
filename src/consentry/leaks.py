"""How often pages tried to send what they may not: the counts behind the leak report.

A part of the store's port. ``tests/store/conformance_leaks.py`` is its meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from consentry.core.leak import Leak
from consentry.core.moment import Moment

MOST_LEAKS = 5_000
"""Rows that may be there before new ones are counted together."""
MOST_UNKNOWN = 4_000
"""The same, for hosts that no tag names: strangers can make up any number of them."""
MOST_OF_A_HOST = 50
"""Rows of one source and host, that is, kinds of request and pages."""
MOST_KINDS = 20
"""More rows of it, for what is counted without its page."""


class LeakCount(NamedTuple):
    """How often pages of a source tried, since when, and when last."""

    source: str
    leak: Leak
    times: int
    first_at: Moment
    last_at: Moment


class Leaks(Protocol):
    """Counts of leaks. Their number is bounded, however many different ones are told."""

    async def count(self, source: str, leaks: Mapping[Leak, int], most: int, at: Moment) -> None:
        """Add to the counts, durably. Raises as ``Store.commit`` does.

        A new leak takes a row while there are fewer than ``most`` rows, and fewer than
        ``MOST_OF_A_HOST`` of its source and host. Else it is counted without its page, if that
        has a row or there is room for one (``MOST_KINDS`` more); else with all others
        (``core.leak.narrowed``).
        """

    def since(self, moment: Moment) -> Sequence[LeakCount]:
        """Those last seen at ``moment`` or later, the most frequent first."""

    async def forget(self, before: Moment) -> None:
        """Forget those that were last seen before."""
