"""Erasures: what is still to be erased of people here, a part at a time.

A part of the store's port. ``tests/store/conformance_erasures.py`` is its meaning. Records, events
and orders are appended and never changed. This is the one exception: the law that lets people be
forgotten is about what was written long ago (GDPR Art. 17; docs/decisions/0018).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from consentry.core.moment import Moment


class Erasure(NamedTuple):
    """An erasure whose job is not done. ``seq`` is that of its record, which names the person
    until they are ``erased``: then what it owes to others may still do so."""

    record_id: str
    seq: int
    asked_at: Moment
    erased: bool


class Shredded(NamedTuple):
    """What one part of the job did. ``done`` when nothing is left to do but to tell others.

    ``records`` became marks, of which ``shared`` still say something of somebody else. ``waits``
    are open orders that name the person: nothing more can be done before they have ended.
    """

    done: bool = False
    records: int = 0
    shared: int = 0
    replies: int = 0
    events: int = 0
    orders: int = 0
    waits: int = 0


class Erasures(Protocol):
    """The jobs of erasures. One begins with the record of type ``erase`` in a ``Commit``."""

    def unfinished(self) -> Sequence[Erasure]:
        """Jobs that are not done, the oldest first."""

    async def shred(self, erasure_id: str, at: Moment) -> Shredded:
        """Do the next part of a job, in one transaction; raises as ``Store.commit`` does.

        Of what was received until the erasure was, whatever names the person alone is gone when
        it is done: a record keeps its id, type, time and leaf, an event its position. Of what also
        names somebody else, only the person's identifiers are gone; an event that also names
        somebody else's account stays. Orders that have ended keep no identifier of theirs. What
        stays is the erasure's suppression: ``knows`` and ``facts_of`` an identifier still say so.
        ``at`` is when deliveries of their events are said to have been withheld. A job that
        is not there is done.
        """

    async def finish(self, erasure_id: str) -> bool:
        """Forget a job that is done. False where remains may still lie in a file: try it later."""
