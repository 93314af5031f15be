"""How values lie in a database: MessagePack, and keyed hashes where a row is found by a name.

An index by raw identifier would be a second copy of the identifier. A hash under a key that
lives with the store finds the row as well and says nothing by itself.
"""

from __future__ import annotations

import hashlib
import secrets

import msgspec

from consentry.core.record import Fact, Merge, Node
from consentry.ledger.entry import LedgerRecord, Record
from consentry.orders import Order
from consentry.outbox import Mail, OptIn
from consentry.ports import Attempt, Delivery, StoredEvent

KEY_BYTES = 16

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, TypeError)
"""What is raised by the decoders, and by SQLite's texts, for bytes that were altered; and where an
altered bit makes of a value one of another type."""

_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
decode_fact = msgspec.msgpack.Decoder(Fact).decode
decode_events = msgspec.msgpack.Decoder(tuple[StoredEvent, ...]).decode
decode_delivery = msgspec.msgpack.Decoder(Delivery).decode
decode_attempts = msgspec.msgpack.Decoder(tuple[Attempt, ...]).decode
decode_attempt = msgspec.msgpack.Decoder(Attempt).decode
decode_order = msgspec.msgpack.Decoder(Order).decode
decode_mail = msgspec.msgpack.Decoder(Mail).decode
decode_opt_in = msgspec.msgpack.Decoder(OptIn).decode
_decode_record = msgspec.msgpack.Decoder(Record).decode


class Joined(msgspec.Struct):
    """The part of a record that says which identifiers belong together; the rest is skipped."""

    links: tuple[tuple[Node, Node], ...] = ()
    merge: Merge | None = None


class Linking(msgspec.Struct):
    """The part of a record that links, and who said so."""

    links: tuple[tuple[Node, Node], ...] = ()
    trust: str = ""


class Said(msgspec.Struct):
    """The part of a record that names the identifiers of its facts, if they were not erased."""

    facts: tuple[tuple[Node, msgspec.Raw], ...] = ()
    erased_by: str | None = None


decode_joined = msgspec.msgpack.Decoder(Joined).decode
decode_linking = msgspec.msgpack.Decoder(Linking).decode
decode_said = msgspec.msgpack.Decoder(Said).decode


def ledger_record(seq: int, body: bytes, leaf: bytes) -> LedgerRecord:
    """A row of the ledger. Raises UNREADABLE when the body cannot be read."""
    return LedgerRecord(seq, _decode_record(body), leaf)


class RowKeys:
    """Hashes of names under the store's own key: 16 bytes of keyed BLAKE2b."""

    def __init__(self, key: bytes) -> None:
        self._node = hashlib.blake2b(digest_size=KEY_BYTES, key=key, person=b"node")
        self._message = hashlib.blake2b(digest_size=KEY_BYTES, key=key, person=b"message")

    @staticmethod
    def new_key() -> bytes:
        """A key for a new store, from the system's random source."""
        return secrets.token_bytes(32)

    def node(self, node: Node) -> bytes:
        """What an identifier's rows are found by."""
        digest = self._node.copy()
        digest.update(f"{node[0].value}:{node[1]}".encode("utf-8", "surrogatepass"))
        return digest.digest()

    def message(self, source: str, message_id: str) -> bytes:
        """What an event is recognised by when it is sent again."""
        digest = self._message.copy()
        digest.update(f"{source}\0{message_id}".encode("utf-8", "surrogatepass"))
        return digest.digest()
