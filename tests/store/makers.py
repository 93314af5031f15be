"""Records, events and attempts for the tests of stores."""

from __future__ import annotations

import hashlib
from itertools import count
from typing import Any

from consentry.core.moment import DAY, SECOND
from consentry.core.order import Verb
from consentry.core.record import Fact, FactKind, Merge, Node, NodeKind
from consentry.ledger.entry import Record, RecordType
from consentry.ledger.notary import Notary
from consentry.ledger.note import SigningKey
from consentry.orders import Order
from consentry.outbox import Mail, OptIn
from consentry.ports import Attempt, Delivery, Reply, StoredEvent

WORKSPACE = "shop"
KEY = SigningKey("shop.example/ledger", bytes(range(32)))
NOW = 1_790_000_000 * SECOND
LONG_AGO = NOW - 10 * DAY

_numbers = count()


def notary() -> Notary:
    return Notary(WORKSPACE, KEY)


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> int:
        return self.time


def device(value: str) -> Node:
    return Node(NodeKind.DEVICE, value)


def account(value: str) -> Node:
    return Node(NodeKind.ACCOUNT, value)


def email(value: str) -> Node:
    return Node(NodeKind.EMAIL, value)


def record(record_id: str, *subject: Node, **fields: Any) -> Record:
    """A choice by ``subject`` with nothing chosen; ``fields`` say more."""
    salt = hashlib.sha256(record_id.encode()).digest()
    given = {"type": RecordType.CHOICE, "received_at": NOW} | fields
    return Record(record_id=record_id, salt=salt, subject=subject, **given)


def choice(record_id: str, *nodes: Node, granted: str = "", denied: str = "") -> Record:
    """A record with one fact for each node."""
    fact = Fact(FactKind.CHOICE, record_id, NOW, NOW, tuple(granted.split()), tuple(denied.split()))
    return record(record_id, *nodes, facts=tuple((node, fact) for node in nodes))


def word(record_id: str, kind: FactKind, at: int, *nodes: Node) -> Record:
    """A record that puts nodes on the suppression list or takes them off."""
    facts = tuple((node, Fact(kind, record_id, at)) for node in nodes)
    return record(record_id, *nodes, type=RecordType(kind.value), received_at=at, facts=facts)


def link(record_id: str, *pairs: tuple[Node, Node]) -> Record:
    return record(record_id, type=RecordType.IDENTIFY, links=pairs)


def merge(record_id: str, left: str, right: str) -> Record:
    merged = Merge(record_id, NOW, left, right)
    return record(record_id, type=RecordType.ALIAS, merge=merged)


def full_record(record_id: str) -> Record:
    """A record in which every field says something."""
    ann, phone = account("ann"), Node(NodeKind.PHONE, "+43 1 000")
    fact = Fact(
        FactKind.SIGNAL, record_id, NOW, NOW - 1, ("a",), ("b", "c"), ("c",), False, "gpc", False
    )
    return record(
        record_id,
        ann,
        phone,
        claimed_at=NOW - 5,
        made_at=NOW - 6,
        source="web",
        trust="public",
        before={"a": "never_collected"},
        after={"a": "granted", "b": "denied"},
        unverified=("b",),
        evidence={"action": "click", "page": {"url": "https://shop.example/ä", "tags": [1, None]}},
        place={"jurisdiction": "AT", "regime": "opt_in"},
        facts=((ann, fact),),
        links=((ann, phone),),
        merge=Merge(record_id, NOW, "ann", "anne"),
    )


def event(message_id: str = "", **fields: Any) -> StoredEvent:
    """An event from source "web"; its message id is its own if none is given."""
    return StoredEvent(
        **{
            "message_id": message_id or f"m-{next(_numbers)}",
            "source": "web",
            "type": "track",
            "name": "Seen",
            "nodes": (device("d1"),),
            "received_at": NOW,
            "made_at": NOW - 1,
            "corrected_at": NOW - 1,
            "granted": ("ads",),
            "stated": ("ads", "mail"),
            "policy_id": 1,
            "allowed": 5,
            "record_id": None,
            "integrations": None,
            "body": b'{"type":"track"}',
            **fields,
        }
    )


def attempt(position: int, n: int = 0, **fields: Any) -> Attempt:
    """An attempt that began n seconds after NOW and took a tenth of one."""
    started = NOW + n * SECOND
    given = {"started_at": started, "ended_at": started + SECOND // 10, "grade": "accepted"}
    return Attempt(position=position, **(given | fields))


def delivery(destination: str, position: int, state: str = "waiting", **fields: Any) -> Delivery:
    given = {"subject_key": "d:d1", "attempts": 1, "first_at": NOW, "next_at": NOW + SECOND}
    return Delivery(destination=destination, position=position, state=state, **(given | fields))


def mail(mail_id: str, node: Node, **fields: Any) -> Mail:
    given = {"kind": "confirm", "language": "en", "queued_at": NOW, "next_at": NOW}
    return Mail(mail_id=mail_id, node=node, **(given | fields))


def opt_in(opt_in_id: str, node: Node, **fields: Any) -> OptIn:
    given = {
        "keys": ("topic:news:email",),
        "requested_at": NOW,
        "ends_at": NOW + DAY,
        "record_id": f"rec-{opt_in_id}",
        "source": "web",
        "language": "de",
    }
    return OptIn(opt_in_id=opt_in_id, node=node, **(given | fields))


def order(order_id: str, record_id: str = "r0", *nodes: Node, **fields: Any) -> Order:
    """An order to suppress ``nodes``, who may be named."""
    given = {"destination": "ads", "verb": Verb.SUPPRESS, "acknowledged_at": NOW} | fields
    return Order(order_id=order_id, record_id=record_id, nodes=nodes, named=nodes, **given)


def reply(key: str, body: bytes = b"{}") -> Reply:
    return Reply(key, hashlib.sha256(body).digest(), 200, body)
