"""The tree against the reference vectors, a naive twin, and tampering."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.core import merkle

# The reference vectors of the certificate-transparency project, which every RFC 6962
# implementation shares (transparency-dev/merkle: testonly/constants.go).
LEAVES = [
    bytes.fromhex(data)
    for data in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
HASHES = [merkle.leaf_hash(data) for data in LEAVES]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {  # (index, size): proof
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {  # (old size, new size): proof
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


def test_the_reference_roots() -> None:
    for size, expected in enumerate(ROOTS):
        assert merkle.root(HASHES[:size]).hex() == expected
        assert merkle.Frontier().extend(HASHES[:size]).root().hex() == expected


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_the_reference_inclusion_proofs(index: int, size: int) -> None:
    proof = merkle.inclusion_proof(HASHES, index, size)
    assert [found.hex() for found in proof] == INCLUSION[index, size]
    root = bytes.fromhex(ROOTS[size])
    assert merkle.verify_inclusion(HASHES[index], index, size, proof, root)


@pytest.mark.parametrize(("old", "new"), CONSISTENCY)
def test_the_reference_consistency_proofs(old: int, new: int) -> None:
    proof = merkle.consistency_proof(HASHES, old, new)
    assert [found.hex() for found in proof] == CONSISTENCY[old, new]
    old_root, new_root = bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[new])
    assert merkle.verify_consistency(old, new, old_root, new_root, proof)


# --- a naive twin: the definitions of RFC 6962 section 2.1, word for word ----------------

MANY = [merkle.leaf_hash(index.to_bytes(2, "big")) for index in range(300)]


def split(size: int) -> int:
    k = 1
    while k * 2 < size:
        k *= 2
    return k


@cache
def mth(start: int, end: int) -> bytes:
    if end == start:
        return sha256(b"").digest()
    if end - start == 1:
        return MANY[start]
    k = start + split(end - start)
    return sha256(b"\x01" + mth(start, k) + mth(k, end)).digest()


def path(index: int, start: int, end: int) -> list[bytes]:
    if end - start == 1:
        return []
    k = split(end - start)
    if index < k:
        return [*path(index, start, start + k), mth(start + k, end)]
    return [*path(index - k, start + k, end), mth(start, start + k)]


def subproof(m: int, start: int, end: int, known: bool) -> list[bytes]:
    if m == end - start:
        return [] if known else [mth(start, end)]
    k = split(end - start)
    if m <= k:
        return [*subproof(m, start, start + k, known), mth(start + k, end)]
    return [*subproof(m - k, start + k, end, False), mth(start, start + k)]


def sample(size: int) -> list[int]:
    """Every value up to a small size, then the edges and a few that move with the size."""
    if size <= 20:
        return list(range(size))
    return sorted({0, 1, split(size) - 1, split(size), size * 7 % 11, size // 3, size - 1})


def test_every_tree_up_to_300_leaves_has_the_root_of_the_naive_tree() -> None:
    frontier = merkle.Frontier()
    for size in range(301):
        assert merkle.root(MANY[:size]) == mth(0, size)
        assert frontier.root() == mth(0, size)
        if size < 300:
            frontier = frontier.append(MANY[size])


def test_inclusion_proofs_are_those_of_the_naive_tree() -> None:
    for size in range(1, 301):
        for index in sample(size):
            proof = merkle.inclusion_proof(MANY, index, size)
            assert proof == path(index, 0, size)
            assert merkle.verify_inclusion(MANY[index], index, size, proof, mth(0, size))


def test_consistency_proofs_are_those_of_the_naive_tree() -> None:
    for new in range(1, 301):
        for old in [*sample(new), new]:
            proof = merkle.consistency_proof(MANY, old, new)
            assert proof == (subproof(old, 0, new, True) if old else [])
            assert merkle.verify_consistency(old, new, mth(0, old), mth(0, new), proof)


# --- tampering ---------------------------------------------------------------------------


def flips(data: bytes) -> Iterator[bytes]:
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def flipped_proofs(proof: Sequence[bytes]) -> Iterator[list[bytes]]:
    for place, found in enumerate(proof):
        for other in flips(found):
            yield [*proof[:place], other, *proof[place + 1 :]]


def mangled_proofs(proof: list[bytes], *known: bytes) -> Iterator[list[bytes]]:
    """Cut, lengthened, reordered: proofs of the wrong shape."""
    yield proof[:-1]
    yield proof[1:]
    yield proof[::-1]
    for extra in (bytes(32), b"", *known):
        yield [extra, *proof]
        yield [*proof, extra]
    yield [*proof[:-1], proof[-1][:-1]]
    yield [*proof[:-1], proof[-1] + b"\x00"]


@pytest.mark.parametrize(("index", "size"), [(6, 13), (12, 13), (0, 8), (2, 3)])
def test_no_bit_of_an_inclusion_proof_can_be_flipped(index: int, size: int) -> None:
    leaf, root = MANY[index], mth(0, size)
    proof = merkle.inclusion_proof(MANY, index, size)
    assert merkle.verify_inclusion(leaf, index, size, proof, root)
    for other in flipped_proofs(proof):
        assert not merkle.verify_inclusion(leaf, index, size, other, root)
    for other_leaf in flips(leaf):
        assert not merkle.verify_inclusion(other_leaf, index, size, proof, root)
    for other_root in flips(root):
        assert not merkle.verify_inclusion(leaf, index, size, proof, other_root)
    for other_index in set(range(-1, size + 2)) - {index}:
        assert not merkle.verify_inclusion(leaf, other_index, size, proof, root)


@pytest.mark.parametrize(("old", "new"), [(6, 13), (8, 13), (12, 13), (1, 2), (7, 8)])
def test_no_bit_of_a_consistency_proof_can_be_flipped(old: int, new: int) -> None:
    old_root, new_root = mth(0, old), mth(0, new)
    proof = merkle.consistency_proof(MANY, old, new)
    assert merkle.verify_consistency(old, new, old_root, new_root, proof)
    for other in flipped_proofs(proof):
        assert not merkle.verify_consistency(old, new, old_root, new_root, other)
    for other_root in flips(old_root):
        assert not merkle.verify_consistency(old, new, other_root, new_root, proof)
    for other_root in flips(new_root):
        assert not merkle.verify_consistency(old, new, old_root, other_root, proof)
    assert not merkle.verify_consistency(old, new, new_root, old_root, proof)
    assert not merkle.verify_consistency(new, old, new_root, old_root, proof)


def test_a_proof_of_the_wrong_shape_proves_nothing() -> None:
    proof, root = merkle.inclusion_proof(MANY, 6, 13), mth(0, 13)
    for other in mangled_proofs(proof, MANY[6], root):
        assert not merkle.verify_inclusion(MANY[6], 6, 13, other, root)
    proof, old_root = merkle.consistency_proof(MANY, 6, 13), mth(0, 6)
    for other in [*mangled_proofs(proof, old_root, root), []]:
        assert not merkle.verify_consistency(6, 13, old_root, root, other)


def test_a_proof_does_not_climb_above_the_tree_of_its_size() -> None:
    root = merkle.root(HASHES[:2])
    assert merkle.verify_inclusion(HASHES[1], 1, 2, [HASHES[0]], root)
    assert not merkle.verify_inclusion(HASHES[1], 0, 1, [HASHES[0]], root)


def test_a_leaf_cannot_pass_for_a_node() -> None:
    inside = HASHES[0] + HASHES[1]
    assert merkle.leaf_hash(inside) != merkle.node_hash(HASHES[0], HASHES[1])
    assert merkle.root([merkle.leaf_hash(inside)]) != merkle.root(HASHES[:2])


# --- edges and limits --------------------------------------------------------------------


def test_what_the_empty_tree_is_consistent_with() -> None:
    empty, root = merkle.EMPTY_ROOT, mth(0, 5)
    assert merkle.consistency_proof(MANY, 0, 5) == []
    assert merkle.verify_consistency(0, 5, empty, root, [])
    assert merkle.verify_consistency(0, 0, empty, empty, [])
    assert not merkle.verify_consistency(0, 0, root, root, [])
    assert not merkle.verify_consistency(0, 5, root, root, [])
    assert not merkle.verify_consistency(0, 5, empty, root, [root])
    assert not merkle.verify_consistency(5, 5, root, root, [root])
    assert not merkle.verify_consistency(5, 5, root, empty, [])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 3), (3, 3), (0, 9), (0, 2**63)])
def test_there_is_no_inclusion_proof_for_a_leaf_that_is_not_there(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="tree of"):
        merkle.inclusion_proof(HASHES, index, size)


@pytest.mark.parametrize(("old", "new"), [(-1, 3), (4, 3), (1, 9), (0, 9), (1, 2**63)])
def test_there_is_no_consistency_proof_for_sizes_that_make_no_sense(old: int, new: int) -> None:
    with pytest.raises(ValueError, match="tree of"):
        merkle.consistency_proof(HASHES, old, new)


def test_a_hash_of_the_wrong_length_is_refused() -> None:
    for wrong in (b"", bytes(31), bytes(33)):
        with pytest.raises(ValueError, match="32 bytes"):
            merkle.root([HASHES[0], wrong])
        with pytest.raises(ValueError, match="32 bytes"):
            merkle.node_hash(HASHES[0], wrong)
        with pytest.raises(ValueError, match="32 bytes"):
            merkle.inclusion_proof([HASHES[0], wrong], 0, 2)
        with pytest.raises(ValueError, match="32 bytes"):
            merkle.Frontier().append(wrong)


def test_a_million_leaves_are_a_short_walk() -> None:
    size, index, leaf = 1_000_000, 765_432, HASHES[3]

    @cache
    def alike(count: int) -> bytes:  # all leaves are equal, so a root depends on its size only
        if count == 1:
            return leaf
        k = split(count)
        return merkle.node_hash(alike(k), alike(count - k))

    leaves = [leaf] * size
    proof = merkle.inclusion_proof(leaves, index, size)
    assert len(proof) == 20
    assert merkle.verify_inclusion(leaf, index, size, proof, alike(size))
    proof = merkle.consistency_proof(leaves, 750_000, size)
    assert merkle.verify_consistency(750_000, size, alike(750_000), alike(size), proof)


def test_the_largest_tree_needs_no_more_hashes_than_the_limit() -> None:
    largest = merkle.MAX_SIZE
    for index in (0, 1, largest // 2, largest - 1):
        assert len(merkle.inclusion_ranges(index, largest)) <= merkle.MAX_PROOF_HASHES
        assert len(merkle.consistency_ranges(index + 1, largest)) <= merkle.MAX_PROOF_HASHES


def test_a_frontier_that_does_not_add_up_is_refused() -> None:
    stored = merkle.Frontier().extend(MANY[:13]).to_bytes()
    assert len(stored) == 8 + 3 * 32
    broken = [
        b"",
        stored[:7],
        stored[:-1],
        stored + b"\x00",
        stored[:-32],
        (12).to_bytes(8, "big") + stored[8:],
        b"\xff" * 8 + bytes(64 * 32),
    ]
    for other in broken:
        with pytest.raises(ValueError, match=r"frontier|leaves"):
            merkle.Frontier.from_bytes(other)
    with pytest.raises(ValueError, match="peaks"):
        merkle.Frontier(3, (HASHES[0],))


# --- laws --------------------------------------------------------------------------------

trees = st.lists(st.binary(max_size=4), min_size=1, max_size=70).map(
    lambda leaves: [merkle.leaf_hash(data) for data in leaves]
)


@given(trees, st.data())
@settings(deadline=None)
def test_a_frontier_goes_on_after_a_restart_as_if_nothing_had_happened(
    leaves: list[bytes], data: st.DataObject
) -> None:
    stop = data.draw(st.integers(0, len(leaves)))
    stored = merkle.Frontier().extend(leaves[:stop]).to_bytes()
    again = merkle.Frontier.from_bytes(stored)
    for leaf in leaves[stop:]:
        again = again.append(leaf)
    assert again == merkle.Frontier().extend(leaves)
    assert again.root() == merkle.root(leaves)
    assert again.size == len(leaves)


@given(trees, st.data())
@settings(deadline=None)
def test_a_leaf_is_proven_where_it_stands_and_no_other_leaf_is(
    leaves: list[bytes], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof = merkle.inclusion_proof(leaves, index, len(leaves))
    root = merkle.root(leaves)
    for other in range(len(leaves)):
        proven = merkle.verify_inclusion(leaves[other], index, len(leaves), proof, root)
        assert proven == (leaves[other] == leaves[index])


@given(trees, st.data())
@settings(deadline=None)
def test_a_log_that_rewrote_its_past_cannot_prove_that_it_did_not(
    leaves: list[bytes], data: st.DataObject
) -> None:
    old = data.draw(st.integers(1, len(leaves)))
    changed = data.draw(st.integers(0, old - 1))
    rewritten = [*leaves]
    rewritten[changed] = merkle.leaf_hash(b"something that was never said")
    old_root, size = merkle.root(leaves[:old]), len(leaves)
    for history, honest in ((leaves, True), (rewritten, False)):
        proof = merkle.consistency_proof(history, old, size)
        verdict = merkle.verify_consistency(old, size, old_root, merkle.root(history), proof)
        assert verdict == honest


noise = st.one_of(st.binary(max_size=33), st.sampled_from(HASHES))


@given(noise, st.integers(-2, 2**65), st.integers(-2, 2**65), st.lists(noise, max_size=70), noise)
@settings(deadline=None)
def test_noise_proves_nothing_and_breaks_nothing(
    first: bytes, low: int, high: int, proof: list[bytes], second: bytes
) -> None:
    if (high != 1 or first != second) and low != high:
        assert not merkle.verify_inclusion(first, low, high, proof, second)
        assert not merkle.verify_consistency(low, high, first, second, proof)
