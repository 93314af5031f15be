"""Every case of spec/enforcement-cases.json and -more.json, through the gate.

What a case has on record is put where a gate reads records (the ``Records`` port). Between the
acceptance of an event and its calls the clock is moved to the case's ``now``, and the port says
that there are more records, so the gate asks again. Cases whose records an application could
have said to the gate itself are decided that way too.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from consentry.client import Gate
from consentry.clock import Clock
from consentry.config import Source
from consentry.core import moment
from consentry.core.record import Facts, Merge, Node, NodeKind
from consentry.ledger.entry import LedgerRecord, Record, RecordType
from consentry.secret import Secret
from tests.core import cases
from tests.core.cases import ADDRESS, CASES, DOCUMENT, MORE, NOW, SIBLING

EVERY = [*CASES, *MORE]
# Rules of places are not in the product yet, so no event can carry a prohibition to any door.
PROHIBITED = [case for case in EVERY if "prohibited" in case]
DECIDABLE = [case for case in EVERY if "prohibited" not in case]
ELSEWHERE = ("before", "signals", "suppressed", "recorded_sibling", "recorded_address")


class Stopped(Clock):
    """Stands where it is set; each reading is a microsecond later."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def now(self) -> int:
        self.at += 1
        return self.at


class CaseRecords:
    """What a case has on record. Once ``armed``, a look comes after the case's ``now``."""

    def __init__(self, case: dict[str, Any], clock: Stopped) -> None:
        facts: dict[Node, list[Any]] = {}
        event = cases._event(case["event"], NOW)
        cases._recorded(facts, case, event)
        self._facts = facts
        self._links: dict[Node, list[Node]] = defaultdict(list)
        device = Node(NodeKind.DEVICE, event.anonymous_id or "")
        account = Node(NodeKind.ACCOUNT, event.user_id or "linked")
        linked = [node for node in (SIBLING, ADDRESS) if node in facts]
        if event.user_id is None and (linked or account in facts):
            linked.append(device)
        for node in linked:
            self._links[account].append(node)
            self._links[node].append(account)
        self._clock = clock
        self._looks = 0
        self.armed = False

    def size(self) -> int:
        self._looks += self.armed
        if self._looks > 1:
            self._clock.at = max(self._clock.at, NOW)
        return self._looks

    def knows(self, node: Node) -> bool:
        return node in self._facts or node in self._links

    def facts_of(self, node: Node) -> Facts:
        return tuple(self._facts.get(node, ()))

    def links_of(self, node: Node) -> tuple[Node, ...]:
        return tuple(self._links.get(node, ()))

    def merges_of(self, user_id: str) -> tuple[Merge, ...]:
        return ()

    def record(self, record_id: str) -> LedgerRecord | None:
        record = Record(record_id=record_id, type=RecordType.CHOICE, received_at=0, salt=b"")
        return LedgerRecord(0, record, b"")  # a case claims no times


def gate_of(case: dict[str, Any], clock: Stopped, records: CaseRecords | None) -> Gate:
    server = case.get("source_trust", "public") == "server"
    source = Source("case", secret_keys=(Secret("s" * 32),) if server else ())
    return Gate(cases.policy_of(case), source=source, records=records, clock=clock)


def outcome(gate: Gate, event: dict[str, Any]) -> tuple[list[str], dict[str, str], list[str]]:
    """Who was delivered to, why the others were not, and who was called."""
    called: list[str] = []
    for name in DOCUMENT["destinations"]:
        gate.add(name, lambda _, name=name: called.append(name))
    result = gate.push(event)
    assert not result.failed
    return sorted(result.delivered), dict(result.withheld), sorted(called)


def check(case: dict[str, Any], gate: Gate) -> None:
    delivered, withheld, called = outcome(gate, case["event"])
    assert delivered == called == sorted(case["allowed"])
    for name, reasons in case.get("withheld", {}).items():
        expected = reasons if isinstance(reasons, list) else [reasons]
        assert withheld[name] in expected, name


@pytest.mark.parametrize("case", DECIDABLE, ids=lambda case: case["name"])
def test_case(case: dict[str, Any]) -> None:
    clock = Stopped(NOW)
    records = CaseRecords(case, clock)
    gate = gate_of(case, clock, records)
    for message in case.get("before", ()):
        assert message["source_trust"] == case.get("source_trust", "public")
        clock.at = moment.parse(message["received_at"])
        gate.push(message["event"])
    clock.at = moment.parse(case["received_at"]) if "received_at" in case else NOW
    records.armed = True

    check(case, gate)


def sayable(case: dict[str, Any]) -> list[tuple[int, dict[str, str], dict[str, bool], Any]] | None:
    """A case's records as what an application would say, in order; None if it could not."""
    if "received_at" in case or any(key in case for key in ELSEWHERE):
        return None
    event, said = case["event"], []
    for key, member in (("recorded", "anonymousId"), ("recorded_account", "userId")):
        for category, entries in case.get(key, {}).items():
            for entry in entries if isinstance(entries, list) else [entries]:
                special = entry.keys() & {"conflict", "imported", "proven"}
                made = entry.get("made", entry["at"])
                if special or made is None or member not in event:
                    return None
                subject = {member: event[member]}
                answer = {category: entry["granted"]}
                said.append((moment.parse(entry["at"]), subject, answer, made))
    return sorted(said, key=lambda one: one[0])


SAYABLE = [case for case in DECIDABLE if sayable(case)]


@pytest.mark.parametrize("case", SAYABLE, ids=lambda case: case["name"])
def test_case_as_the_application_says_it(case: dict[str, Any]) -> None:
    clock = Stopped(NOW)
    gate = gate_of(case, clock, None)
    for at, subject, answer, made in sayable(case) or ():
        clock.at = at - 1
        gate.record(subject, answer, made_at=made)
    clock.at = NOW

    check(case, gate)


@pytest.mark.parametrize("case", DECIDABLE, ids=lambda case: case["name"])
def test_what_is_decided_twice_is_decided_the_same(case: dict[str, Any]) -> None:
    """The second time a plan may be at hand."""
    clock = Stopped(NOW)
    gate = gate_of(case, clock, None)

    first, again = outcome(gate, case["event"]), gate.push(case["event"])

    assert (sorted(again.delivered), dict(again.withheld)) == first[:2]


def test_the_cases_are_all_there() -> None:
    assert (len(EVERY), len(PROHIBITED)) == (93, 2)
    assert len(SAYABLE) >= 15
