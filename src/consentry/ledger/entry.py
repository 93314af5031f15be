"""The ledger's entry: one immutable record, and the leaf that commits to it.

A leaf holds no identifier. Whatever could tell who the person is stands in it as an HMAC
under a salt that is kept with the record's private part, so that destroying that part
erases the person while every proof still verifies (RFC 6962 tree; GDPR Art. 17 and 7(1)).
"""

from __future__ import annotations

import hmac
from enum import StrEnum
from typing import Any

import msgspec

from consentry.core.moment import Moment, format_exact
from consentry.core.record import Fact, Merge, Node

SALT_BYTES = 32


class RecordType(StrEnum):
    """What was recorded."""

    CHOICE = "choice"
    SIGNAL = "signal"
    IDENTIFY = "identify"
    ALIAS = "alias"
    SUPPRESS = "suppress"
    UNSUPPRESS = "unsuppress"
    ERASE = "erase"  # a person was erased: their identifiers stay suppressed
    IMPORT = "import"
    CONFIG = "config"
    REQUESTED = "requested"  # a sign-up was asked for: it grants nothing
    LAPSED = "lapsed"  # nobody confirmed it in time: it still grants nothing
    EXPIRED = "expired"  # what was agreed to holds no longer, though nobody said no
    OUTCOME = "outcome"  # what came of an order: it names nobody


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of the ledger, as a flow makes it.

    who: ``subject`` (its identifiers). what: ``before`` and ``after``, per category or topic
    key: granted, denied, never_collected or conflict. when: ``claimed_at`` by the sender,
    ``made_at`` as it is counted, ``received_at`` by us. how: ``source``, ``trust`` (public,
    server, admin), ``evidence`` (action, surface, noticeId, noticeVersion, noticeHash,
    language, page, sdkVersion ...). where: ``place`` (jurisdiction, regime).
    ``facts``, ``links`` and ``merge`` are what preferences are folded from.
    ``salt`` is random; without it the leaf's commitments say nothing. ``erased_by`` is the id of
    an erasure that took identifiers out of it: then it is a mark, which no longer gives its leaf.
    """

    record_id: str
    type: RecordType
    received_at: Moment
    salt: bytes
    subject: tuple[Node, ...] = ()
    claimed_at: Moment | None = None
    made_at: Moment | None = None
    source: str = ""
    trust: str = ""
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    unverified: tuple[str, ...] = ()
    evidence: dict[str, Any] = {}
    place: dict[str, Any] = {}
    facts: tuple[tuple[Node, Fact], ...] = ()
    links: tuple[tuple[Node, Node], ...] = ()
    merge: Merge | None = None
    erased_by: str | None = None


class LedgerRecord(msgspec.Struct, frozen=True):
    """A record with its place in the ledger. ``seq`` starts at 0 and is the leaf's index."""

    seq: int
    record: Record
    leaf: bytes


def leaf_of(record: Record, seq: int, workspace: str) -> bytes:
    """The canonical JSON that is hashed into the tree: keys sorted, no white space, UTF-8."""
    leaf = {
        "v": 1,
        "workspace": workspace,
        "seq": seq,
        "recordId": record.record_id,
        "type": record.type.value,
        "receivedAt": format_exact(record.received_at),
        "source": record.source,
        "trust": record.trust,
        "subject": sorted(commit(record.salt, f"{n.kind.value}:{n.value}") for n in record.subject),
        "before": record.before,
        "after": record.after,
        "unverified": sorted(record.unverified),
        "noticeHash": record.evidence.get("noticeHash"),
        "place": record.place,
        "body": commit(record.salt, _private(record)),
    }
    if record.made_at is not None:
        leaf["madeAt"] = format_exact(record.made_at)
    return msgspec.json.encode(leaf, order="sorted")


def commit(salt: bytes, value: str | bytes) -> str:
    """HMAC-SHA-256 of a value under the record's salt, in hex."""
    message = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    return hmac.digest(salt, message, "sha256").hex()


def _private(record: Record) -> bytes:
    """All of the record, in one canonical spelling: what the leaf's ``body`` commits to."""
    return msgspec.json.encode(msgspec.to_builtins(record, builtin_types=(bytes,)), order="sorted")
