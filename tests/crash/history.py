"""A checker of histories: what clients were told, what was sent, and whether both can be true.

A history holds operations with the moment each began (``invoke``) and the moment its answer was
read (``ok``, None while that is in doubt), and sends with the moment of their first byte. All
moments are CLOCK_MONOTONIC of one machine, in nanoseconds. An operation took effect at some
moment between its two; where intervals overlap any order may have been the real one, and a send
is refused only if no order allows it. These are the rules:

``withdrawn``  no send starts after the answer to a withdrawal that nothing can have lifted.
``accepted``   an event that was accepted while its category was withdrawn never goes.
``stamp``      an event whose own stamp does not grant a category never goes where it is needed.
``ungranted``  an event without a stamp goes only after somebody granted.
``unknown``    nothing is sent that no client sent.
``order``      per subject and destination, first sends follow the order of acceptance, for
               events that one client sent one after the other.

``python -m tests.crash.history FILE.jsonl`` checks a saved history; exit code 1 if a rule is broken.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

FOREVER = 1 << 62


class Said(NamedTuple):
    """Categories granted or denied for identifiers (``d:DEVICE``, ``u:ACCOUNT``)."""

    nodes: tuple[str, ...]
    categories: tuple[str, ...]


class Event(NamedTuple):
    """One event. ``granted`` is what its stamp grants, None for an event without a stamp."""

    id: str
    nodes: tuple[str, ...]
    granted: tuple[str, ...] | None

    @property
    def subject(self) -> str:
        """Whose order it keeps: the account's if it names one, else the device's."""
        return next((n for n in self.nodes if n.startswith("u:")), self.nodes[0])


@dataclass(slots=True)
class Operation:
    """One request of one client, and everything that it says.

    ``lost`` is whether it was tried once without an answer: that copy of it may still be on its
    way when another copy was answered, and a denial counts each time that it is received.
    """

    op: int
    client: str
    invoke: int
    ok: int | None = None
    lost: bool = False
    events: tuple[Event, ...] = ()
    denies: tuple[Said, ...] = ()
    grants: tuple[Said, ...] = ()
    links: tuple[tuple[str, str], ...] = ()

    @property
    def until(self) -> int:
        """The latest moment at which it can have taken effect."""
        return FOREVER if self.ok is None else self.ok


class Send(NamedTuple):
    """One request to a destination about one event. ``status`` is None if none came back."""

    event: str
    destination: str
    start: int
    end: int | None = None
    status: int | None = None


@dataclass(slots=True)
class History:
    """``needs`` says which categories each destination needs, all of them."""

    needs: dict[str, tuple[str, ...]]
    operations: list[Operation] = field(default_factory=list)
    sends: list[Send] = field(default_factory=list)


class Violation(NamedTuple):
    """A rule that was broken, and how."""

    rule: str
    message: str


def check(history: History) -> list[Violation]:
    """Every send and every pair of events that breaks a rule; none if the history is legal."""
    said = _Spoken(history.operations)
    found: list[Violation] = []
    for send in history.sends:
        if send.event not in said.owner:
            found.append(Violation("unknown", f"{send.event} went to {send.destination}"))
            continue
        for category in history.needs[send.destination]:
            broken = _broken(said, send, category)
            if broken is not None:
                found.append(broken)
    return found + list(_disorder(history))


class _Spoken:
    """All that was said, by identifier and category."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self.owner: dict[str, tuple[Operation, Event]] = {}
        self.denies: dict[tuple[str, str], list[Operation]] = defaultdict(list)
        self.grants: dict[tuple[str, str], list[Operation]] = defaultdict(list)
        self.links: dict[str, list[tuple[str, Operation]]] = defaultdict(list)
        for one in operations:
            self.owner.update({event.id: (one, event) for event in one.events})
            for said, into in ((one.denies, self.denies), (one.grants, self.grants)):
                for nodes, categories in said:
                    for node in nodes:
                        for category in categories:
                            into[node, category].append(one)
            for left, right in one.links:
                self.links[left].append((right, one))
                self.links[right].append((left, one))

    def linked(self, nodes: Iterable[str], before: int) -> set[str]:
        """These identifiers and those whose link was answered before a moment."""
        found = set(nodes)
        for node in tuple(found):
            found |= {other for other, one in self.links[node] if one.until < before}
        return found

    def standing(
        self, nodes: Iterable[str], category: str, at: int, until: int
    ) -> Operation | None:
        """A denial answered before ``at`` that no grant begun before ``until`` can have lifted."""
        for node in nodes:
            answered = [d for d in self.denies[node, category] if d.until < at]
            last = max(answered, key=lambda d: d.invoke, default=None)
            if last is not None and not any(
                g.invoke < until and g.until > last.invoke for g in self.grants[node, category]
            ):
                return last
        return None

    def granted(self, nodes: Iterable[str], category: str, before: int) -> bool:
        """Whether somebody may have granted by then."""
        return any(g.invoke < before for n in nodes for g in self.grants[n, category])


def _broken(said: _Spoken, send: Send, category: str) -> Violation | None:
    """The rule that one send breaks for one category, if it does."""
    owner, event = said.owner[send.event]
    what = f"{send.event} went to {send.destination} at {send.start}, which needs {category}"
    if event.granted is not None and category not in event.granted:
        return Violation("stamp", f"{what}: its stamp does not grant it")
    then = said.linked(event.nodes, owner.invoke)
    own = any(category in d.categories and then & set(d.nodes) for d in owner.denies)
    if own or said.standing(then, category, owner.invoke, owner.until):
        return Violation("accepted", f"{what}: it was accepted while that was withdrawn")
    now = said.linked(event.nodes, send.start)
    denial = said.standing(now, category, send.start, send.start)
    if denial is not None:
        return Violation("withdrawn", f"{what}: operation {denial.op} answered at {denial.ok}")
    if event.granted is None and not said.granted(now, category, owner.until):
        return Violation("ungranted", f"{what}: nobody had granted it")
    return None


def _disorder(history: History) -> Iterator[Violation]:
    """Events of one client and subject whose first sends are the other way round."""
    first: dict[tuple[str, str], int] = {}
    for send in history.sends:
        key = (send.destination, send.event)
        first[key] = min(first.get(key, FOREVER), send.start)
    previous: dict[tuple[str, str, str], tuple[int, str]] = {}
    acknowledged = (one for one in history.operations if one.ok is not None)
    for one in sorted(acknowledged, key=lambda each: each.invoke):
        for event in one.events:
            for destination in history.needs:
                start = first.get((destination, event.id))
                if start is None:
                    continue
                key = (one.client, event.subject, destination)
                before, earlier = previous.get(key, (-1, ""))
                if start < before:
                    message = f"{event.id} went to {destination} at {start}, before {earlier}"
                    yield Violation("order", message)
                previous[key] = max((before, earlier), (start, event.id))


def owed(history: History) -> set[tuple[str, str]]:
    """(event, destination) of all that must be sent, whichever order was the real one.

    Acknowledged, granted by its stamp or by an earlier record, and every denial of its
    identifiers was lifted for certain before it was sent.
    """
    said = _Spoken(history.operations)
    everything = {node: {other for other, _ in links} for node, links in said.links.items()}
    return {
        (event.id, destination)
        for one, event in said.owner.values()
        if one.ok is not None
        for destination, needs in history.needs.items()
        if all(_certain(said, everything, one, event, category) for category in needs)
    }


def _certain(
    said: _Spoken, links: dict[str, set[str]], one: Operation, event: Event, category: str
) -> bool:
    if event.granted is not None and category not in event.granted:
        return False
    nodes = set(event.nodes).union(*(links.get(node, set()) for node in event.nodes))
    for node in nodes:
        before = [g for g in said.grants[node, category] if g.until < one.invoke]
        for denial in said.denies[node, category]:
            if denial.lost or not any(denial.until < grant.invoke for grant in before):
                return False
    named = (said.grants[node, category] for node in event.nodes)
    return event.granted is not None or any(
        grant.until < one.invoke for grants in named for grant in grants
    )


# -- files -----------------------------------------------------------------------------------------
def read(lines: Iterable[dict[str, Any]]) -> History:
    """A history from the lines of a journal (``journal.py``). What was refused never happened."""
    history = History({})
    operations: dict[int, Operation] = {}
    for line in lines:
        match line["is"]:
            case "needs":
                history.needs = {name: tuple(c) for name, c in line["needs"].items()}
            case "invoke":
                operations[line["op"]] = _operation(line)
            case "ok":
                operations[line["op"]].ok = line["at"]
            case "lost":
                operations[line["op"]].lost = True
            case "refused":
                del operations[line["op"]]
            case "send":
                names = ("event", "destination", "start", "end", "status")
                history.sends.append(Send(*(line[name] for name in names)))
    history.operations = list(operations.values())
    return history


def _operation(line: dict[str, Any]) -> Operation:
    def said(name: str) -> tuple[Said, ...]:
        return tuple(Said(tuple(nodes), tuple(categories)) for nodes, categories in line[name])

    events = tuple(
        Event(id_, tuple(nodes), None if granted is None else tuple(granted))
        for id_, nodes, granted in line["events"]
    )
    links = tuple((left, right) for left, right in line["links"])
    return Operation(
        line["op"],
        line["client"],
        line["at"],
        events=events,
        denies=said("denies"),
        grants=said("grants"),
        links=links,
    )


def load(path: Path) -> History:
    """A saved history. Raises OSError, ValueError and KeyError for what is none."""
    with path.open() as file:
        return read(json.loads(line) for line in file)


def main(arguments: list[str]) -> int:
    """Check files; say what is broken."""
    if not arguments:
        print("usage: python -m tests.crash.history FILE.jsonl ...", file=sys.stderr)
        return 2
    broken = 0
    for name in arguments:
        history = load(Path(name))
        found = check(history)
        for violation in found:
            print(f"{name}: {violation.rule}: {violation.message}")
        print(
            f"{name}: {len(history.operations)} operations, {len(history.sends)} sends, "
            f"{len(found)} violations"
        )
        broken += len(found)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
