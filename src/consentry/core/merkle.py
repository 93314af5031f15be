"""The Merkle tree of RFC 6962: hashes, roots and the two proofs.

A leaf is hashed with a leading ``00`` byte and an inner node with a leading ``01`` byte,
so that no leaf can pass for a node. A tree of n > 1 leaves splits at the largest power of
two below n: the left part is always full, the right part is ragged. Everything below
follows from that rule.

* An *inclusion proof* shows that a leaf stands at an index of the tree with this root.
* A *consistency proof* shows that the tree with the new root begins with every leaf, in
  order, of the tree with the old root. Nothing was changed, moved or removed.

Making a proof is asking for the roots of a few ranges of leaves. ``inclusion_ranges`` and
``consistency_ranges`` say which; a store that keeps inner nodes can answer them in O(log n)
without reading the leaves. Checking a proof walks the bits of the sizes instead (RFC 9162,
sections 2.1.3.2 and 2.1.4.2), so a mistake in one half does not hide in the other.

The builders raise ``ValueError`` for a question that has no answer. The verifiers answer
``False`` for anything that does not prove the claim, and never raise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()  # RFC 6962 section 2.1: the root of a tree without leaves
MAX_SIZE = 2**63 - 1  # what a signed 64-bit column can hold
MAX_PROOF_HASHES = 64  # no proof over MAX_SIZE leaves is longer

_LEAF = b"\x00"
_NODE = b"\x01"
_SIZE_BYTES = 8


def leaf_hash(data: bytes) -> bytes:
    """The hash of one leaf, 32 bytes (RFC 6962 section 2.1)."""
    return sha256(_LEAF + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node over two hashes, 32 bytes (RFC 6962 section 2.1).

    Raises ``ValueError`` when a side is not 32 bytes long.
    """
    _check_hashes((left, right))
    return sha256(_NODE + left + right).digest()


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root of the tree over these leaf hashes, 32 bytes; ``EMPTY_ROOT`` for none.

    Linear in time. Raises ``ValueError`` when a hash is not 32 bytes long.
    """
    _check_hashes(leaf_hashes)
    return _root(leaf_hashes)


def inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """The ranges ``[start, end)`` whose roots are the inclusion proof, leaf's sibling first.

    ``index`` counts from 0, ``size`` is the number of leaves (RFC 6962 section 2.1.1).
    Raises ``ValueError`` when the tree has no such leaf.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    ranges = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    ranges.reverse()
    return ranges


def consistency_ranges(old_size: int, new_size: int) -> list[tuple[int, int]]:
    """The ranges ``[start, end)`` whose roots are the consistency proof, in proof order.

    Empty when the sizes are equal or the old tree is empty: there is nothing to prove
    (RFC 6962 section 2.1.2). Raises ``ValueError`` unless ``0 <= old_size <= new_size``.
    """
    if not 0 <= old_size <= new_size <= MAX_SIZE:
        raise ValueError(f"a tree of {new_size} cannot extend a tree of {old_size}")
    if old_size == 0:
        return []
    ranges = []
    start, end = 0, new_size
    while old_size < end:
        middle = start + _split(end - start)
        if old_size <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    if start > 0:  # else the part that is left is the old tree, whose root the verifier has
        ranges.append((start, end))
    ranges.reverse()
    return ranges


def inclusion_proof(leaf_hashes: Sequence[bytes], index: int, size: int) -> list[bytes]:
    """The hashes that lead from leaf ``index`` to the root of the first ``size`` leaves.

    Linear in ``size``, at most one hash per level of the tree. Raises ``ValueError`` when
    ``leaf_hashes`` is shorter than ``size``, there is no such leaf, or a hash is not 32
    bytes long.
    """
    return _roots_of(leaf_hashes, size, inclusion_ranges(index, size))


def consistency_proof(leaf_hashes: Sequence[bytes], old_size: int, new_size: int) -> list[bytes]:
    """The hashes that show the first ``new_size`` leaves begin with the first ``old_size``.

    Linear in ``new_size``. Raises ``ValueError`` when ``leaf_hashes`` is shorter than
    ``new_size``, the sizes are in the wrong order, or a hash is not 32 bytes long.
    """
    return _roots_of(leaf_hashes, new_size, consistency_ranges(old_size, new_size))


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected_root: bytes
) -> bool:
    """Whether ``proof`` shows the leaf hash ``leaf`` at ``index`` (RFC 9162 section 2.1.3.2).

    ``size`` and ``expected_root`` must come from one trusted place: a size alone is not
    bound by the hashes.
    """
    if not 0 <= index < size <= MAX_SIZE or not _are_hashes((leaf, expected_root, *proof)):
        return False
    position, last = index, size - 1
    found = leaf
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            found = node_hash(sibling, found)
            # A ragged right edge has no sibling on these levels.
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and found == expected_root


def verify_consistency(
    old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Whether ``proof`` shows that the new tree extends the old (RFC 9162 section 2.1.4.2).

    Every tree extends the empty one: then the proof must be empty and ``old_root`` be
    ``EMPTY_ROOT``, and nothing is said about ``new_root``.
    """
    if not 0 <= old_size <= new_size <= MAX_SIZE:
        return False
    if not _are_hashes((old_root, new_root, *proof)):
        return False
    if old_size == new_size:
        return not proof and old_root == new_root and (old_size > 0 or old_root == EMPTY_ROOT)
    if old_size == 0:
        return not proof and old_root == EMPTY_ROOT
    if not proof:
        return False
    return _walk_consistency(old_size, new_size, old_root, new_root, proof)


@dataclass(frozen=True, slots=True)
class Frontier:
    """What must be kept of a tree to go on appending: at most one hash per level.

    ``peaks`` are the roots of the full subtrees, widest first; there is one for every bit
    that is set in ``size``. Raises ``ValueError`` when the two do not belong together.
    """

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_SIZE:
            raise ValueError(f"a tree cannot have {self.size} leaves")
        if len(self.peaks) != self.size.bit_count():
            raise ValueError(f"{len(self.peaks)} peaks do not make a tree of {self.size}")
        _check_hashes(self.peaks)

    def append(self, leaf: bytes) -> Frontier:
        """The frontier with one more leaf hash; amortised constant time."""
        return self.extend((leaf,))

    def extend(self, leaves: Iterable[bytes]) -> Frontier:
        """The frontier with these leaf hashes added in order; linear in their number.

        Raises ``ValueError`` when a hash is not 32 bytes long.
        """
        size, peaks = self.size, list(self.peaks)
        for leaf in leaves:
            _check_hashes((leaf,))
            node, carry = leaf, size
            while carry & 1:  # adding one to the size carries like binary addition
                node = sha256(_NODE + peaks.pop() + node).digest()
                carry >>= 1
            peaks.append(node)
            size += 1
        return Frontier(size, tuple(peaks))

    def root(self) -> bytes:
        """The root of the whole tree, 32 bytes; ``EMPTY_ROOT`` for an empty one."""
        if not self.peaks:
            return EMPTY_ROOT
        found = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            found = node_hash(peak, found)
        return found

    def to_bytes(self) -> bytes:
        """The size as 8 bytes, big-endian, then the peaks of 32 bytes each, widest first."""
        return self.size.to_bytes(_SIZE_BYTES, "big") + b"".join(self.peaks)

    @classmethod
    def from_bytes(cls, stored: bytes) -> Frontier:
        """The frontier that ``to_bytes`` wrote.

        Raises ``ValueError`` when the length does not fit the size. It cannot notice other
        damage: compare ``root()`` with a checkpoint before trusting what was stored.
        """
        size = int.from_bytes(stored[:_SIZE_BYTES], "big")
        body = stored[_SIZE_BYTES:]
        if len(stored) < _SIZE_BYTES or len(body) != HASH_BYTES * size.bit_count():
            raise ValueError(f"{len(stored)} bytes do not hold a frontier")
        starts = range(0, len(body), HASH_BYTES)
        return cls(size, tuple(body[start : start + HASH_BYTES] for start in starts))


def _split(size: int) -> int:
    """The largest power of two below ``size``, which is at least 2."""
    return 1 << ((size - 1).bit_length() - 1)


def _root(level: Sequence[bytes]) -> bytes:
    """The root, level by level: pair what pairs, carry an odd last one up unchanged.

    That is the RFC's tree, because the split at a power of two leaves the same odd one.
    """
    if not level:
        return EMPTY_ROOT
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        above = [sha256(_NODE + left + right).digest() for left, right in pairs]
        if len(level) & 1:
            above.append(level[-1])
        level = above
    return level[0]


def _roots_of(
    leaf_hashes: Sequence[bytes], size: int, ranges: Iterable[tuple[int, int]]
) -> list[bytes]:
    if len(leaf_hashes) < size:
        raise ValueError(f"{len(leaf_hashes)} leaf hashes are not a tree of {size}")
    return [root(leaf_hashes[start:end]) for start, end in ranges]


def _walk_consistency(
    old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    # A full old tree is itself the first node, so the proof leaves it out.
    full = old_size & (old_size - 1) == 0
    hashes = [old_root, *proof] if full else list(proof)
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old_found = new_found = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            old_found = node_hash(sibling, old_found)
            new_found = node_hash(sibling, new_found)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            new_found = node_hash(new_found, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and old_found == old_root and new_found == new_root


def _are_hashes(values: Iterable[bytes]) -> bool:
    return all(len(value) == HASH_BYTES for value in values)


def _check_hashes(values: Iterable[bytes]) -> None:
    if not _are_hashes(values):
        raise ValueError(f"a hash must be {HASH_BYTES} bytes long")
