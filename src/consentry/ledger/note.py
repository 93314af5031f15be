"""Signed notes: a text, an empty line, and Ed25519 signatures over the text.

The format is C2SP signed-note (https://c2sp.org/signed-note), the one Go's checksum
database uses. The text of keys is that of Go's ``golang.org/x/mod/sumdb/note``:

    <name>+<key id>+<base64 of 01 and the public key>
    PRIVATE+KEY+<name>+<key id>+<base64 of 01 and the seed>

Everything that is read here is read in its one canonical spelling: hexadecimal in lower
case, base64 padded and without stray bits. A second spelling of the same bytes is refused,
because whoever compares or stores the text would take it for something else.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MAX_NOTE_CHARS = 1_000_000
MAX_SIGNATURES = 100  # the format asks for at least 16; Go's package stops at 100
MAX_NAME_BYTES = 255  # C2SP tlog-cosignature writes the length of a name in one byte

_ED25519 = b"\x01"  # the signature type byte
_KEY_BYTES = 32
_ID_BYTES = 4
_PRIVATE = "PRIVATE+KEY+"
_DASH = "\u2014 "
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class NoteError(ValueError):
    """The text, key or note is malformed, or no known key vouches for it. Trust none of it.

    ::

        NoteError
          +-- CheckpointError   the note is signed, but is not a checkpoint we accept
          +-- ProofError        the proof is malformed or does not prove the leaf

    No message holds a key or any part of an unverified text.
    """


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """The public half: who signs (``name``) and the 32 bytes of the Ed25519 public key."""

    name: str
    public: bytes

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(self.public) != _KEY_BYTES:
            raise NoteError(f"an Ed25519 public key has {_KEY_BYTES} bytes")

    @property
    def key_id(self) -> bytes:
        """The first 4 bytes of SHA-256 over name, newline, type byte and public key."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:_ID_BYTES]

    def to_text(self) -> str:
        """The ``name+id+key`` text that is published."""
        return f"{self.name}+{self.key_id.hex()}+{_base64(_ED25519 + self.public)}"

    @classmethod
    def from_text(cls, text: str) -> VerifyKey:
        """Read what ``to_text`` wrote; ``NoteError`` when anything in it is amiss."""
        name, key_id, public = _read_key(text)
        key = cls(name, public)
        if key.key_id.hex() != key_id:
            raise NoteError("the key id does not belong to the key")
        return key


@dataclass(frozen=True, slots=True, repr=False)
class SigningKey:
    """The private half: who signs (``name``) and the 32 secret bytes (``seed``)."""

    name: str
    seed: bytes

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(self.seed) != _KEY_BYTES:
            raise NoteError(f"an Ed25519 seed has {_KEY_BYTES} bytes")

    def __repr__(self) -> str:
        return f"SigningKey({self.name!r}, ***)"

    @property
    def verify_key(self) -> VerifyKey:
        """The public half, to be given to whoever checks the notes."""
        return VerifyKey(self.name, self._private().public_key().public_bytes_raw())

    @classmethod
    def generate(cls, name: str) -> SigningKey:
        """A new key from the system's random source."""
        return cls(name, secrets.token_bytes(_KEY_BYTES))

    def to_text(self) -> str:
        """The ``PRIVATE+KEY+...`` text. It is the secret itself: write it to a key file only."""
        key_id = self.verify_key.key_id.hex()
        return f"{_PRIVATE}{self.name}+{key_id}+{_base64(_ED25519 + self.seed)}"

    @classmethod
    def from_text(cls, text: str) -> SigningKey:
        """Read what ``to_text`` wrote; ``NoteError`` when anything in it is amiss."""
        if not text.startswith(_PRIVATE):
            raise NoteError("not a signing key")
        name, key_id, seed = _read_key(text.removeprefix(_PRIVATE))
        key = cls(name, seed)
        if key.verify_key.key_id.hex() != key_id:
            raise NoteError("the key id does not belong to the key")
        return key

    def signature(self, text: str) -> bytes:
        """The 64 bytes of the Ed25519 signature over ``text`` as UTF-8."""
        return self._private().sign(text.encode())

    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)


def sign(text: str, *keys: SigningKey) -> str:
    """The signed note for ``text``, with one signature line per key, in the order given.

    ``text`` must end in a newline and hold no other control character. Give two keys while
    one takes over from the other. Raises ``NoteError`` for a text that no note can hold,
    without a key, or with the same key twice.
    """
    _check_text(text)
    if not text.endswith("\n"):
        raise NoteError("the text of a note must end in a newline")
    if not 1 <= len(set(keys)) == len(keys) <= MAX_SIGNATURES:
        raise NoteError(f"a note takes 1 to {MAX_SIGNATURES} different keys")
    lines = [
        f"{_DASH}{key.name} {_base64(key.verify_key.key_id + key.signature(text))}\n"
        for key in keys
    ]
    signed = f"{text}\n{''.join(lines)}"
    _check_text(signed)
    return signed


def open_note(note: str, keys: Iterable[VerifyKey]) -> str:
    """The text of ``note``, its newline included, once a key of ``keys`` has vouched for it.

    Signatures of unknown keys are passed over, as the format demands. A signature that
    claims a known key and does not verify condemns the whole note. Raises ``NoteError``
    when the note is malformed or no known key signed it.
    """
    known = _by_id(keys)
    _check_text(note)
    # The text may hold empty lines itself; the last one ends it.
    text, gap, tail = note.rpartition("\n\n")
    if not gap or not tail.endswith("\n"):
        raise NoteError("a note needs a text, an empty line and signature lines")
    text += "\n"
    lines = tail.removesuffix("\n").split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise NoteError(f"a note has at most {MAX_SIGNATURES} signatures")
    vouched = False
    # Every line is read before any is believed: one malformed line spoils the note.
    for name, key_id, signature in [_read_signature(line) for line in lines]:
        key = known.get((name, key_id))
        if key is None:
            continue
        _verify(key, signature, text)
        vouched = True
    if not vouched:
        raise NoteError("no known key signed the note")
    return text


def decode_base64(text: str) -> bytes:
    """The bytes of canonical RFC 4648 base64; ``NoteError`` for any other spelling."""
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError("not base64") from None
    if _base64(found) != text:
        raise NoteError("base64 in a spelling that is not canonical")
    return found


def _by_id(keys: Iterable[VerifyKey]) -> dict[tuple[str, bytes], VerifyKey]:
    known: dict[tuple[str, bytes], VerifyKey] = {}
    for key in keys:
        if known.setdefault((key.name, key.key_id), key) != key:
            raise NoteError("two keys share a name and an id")
    return known


def _verify(key: VerifyKey, signature: bytes, text: str) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, text.encode())
    except (InvalidSignature, ValueError):
        raise NoteError("a signature of a known key does not verify") from None


def _read_signature(line: str) -> tuple[str, bytes, bytes]:
    """The key name, key id and signature of one line."""
    name, gap, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not gap:
        raise NoteError("malformed signature line")
    _check_name(name)
    found = decode_base64(encoded)
    if len(found) <= _ID_BYTES:
        raise NoteError("a signature line without a signature")
    return name, found[:_ID_BYTES], found[_ID_BYTES:]


def _read_key(text: str) -> tuple[str, str, bytes]:
    """The name, the claimed key id and the bytes of a key text; the key checks their length."""
    # base64 may hold a plus sign, a name may not
    parts = text.split("+", 2)
    if len(parts) != 3:
        raise NoteError("malformed key")
    name, key_id, encoded = parts
    found = decode_base64(encoded)
    if found[:1] != _ED25519:
        raise NoteError("not an Ed25519 key")
    return name, key_id, found[1:]


def _check_name(name: str) -> None:
    """A key name is not empty and holds no Unicode space, no plus sign, no control."""
    _check_text(name)
    if not name or "+" in name or any(c.isspace() for c in name):
        raise NoteError("a key name has no spaces, no plus sign and is not empty")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise NoteError(f"a key name has at most {MAX_NAME_BYTES} bytes")


def _check_text(text: str) -> None:
    if len(text) > MAX_NOTE_CHARS:
        raise NoteError(f"a note has at most {MAX_NOTE_CHARS} characters")
    if _CONTROL.search(text):
        raise NoteError("a note holds no control character but the newline")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NoteError("a note is valid UTF-8") from None


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
