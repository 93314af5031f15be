"""Erasing a person from a SQLite store, a part in each transaction, so that others need not wait.

Rows are found by the keyed hashes of the identifiers, events by the bytes of the identifiers, for
the log has no index by person. Each part asks anew what is left, so a job that was cut off goes
on where it stood. The record of the erasure goes last: it says whom the job is about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import apsw
import msgspec

from consentry.core.delivery import State
from consentry.core.moment import Moment
from consentry.core.record import Node
from consentry.erasures import Shredded
from consentry.ledger.entry import Record, RecordType
from consentry.orders import Order
from consentry.ports import Attempt, StoredEvent, StoreError
from consentry.store import blank, codec, suppression
from consentry.store.codec import RowKeys
from consentry.store.naming import is_trusted, nodes_named
from consentry.store.statements import queries

SQL = queries("sqlite_shred")
RECORDS = 200
REPLIES = 1_000
GROUPS = 200
GROUP_BYTES = 2 * 1024 * 1024
ORDERS = 200
MOST_NEEDLES = 32
"""With more identifiers it is quicker to decode events than to look for each of them in the bytes."""


class Part(NamedTuple):
    """What one transaction did, and what memory has to forget: groups of events by their first
    position, and message ids by their key."""

    shredded: Shredded
    firsts: tuple[int, ...] = ()
    messages: tuple[bytes, ...] = ()


class _Kept(msgspec.Struct):
    """The part of a kept reply that says what it answered."""

    recordId: str | None = None


class _Marked(msgspec.Struct):
    """The part of a record that says whether it is a mark of which nothing else is left."""

    erased_by: str | None = None
    subject: tuple[Node, ...] = ()
    facts: tuple[Any, ...] = ()
    links: tuple[Any, ...] = ()


_decode_kept = msgspec.json.Decoder(_Kept).decode
_decode_marked = msgspec.msgpack.Decoder(_Marked).decode


def begin(db: apsw.Connection, seq: int, record_id: str, asked_at: Moment) -> None:
    """There is somebody to be erased."""
    db.execute(SQL["add_erasure"], (seq, record_id, asked_at))


def forget(db: apsw.Connection, erasure_id: str) -> None:
    """The job is done."""
    db.execute(SQL["forget_erasure"], (erasure_id,))


def step(db: apsw.Connection, keys: RowKeys, erasure_id: str, at: Moment) -> Part:
    """The next part of a job."""
    row: Any = db.execute(SQL["erasure"], (erasure_id,)).fetchone()
    if row is None or row[5]:
        return Part(Shredded(done=True))
    seq, asked_at, position, end, reply, _ = row
    gone = frozenset(nodes_named(_record_at(db, seq)))
    if not gone:  # damaged: to go on would find nothing, and call that erased
        raise StoreError("the record of an erasure does not say who was erased")
    job = _Job(db, keys, erasure_id, seq, asked_at, gone)
    return (
        job.records()
        or job.replies(reply)
        or job.events(position, end, at)
        or job.orders()
        or job.finish()
    )


def _record_at(db: apsw.Connection, seq: int) -> Record:
    """A record; of one that cannot be read, as much as stands beside it: that one names nobody."""
    row: Any = db.execute(SQL["record"], (seq,)).fetchone()
    record_id, type_, received_at, body = row
    try:
        return codec.ledger_record(seq, body, b"").record
    except codec.UNREADABLE:
        kind = RecordType(type_)
        return Record(record_id=record_id, type=kind, received_at=received_at, salt=b"")


class _Job:
    """One transaction's part. Each phase gives what it did, and None where nothing is left for it."""

    def __init__(
        self,
        db: apsw.Connection,
        keys: RowKeys,
        erasure_id: str,
        seq: int,
        asked_at: Moment,
        gone: frozenset[Node],
    ) -> None:
        self._db = db
        self._keys = keys
        self._id = erasure_id
        self._seq = seq
        self._asked_at = asked_at
        self._gone = gone
        self._of = {keys.node(node): node for node in sorted(gone)}

    # -- records ------------------------------------------------------------------------------
    def records(self) -> Part | None:
        """Records that were received until then. What came after is a new beginning."""
        bounds = (self._seq, self._asked_at, RECORDS)
        rows = list(islice(self._rows("records_naming", *bounds), RECORDS))
        seqs = sorted({seq for (seq,) in rows})
        if not seqs:
            return None
        shared = sum(map(self._shred_record, seqs))
        for key in self._of:
            self._list_or_unlist(key)
        self._link_anew()
        return Part(Shredded(records=len(seqs), shared=shared))

    def _link_anew(self) -> None:
        """Links are kept once, with the first record that says so. Who came back since, and was
        linked again, still is."""
        later = {seq for (seq,) in self._rows("records_after", self._seq, self._asked_at)}
        for seq in sorted(later):
            record = _record_at(self._db, seq)
            trusted = seq if is_trusted(record.trust) else None
            for one, other in record.links:
                ends = self._keys.node(one), self._keys.node(other)
                rows = [(*ends, seq, trusted), (*reversed(ends), seq, trusted)]
                self._db.executemany(SQL["add_link"], rows)

    def _rows(self, query: str, *more: Any) -> Iterator[tuple[Any, ...]]:
        for key in self._of:
            yield from self._db.execute(SQL[query], (key, *more))

    def _shred_record(self, seq: int) -> bool:
        """Whether it still says something of somebody else."""
        db, record = self._db, _record_at(self._db, seq)
        left = blank.record_without(record, self._gone, self._id)
        db.execute(SQL["put_body"], (seq, codec.encode(left)))
        for key in self._of:
            db.execute(SQL["drop_record_node"], (key, seq))
            db.execute(SQL["drop_facts"], (key, seq))
            db.execute(SQL["drop_merge"], (key, seq))
        for pair in record.links:
            if not self._gone.isdisjoint(pair):
                one, other = map(self._keys.node, pair)
                db.executemany(SQL["drop_link"], [(one, other), (other, one)])
        # What is left of it is numbered anew, as it stands in the body.
        for node in dict.fromkeys(node for node, _ in left.facts):
            db.execute(SQL["drop_facts"], (self._keys.node(node), seq))
        facts = [
            (self._keys.node(node), seq, n, codec.encode(fact))
            for n, (node, fact) in enumerate(left.facts)
        ]
        db.executemany(SQL["add_fact"], facts)
        return bool(nodes_named(left))

    def _list_or_unlist(self, key: bytes) -> None:
        rows = self._db.execute(SQL["seqs_and_facts_of"], (key,))
        stands = suppression.standing((seq, codec.decode_fact(body)) for seq, body in rows)
        self._db.execute(SQL["unlist"], (key,))
        if stands is not None:
            seq, fact = stands
            self._db.execute(SQL["list"], (seq, key, fact.received_at, fact.record_id))

    # -- kept replies ---------------------------------------------------------------------------
    def replies(self, after: int) -> Part | None:
        """Replies to what is a mark now: a key may be made of an identifier."""
        rows = list(self._db.execute(SQL["replies"], (after, REPLIES)))
        if not rows:
            return None
        gone = [(row,) for row, body in rows if self._is_gone(body)]
        self._db.executemany(SQL["drop_reply"], gone)
        self._db.execute(SQL["put_reply"], (rows[-1][0], self._id))
        return Part(Shredded(replies=len(gone)))

    def _is_gone(self, reply: bytes) -> bool:
        try:
            record_id = _decode_kept(reply).recordId
        except msgspec.MsgspecError:
            return False  # how a sign-up ended has no body
        row = self._db.execute(SQL["body_of"], (record_id,)).fetchone()
        if row is None:
            return False
        marked = _decode_marked(row[0])
        left = marked.subject or marked.facts or marked.links
        return marked.erased_by == self._id and not left

    # -- events ---------------------------------------------------------------------------------
    def events(self, position: int, end: int | None, at: Moment) -> Part | None:
        """Events from a position on, as many groups as one transaction may look at.

        Up to where the log ended as this began: who is erased is suppressed, so what came later
        is not theirs, and a log that grows as fast as it is read would never be done with.
        """
        if end is None:
            end = int(self._db.execute(SQL["log_end"]).get)
            self._db.execute(SQL["put_end"], (end, self._id))
        if position >= end:
            return None
        named = self._needle()
        firsts: list[int] = []
        messages: list[bytes] = []
        size = 0
        for _ in range(GROUPS):
            row: Any = self._db.execute(SQL["group_from"], (position,)).fetchone()
            if row is None or row[0] >= end:
                position = end
                break
            if size >= GROUP_BYTES:
                break
            first, count, events = row
            size, position = size + len(events), first + count
            if named(events):
                found = self._shred_group(first, codec.decode_events(events), at)
                messages += found
                firsts += [first] * bool(found)
        self._db.execute(SQL["put_position"], (position, self._id))
        return Part(Shredded(events=len(messages)), tuple(firsts), tuple(messages))

    def _needle(self) -> Callable[[bytes], bool]:
        """Whether bytes may hold one of the identifiers: strings lie in them as they are."""
        needles = [node.value.encode("utf-8", "surrogatepass") for node in self._gone]
        if len(needles) > MOST_NEEDLES:
            return lambda events: True
        return lambda events: any(needle in events for needle in needles)

    def _shred_group(self, first: int, events: Sequence[StoredEvent], at: Moment) -> list[bytes]:
        """Message ids of the events that went; their deliveries went with them."""
        theirs = [blank.is_theirs(event, self._gone, self._asked_at) for event in events]
        if not any(theirs):
            return []
        pairs = list(zip(events, theirs, strict=True))
        left = [blank.blank(event) if gone else event for event, gone in pairs]
        self._db.execute(SQL["put_group"], (first, codec.encode(left)))
        for position, gone in enumerate(theirs, first):
            if gone:
                self._withhold(position, at)
        keys = [self._keys.message(e.source, e.message_id) for e, gone in pairs if gone]
        self._db.executemany(SQL["drop_message"], [(key,) for key in sorted(keys)])
        return keys

    def _withhold(self, position: int, at: Moment) -> None:
        attempt = Attempt(position, at, at, State.WITHHELD.value, detail=blank.WITHHELD)
        for (name,) in list(self._db.execute(SQL["deliveries_at"], (position,))):
            self._db.execute(SQL["settle"], (name, position))
            row = (name, position, position, at, codec.encode([attempt]))
            self._db.execute(SQL["add_attempts"], row)

    # -- orders ---------------------------------------------------------------------------------
    def orders(self) -> Part | None:
        """Orders that have ended. One that waits is somebody's in memory, so it is waited for."""
        waits: set[int] = set()
        done: dict[int, Order] = {}
        for number, body in self._rows("orders_naming", self._id):
            order = codec.decode_order(body)
            if order.erases:
                continue  # of another erasure of the same person
            if order.open:
                waits.add(number)
            elif len(done) < ORDERS:
                done[number] = order
        for number, order in done.items():
            left = blank.order_without(order, self._gone)
            self._put_order(number, left)
            self._db.executemany(SQL["drop_order_node"], [(key, number) for key in self._of])
        if done:
            return Part(Shredded(orders=len(done)))
        return Part(Shredded(waits=len(waits))) if waits else None

    def _put_order(self, number: int, order: Order) -> None:
        row = (number, order.read_at, int(order.drift), codec.encode(order))
        self._db.execute(SQL["put_order"], row)

    # -- the end ----------------------------------------------------------------------------------
    def finish(self) -> Part:
        """Mails and sign-ups, our own gates, and at last the record of the erasure itself."""
        self._outbox()
        for number, body in list(self._db.execute(SQL["orders_owed"], (self._id,))):
            order = codec.decode_order(body)
            if blank.has_ended(order):
                self._put_order(number, blank.order_without(order, self._gone))
        own = blank.mark(_record_at(self._db, self._seq), self._id)
        self._db.execute(SQL["put_body"], (self._seq, codec.encode(own)))
        self._db.execute(SQL["end_erasure"], (self._id,))
        return Part(Shredded(done=True, records=1))

    def _outbox(self) -> None:
        for mail_id, body in list(self._db.execute(SQL["mails"])):
            if codec.decode_mail(body).node in self._gone:
                self._db.execute(SQL["drop_mail"], (mail_id,))
        for opt_in_id, body in list(self._db.execute(SQL["opt_ins"])):
            if codec.decode_opt_in(body).node in self._gone:
                self._db.execute(SQL["drop_opt_in"], (opt_in_id,))
                self._db.execute(SQL["drop_tokens"], (opt_in_id,))
        self._db.executemany(SQL["drop_mail_to"], [(key,) for key in self._of])
