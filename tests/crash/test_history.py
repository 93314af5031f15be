"""The checker accepts what can have been, and refuses each way of breaking a promise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

from tests.crash.history import (
    Event,
    History,
    Operation,
    Said,
    Send,
    check,
    load,
    main,
    owed,
)
from tests.crash.journal import Journal
from tests.crash.people import CATEGORIES, NEEDS
from tests.crash.synthetic import legal

ADS = ("advertising",)
D, U = "d:1", "u:1"


def rules(history: History) -> set[str]:
    return {violation.rule for violation in check(history)}


# -- made up by chance -------------------------------------------------------------------------
@given(legal())
def test_what_a_system_that_keeps_its_promises_does_is_legal(history: History) -> None:
    event(f"{min(len(history.sends), 6)} sends")
    assert check(history) == []


@given(legal())
def test_what_is_owed_is_sent_by_a_system_that_keeps_its_promises(history: History) -> None:
    must = owed(history)
    event(f"{min(len(must), 6)} owed")
    assert must <= {(send.event, send.destination) for send in history.sends}


@given(legal(), st.data())
def test_a_send_after_one_more_withdrawal_is_refused(history: History, data: st.DataObject) -> None:
    events = {e.id: e for one in history.operations for e in one.events}
    doubtful = {
        node
        for one in history.operations
        if one.ok is None
        for said in one.grants
        for node in said.nodes
    }
    last = [s.start for s in history.sends] + [one.ok or one.invoke for one in history.operations]
    end = max(last)
    again = [
        send._replace(start=end + 2)
        for send in history.sends
        if doubtful.isdisjoint(events[send.event].nodes)
    ]
    still = [s for s in again if not check(History(NEEDS, history.operations, [s]))]
    send = data.draw(st.sampled_from(still))
    node = data.draw(st.sampled_from(events[send.event].nodes))
    category = data.draw(st.sampled_from(NEEDS[send.destination]))
    denial = operation(1000, end + 1, end + 3, denies=(Said((node,), (category,)),))
    history.operations.append(denial)
    history.sends.append(send)
    assert check(history) == []
    history.sends[-1] = send._replace(start=end + 4)
    assert rules(history) == {"withdrawn"}


@given(legal(), st.data())
def test_first_sends_the_other_way_round_are_refused(history: History, data: st.DataObject) -> None:
    """Of any two that one client sent one after the other; every history has such a pair."""
    places = {(send.event, send.destination): n for n, send in enumerate(history.sends)}
    told = [one for one in history.operations if one.ok is not None]
    pairs = [
        (places[a.id, destination], places[b.id, destination])
        for one in told
        for other in told
        if one.client == other.client and one.ok < other.invoke
        for a in one.events
        for b in other.events
        for destination in NEEDS
        if a.subject == b.subject and {(a.id, destination), (b.id, destination)} <= places.keys()
    ]
    first, second = data.draw(st.sampled_from(pairs))
    starts = history.sends[second].start, history.sends[first].start
    for n, start in zip((first, second), starts, strict=True):
        history.sends[n] = history.sends[n]._replace(start=start)
    assert "order" in rules(history)


@given(legal(), st.data())
def test_a_send_that_the_stamp_forbids_is_refused(history: History, data: st.DataObject) -> None:
    forbidden = [
        Send(e.id, destination, one.until + 1)
        for one in history.operations
        for e in one.events
        for destination, needs in NEEDS.items()
        if e.granted is not None and not set(needs) <= set(e.granted)
    ]
    assume(forbidden)
    history.sends.append(data.draw(st.sampled_from(forbidden)))
    assert "stamp" in rules(history)


@given(legal())
def test_a_send_of_what_nobody_sent_is_refused(history: History) -> None:
    history.sends.append(Send("invented", "ads", 1))
    assert rules(history) == {"unknown"}


# -- one situation each ------------------------------------------------------------------------
def operation(op: int, invoke: int, ok: int | None, **says: object) -> Operation:
    return Operation(op, "c", invoke, ok, **says)  # type: ignore[arg-type]


BOUGHT = Event("m", (D,), CATEGORIES)
SAID = Event("m", (D,), None)
DENY = {"denies": (Said((D,), ADS),)}
GRANT = {"grants": (Said((D,), ADS),)}
GRANT_ALL = {"grants": (Said((D,), CATEGORIES),)}

SITUATIONS: dict[str, tuple[list[Operation], int, set[str]]] = {
    "sent after a withdrawal was answered": (
        [operation(1, 0, 1, events=(BOUGHT,)), operation(2, 2, 4, **DENY)],
        5,
        {"withdrawn"},
    ),
    "sent while a withdrawal was under way": (
        [operation(1, 0, 1, events=(BOUGHT,)), operation(2, 2, 6, **DENY)],
        5,
        set(),
    ),
    "sent after a withdrawal that was lost": (
        [operation(1, 0, 1, events=(BOUGHT,)), operation(2, 2, None, **DENY)],
        9,
        set(),
    ),
    "a grant after the withdrawal lifts it": (
        [
            operation(1, 0, 1, events=(BOUGHT,)),
            operation(2, 2, 4, **DENY),
            operation(3, 5, None, **GRANT),
        ],
        7,
        set(),
    ),
    "a grant that overlaps the withdrawal may have come after it": (
        [
            operation(1, 0, 1, events=(BOUGHT,)),
            operation(2, 2, 4, **DENY),
            operation(3, 1, 3, **GRANT),
        ],
        5,
        set(),
    ),
    "a grant before the withdrawal lifts nothing": (
        [
            operation(1, 0, 1, events=(BOUGHT,)),
            operation(2, 1, 2, **GRANT),
            operation(3, 3, 4, **DENY),
        ],
        5,
        {"withdrawn"},
    ),
    "a grant after the send lifts nothing": (
        [
            operation(1, 0, 1, events=(BOUGHT,)),
            operation(2, 2, 3, **DENY),
            operation(3, 6, 7, **GRANT),
        ],
        5,
        {"withdrawn"},
    ),
    "accepted while it was withdrawn, and sent after a later grant": (
        [
            operation(1, 0, 1, **DENY),
            operation(2, 2, 3, events=(BOUGHT,)),
            operation(3, 4, 5, **GRANT),
        ],
        6,
        {"accepted"},
    ),
    "in one request with its own denial": (
        [operation(1, 0, 9, events=(BOUGHT,), **DENY)],
        5,
        {"accepted"},
    ),
    "without a stamp, and nobody granted": ([operation(1, 0, 1, events=(SAID,))], 5, {"ungranted"}),
    "without a stamp, and granted only later": (
        [operation(1, 0, 1, events=(SAID,)), operation(2, 2, 3, **GRANT_ALL)],
        5,
        {"ungranted"},
    ),
    "without a stamp, and granted before": (
        [operation(1, 0, 1, **GRANT_ALL), operation(2, 2, 3, events=(SAID,))],
        5,
        set(),
    ),
    "the account denied after it was linked": (
        [
            operation(1, 0, 1, events=(BOUGHT,), links=((D, U),)),
            operation(2, 2, 3, denies=(Said((U,), ADS),)),
        ],
        5,
        {"withdrawn"},
    ),
    "the account denied and is linked only later": (
        [
            operation(1, 0, 1, events=(BOUGHT,)),
            operation(2, 2, 3, denies=(Said((U,), ADS),)),
            operation(3, 4, 6, links=((D, U),)),
        ],
        5,
        set(),
    ),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_situation_is_judged(name: str) -> None:
    operations, start, expected = SITUATIONS[name]
    history = History(NEEDS, operations, [Send("m", "ads", start)])
    assert rules(history) == expected


# -- files -------------------------------------------------------------------------------------
def test_a_journal_is_read_back_as_the_history_that_it_is(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "history.jsonl", NEEDS)
    op = journal.invoke("c1", operation(0, 0, None, events=(BOUGHT,), links=((D, U),)))
    journal.ok(op)
    lost = journal.invoke("c1", operation(0, 0, None, **DENY))
    journal.refused(journal.invoke("c2", operation(0, 0, None, **GRANT)))
    journal.sent(Send("m", "ads", 5, 6, 200))
    journal.close()

    found = load(journal.path)

    assert found == journal.history()
    assert [one.op for one in found.operations] == [op, lost]
    assert found.operations[0].events == (BOUGHT,)
    assert found.operations[1].ok is None
    assert found.sends == [Send("m", "ads", 5, 6, 200)]


def test_the_command_says_what_is_broken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "history.jsonl"
    journal = Journal(path, NEEDS)
    journal.ok(journal.invoke("c1", operation(0, 0, None, events=(BOUGHT,))))
    journal.close()
    assert main([str(path)]) == 0
    send = {"is": "send", **Send("invented", "ads", 5)._asdict()}
    path.write_text(path.read_text() + json.dumps(send) + "\n")
    assert main([str(path)]) == 1
    assert "unknown: invented" in capsys.readouterr().out
