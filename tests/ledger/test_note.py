"""Signed notes against Go's published vectors, tampering and noise."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.ledger.note import (
    MAX_SIGNATURES,
    NoteError,
    SigningKey,
    VerifyKey,
    open_note,
    sign,
)

# From note_test.go of golang.org/x/mod/sumdb/note; Ed25519 has only one right signature.
PETER_SECRET = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
PETER_PUBLIC = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
ENOCH_PUBLIC = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
PETER_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZ"
    "SNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
ENOCH_LINE = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ov"
    "TG01oOTGwnWLox33WWd1RvMc+QQ=\n"
)
NOTE = f"{TEXT}\n{PETER_LINE}"
PETER = VerifyKey.from_text(PETER_PUBLIC)
ENOCH = VerifyKey.from_text(ENOCH_PUBLIC)
OURS = SigningKey("ledger.example/log", bytes(range(32)))


def flips(text: str) -> Iterator[str]:
    """Every text that differs in one bit; bytes that are not UTF-8 stay in as surrogates."""
    data = text.encode()
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield changed.decode("utf-8", "surrogateescape")


def test_signing_gives_the_note_that_go_publishes() -> None:
    key = SigningKey.from_text(PETER_SECRET)
    assert key.verify_key == PETER
    assert key.verify_key.to_text() == PETER_PUBLIC
    assert key.to_text() == PETER_SECRET
    assert sign(TEXT, key) == NOTE


@pytest.mark.parametrize("keys", [[PETER], [ENOCH], [PETER, ENOCH], [ENOCH, PETER, ENOCH]])
def test_one_known_signature_is_enough(keys: list[VerifyKey]) -> None:
    assert open_note(NOTE + ENOCH_LINE, keys) == TEXT


def test_an_unknown_signature_is_passed_over_but_never_suffices() -> None:
    assert open_note(NOTE + ENOCH_LINE, [PETER]) == TEXT
    for keys in ([], [ENOCH], [OURS.verify_key]):
        with pytest.raises(NoteError, match="no known key"):
            open_note(NOTE, keys)


def test_a_broken_signature_of_a_known_key_condemns_the_note() -> None:
    broken = ENOCH_LINE.replace("5n2t", "5n3t")
    assert open_note(NOTE + broken, [PETER]) == TEXT
    with pytest.raises(NoteError, match="does not verify"):
        open_note(NOTE + broken, [PETER, ENOCH])
    with pytest.raises(NoteError, match="does not verify"):
        open_note(NOTE + PETER_LINE.replace("RZb6", "RZb7"), [PETER])


def test_a_text_may_hold_empty_lines_and_signature_like_lines() -> None:
    text = f"one\n\n{PETER_LINE}\n\n"
    assert open_note(sign(text, OURS), [OURS.verify_key]) == text


def test_two_keys_can_sign_while_one_takes_over() -> None:
    successor = SigningKey(OURS.name, bytes(32))
    note = sign(TEXT, OURS, successor)
    assert open_note(note, [OURS.verify_key]) == TEXT
    assert open_note(note, [successor.verify_key]) == TEXT


BAD_NOTES = {
    "empty": "",
    "only a text": TEXT,
    "no signature": TEXT + "\n",
    "no empty line": TEXT + PETER_LINE,
    "no last newline": NOTE[:-1],
    "an empty line at the end": NOTE + "\n",
    "a line that is no signature": NOTE + "Unexpected line.\n",
    "a control character": "\x01" + NOTE,
    "a tab": "\t" + NOTE,
    "a carriage return": NOTE.replace("\n", "\r\n"),
    "not UTF-8": "\udcff" + NOTE,
    "a hyphen for the dash": NOTE.replace("—", "-"),
    "a space in the name": f"{TEXT}\n— Bad Name x08go/ZJkuBS9UG\n",
    "a wide space in the name": NOTE + PETER_LINE.replace("rN", "r\u3000N"),
    "a plus sign in the name": NOTE + PETER_LINE.replace("rN", "r+N"),
    "no name": NOTE + "—  x08go/ZJkuBS9UG/\n",
    "nothing after the name": NOTE + "— PeterNeumann\n",
    "no bytes after the key id": NOTE + "— PeterNeumann x08gow==\n",
    "no bytes after the id of an unknown key": NOTE + "— Somebody x08gow==\n",
    "base64 without padding": NOTE.replace("nAM=", "nAM"),
    "base64 with stray bits": NOTE.replace("nAM=", "nAN="),
    "a space at the end of a line": NOTE.replace("nAM=", "nAM= "),
    "too many signatures": NOTE + PETER_LINE * MAX_SIGNATURES,
    "too long": "x" * 1_000_000 + NOTE,
}


@pytest.mark.parametrize("note", BAD_NOTES.values(), ids=BAD_NOTES.keys())
def test_a_malformed_note_is_refused(note: str) -> None:
    with pytest.raises(NoteError):
        open_note(note, [PETER])


@pytest.mark.parametrize("text", ["a\tb\n", "a\r\n", "\x00\n", "x" * 1_000_000 + "\n"])
def test_a_good_signature_does_not_excuse_a_malformed_text(text: str) -> None:
    # Made by hand, because sign() does not write such notes.
    mark = OURS.verify_key.key_id + OURS.signature(text)
    note = f"{text}\n— {OURS.name} {base64.b64encode(mark).decode()}\n"
    with pytest.raises(NoteError, match=r"a note (holds|has)"):
        open_note(note, [OURS.verify_key])


def test_a_note_with_the_most_signatures_opens() -> None:
    assert open_note(NOTE + PETER_LINE * (MAX_SIGNATURES - 1), [PETER]) == TEXT


def test_no_bit_of_a_note_can_be_flipped() -> None:
    for other in flips(NOTE):
        with pytest.raises(NoteError):
            open_note(other, [PETER])


@pytest.mark.parametrize("text", ["", "abc", "abc\r\n", "a\x00b\n", "\ud800\n", "x" * 1_000_000])
def test_a_text_that_no_note_can_hold_is_not_signed(text: str) -> None:
    with pytest.raises(NoteError):
        sign(text, OURS)


def test_a_note_is_not_signed_by_nobody_or_twice_by_one() -> None:
    for keys in ((), (OURS, OURS)):
        with pytest.raises(NoteError, match="different keys"):
            sign(TEXT, *keys)


# --- keys --------------------------------------------------------------------------------


def manglings(key: str) -> Iterator[str]:
    """Every proper part of a key text, and every byte of it raised by one, as Go's tests do."""
    for start in range(len(key)):
        for end in range(start + 1, len(key) + 1):
            if key[start:end] != key:
                yield key[start:end]
    for place, letter in enumerate(key):
        yield key[:place] + chr(ord(letter) + 1) + key[place + 1 :]


def test_a_mangled_verify_key_is_refused() -> None:
    for other in [*manglings(PETER_PUBLIC), *flips(PETER_PUBLIC)]:
        with pytest.raises(NoteError):
            VerifyKey.from_text(other)


def test_a_mangled_signing_key_is_refused_and_not_repeated() -> None:
    for other in [*manglings(PETER_SECRET), *flips(PETER_SECRET)]:
        with pytest.raises(NoteError) as refused:
            SigningKey.from_text(other)
        assert "AYEK" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [  # both from note_test.go, each with the key id that would fit
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        PETER_PUBLIC.replace("c74f20a3", "C74F20A3"),
        PETER_PUBLIC + "\n",
        PETER_SECRET,
    ],
)
def test_a_key_of_another_kind_or_spelling_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        VerifyKey.from_text(text)


@pytest.mark.parametrize(
    "name", ["", "a b", "a+b", "a\u00a0b", "a\nb", "a\x00", "\ud800", "ä" * 128]
)
def test_a_key_has_a_name_that_a_signature_line_can_hold(name: str) -> None:
    with pytest.raises(NoteError):
        SigningKey.generate(name)
    with pytest.raises(NoteError):
        VerifyKey(name, bytes(32))


def test_a_key_of_the_wrong_length_is_refused() -> None:
    for wrong in (b"", bytes(31), bytes(33)):
        with pytest.raises(NoteError, match="32 bytes"):
            SigningKey("a", wrong)
        with pytest.raises(NoteError, match="32 bytes"):
            VerifyKey("a", wrong)


def test_a_signing_key_does_not_show_its_secret() -> None:
    key = SigningKey.generate("ledger.example/log")
    for shown in (repr(key), str(key), f"{key}", repr([key]), repr({"key": key})):
        assert shown.count("SigningKey('ledger.example/log', ***)") == 1
        assert repr(key.seed) not in shown
        assert key.seed.hex() not in shown


def test_two_new_keys_differ() -> None:
    assert SigningKey.generate("a").seed != SigningKey.generate("a").seed


# --- laws --------------------------------------------------------------------------------

lines = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
texts = st.lists(lines, min_size=1, max_size=5).map(lambda found: "\n".join(found) + "\n")
names = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Z"], exclude_characters="+"),
    min_size=1,
    max_size=40,
)
seeds = st.binary(min_size=32, max_size=32)


@given(texts, names, seeds)
@settings(deadline=None)
def test_what_was_signed_is_what_is_read(text: str, name: str, seed: bytes) -> None:
    key = SigningKey(name, seed)
    assert SigningKey.from_text(key.to_text()) == key
    assert VerifyKey.from_text(key.verify_key.to_text()) == key.verify_key
    assert open_note(sign(text, key), [key.verify_key]) == text


@given(texts, names, seeds, seeds)
@settings(deadline=None)
def test_another_key_of_the_same_name_vouches_for_nothing(
    text: str, name: str, seed: bytes, other: bytes
) -> None:
    key, stranger = SigningKey(name, seed), SigningKey(name, other)
    if seed != other:
        with pytest.raises(NoteError, match="no known key"):
            open_note(sign(text, key), [stranger.verify_key])


@given(st.one_of(st.text(), st.tuples(st.text(), st.text()).map("\n\n— PeterNeumann ".join)))
@settings(deadline=None)
def test_noise_is_refused_and_breaks_nothing(noise: str) -> None:
    with pytest.raises(NoteError):
        open_note(noise, [PETER])
    with pytest.raises(NoteError):
        VerifyKey.from_text(noise)
    with pytest.raises(NoteError):
        SigningKey.from_text("PRIVATE+KEY+" + noise)
