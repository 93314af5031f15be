"""`consentry ledger verify` on a store in which somebody was erased, and on one that was altered since."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from consentry.cli.ledger import command
from consentry.core.record import FactKind
from consentry.ports import Commit
from consentry.store import pages
from consentry.store.sqlite import SqliteStore
from tests.store.conformance_erasures import ADA, BOB, PERSON, erasure, life, shredded
from tests.store.makers import KEY, NOW, Clock, choice, notary, word


@pytest.fixture
async def path(tmp_path: Path) -> str:
    """A store in which Ada was erased, came back and was suppressed; another was erased alone."""
    name = str(tmp_path / "store.db")
    store = SqliteStore.open(name, notary(), clock=Clock())
    await life(store)
    await store.commit(Commit(records=(erasure("gone", *PERSON),)))
    await shredded(store)
    words = (
        word("w0", FactKind.UNSUPPRESS, NOW + 5, PERSON[3]),
        word("w1", FactKind.SUPPRESS, NOW + 6, ADA),
        choice("w2", BOB, denied="ads"),
    )
    await store.commit(Commit(records=words))
    assert await store.erasures.finish("gone")
    store.close()
    return name


def verified(path: str) -> tuple[int, Any]:
    key = KEY.verify_key.to_text()
    done = CliRunner().invoke(command, ["verify", "--store", path, "--key", key, "--json"])
    return done.exit_code, json.loads(done.stdout[done.stdout.index("{") :])


def test_it_is_sound_and_counts_the_marks(path: str) -> None:
    code, found = verified(path)
    assert (code, found["sound"], found["marks"], found["faults"]) == (0, True, 7, [])
    key = KEY.verify_key.to_text()
    said = CliRunner().invoke(command, ["verify", "--store", path, "--key", key]).stdout
    assert "7 records are marks" in said


DAMAGE = {
    "a tombstone's fact is gone": (
        "DELETE FROM fact WHERE seq = 7 AND n = 0",
        "an erasure's suppression is not whole",
    ),
    "a tombstone is no longer listed, and no record lifts it": (
        "DELETE FROM record_node WHERE seq = 7 AND node IN (SELECT node FROM fact WHERE n = 1)",
        "an erasure's suppression is not whole",
    ),
    "a row is given back to somebody who was erased": (
        "INSERT INTO fact (node, seq, n, body) VALUES (x'00', 0, 0, x'00')",
        "belong to no record",
    ),
    "another record is called erased": (
        "UPDATE record SET body = (SELECT body FROM record WHERE seq = 0) WHERE seq = 6",
        "does not fit its leaf",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_what_was_altered_since_is_found(path: str, case: str) -> None:
    sql, said = DAMAGE[case]
    db = pages.connect(path)
    db.execute(sql)
    db.close()
    code, found = verified(path)
    assert code != 0
    assert any(said in fault["message"] for fault in found["faults"]), found
