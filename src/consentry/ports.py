"""What the flows need from the world. ``compose`` chooses who provides it.

``tests/store/conformance.py`` is the meaning of ``Store``: every adapter passes it.
Reads are synchronous, because a decision may not wait between being asked and being acted
on; an adapter answers them from memory or from pages that are. Writes are grouped: many
callers, one transaction, one fsync.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from consentry.core.delivery import Attempt as Attempt
from consentry.core.moment import Moment
from consentry.core.policy import Policy
from consentry.core.record import Facts, Merge, Node
from consentry.erasures import Erasures
from consentry.leaks import Leaks
from consentry.ledger.entry import LedgerRecord, Record
from consentry.orders import Order, OrderBook, Tried
from consentry.outbox import Mail, OptIn, Outbox


class StoreError(Exception):
    """The store could not do what it was asked."""


class StoreConflict(StoreError):
    """A record id or an idempotency key of this commit is there already, from another request.

    Nothing of the commit was written, and trying again will not help: read ``reply_to`` or
    ``record`` and answer from that.
    """


class StoreRefused(StoreError):
    """What was to be written cannot be stored at all. Nothing was, and trying again won't help."""


class StoreLocked(StoreError):
    """Another process serves this store. Stop it first, or give this one its own store."""


class StoreUnavailable(StoreError):
    """Nothing was written: the disk is full, or the database failed. The caller may try again."""


class StoredEvent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One accepted event, as it lies in the event log.

    ``nodes`` are its identifiers: device, account, e-mail, phone, as far as it has them.
    ``granted`` and ``stated`` are its stamp; both None when it is unstamped. ``allowed`` is a
    bit mask over the mappings of policy ``policy_id``: what the decision was at acceptance.
    ``record_id`` is set when the event is itself a choice. ``body`` is the message as it came,
    as JSON. It is told by the time ``corrected_at``; its sender says it left at ``sent_at``.
    ``place`` is the code of the place it was accepted in (``core.rule``), None where nobody
    looked; ``age`` and ``data`` are what it says of its person's age in years and the kinds of
    data it holds, as far as a rule may ask. ``erased``: its person was, and nobody may have it.
    """

    message_id: str
    source: str
    type: str
    name: str | None
    nodes: tuple[Node, ...]
    received_at: Moment
    made_at: Moment | None
    granted: tuple[str, ...] | None
    stated: tuple[str, ...] | None
    policy_id: int
    allowed: int
    record_id: str | None
    integrations: dict[str, Any] | None
    body: bytes
    corrected_at: Moment
    sent_at: Moment | None = None
    place: str | None = None
    age: int | None = None
    data: tuple[str, ...] = ()
    erased: bool = False

    @property
    def subject_key(self) -> str:
        """What orders deliveries: the account if there is one, else the device."""
        account = next((n.value for n in self.nodes if n.kind == "u"), None)
        if account is not None:
            return f"u:{account}"
        return "d:" + next((n.value for n in self.nodes if n.kind == "d"), "")


class Positioned(NamedTuple):
    """An event and its position in the log. Positions start at 0 and only grow."""

    position: int
    event: StoredEvent


class Reply(msgspec.Struct, frozen=True):
    """The answer that was given to a request with an Idempotency-Key; kept for ever.

    ``digest`` is of the request's body, so that another body under the same key is noticed.
    """

    key: str
    digest: bytes
    status: int
    body: bytes


class Tally(NamedTuple):
    """How often something happened with a notice, on one day (UTC, ISO 8601)."""

    day: str
    what: str
    region: str
    version: str
    language: str
    times: int = 1


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """All that one request writes; it is written whole or not at all."""

    records: tuple[Record, ...] = ()
    events: tuple[StoredEvent, ...] = ()
    replies: tuple[Reply, ...] = ()
    notices: tuple[tuple[str, str], ...] = ()  # (SHA-256 in hex, text)
    mails: tuple[Mail, ...] = ()
    opt_ins: tuple[OptIn, ...] = ()
    tallies: tuple[Tally, ...] = ()  # added to what was counted before
    orders: tuple[Order, ...] = ()  # new ones, in the order of their records
    tried: tuple[Tried, ...] = ()  # known ones, as they stand now


class Committed(msgspec.Struct, frozen=True):
    """Where it went. A position is None for an event whose message id was there already.

    "There" is the log, another commit written at the same time, or earlier in this commit:
    of events with one (source, message id) the first is kept. ``seqs`` has one entry for each
    record and ``positions`` one for each event, in the order given.
    """

    seqs: tuple[int, ...]
    positions: tuple[int | None, ...]


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """A delivery that is not simply waiting its turn: retried, held back, or dead.

    ``state`` is ``waiting`` or ``dead``. ``attempts`` counts the tries; one that waits behind
    an earlier event of the same subject has none yet.
    """

    destination: str
    position: int
    subject_key: str
    state: str
    attempts: int
    first_at: Moment
    next_at: Moment
    grade: str = ""
    detail: str = ""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What a destination's worker writes, in one transaction.

    ``position``: every event before it is settled or has a Delivery row. ``put`` inserts or
    replaces rows, ``settle`` removes them.
    """

    destination: str
    position: int
    attempts: tuple[Attempt, ...] = ()
    put: tuple[Delivery, ...] = ()
    settle: tuple[int, ...] = ()


class Pause(msgspec.Struct, frozen=True):
    """Why a destination receives nothing until somebody looks."""

    destination: str
    reason: str
    since: Moment


class Suppression(NamedTuple):
    """One identifier on the suppression list; None for one that was erased."""

    node: Node | None
    since: Moment
    record_id: str


class Store(Protocol):
    """Records, events and deliveries, durable and ordered."""

    def close(self) -> None:
        """Finish what was queued and let go of the lock. Closing twice is closing once.

        Writes after it raise StoreUnavailable.
        """

    @property
    def available(self) -> bool:
        """False once a write has failed and until one succeeds again; False when closed.

        A StoreConflict is not a failed write.
        """

    @property
    def newest(self) -> Moment:
        """The latest ``received_at`` that was ever stored; 0 in a new store.

        A clock that starts behind it would let a withdrawal count as older than the grant.
        """

    @property
    def outbox(self) -> Outbox:
        """The mails that are owed, and the sign-ups that wait."""

    @property
    def orders(self) -> OrderBook:
        """What is owed to other systems, and what came of it."""

    @property
    def leaks(self) -> Leaks:
        """What pages tried to send without consent, counted."""

    @property
    def erasures(self) -> Erasures:
        """What is still to be erased of people."""

    # -- what a decision reads ------------------------------------------------------------
    def knows(self, node: Node) -> bool:
        """Whether any record names this identifier. If not, it has no facts, links or merges."""

    def facts_of(self, node: Node) -> Facts:
        """Every fact about one identifier; empty when there is none. Order is not promised."""

    def links_of(self, node: Node) -> tuple[Node, ...]:
        """Identifiers directly linked to this one, either way."""

    def trusted_links_of(self, node: Node) -> tuple[Node, ...]:
        """Those of them that a record of a trusted door says: its trust is not public."""

    def merges_of(self, user_id: str) -> tuple[Merge, ...]:
        """Every merge in the group of accounts that this one belongs to, transitively."""

    # -- writes ---------------------------------------------------------------------------
    async def commit(self, commit: Commit) -> Committed:
        """Write it and return once it is durable. Raises StoreUnavailable; then nothing was.

        Raises StoreConflict for a record id or a reply key that is there already, and
        StoreRefused for what cannot be stored at all; then nothing was written either.
        A notice that is there already is left as it is.
        """

    async def record_progress(self, progress: Progress) -> None:
        """As ``commit``, for a worker. A position both settled and put has a row afterwards."""

    async def put_pause(self, pause: Pause) -> None: ...

    async def end_pause(self, destination: str) -> None: ...

    async def forget_place(self, destination: str) -> None:
        """A destination has no place in the log any more, as if it had never been seen."""

    # -- events ---------------------------------------------------------------------------
    def position_of(self, source: str, message_id: str) -> int | None:
        """Where the event with this id lies; None if it was never accepted, or is pruned."""

    def event_at(self, position: int) -> StoredEvent | None: ...

    def events_from(self, position: int, limit: int) -> Sequence[Positioned]:
        """Up to ``limit`` or a few more durable events from ``position`` on, in order.

        Pruned events leave gaps. Empty only when nothing durable is left from ``position`` on.
        """

    @property
    def end(self) -> int:
        """The position that the next event will have. Everything before it is durable."""

    # -- deliveries -----------------------------------------------------------------------
    def count_rows(self, destination: str, state: str) -> int:
        """How many rows of one destination are in this state, without reading them."""

    def position_for(self, destination: str) -> int | None:
        """Where its worker stands; None for a destination that was never seen."""

    def placed(self) -> Sequence[str]:
        """The destinations that have a place in the log, ordered by name: those that are
        configured, and those that were."""

    def deliveries(
        self,
        destination: str | None = None,
        state: str | None = None,
        after: tuple[str, int] | None = None,
        limit: int = 1000,
    ) -> Sequence[Delivery]:
        """Rows ordered by (destination, position), beginning after ``after``."""

    def attempts_at(self, position: int) -> Sequence[tuple[str, Attempt]]:
        """Every attempt for one event, with its destination, in the order they were recorded."""

    def attempted_from(self, destination: str, position: int) -> Sequence[Attempt]:
        """Attempts for events at or after a position: what a restart may not do again.

        In the order they were recorded, but for attempts at different positions within one
        ``Progress``: those are ordered by position.
        """

    def pauses(self) -> Sequence[Pause]:
        """Every pause now in force, ordered by destination."""

    # -- policies -------------------------------------------------------------------------
    async def policy_id(self, policy: Policy) -> int:
        """A small number for a policy, the same one for the same version, for ever.

        Raises as ``commit`` does when the policy is new.
        """

    def policy(self, policy_id: int) -> Policy | None: ...

    # -- the ledger -----------------------------------------------------------------------
    def reply_to(self, key: str) -> Reply | None: ...

    def notice(self, digest: str) -> str | None: ...

    def tallies(self, since: str) -> Sequence[Tally]:
        """What was counted on this day and after it, ordered by everything but how often."""

    def records_of(
        self, nodes: Iterable[Node], before: int | None = None, limit: int = 100
    ) -> Sequence[LedgerRecord]:
        """Records naming any of these identifiers, newest first, with ``seq < before``.

        A record names what stands in its subject, its facts, its links and its merge.
        """

    def ledger(self, first: int = 0) -> Iterator[LedgerRecord]:
        """Every record from ``first`` on, in ledger order, without holding them all in memory."""

    def record(self, record_id: str) -> LedgerRecord | None: ...

    def checkpoint(self) -> str | None:
        """The latest signed tree head; None for an empty ledger."""

    def suppressions(
        self, after: int | None = None, limit: int = 100
    ) -> Sequence[tuple[int, Suppression]]:
        """Identifiers now on the list, ordered by the ledger's seq, beginning after ``after``.

        The seq is that of the record that put it there, and one record may name several: a
        page is never cut inside a record, so it may hold a few more than ``limit``. An
        identifier is listed if its latest word by ``received_at`` is a suppression, also if
        that is as late as the latest lifting.
        """

    # -- upkeep ---------------------------------------------------------------------------
    async def prune(
        self,
        *,
        events_before: Moment,
        attempts_before: Moment,
        dead_before: Moment,
        destinations: Collection[str] | None = None,
    ) -> int:
        """Forget old events that no worker and no row needs any more; how many events went.

        ``destinations`` are those that are served now; None for all that were ever seen. One
        that is no longer served keeps no event here: its rows go with the events.

        First dead rows go whose ``first_at`` and ``next_at`` both lie before ``dead_before``.
        Then attempts that ended before ``attempts_before``, but none at or after its
        destination's position: a restart needs those; attempts at orders too, open ones among
        them (an order counts its attempts itself). Then events that were received before
        ``events_before`` and at least 24 hours ago (so long a message id is recognised), lie
        before every destination's position and have no row. Adapters may keep an event that
        could go, if a neighbour has to stay. Records, replies and notices never go.
        """

    async def backup(self, path: str) -> None:
        """Write a consistent, checked copy to a new file while serving.

        Raises StoreError if the file exists or the copy is not sound; then none is left behind.
        """
