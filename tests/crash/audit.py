"""What must be true at the end of a run: everything that was acknowledged, and nothing else.

Every check raises AssertionError and names what is wrong.
"""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.crash.clients import Crowd
from tests.crash.history import History, Operation, Said, check, owed
from tests.crash.place import Place
from tests.e2e.asking import verify
from tests.running import ADMIN_KEY, Server


@dataclass(slots=True)
class Audit:
    """Figures of a run that was found to be as promised."""

    operations: int
    acknowledged: int
    in_doubt: int
    events: int
    choices: int
    sends: int
    arrived: int
    duplicates: int
    owed: int
    withheld: int
    dead: int
    orders: int
    told: int

    def __str__(self) -> str:
        return ", ".join(f"{name} {getattr(self, name)}" for name in self.__slots__)


def audit(here: Place, crowd: Crowd) -> Audit:
    """Drain, then compare what was told with what is stored and with what was sent."""
    here.resume()
    here.drain()
    here.follow()
    with Asking(here.server) as asking:
        history = here.journal.history()
        events = acknowledged_events(history)
        deliveries = {event: asking.deliveries(event) for event in events}
        check_records(asking, crowd)
        check_subjects(asking, crowd, history)
        check_repeats(asking, crowd)
        orders = asking.orders()
    here.collect()
    check_orders(here, orders)
    assert here.server.stop() == 0
    verify(here.server)
    history = here.journal.history()  # with what was sent meanwhile
    check_sends(here, history)
    must = owed(history)
    check_deliveries(deliveries, here.arrived, must)
    states = Counter(d["state"] for found in deliveries.values() for d in found.values())
    return Audit(
        operations=len(history.operations),
        acknowledged=sum(one.ok is not None for one in history.operations),
        in_doubt=sum(one.ok is None for one in history.operations),
        events=len(events),
        choices=len(crowd.told) + len(crowd.updates),
        sends=len(history.sends),
        arrived=sum(n > 0 for n in here.arrived.values()),
        duplicates=sum(n - 1 for n in here.arrived.values() if n > 1),
        owed=len(must),
        withheld=states["withheld"],
        dead=states["dead"],
        orders=len(orders),
        told=len(here.told),
    )


class Asking:
    """An operator's questions over one connection."""

    def __init__(self, server: Server) -> None:
        self._connection = http.client.HTTPConnection(server.host, server.port, timeout=30)

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body."""
        sent = {"Authorization": f"Bearer {ADMIN_KEY}"} if headers is None else headers
        data = None if body is None else json.dumps(body).encode()
        self._connection.request(method, path, data, sent)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def json(self, path: str) -> Any:
        """The answer to a GET, which must be 200."""
        status, body = self.ask("GET", path)
        assert status == 200, (path, status, body)
        return json.loads(body)

    def deliveries(self, event: str) -> dict[str, Any]:
        """An acknowledged event's deliveries by destination: it must be stored."""
        found = self.json(f"/v1/events/{event}")
        assert found["messageId"] == event
        return {delivery["destination"]: delivery for delivery in found["deliveries"]}

    def orders(self) -> dict[str, dict[str, Any]]:
        """Every order there is, by its id."""
        found: dict[str, dict[str, Any]] = {}
        more = ""
        while True:
            page = self.json(f"/v1/propagation/orders{more}")
            found |= {order["orderId"]: order for order in page["orders"]}
            if page["next"] is None:
                return found
            more = f"?cursor={page['next']}"

    def history(self, path: str) -> list[dict[str, Any]]:
        """All entries of a subject's history."""
        entries: list[dict[str, Any]] = []
        more = ""
        while True:
            page = self.json(f"{path}?history=true{more}")
            entries += page["history"]
            if page["next"] is None:
                return entries
            more = f"&cursor={page['next']}"


def acknowledged_events(history: History) -> list[str]:
    """Message ids for which a client was told that they are durable."""
    answered = (one for one in history.operations if one.ok is not None)
    return [event.id for one in answered for event in one.events]


def check_orders(here: Place, orders: dict[str, dict[str, Any]]) -> None:
    """No order was lost, and for nobody did a later one start before an earlier one had ended."""
    taken = {told.order for told in here.told if told.taken}
    for order in orders.values():
        if order["verb"] == "gate":
            continue
        assert order["state"] in ("terminal", "superseded"), order
        if order["state"] == "terminal":
            assert order["orderId"] in taken, f"said to be done, and never arrived: {order}"
        elif order["supersededBy"] is not None:
            assert order["supersededBy"] in orders, order
    latest: dict[tuple[str, str], int] = {}
    for told in here.told:
        assert told.order in orders, f"told, and not on record: {told}"
        for person in told.people:
            before = latest.get((told.destination, person), -1)
            assert before <= told.seq, f"out of order: {told} after {before}"
            latest[told.destination, person] = told.seq


def check_records(asking: Asking, crowd: Crowd) -> None:
    """Every acknowledged record is a leaf of the ledger."""
    status, body = asking.ask("GET", "/v1/ledger?first=0")
    assert status == 200
    leaves = [json.loads(line) for line in body.splitlines()]
    assert [leaf["seq"] for leaf in leaves] == list(range(len(leaves)))
    records = {leaf["recordId"] for leaf in leaves}
    gone = [told for told in crowd.told if told.record not in records]
    assert not gone, f"acknowledged and not in the ledger: {gone}"


def check_subjects(asking: Asking, crowd: Crowd, history: History) -> None:
    """Every acknowledged choice and link is found by the identifiers that it was about."""
    paths = {"d": "/v1/subjects/anonymous_id:", "u": "/v1/subjects/user_id:"}
    nodes = {node for person in crowd.talk.everybody for node in person.nodes}
    entries = {n: asking.history(paths[n[0]] + n[2:]) for n in nodes}
    for told in crowd.told:
        for said in (*told.request.says.denies, *told.request.says.grants):
            for node in said.nodes:
                found = [e for e in entries[node] if e["recordId"] == told.record]
                assert found, f"{told.record} is not in the history of {node}"
                _is_as_said(found[0], told.request.says)
    for node, update in crowd.updates:
        found = [e for e in entries[node] if e["evidence"].get("messageId") == update]
        assert found, f"the choice of event {update} is not in the history of {node}"
    for node, category in sorted(never_granted(history)):
        found = asking.json(paths[node[0]] + node[2:])["preferences"][category]
        assert found["effective"] == "denied", (node, found)
    for one in history.operations:
        for device, account in one.links if one.ok is not None else ():
            assert asking.json(paths["d"] + device[2:])["subject"]["userId"] == account[2:]


def never_granted(history: History) -> set[tuple[str, str]]:
    """Identifiers and categories that somebody withdrew, and that nobody ever granted."""

    def named(said: Iterable[Said]) -> set[tuple[str, str]]:
        return {(node, c) for nodes, categories in said for node in nodes for c in categories}

    answered = [one for one in history.operations if one.ok is not None]
    denied = named(said for one in answered for said in one.denies)
    return denied - named(said for one in history.operations for said in one.grants)


def _is_as_said(entry: dict[str, Any], says: Operation) -> None:
    for said in says.denies:
        assert all(entry["after"][c] == "denied" for c in said.categories), entry
    named = {c for said in (*says.denies, *says.grants) for c in said.categories}
    assert set(entry["after"]) == named, entry


def check_repeats(asking: Asking, crowd: Crowd) -> None:
    """A choice that is sent again with its key has the record that it had."""
    for told in crowd.told:
        request = told.request
        if request.key is None:
            continue
        status, body = asking.ask("POST", request.path, request.body, request.headers)
        assert status == 200, (told, status, body)
        assert json.loads(body)["recordId"] == told.record, told


def check_sends(here: Place, history: History) -> None:
    """Nothing that was withheld was sent, and the tap missed nothing that arrived."""
    found = check(history)
    assert not found, f"{here.journal.path}: {found[:10]}"
    assert here.tap.unstamped == 0, "the kernel did not say when requests came in"
    tapped = Counter((send.event, send.destination) for send in history.sends)
    assert here.requests <= tapped, here.requests - tapped


def check_deliveries(
    deliveries: dict[str, dict[str, Any]],
    arrived: Counter[tuple[str, str]],
    must: set[tuple[str, str]],
) -> None:
    """What is called delivered arrived; what had to go did, or is dead with a reason."""
    for event, found in deliveries.items():
        for destination, delivery in found.items():
            one = (event, destination)
            state = delivery["state"]
            assert state in ("delivered", "withheld", "dead"), (one, delivery)
            assert state != "delivered" or arrived[one], f"{one} never arrived: {delivery}"
            assert state != "dead" or delivery["attempts"][-1]["grade"], (one, delivery)
            assert state != "withheld" or one not in must, f"{one} was withheld: {delivery}"
    stored = {(event, d) for event, found in deliveries.items() for d in found}
    assert must <= stored, must - stored
