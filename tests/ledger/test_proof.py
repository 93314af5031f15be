"""Proof files: written as the format says, checked offline, and not to be altered."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.core import merkle
from consentry.ledger import checkpoint as checkpoints
from consentry.ledger import proof as proofs
from consentry.ledger.checkpoint import Checkpoint
from consentry.ledger.note import NoteError, SigningKey
from consentry.ledger.proof import Proof, ProofError, Proven

KEY = SigningKey("ledger.example/log", bytes(range(32)))
OTHER_LOG = SigningKey("ledger.example/other", bytes(range(32)))
RECORDS = [f"record {index}".encode() for index in range(13)]
LEAVES = [merkle.leaf_hash(record) for record in RECORDS]


def signed(leaves: list[bytes], key: SigningKey = KEY) -> str:
    return checkpoints.format(Checkpoint(key.name, len(leaves), merkle.root(leaves)), key)


def flips(text: str) -> Iterator[str]:
    data = text.encode()
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield changed.decode("utf-8", "surrogateescape")


PROOF = proofs.prove(LEAVES, 6, signed(LEAVES), KEY.verify_key)
FIRST, SECOND = sha256(b"hash1").digest(), sha256(b"hash2").digest()
FIRST_TEXT, SECOND_TEXT = (base64.b64encode(found).decode() for found in (FIRST, SECOND))


@pytest.mark.parametrize(
    ("proof", "text"),
    [  # the same cases as in transparency-dev/formats: proof/tlog_proof_test.go
        (
            Proof(5, (FIRST, SECOND), "test checkpoint\n"),
            f"c2sp.org/tlog-proof@v1\nindex 5\n{FIRST_TEXT}\n{SECOND_TEXT}\n\ntest checkpoint\n",
        ),
        (
            Proof(10, (FIRST,), "checkpoint data\n", b"extra information"),
            "c2sp.org/tlog-proof@v1\nextra ZXh0cmEgaW5mb3JtYXRpb24=\nindex 10\n"
            f"{FIRST_TEXT}\n\ncheckpoint data\n",
        ),
        (Proof(0, (), "checkpoint\n"), "c2sp.org/tlog-proof@v1\nindex 0\n\ncheckpoint\n"),
    ],
)
def test_a_proof_is_written_as_the_format_says(proof: Proof, text: str) -> None:
    assert proofs.format(proof) == text
    assert proofs.parse(text) == proof


def test_a_record_is_proven_with_nothing_but_a_public_key() -> None:
    proven = proofs.verify(PROOF, b"record 6", KEY.verify_key)
    assert proven == Proven(6, Checkpoint(KEY.name, 13, merkle.root(LEAVES)))


def test_an_older_checkpoint_still_proves_its_leaves() -> None:
    text = proofs.prove(LEAVES, 6, signed(LEAVES[:7]), KEY.verify_key)
    assert proofs.verify(text, b"record 6", KEY.verify_key).checkpoint.size == 7


def test_a_log_of_one_record_has_a_proof_without_hashes() -> None:
    text = proofs.prove(LEAVES, 0, signed(LEAVES[:1]), KEY.verify_key)
    assert "\nindex 0\n\n" in text
    assert proofs.verify(text, b"record 0", KEY.verify_key).index == 0


def test_a_proof_proves_no_other_record() -> None:
    for other in [*RECORDS[:6], *RECORDS[7:], b"", b"record 6\n", LEAVES[6]]:
        with pytest.raises(ProofError, match="do not lead"):
            proofs.verify(PROOF, other, KEY.verify_key)


def test_a_proof_of_another_log_is_refused() -> None:
    text = proofs.prove(LEAVES, 6, signed(LEAVES, OTHER_LOG), OTHER_LOG.verify_key)
    assert proofs.verify(text, b"record 6", OTHER_LOG.verify_key).index == 6
    with pytest.raises(NoteError):
        proofs.verify(text, b"record 6", KEY.verify_key)


def test_no_bit_of_a_proof_can_be_flipped() -> None:
    for other in flips(PROOF):
        with pytest.raises(NoteError):
            proofs.verify(other, b"record 6", KEY.verify_key)


def test_no_byte_of_a_proof_can_be_left_out_or_doubled() -> None:
    for place in range(len(PROOF)):
        for other in (PROOF[:place] + PROOF[place + 1 :], PROOF[: place + 1] + PROOF[place:]):
            with pytest.raises(NoteError):
                proofs.verify(other, b"record 6", KEY.verify_key)


def test_extra_can_be_changed_by_anyone_and_changes_nothing_that_is_proven() -> None:
    checkpoint = signed(LEAVES)
    text = proofs.prove(LEAVES, 6, checkpoint, KEY.verify_key, extra=b"seen by nobody")
    proven = proofs.verify(text, b"record 6", KEY.verify_key)
    forged = text.replace(base64.b64encode(b"seen by nobody").decode(), "Zm9yZ2Vk")
    assert proofs.parse(forged).extra == b"forged"
    assert proofs.verify(forged, b"record 6", KEY.verify_key) == proven
    assert proven == proofs.verify(PROOF, b"record 6", KEY.verify_key)


HASH = FIRST_TEXT
MALFORMED = {
    "empty": "",
    "only a header": "c2sp.org/tlog-proof@v1\n",
    "another version": "c2sp.org/tlog-proof@v2\nindex 0\n\nx\n",
    "no header": "index 0\n\nx\n",
    "a space after the header": "c2sp.org/tlog-proof@v1 \nindex 0\n\nx\n",
    "carriage returns": "c2sp.org/tlog-proof@v1\r\nindex 0\r\n\r\nx\r\n",
    "no index": "c2sp.org/tlog-proof@v1\n\nx\n",
    "extra but no index": "c2sp.org/tlog-proof@v1\nextra AAAA\n\nx\n",
    "no number": "c2sp.org/tlog-proof@v1\nindex \n\nx\n",
    "a word for a number": "c2sp.org/tlog-proof@v1\nindex notanumber\n\nx\n",
    "a negative index": "c2sp.org/tlog-proof@v1\nindex -1\n\nx\n",
    "a leading zero": "c2sp.org/tlog-proof@v1\nindex 01\n\nx\n",
    "two spaces": "c2sp.org/tlog-proof@v1\nindex  1\n\nx\n",
    "an index that no log has": f"c2sp.org/tlog-proof@v1\nindex {2**63 - 1}\n\nx\n",
    "empty extra": "c2sp.org/tlog-proof@v1\nextra \nindex 0\n\nx\n",
    "extra that is not base64": "c2sp.org/tlog-proof@v1\nextra !!!!\nindex 0\n\nx\n",
    "extra twice": "c2sp.org/tlog-proof@v1\nextra AAAA\nextra AAAA\nindex 0\n\nx\n",
    "extra after the index": "c2sp.org/tlog-proof@v1\nindex 0\nextra AAAA\n\nx\n",
    "too much extra": f"c2sp.org/tlog-proof@v1\nextra {'AAAA' * 21846}\nindex 0\n\nx\n",
    "index twice": "c2sp.org/tlog-proof@v1\nindex 0\nindex 0\n\nx\n",
    "a hash that is not base64": "c2sp.org/tlog-proof@v1\nindex 0\n!!!!\n\nx\n",
    "a short hash": "c2sp.org/tlog-proof@v1\nindex 0\nAAAA\n\nx\n",
    "a space after a hash": f"c2sp.org/tlog-proof@v1\nindex 0\n{HASH} \n\nx\n",
    "too many hashes": "c2sp.org/tlog-proof@v1\nindex 0\n" + f"{HASH}\n" * 65 + "\nx\n",
    "no empty line": f"c2sp.org/tlog-proof@v1\nindex 0\n{HASH}\nx\n",
    "no checkpoint": f"c2sp.org/tlog-proof@v1\nindex 0\n{HASH}\n\n",
    "too long": "c2sp.org/tlog-proof@v1\nindex 0\n\n" + "x" * 1_100_000,
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_proof_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        proofs.parse(text)


def test_the_index_must_be_covered_by_the_checkpoint() -> None:
    text = proofs.format(Proof(13, proofs.parse(PROOF).hashes, signed(LEAVES)))
    with pytest.raises(ProofError):
        proofs.verify(text, b"record 6", KEY.verify_key)


@pytest.mark.parametrize("index", [-1, 7, 13])
def test_no_proof_is_made_for_a_leaf_the_checkpoint_does_not_cover(index: int) -> None:
    with pytest.raises(ProofError, match="cover"):
        proofs.prove(LEAVES, index, signed(LEAVES[:7]), KEY.verify_key)


def test_no_proof_is_made_from_fewer_leaves_than_were_signed() -> None:
    with pytest.raises(ProofError, match="cover"):
        proofs.prove(LEAVES[:12], 6, signed(LEAVES), KEY.verify_key)


@pytest.mark.parametrize("changed", range(13))
def test_no_proof_is_made_once_any_leaf_has_been_changed(changed: int) -> None:
    tampered = [*LEAVES]
    tampered[changed] = merkle.leaf_hash(b"something that was never said")
    with pytest.raises(ProofError, match="root that was signed"):
        proofs.prove(tampered, 6, signed(LEAVES), KEY.verify_key)


# --- laws --------------------------------------------------------------------------------

hashes = st.binary(min_size=32, max_size=32)


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=40, unique=True), st.data())
@settings(deadline=None)
def test_every_record_of_every_log_can_be_proven_and_no_other(
    records: list[bytes], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(records) - 1))
    other = data.draw(st.sampled_from(records))
    leaves = [merkle.leaf_hash(record) for record in records]
    text = proofs.prove(leaves, index, signed(leaves), KEY.verify_key)
    assert proofs.verify(text, records[index], KEY.verify_key).index == index
    if other != records[index]:
        with pytest.raises(ProofError):
            proofs.verify(text, other, KEY.verify_key)


@given(
    st.integers(0, merkle.MAX_SIZE - 1),
    st.lists(hashes, max_size=64).map(tuple),
    st.text(min_size=1, max_size=40),
    st.none() | st.binary(min_size=1, max_size=40),
)
@settings(deadline=None)
def test_a_proof_reads_back_as_it_was_written(
    index: int, found: tuple[bytes, ...], checkpoint: str, extra: bytes | None
) -> None:
    proof = Proof(index, found, checkpoint, extra)
    assert proofs.parse(proofs.format(proof)) == proof


@given(st.text(max_size=60), st.integers(0, 4))
@settings(deadline=None)
def test_noise_is_refused_and_breaks_nothing(noise: str, place: int) -> None:
    lines = PROOF.split("\n")
    lines[place] = noise
    text = "\n".join(lines)
    if text != PROOF:
        with pytest.raises(NoteError):
            proofs.verify(text, b"record 6", KEY.verify_key)
    with pytest.raises(NoteError):
        proofs.verify(noise, b"record 6", KEY.verify_key)
