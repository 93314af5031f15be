"""One bit of the file is flipped: it is found, or the store refuses, or nothing has changed."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from consentry.core.record import Node, NodeKind
from consentry.store import pages
from tests.crash.damage import (
    LEDGER,
    Flip,
    answers,
    copied,
    everything,
    flipped,
    flips,
    found_by_verify,
)
from tests.crash.people import Person, Talk
from tests.crash.place import place
from tests.running import ADMIN_KEY, BACKEND_KEY, Server, call

SEED = 20261126
FLIPS = 24  # for each table


@dataclass(slots=True)
class Stored:
    """A store as a server left it, and what it tells of everybody."""

    path: Path
    nodes: list[Node]
    told: Any


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    folder = tmp_path_factory.mktemp("damage")
    talk = Talk(random.Random(SEED))
    with place(folder) as here:
        for _ in range(250):
            request = talk.next()
            answer = call(
                here.server.base, "POST", request.path, request.body, headers=request.headers
            )
            assert answer.status in (200, 201), answer.body
        _suppress_and_merge(here.server, talk.persons)
        assert here.server.stop() == 0
    nodes = [node for person in talk.everybody for node in _nodes(person)]
    path = folder / "consentry.db"
    told = answers(path, nodes)
    assert len(told["ledger"]) > 100
    assert len(told["suppressions"]) == 8
    assert not found_by_verify(path)
    return Stored(path, nodes, told)


def test_a_flipped_bit_is_found_wherever_it_is(stored: Stored, tmp_path: Path) -> None:
    """Events, kept replies, orders and where each worker stands, as well as what is on the ledger."""
    tables = everything(stored.path)
    assert {"event_group", "reply", "message", "cursor", "policy", *LEDGER} <= set(tables)
    refused = 0
    for flip in flips(stored.path, tables, 4, random.Random(SEED)):
        copy = flipped(stored.path, tmp_path / "copy", flip)
        told = answers(copy, stored.nodes)
        assert told is None or told == stored.told, flip
        assert found_by_verify(copy), flip
        refused += told is None
    assert refused  # of what a decision reads, one that was altered is not answered with


def test_an_altered_bit_never_changes_an_answer_in_silence(stored: Stored, tmp_path: Path) -> None:
    """Also where its page's checksum is right: somebody did it who knows how."""
    outcomes: Counter[tuple[str, str]] = Counter()
    for flip in flips(stored.path, LEDGER, FLIPS, random.Random(SEED)):
        outcomes[flip.table, _outcome(stored, tmp_path / "copy", flip)] += 1
    print(outcomes)
    for table in ("record", "record_node", "fact", "suppression"):
        assert outcomes[table, "found"]  # else nothing was put to the test


def _outcome(stored: Stored, folder: Path, flip: Flip) -> str:
    copy = flipped(stored.path, folder, flip, summed=True)
    told = answers(copy, stored.nodes)
    if told is None:
        return "refused"
    if told == stored.told:
        return "nothing changed"  # a bit that holds nothing, or nothing that is read
    assert found_by_verify(copy), (flip, [name for name in told if told[name] != stored.told[name]])
    return "found"


ALTERED = {
    "taken off the list": "DELETE FROM suppression WHERE seq = (SELECT min(seq) FROM suppression)",
    "put on the list": "INSERT INTO suppression VALUES (1, x'00', 1, 'rec')",
    "another time": "UPDATE suppression SET since = since + 1",
}


@pytest.mark.parametrize("how", ALTERED)
def test_a_suppression_list_that_is_not_what_the_records_say_is_found(
    stored: Stored, tmp_path: Path, how: str
) -> None:
    copy = copied(stored.path, tmp_path / "copy")
    assert not found_by_verify(copy)
    with closing(pages.connect(str(copy))) as db:
        db.execute(ALTERED[how])
    assert found_by_verify(copy)


def _suppress_and_merge(server: Server, persons: list[Person]) -> None:
    for person in persons[:4]:
        body = {"subject": person.ids, "reason": "asked"}
        answer = call(server.base, "POST", "/v1/subjects/suppress", body, key=ADMIN_KEY)
        assert answer.status == 200
    for left, right in zip(persons[:4], persons[4:8], strict=True):
        names = {"previousId": left.ids["userId"], "userId": right.ids["userId"]}
        answer = call(server.base, "POST", "/v1/alias", {"type": "alias", **names}, key=BACKEND_KEY)
        assert answer.status == 200


def _nodes(person: Person) -> list[Node]:
    return [
        Node(NodeKind.DEVICE, person.ids["anonymousId"]),
        Node(NodeKind.ACCOUNT, person.ids["userId"]),
    ]
