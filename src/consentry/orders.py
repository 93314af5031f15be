"""Orders: what a choice owes to other systems, and what came of it.

A part of the store's port. ``tests/store/conformance_orders.py`` is its meaning. An order comes
with a ``Commit``, in the transaction of the record that owes it, and changes with one: what was
tried, where the order stands now, and the record of it are written together.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

import msgspec

from consentry.core.delivery import Attempt, Grade
from consentry.core.moment import Moment
from consentry.core.order import OrderState, Topics, Verb
from consentry.core.record import Node


class Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One consent change owed to one destination.

    ``subject`` is whom the record is of. ``nodes`` are all identifiers that were linked to the
    person as it was made: by them persons are compared. ``named`` are those of them that the
    destination may be told. Of an order that ``erases`` all three are empty once nothing
    more is to be done; ``erasure``: an erasure owes it, whatever its verb. Without ``topics`` it is about everything the
    destination does with the person. ``why`` is why it goes no further than our own gate, or why
    it was not sent. ``acknowledged_at`` is when the choice was received. ``number`` and ``seq``
    are given by the store: the order's place among all orders, which is that of the ledger, and
    the place of its record. ``escalated`` counts how often somebody was told that it is open.
    ``read_at`` is when the destination is asked again what it holds, None where it is not, and
    ``reads`` how often it was. ``drift``: it held something else; ``again_of`` is the order that
    this one repeats for that reason, ``agains`` how often that was done in a row.
    """

    order_id: str
    record_id: str
    destination: str
    verb: Verb
    acknowledged_at: Moment
    state: OrderState = OrderState.WAITING
    subject: tuple[Node, ...] = ()
    nodes: tuple[Node, ...] = ()
    named: tuple[Node, ...] = ()
    topics: Topics = ()
    next_at: Moment = 0
    attempts: int = 0
    grade: Grade | None = None
    detail: str = ""
    why: str = ""
    first_attempt_at: Moment | None = None
    terminal_at: Moment | None = None
    superseded_by: str | None = None
    ref: str = ""
    escalated: int = 0
    read_at: Moment | None = None
    reads: int = 0
    drift: bool = False
    again_of: str | None = None
    agains: int = 0
    erasure: bool = False
    number: int = -1
    seq: int = -1

    @property
    def whole(self) -> bool:
        return not self.topics

    @property
    def erases(self) -> bool:
        """Whether it is a part of an erasure: it keeps nobody's identifiers once it has ended."""
        return self.erasure or self.verb is Verb.ERASE

    @property
    def open(self) -> bool:
        """Whether something is still to be told."""
        return self.state in (OrderState.WAITING, OrderState.SENDING)


class Tried(NamedTuple):
    """An order as it stands now, and the attempt that brought it there, if one did."""

    order: Order
    attempt: Attempt | None = None


class Open(NamedTuple):
    """How many orders of one destination are open, since when the eldest, and how many are late."""

    destination: str
    orders: int
    oldest_at: Moment
    late: int


class OrderBook(Protocol):
    """What is known of orders. All reads are of what is durable."""

    def order(self, order_id: str) -> Order | None: ...

    def waiting(self, destination: str, after: int = -1, limit: int = 1000) -> Sequence[Order]:
        """Open orders of one destination with ``number > after``, in their order."""

    def find(
        self,
        node: Node | None = None,
        destination: str | None = None,
        state: OrderState | None = None,
        *,
        before: int | None = None,
        limit: int = 100,
    ) -> Sequence[Order]:
        """Orders, the newest first, with ``number < before``. ``node`` is one of its ``nodes``
        as it was made."""

    def of_record(self, record_id: str) -> Sequence[Order]:
        """What one record owes, in its order."""

    def attempts_of(self, order_id: str) -> Sequence[Attempt]:
        """Every attempt at one order, in the order they were recorded."""

    def to_read(self, now: Moment, limit: int = 100) -> Sequence[Order]:
        """Orders with ``read_at <= now``, the earliest first."""

    def open(self, late: Moment) -> Sequence[Open]:
        """Per destination that has any, ordered by its name; late is what was acknowledged before."""

    def overdue(
        self, before: Moment, escalated: int, destinations: Collection[str], limit: int = 100
    ) -> Sequence[Order]:
        """Open orders of some destinations, acknowledged before a moment, of which less often was
        told, oldest first."""

    def drifting(self, destination: str | None = None, limit: int = 1000) -> Sequence[Order]:
        """Orders whose destination holds something else than it was told, the newest first."""
