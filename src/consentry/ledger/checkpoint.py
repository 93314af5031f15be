"""Checkpoints: the log's signed word on how many leaves it has and what their root is.

The format is C2SP tlog-checkpoint (https://c2sp.org/tlog-checkpoint), a signed note whose
text is three lines: the origin, the number of leaves, the root in base64.

Two choices are narrower than the format:

* *Extension lines are refused.* The format advises against them, auditors cannot check
  them, and we never write any. A checkpoint that says more than we understand is not ours.
* *The origin is the name of the key.* The format only recommends it. Without it, a key that
  signs for two logs could pass one log's checkpoint off as the other's.

Whoever calls ``format`` promises what no signature can show: that this checkpoint is
consistent with every one signed before (``core.merkle.verify_consistency``).
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from consentry.core import merkle
from consentry.ledger.note import NoteError, SigningKey, VerifyKey, decode_base64, open_note, sign

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")


class CheckpointError(NoteError):
    """What should be a checkpoint is not one, or not one of the expected log."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: ``origin`` names the log, ``size`` counts leaves, ``root`` is 32 bytes.

    Raises ``CheckpointError`` when no tree can look like this.
    """

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not self.origin or "\n" in self.origin:
            raise CheckpointError("the origin is one line and not empty")
        if not 0 <= self.size <= merkle.MAX_SIZE:
            raise CheckpointError(f"the size is between 0 and {merkle.MAX_SIZE}")
        if len(self.root) != merkle.HASH_BYTES:
            raise CheckpointError(f"the root has {merkle.HASH_BYTES} bytes")
        if self.size == 0 and self.root != merkle.EMPTY_ROOT:
            raise CheckpointError("an empty tree has only one root")


def format(checkpoint: Checkpoint, key: SigningKey) -> str:
    """The checkpoint as a note signed with ``key``.

    Raises ``CheckpointError`` when the key is not named for the checkpoint's origin.
    """
    if key.name != checkpoint.origin:
        raise CheckpointError("the key is not named for the origin")
    root = base64.b64encode(checkpoint.root).decode("ascii")
    return sign(f"{checkpoint.origin}\n{checkpoint.size}\n{root}\n", key)


def parse(note: str, verify_key: VerifyKey) -> Checkpoint:
    """The checkpoint in ``note``, once ``verify_key`` has vouched for it.

    Raises ``NoteError`` when the note is malformed or not signed by the key, and
    ``CheckpointError`` when its text is not exactly a checkpoint of the key's log.
    """
    lines = open_note(note, [verify_key]).removesuffix("\n").split("\n")
    if len(lines) != 3:
        raise CheckpointError("a checkpoint has three lines; extension lines are refused")
    origin, size, root = lines
    if origin != verify_key.name:
        raise CheckpointError("the checkpoint is of another log")
    return Checkpoint(origin, parse_count(size), decode_base64(root))


def parse_count(text: str) -> int:
    """A number of leaves or an index: ASCII digits, no sign, no leading zero.

    Raises ``CheckpointError`` for any other spelling, and for more than 19 digits. What the
    number counts has its own limit.
    """
    if not _DECIMAL.fullmatch(text):
        raise CheckpointError("a number is plain decimal without leading zeros")
    return int(text)
