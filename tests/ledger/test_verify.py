"""Verification of a whole ledger: what is altered, moved or removed is found and named."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.core.merkle import EMPTY_ROOT, Frontier, leaf_hash, root
from consentry.core.record import Fact, FactKind, Node, NodeKind
from consentry.ledger import checkpoint
from consentry.ledger.checkpoint import Checkpoint
from consentry.ledger.entry import Record, RecordType
from consentry.ledger.notary import Notary
from consentry.ledger.note import SigningKey
from consentry.ledger.verify import MOST_FAULTS, Entry, Report, verify

KEY = SigningKey("ledger.example/log", bytes(range(32)))
STRANGER = SigningKey("ledger.example/log", bytes(32))
START = 1_760_000_000_000_000


def record(number: int, **changes: object) -> Record:
    node = Node(NodeKind.DEVICE, f"device-{number}")
    record_id = f"rec_{number}"
    fact = Fact(FactKind.CHOICE, record_id, START + number, denied=("analytics",))
    plain = Record(
        record_id=record_id,
        type=RecordType.CHOICE,
        received_at=START + number,
        salt=bytes([number]) * 32,
        subject=(node,),
        source="website",
        trust="public",
        before={"analytics": "never_collected"},
        after={"analytics": "denied"},
        evidence={"action": "reject_all"},
        facts=((node, fact),),
    )
    return msgspec.structs.replace(plain, **changes)


def ledger(*groups: int, key: SigningKey = KEY) -> tuple[list[Entry], list[str]]:
    """A ledger that was written in commits of these sizes, and the head of each commit."""
    notary, frontier = Notary("Acme", key), Frontier()
    entries: list[Entry] = []
    notes: list[str] = []
    for count in groups:
        made = [record(len(entries) + n) for n in range(count)]
        sealed = notary.seal(made, frontier)
        frontier = sealed.frontier
        for one, leaf in zip(made, sealed.leaves, strict=True):
            entries.append(Entry(len(entries), leaf, one, one.record_id, one.type))
        notes.append(sealed.checkpoint)
    return entries, notes


def check(entries: Sequence[Entry], notes: Sequence[str], saved: Sequence[str] = ()) -> Report:
    return verify(entries, notes, [KEY.verify_key], saved=saved)


def texts(report: Report) -> list[str]:
    return [str(fault) for fault in report.faults]


def leaves_only(entries: Sequence[Entry]) -> list[Entry]:
    return [Entry(entry.seq, entry.leaf) for entry in entries]


def test_an_untouched_ledger_is_sound() -> None:
    entries, notes = ledger(1, 4, 2)
    report = check(entries, notes, saved=[notes[1], notes[0], notes[1]])
    assert report.sound
    assert texts(report) == []
    assert (report.leaves, report.heads, report.saved) == (7, 3, 3)
    assert report.root == root([leaf_hash(entry.leaf) for entry in entries])
    assert report.latest == checkpoint.parse(notes[-1], KEY.verify_key)


def test_an_empty_ledger_is_sound() -> None:
    report = check([], [])
    assert report.sound
    assert report.root == EMPTY_ROOT
    assert report.latest is None


def test_leaves_alone_can_be_checked_without_the_records() -> None:
    entries, notes = ledger(3, 3)
    assert check(leaves_only(entries), notes[-1:]).sound


def test_a_key_that_took_over_is_known_beside_the_old_one() -> None:
    entries, notes = ledger(3)
    newer = checkpoint.format(checkpoint.parse(notes[0], KEY.verify_key), STRANGER)
    keys = [STRANGER.verify_key, KEY.verify_key]
    assert verify(entries, notes, keys).sound
    assert verify(entries, [newer], keys).sound


ALTERED = {
    "after": ({"after": {"analytics": "granted"}}, "after, body"),
    "subject": ({"subject": (Node(NodeKind.DEVICE, "somebody else"),)}, "body, subject"),
    "evidence": ({"evidence": {"action": "accept_all"}}, "body"),
    "facts": ({"facts": ()}, "body"),
    "time": ({"received_at": START}, "body, receivedAt"),
    "salt": ({"salt": bytes(32)}, "body, subject"),
}


@pytest.mark.parametrize(("change", "named"), ALTERED.values(), ids=ALTERED.keys())
def test_an_altered_record_is_named_with_what_differs(
    change: dict[str, object], named: str
) -> None:
    entries, notes = ledger(2, 3)
    entries[3] = entries[3]._replace(record=record(3, **change))
    assert texts(check(entries, notes)) == [
        f"seq 3: the record does not give its leaf; they differ in {named}"
    ]


def test_a_record_altered_together_with_its_leaf_breaks_the_root() -> None:
    entries, notes = ledger(2, 3, 1)
    forged, _ = ledger(2, 3, 1)
    other = record(3, after={"analytics": "granted"})
    leaf = Notary("Acme", KEY).seal([other], frontier_of(entries[:3])).leaves[0]
    forged[3] = Entry(3, leaf, other, other.record_id, other.type)
    assert texts(check(forged, notes)) == [
        "seq 2: the first 5 leaves do not give the root of the signed checkpoint of 5 leaves: "
        "from here on one was altered, exchanged or put in"
    ]


def frontier_of(entries: Sequence[Entry]) -> Frontier:
    return Frontier().extend([leaf_hash(entry.leaf) for entry in entries])


def test_records_that_changed_places_are_found() -> None:
    entries, notes = ledger(5)
    first, second = entries[1], entries[2]
    entries[1], entries[2] = second._replace(seq=1), first._replace(seq=2)
    found = texts(check(entries, notes))
    assert "seq 1: the leaf was sealed for seq 2" in found
    assert "seq 2: the leaf was sealed for seq 1" in found
    assert any(text.startswith("seq 0: the first 5 leaves do not give the root") for text in found)


def test_leaves_out_of_order_are_found() -> None:
    entries, notes = ledger(4)
    entries[1], entries[2] = entries[2], entries[1]
    found = texts(check(entries, notes))
    assert found[0] == "seq 1: missing: after seq 0 comes seq 2; leaves were removed"
    assert "seq 1: comes again or out of order, where seq 3 belongs" in found


@pytest.mark.parametrize("gone", [0, 1, 3])
def test_a_record_removed_in_the_middle_is_found(gone: int) -> None:
    entries, notes = ledger(2, 3)
    del entries[gone]
    after = f"after seq {gone - 1} comes seq {gone + 1}" if gone else "the ledger begins at seq 1"
    assert texts(check(entries, notes)) == [
        f"seq {gone}: missing: {after}; leaves were removed",
    ]


def test_a_record_removed_and_the_rest_renumbered_is_found() -> None:
    entries, notes = ledger(5)
    del entries[2]
    moved = [entry._replace(seq=n) for n, entry in enumerate(entries)]
    found = texts(check(moved, notes))
    assert "seq 2: the leaf was sealed for seq 3" in found
    assert "seq 4: missing: a signed checkpoint counts 5 leaves and the ledger ends after 4; " in (
        "\n".join(found)
    )


def test_the_tail_removed_is_found_by_the_heads_that_stayed() -> None:
    entries, notes = ledger(2, 3)
    assert texts(check(entries[:4], notes)) == [
        "seq 4: missing: a signed checkpoint counts 5 leaves and the ledger ends after 4; "
        "leaves were removed at its end",
        "seq 2: no signed checkpoint covers the leaves from here on",
    ]


def test_the_tail_removed_with_its_heads_is_found_by_a_saved_checkpoint_only() -> None:
    entries, notes = ledger(2, 3, 1)
    cut, heads = entries[:5], notes[:2]
    assert check(cut, heads).sound
    assert texts(check(cut, heads, saved=[notes[2]])) == [
        "seq 5: missing: the checkpoint you saved counts 6 leaves and the ledger ends after 5; "
        "leaves were removed at its end"
    ]


def test_a_log_that_was_written_anew_is_found_by_a_saved_checkpoint_only() -> None:
    _, notes = ledger(2, 3)
    notary = Notary("Acme", KEY)
    made = [record(n, source="elsewhere") for n in range(6)]
    sealed = notary.seal(made, Frontier())
    anew = [Entry(n, leaf) for n, leaf in enumerate(sealed.leaves)]
    assert check(anew, [sealed.checkpoint]).sound
    assert texts(check(anew, [sealed.checkpoint], saved=[notes[1]])) == [
        "the first 5 leaves do not give the root of the checkpoint of 5 leaves that you saved: "
        "the log was written anew"
    ]


def test_a_record_put_in_without_a_head_is_found() -> None:
    entries, notes = ledger(2, 3)
    assert texts(check(entries, notes[:1])) == [
        "seq 2: no signed checkpoint covers the leaves from here on"
    ]


def test_a_record_that_stands_twice_is_found() -> None:
    notary = Notary("Acme", KEY)
    sealed = notary.seal([record(0), record(1), record(0)], Frontier())
    twice = [Entry(n, leaf) for n, leaf in enumerate(sealed.leaves)]
    assert texts(check(twice, [sealed.checkpoint])) == [
        "seq 2: the record id stands at an earlier seq already"
    ]


def test_a_head_signed_by_a_stranger_is_found() -> None:
    entries, _ = ledger(3)
    _, forged = ledger(3, key=STRANGER)
    found = texts(check(entries, forged))
    assert found[0].startswith("checkpoint 1 cannot be trusted: ")
    assert found[1] == "seq 0: no signed checkpoint covers the leaves from here on"


def test_a_head_in_the_wrong_place_is_found() -> None:
    entries, notes = ledger(2, 3)
    assert texts(check(entries, [notes[0], notes[1], notes[0]])) == [
        "checkpoint 3 counts 2 leaves, the one before it 5"
    ]


def test_an_earlier_head_of_another_history_is_found() -> None:
    entries, notes = ledger(2, 3)
    other = checkpoint.format(Checkpoint(KEY.name, 2, leaf_hash(b"another")), KEY)
    assert texts(check(entries, [other, notes[1]]))[0].startswith(
        "seq 0: the first 2 leaves do not give the root of the signed checkpoint of 2 leaves"
    )


def test_an_unreadable_record_or_leaf_is_a_fault() -> None:
    entries, notes = ledger(3)
    entries[1] = Entry(1, entries[1].leaf, None, "rec_1", "choice", "it is torn")
    assert texts(check(entries, notes)) == ["seq 1: the record cannot be read: it is torn"]
    entries[1] = Entry(1, b"\xff{")
    assert texts(check(entries, notes))[0] == "seq 1: the leaf is not readable JSON"


def test_what_stands_beside_a_leaf_must_be_what_stands_in_it() -> None:
    entries, notes = ledger(2)
    entries[0] = entries[0]._replace(record_id="rec_9")
    entries[1] = entries[1]._replace(type="signal")
    assert texts(check(entries, notes)) == [
        "seq 0: the recordId beside the leaf is not the one in it",
        "seq 1: the type beside the leaf is not the one in it",
    ]


# -- marks ------------------------------------------------------------------------------------------
def erased(*numbers: int, by: str = "rec_4", kind: str = "erase") -> tuple[list[Entry], list[str]]:
    """A ledger of six of which the fifth erases, and some are marks of it."""
    notary, frontier = Notary("Acme", KEY), Frontier()
    made = [record(n) for n in range(6)]
    made[4] = record(4, type=RecordType(kind))
    sealed = notary.seal(made, frontier)
    kept = [_mark(one, by) if n in numbers else one for n, one in enumerate(made)]
    entries = [
        Entry(n, leaf, one, one.record_id, one.type)
        for n, (one, leaf) in enumerate(zip(kept, sealed.leaves, strict=True))
    ]
    return entries, [sealed.checkpoint]


def _mark(made: Record, by: str) -> Record:
    return Record(
        record_id=made.record_id,
        type=made.type,
        received_at=made.received_at,
        salt=b"",
        erased_by=by,
    )


def test_marks_are_counted_and_the_rest_still_proves_itself() -> None:
    report = check(*erased(0, 2, 4))
    assert (report.sound, report.marks, report.leaves) == (True, 3, 6)
    assert check(*ledger(6)).marks == 0


def test_what_is_left_of_a_record_about_somebody_else_is_not_compared() -> None:
    entries, notes = erased(4)
    left = msgspec.structs.replace(record(1), subject=(), salt=b"", erased_by="rec_4")
    entries[1] = entries[1]._replace(record=left)
    assert (check(entries, notes).sound, check(entries, notes).marks) == (True, 2)


NO_MARKS = {
    "of an erasure that is not there": (erased(0, by="rec_9"), "which is no erasure here"),
    "of a record that is no erasure": (erased(0, kind="suppress"), "which is no erasure here"),
    "of what came after the erasure": (erased(5), "older than it"),
}


@pytest.mark.parametrize("case", NO_MARKS)
def test_no_record_can_be_called_erased_by_whoever_writes_to_the_file(case: str) -> None:
    (entries, notes), said = NO_MARKS[case]
    report = check(entries, notes)
    assert not report.sound
    assert said in texts(report)[0]


@pytest.mark.parametrize(
    "change",
    [{"record_id": "rec_0"}, {"type": RecordType.IMPORT}, {"received_at": 5}, {"salt": b"kept"}],
)
def test_a_mark_fits_its_leaf(change: dict[str, object]) -> None:
    entries, notes = erased(1)
    made = entries[1].record
    assert made is not None
    entries[1] = Entry(1, entries[1].leaf, msgspec.structs.replace(made, **change))
    assert any("does not fit its leaf" in text for text in texts(check(entries, notes)))


def test_faults_beyond_the_limit_are_counted() -> None:
    entries, notes = ledger(MOST_FAULTS + 10)
    broken = [entry._replace(record_id="rec_x") for entry in entries]
    report = check(broken, notes)
    assert len(report.faults) == MOST_FAULTS
    assert report.count == MOST_FAULTS + 10


def test_without_a_key_nothing_is_sound() -> None:
    entries, notes = ledger(2)
    assert not verify(entries, notes, []).sound


ENTRIES, NOTES = ledger(1, 3, 4)


@given(seq=st.integers(0, len(ENTRIES) - 1), place=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(max_examples=200, deadline=None)
def test_no_bit_of_any_leaf_can_be_flipped(seq: int, place: int, bit: int) -> None:
    leaf = bytearray(ENTRIES[seq].leaf)
    leaf[place % len(leaf)] ^= 1 << bit
    changed = [*ENTRIES]
    changed[seq] = Entry(seq, bytes(leaf))
    assert not check(changed, NOTES).sound


@given(number=st.integers(0, len(NOTES) - 1), place=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(max_examples=200, deadline=None)
def test_no_bit_of_any_checkpoint_can_be_flipped(number: int, place: int, bit: int) -> None:
    data = bytearray(NOTES[number].encode())
    data[place % len(data)] ^= 1 << bit
    notes = [*NOTES]
    notes[number] = data.decode("utf-8", "surrogateescape")
    assert not check(ENTRIES, notes).sound


@given(kept=st.lists(st.integers(0, len(ENTRIES) - 1), max_size=12))
def test_no_other_choice_of_leaves_is_sound(kept: list[int]) -> None:
    found = check([ENTRIES[n] for n in kept], NOTES)
    assert found.sound == (kept == list(range(len(ENTRIES))))


@given(groups=st.lists(st.integers(1, 9), min_size=1, max_size=8))
@settings(max_examples=30, deadline=None)
def test_every_ledger_that_a_notary_wrote_is_sound(groups: list[int]) -> None:
    entries, notes = ledger(*groups)
    report = check(entries, notes, saved=notes)
    assert report.sound
    assert report.heads == report.saved == len(groups)
    assert json.loads(entries[-1].leaf)["seq"] == report.leaves - 1
