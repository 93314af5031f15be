"""Proofs that can be checked years later, offline, with a public key and nothing of ours.

The format is C2SP tlog-proof (https://c2sp.org/tlog-proof), kept in ``.tlog-proof`` files:

    c2sp.org/tlog-proof@v1
    extra <base64>            only where there is any; not covered by the proof
    index <number>
    <base64 of one hash>      from the leaf's sibling up; none for a tree of one leaf
                              (an empty line)
    <the signed checkpoint, word for word>
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from consentry.core import merkle
from consentry.ledger import checkpoint as checkpoints
from consentry.ledger.checkpoint import Checkpoint, parse_count
from consentry.ledger.note import MAX_NOTE_CHARS, NoteError, VerifyKey, decode_base64

HEADER = "c2sp.org/tlog-proof@v1"
MAX_EXTRA_BYTES = 65_536

_EXTRA = "extra "
_INDEX = "index "
_MAX_HEAD_CHARS = 100_000  # the longest head: extra in base64 and 64 lines of hashes
_MAX_CHARS = _MAX_HEAD_CHARS + MAX_NOTE_CHARS


class ProofError(NoteError):
    """The proof is malformed, or it does not prove that the leaf is in the log."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof as it is written down; having one proves nothing before ``verify``.

    ``index`` counts leaves from 0. ``hashes`` are 32 bytes each, leaf's sibling first.
    ``checkpoint`` is the signed note as text. ``extra`` is for the reader's convenience:
    anyone can change it without breaking the proof. Raises ``ProofError`` for what the
    format cannot hold.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: str
    extra: bytes | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.index < merkle.MAX_SIZE:
            raise ProofError("the index is out of range")
        if len(self.hashes) > merkle.MAX_PROOF_HASHES:
            raise ProofError(f"a proof has at most {merkle.MAX_PROOF_HASHES} hashes")
        if any(len(found) != merkle.HASH_BYTES for found in self.hashes):
            raise ProofError(f"a hash has {merkle.HASH_BYTES} bytes")
        if not self.checkpoint:
            raise ProofError("a proof needs its checkpoint")
        if self.extra is not None and not 0 < len(self.extra) <= MAX_EXTRA_BYTES:
            raise ProofError(f"extra is left out or has 1 to {MAX_EXTRA_BYTES} bytes")


@dataclass(frozen=True, slots=True)
class Proven:
    """What a proof has shown: the leaf stands at ``index`` of the log at ``checkpoint``."""

    index: int
    checkpoint: Checkpoint


def prove(
    leaf_hashes: Sequence[bytes],
    index: int,
    signed_checkpoint: str,
    verify_key: VerifyKey,
    extra: bytes | None = None,
) -> str:
    """The proof text for one leaf, from the log's leaf hashes and one of its checkpoints.

    The checkpoint may be older than the newest leaf, but must cover ``index``. Linear in
    the checkpoint's size. The proof is checked before it is handed out: raises
    ``ProofError`` when the checkpoint does not cover the leaf, or is not the root of these
    leaf hashes, which means that one of the two was tampered with. Raises ``NoteError``
    when the checkpoint is not signed by ``verify_key``.
    """
    head = checkpoints.parse(signed_checkpoint, verify_key)
    if not 0 <= index < head.size <= len(leaf_hashes):
        raise ProofError("the checkpoint and the leaf hashes do not cover the index")
    hashes = merkle.inclusion_proof(leaf_hashes, index, head.size)
    if not merkle.verify_inclusion(leaf_hashes[index], index, head.size, hashes, head.root):
        raise ProofError("the leaf hashes do not have the root that was signed")
    return format(Proof(index, tuple(hashes), signed_checkpoint, extra))


def format(proof: Proof) -> str:
    """The text of ``proof``, to be stored with the extension ``.tlog-proof``."""
    lines = [HEADER]
    if proof.extra is not None:
        lines.append(_EXTRA + _base64(proof.extra))
    lines.append(f"{_INDEX}{proof.index}")
    lines.extend(_base64(found) for found in proof.hashes)
    return "\n".join(lines) + "\n\n" + proof.checkpoint


def parse(text: str) -> Proof:
    """Read the text of a proof without believing it.

    Raises ``NoteError`` for anything but the one spelling ``format`` would write. The
    checkpoint is taken as it stands; only ``verify`` looks into it.
    """
    if len(text) > _MAX_CHARS:
        raise ProofError(f"a proof has at most {_MAX_CHARS} characters")
    head, _, checkpoint = text.partition("\n\n")
    header, *lines = head.split("\n")
    if header != HEADER:
        raise ProofError("not a tlog-proof of version 1")
    extra = None
    if lines and lines[0].startswith(_EXTRA):
        extra = decode_base64(lines.pop(0).removeprefix(_EXTRA))
    if not lines or not lines[0].startswith(_INDEX):
        raise ProofError("the index line is missing")
    index = parse_count(lines.pop(0).removeprefix(_INDEX))
    return Proof(index, tuple(decode_base64(line) for line in lines), checkpoint, extra)


def verify(proof_text: str, leaf: bytes, verify_key: VerifyKey) -> Proven:
    """Check that the log of ``verify_key`` holds exactly ``leaf``, and say where.

    ``leaf`` is the leaf's content, not its hash. ``extra`` is not returned, because nothing
    vouches for it. Raises ``NoteError`` when the proof is malformed or the checkpoint is
    not signed by the key, and ``ProofError`` when the hashes do not lead from the leaf to
    the signed root. Returning is the only yes.
    """
    proof = parse(proof_text)
    head = checkpoints.parse(proof.checkpoint, verify_key)
    found = merkle.leaf_hash(leaf)
    if not merkle.verify_inclusion(found, proof.index, head.size, proof.hashes, head.root):
        raise ProofError("the hashes do not lead from this leaf to the signed root")
    return Proven(proof.index, head)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
