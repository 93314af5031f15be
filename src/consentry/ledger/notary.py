"""The notary turns records into leaves, grows the tree and signs its head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consentry.core.merkle import Frontier, leaf_hash
from consentry.ledger import checkpoint
from consentry.ledger.checkpoint import Checkpoint
from consentry.ledger.entry import Record, leaf_of
from consentry.ledger.note import SigningKey


@dataclass(frozen=True, slots=True)
class Sealed:
    """What one commit adds to the ledger."""

    leaves: tuple[bytes, ...]
    frontier: Frontier
    checkpoint: str


class Notary:
    """Seals records for one workspace. Holds the signing key; it is never shown."""

    def __init__(self, workspace: str, key: SigningKey) -> None:
        self.workspace = workspace
        self._key = key

    @property
    def origin(self) -> str:
        """The name that checkpoints carry; it is the signing key's."""
        return self._key.name

    def seal(self, records: Sequence[Record], frontier: Frontier) -> Sealed:
        """Leaves for ``records``, in order, after those already in ``frontier``."""
        first = frontier.size
        leaves = tuple(leaf_of(r, first + n, self.workspace) for n, r in enumerate(records))
        grown = frontier.extend([leaf_hash(leaf) for leaf in leaves])
        head = Checkpoint(self._key.name, grown.size, grown.root())
        return Sealed(leaves, grown, checkpoint.format(head, self._key))
