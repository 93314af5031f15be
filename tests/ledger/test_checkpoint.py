"""Checkpoints: read strictly, written for one log only, and not to be altered."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.core import merkle
from consentry.ledger import checkpoint as checkpoints
from consentry.ledger.checkpoint import Checkpoint, CheckpointError
from consentry.ledger.note import NoteError, SigningKey, sign

KEY = SigningKey("ledger.example/log", bytes(range(32)))
STRANGER = SigningKey("ledger.example/log", bytes(32))
ROOT = merkle.leaf_hash(b"a record")
ROOT_TEXT = base64.b64encode(ROOT).decode()
HEAD = Checkpoint("ledger.example/log", 7, ROOT)


def flips(text: str) -> Iterator[str]:
    data = text.encode()
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield changed.decode("utf-8", "surrogateescape")


def test_a_checkpoint_is_three_lines_and_a_signature() -> None:
    note = checkpoints.format(HEAD, KEY)
    assert note.startswith(f"ledger.example/log\n7\n{ROOT_TEXT}\n\n— ledger.example/log ")
    assert note.endswith("=\n")
    assert checkpoints.parse(note, KEY.verify_key) == HEAD


def test_the_example_of_the_format_reads_as_the_format_says() -> None:
    # The text of the example in C2SP tlog-checkpoint, signed with a key we have.
    key = SigningKey("example.com/behind-the-sofa", bytes(32))
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    head = checkpoints.parse(sign(text, key), key.verify_key)
    assert (head.origin, head.size) == ("example.com/behind-the-sofa", 20852163)
    assert head.root.hex().startswith("0ac5186a91863e8e")
    assert checkpoints.format(head, key) == sign(text, key)


def test_no_bit_of_a_checkpoint_can_be_flipped() -> None:
    for other in flips(checkpoints.format(HEAD, KEY)):
        with pytest.raises(NoteError):
            checkpoints.parse(other, KEY.verify_key)


def test_a_checkpoint_of_another_key_is_refused() -> None:
    with pytest.raises(NoteError, match="no known key"):
        checkpoints.parse(checkpoints.format(HEAD, STRANGER), KEY.verify_key)


ORIGIN = "ledger.example/log"
NOT_A_CHECKPOINT = {
    "one line": f"{ORIGIN}\n",
    "two lines": f"{ORIGIN}\n7\n",
    "an extension line": f"{ORIGIN}\n7\n{ROOT_TEXT}\nmore\n",
    "an empty line at the end": f"{ORIGIN}\n7\n{ROOT_TEXT}\n\n",
    "an empty line in front": f"\n{ORIGIN}\n7\n{ROOT_TEXT}\n",
    "another origin": f"ledger.example/other\n7\n{ROOT_TEXT}\n",
    "no origin": f"\n7\n{ROOT_TEXT}\n",
    "a space after the origin": f"{ORIGIN} \n7\n{ROOT_TEXT}\n",
    "no size": f"{ORIGIN}\n\n{ROOT_TEXT}\n",
    "a leading zero": f"{ORIGIN}\n07\n{ROOT_TEXT}\n",
    "two zeros": f"{ORIGIN}\n00\n{ROOT_TEXT}\n",
    "a plus sign": f"{ORIGIN}\n+7\n{ROOT_TEXT}\n",
    "a negative size": f"{ORIGIN}\n-7\n{ROOT_TEXT}\n",
    "an underscore": f"{ORIGIN}\n1_0\n{ROOT_TEXT}\n",
    "a space before the size": f"{ORIGIN}\n 7\n{ROOT_TEXT}\n",
    "digits of another script": f"{ORIGIN}\n٧\n{ROOT_TEXT}\n",
    "hexadecimal": f"{ORIGIN}\n0x7\n{ROOT_TEXT}\n",
    "a size above the limit": f"{ORIGIN}\n{2**63}\n{ROOT_TEXT}\n",
    "a very long size": f"{ORIGIN}\n{'9' * 5000}\n{ROOT_TEXT}\n",
    "a root that is short": f"{ORIGIN}\n7\n{base64.b64encode(ROOT[:31]).decode()}\n",
    "a root that is long": f"{ORIGIN}\n7\n{base64.b64encode(ROOT + b'x').decode()}\n",
    "a root without padding": f"{ORIGIN}\n7\n{ROOT_TEXT.rstrip('=')}\n",
    "a root in hexadecimal": f"{ORIGIN}\n7\n{ROOT.hex()}\n",
    "a root with a space": f"{ORIGIN}\n7\n{ROOT_TEXT} \n",
    "no root": f"{ORIGIN}\n7\n\n",
    "an empty tree with a root": f"{ORIGIN}\n0\n{ROOT_TEXT}\n",
}


@pytest.mark.parametrize("text", NOT_A_CHECKPOINT.values(), ids=NOT_A_CHECKPOINT.keys())
def test_a_signature_does_not_make_a_checkpoint_of_another_text(text: str) -> None:
    with pytest.raises(NoteError):
        checkpoints.parse(sign(text, KEY), KEY.verify_key)


def test_base64_with_stray_bits_is_refused() -> None:
    text = base64.b64encode(bytes(31) + b"\x00").decode()
    assert text.endswith("A=")
    with pytest.raises(NoteError, match="canonical"):
        checkpoints.parse(sign(f"{ORIGIN}\n7\n{text[:-2]}B=\n", KEY), KEY.verify_key)


def test_a_key_signs_for_the_log_it_is_named_for_only() -> None:
    with pytest.raises(CheckpointError, match="named"):
        checkpoints.format(Checkpoint("ledger.example/other", 7, ROOT), KEY)


@pytest.mark.parametrize(
    ("origin", "size", "root"),
    [
        ("", 7, ROOT),
        ("a\nb", 7, ROOT),
        ("a", -1, ROOT),
        ("a", 2**63, ROOT),
        ("a", 7, ROOT[:31]),
        ("a", 7, ROOT + b"\x00"),
        ("a", 0, ROOT),
    ],
)
def test_a_tree_head_that_no_tree_has_cannot_be_made(origin: str, size: int, root: bytes) -> None:
    with pytest.raises(CheckpointError):
        Checkpoint(origin, size, root)


@given(st.integers(1, merkle.MAX_SIZE), st.binary(min_size=32, max_size=32))
@settings(deadline=None)
def test_what_was_signed_is_what_is_read(size: int, root: bytes) -> None:
    head = Checkpoint(KEY.name, size, root)
    assert checkpoints.parse(checkpoints.format(head, KEY), KEY.verify_key) == head


def test_the_empty_log_has_a_checkpoint() -> None:
    head = Checkpoint(KEY.name, 0, merkle.EMPTY_ROOT)
    assert checkpoints.parse(checkpoints.format(head, KEY), KEY.verify_key) == head


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30), st.integers(0, 3))
@settings(deadline=None)
def test_signed_noise_is_refused_and_breaks_nothing(noise: str, place: int) -> None:
    lines = [ORIGIN, "7", ROOT_TEXT]
    if lines[place : place + 1] != [noise]:
        lines[place : place + 1] = [noise]
        size_was_valid = place == 1 and noise.isascii() and noise.isdigit() and noise[0] != "0"
        if not size_was_valid:
            with pytest.raises(NoteError):
                checkpoints.parse(sign("\n".join(lines) + "\n", KEY), KEY.verify_key)
