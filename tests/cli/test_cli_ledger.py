"""`consentry ledger`: on a real store, while it is served, and on an exported file."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import apsw
import pytest

from consentry.ledger.note import SigningKey
from consentry.store import pages
from tests.cli.place import (
    SIGNER,
    Answer,
    Answering,
    Served,
    config_text,
    error_of,
    lines_of,
    run,
    update,
)

KEY = SIGNER.verify_key.to_text()


def verify(store: Path, *args: str) -> tuple[int, dict[str, object]]:
    result = run("ledger", "verify", "--store", str(store), "--json", *args)
    return result.exit_code, json.loads(result.stdout)


def alter(store: Path, *statements: str) -> None:
    """What somebody with access to the file could do while nobody looks."""
    db = pages.connect(str(store))
    for statement in statements:
        db.execute(statement)
    db.close()


def test_a_ledger_is_sound_while_it_is_served(store: Path) -> None:
    code, found = verify(store)
    assert code == 0
    assert found["sound"] is True
    assert found["faults"] == []
    assert found["leaves"] == 12  # a link and a choice for each of five, a link and a merge
    assert found["checkpoints"] == 6


async def test_what_comes_while_it_is_verified_does_no_harm(store: Path, served: Served) -> None:
    before = verify(store)[1]["leaves"]
    await served.take(update(None, "late", 99, analytics=True))
    assert verify(store)[1]["leaves"] == before + 1  # type: ignore[operator]


def test_people_are_told_in_a_sentence(store: Path) -> None:
    result = run("ledger", "verify", "--store", str(store), "--key", KEY)
    assert result.exit_code == 0
    assert result.stdout.startswith("sound: 12 records, 6 signed checkpoints, root ")
    assert "--checkpoint" in result.stdout


def test_the_store_is_found_by_the_configuration(store: Path, tmp_path: Path) -> None:
    config = tmp_path / "consentry.toml"
    config.write_text(config_text(store))
    assert run("ledger", "verify", "--config", str(config)).exit_code == 0


ALTERATIONS = {
    "a record": (
        "UPDATE record SET body = (SELECT body FROM record WHERE seq = 3) WHERE seq = 5",
        {(5, "the record does not give its leaf")},
    ),
    "a record and its leaf": (
        "UPDATE record SET body = r.body, leaf = r.leaf FROM record AS r "
        "WHERE record.seq = 5 AND r.seq = 3",
        {(5, "the leaf was sealed for seq 3"), (4, "the first 6 leaves do not give the root")},
    ),
    "removed in the middle": (
        "DELETE FROM record WHERE seq = 4",
        {(4, "missing: after seq 3 comes seq 5")},
    ),
    "removed at the end": (
        "DELETE FROM record WHERE seq > 8",
        {(9, "missing: a signed checkpoint counts 10 leaves")},
    ),
    "a torn record": (
        "UPDATE record SET body = x'c1' WHERE seq = 2",
        {(2, "the record cannot be read")},
    ),
    "a checkpoint": (
        "UPDATE checkpoint SET note = replace(note, 'acme', 'acne') WHERE size = 4",
        {(None, "checkpoint 2 cannot be trusted")},
    ),
    "a fact that decisions read": (
        "UPDATE fact SET body = (SELECT body FROM fact WHERE seq = 1 AND n = 0) "
        "WHERE seq = 3 AND n = 0",
        {(3, "the fact row that decisions read is not what the record says")},
    ),
    "a fact put in": (
        "INSERT INTO fact SELECT node, seq, 9, body FROM fact WHERE seq = 1 AND n = 0",
        {(None, "1 fact rows that decisions read belong to no record")},
    ),
    "a link taken out": (
        "DELETE FROM link WHERE seq = 0",
        {(0, "the link row that decisions read is not what the record says")},
    ),
    "a link that is not taken for trusted any more": (
        "UPDATE link SET trusted_seq = NULL WHERE seq = 0",
        {(0, "the link row that decisions read is not what the record says")},
    ),
    "a link that is taken for trusted": (
        "INSERT INTO link VALUES (x'00', x'01', 3, 3)",
        {(None, "links that are taken for trusted belong to no record of a trusted door")},
    ),
    "a merge taken out": (
        "DELETE FROM merge",
        {(11, "the merge row that decisions read is not what the record says")},
    ),
    "a record that its subject's history leaves out": (
        "DELETE FROM record_node WHERE seq = 3",
        {(3, "the history row that decisions read is not what the record says")},
    ),
    "a record in somebody else's history": (
        "INSERT INTO record_node VALUES (x'00', 3)",
        {(None, "1 history rows that decisions read belong to no record")},
    ),
    "the time beside a record": (
        "UPDATE record SET received_at = received_at + 1 WHERE seq = 5",
        {(5, "what stands beside the record is not what it says")},
    ),
    "the text beside a record is no text": (
        "UPDATE record SET type = CAST(x'ff' AS TEXT) WHERE seq = 5",
        {(5, "what stands beside the record is not what it says")},
    ),
    "bytes in a record that are no text": (
        "UPDATE record SET body = unhex(replace(hex(body), hex('device'), 'ff' || hex('evice'))) "
        "WHERE seq = 2",
        {(2, "the record cannot be read")},
    ),
}


@pytest.mark.parametrize(("statement", "expected"), ALTERATIONS.values(), ids=ALTERATIONS.keys())
def test_an_alteration_is_found_and_named(
    store: Path, statement: str, expected: set[tuple[int | None, str]]
) -> None:
    alter(store, statement)
    code, found = verify(store)
    assert code == 1
    assert found["sound"] is False
    faults = [(f["seq"], f["message"]) for f in found["faults"]]  # type: ignore[attr-defined, index]
    for seq, start in expected:
        assert any(at == seq and text.startswith(start) for at, text in faults), faults


def test_a_cut_end_is_found_by_a_saved_checkpoint(
    store: Path, served: Served, tmp_path: Path
) -> None:
    saved = tmp_path / "saved.txt"
    printed = run("ledger", "checkpoint", "--store", str(store)).stdout
    assert printed == served.store.checkpoint()
    saved.write_text(printed, encoding="utf-8")
    assert verify(store, "--checkpoint", str(saved))[1]["savedCheckpoints"] == 1
    alter(store, "DELETE FROM record WHERE seq > 7", "DELETE FROM checkpoint WHERE size > 8")
    assert verify(store)[0] == 1  # rows that were made of the records are still there
    copied = ("fact", "link", "merge", "record_node", "suppression")
    alter(store, *(f"DELETE FROM {name} WHERE seq > 7" for name in copied))
    assert verify(store)[0] == 0
    code, found = verify(store, "--checkpoint", str(saved))
    assert code == 1
    assert any(
        f["seq"] == 8 and f["message"].startswith("missing: the checkpoint you saved counts 12")
        for f in found["faults"]  # type: ignore[attr-defined]
    )


def test_another_key_vouches_for_nothing(store: Path) -> None:
    other = SigningKey(SIGNER.name, bytes(32)).verify_key.to_text()
    assert verify(store, "--key", other)[0] == 1


def test_a_key_is_needed(store: Path) -> None:
    Path(f"{store}.vkey").unlink()
    result = run("ledger", "verify", "--store", str(store))
    assert result.exit_code == 3
    assert error_of(result).endswith("give the public key with --key")


def test_the_private_key_beside_the_store_gives_its_public_half(store: Path) -> None:
    Path(f"{store}.vkey").unlink()
    Path(f"{store}.keys").write_text(SIGNER.to_text())
    result = run("ledger", "verify", "--store", str(store))
    assert result.exit_code == 0
    assert SIGNER.to_text() not in result.output


def test_what_is_no_store_is_said(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    for name in ("notes.txt", "missing.db"):
        result = run("ledger", "verify", "--store", str(tmp_path / name), "--key", KEY)
        assert result.exit_code == 4
        assert name in error_of(result)
    apsw.Connection(str(tmp_path / "other.db")).execute("CREATE TABLE t (x)")
    result = run("ledger", "verify", "--store", str(tmp_path / "other.db"), "--key", KEY)
    assert "no store of Consentry" in error_of(result)


def test_the_server_is_asked_for_a_checkpoint(server: Answering) -> None:
    server.answer("/v1/ledger/checkpoint", Answer(raw=b"a note\n"))
    assert run("ledger", "checkpoint", "--server", server.url).stdout == "a note\n"
    as_json = run("ledger", "checkpoint", "--server", server.url, "--json").stdout
    assert json.loads(as_json) == {"checkpoint": "a note\n"}


# -- export -----------------------------------------------------------------------------------


def test_an_export_can_be_checked_without_the_store(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "ledger.jsonl"
    assert run("ledger", "export", "--store", str(store), "-o", str(out)).exit_code == 0
    lines = lines_of(out.read_text())
    assert [line["seq"] for line in lines[:-1]] == list(range(12))
    assert set(lines[-1]) == {"checkpoint"}
    assert "user-1" not in out.read_text()
    result = run("ledger", "verify", "--export", str(out), "--key", KEY)
    assert result.exit_code == 0
    assert result.stdout.startswith("sound: 12 records, 1 signed checkpoints")


EXPORT_ALTERATIONS = {
    "a leaf": lambda lines: [lines[0].replace("backend", "Backend"), *lines[1:]],
    "a line removed": lambda lines: [*lines[:3], *lines[4:]],
    "the end removed": lambda lines: [*lines[:9], lines[12]],
    "two lines exchanged": lambda lines: [lines[1], lines[0], *lines[2:]],
    "a line that comes twice": lambda lines: [*lines[:3], *lines[2:]],
    "without the checkpoint": lambda lines: lines[:-1],
    "no JSON": lambda lines: [*lines[:4], "{", *lines[4:]],
    "a leaf that is no text": lambda lines: ['{"seq":0,"leaf":1}', *lines[1:]],
}


@pytest.mark.parametrize("change", EXPORT_ALTERATIONS.values(), ids=EXPORT_ALTERATIONS.keys())
def test_an_altered_export_is_noticed(store: Path, tmp_path: Path, change: object) -> None:
    text = run("ledger", "export", "--store", str(store)).stdout
    out = tmp_path / "altered.jsonl"
    out.write_text("\n".join(change(text.splitlines())) + "\n")  # type: ignore[operator]
    result = run("ledger", "verify", "--export", str(out), "--key", KEY)
    assert result.exit_code == 1
    assert "Traceback" not in result.output


def test_an_export_is_checked_with_a_key_only(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "ledger.jsonl"
    out.write_text(run("ledger", "export", "--store", str(store)).stdout)
    assert run("ledger", "verify", "--export", str(out)).exit_code == 2


def test_an_export_never_replaces_a_file(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "ledger.jsonl"
    out.write_text("precious")
    result = run("ledger", "export", "--store", str(store), "-o", str(out))
    assert result.exit_code == 2
    assert out.read_text() == "precious"


def served_export(store: Path) -> tuple[list[str], str]:
    """What GET /v1/ledger and GET /v1/ledger/checkpoint answer for a store."""
    *lines, last = run("ledger", "export", "--store", str(store)).stdout.splitlines()
    return lines, json.loads(last)["checkpoint"]


def test_the_server_is_asked_for_an_export(store: Path, server: Answering) -> None:
    lines, note = served_export(store)
    later = json.dumps({**json.loads(lines[-1]), "seq": 12})
    server.answer("/v1/ledger/checkpoint", Answer(raw=note.encode()))
    server.answer("/v1/ledger", Answer(raw="\n".join([*lines, later, ""]).encode()))
    result = run("ledger", "export", "--server", server.url)
    assert result.exit_code == 0
    assert result.stdout == run("ledger", "export", "--store", str(store)).stdout
    assert [asked.path for asked in server.asked] == ["/v1/ledger/checkpoint", "/v1/ledger"]


@pytest.mark.parametrize("early", [True, False])
def test_an_export_that_is_cut_off_is_noticed(
    store: Path, server: Answering, tmp_path: Path, early: bool
) -> None:
    lines, note = served_export(store)
    part = "\n".join([*lines[:5], ""]).encode()
    server.answer("/v1/ledger/checkpoint", Answer(raw=note.encode()))
    server.answer("/v1/ledger", Answer(raw=part, close_early=early))
    out = tmp_path / "ledger.jsonl"
    result = run("ledger", "export", "--server", server.url, "-o", str(out))
    assert result.exit_code == 4
    assert not out.exists()


# -- backup -----------------------------------------------------------------------------------


def test_a_copy_can_be_restored(store: Path, served: Served, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    made = run("backup", "create", str(copy), "--store", str(store), "--json")
    assert made.exit_code == 0
    assert json.loads(made.stdout)["records"] == 12
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    alter(store, "DELETE FROM record WHERE seq = 4")
    busy = run("backup", "restore", str(copy), "--store", str(store), "--replace")
    assert busy.exit_code == 4
    assert "another process serves the store" in error_of(busy)
    served.store.close()
    refused = run("backup", "restore", str(copy), "--store", str(store))
    assert refused.exit_code == 2
    assert verify(store)[0] == 1
    result = run("backup", "restore", str(copy), "--store", str(store), "--replace")
    assert result.exit_code == 0
    assert "is not in it" in result.stderr
    assert verify(store)[0] == 0
    assert len(list(tmp_path.glob("consentry.db.replaced-*Z"))) == 1


def test_a_restore_that_fails_leaves_the_store(store: Path, served: Served, tmp_path: Path) -> None:
    served.store.close()
    torn = tmp_path / "torn.db"
    data = bytearray(store.read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    torn.write_bytes(data)
    result = run("backup", "restore", str(torn), "--store", str(store), "--replace")
    assert result.exit_code == 4
    assert "Traceback" not in result.output
    assert verify(store)[0] == 0
    assert not list(tmp_path.glob("*.replaced-*"))


def test_a_log_that_was_left_behind_is_not_taken_for_the_copys(
    store: Path, served: Served, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    run("backup", "create", str(copy), "--store", str(store))
    served.store.close()
    store.unlink()
    Path(f"{store}-wal").write_bytes(b"of another store")
    assert run("backup", "restore", str(copy), "--store", str(store)).exit_code == 2
    result = run("backup", "restore", str(copy), "--store", str(store), "--replace")
    assert result.exit_code == 0
    assert verify(store)[0] == 0


def test_a_copy_never_replaces_a_file(store: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    assert run("backup", "create", str(target), "--store", str(store)).exit_code == 2
    assert target.read_text() == "precious"
