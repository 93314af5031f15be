"""The destination cannot be reached, or cannot be heard, and then it can again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.crash.direct import Teller
from tests.crash.history import Send, check, owed
from tests.crash.journal import Journal
from tests.crash.network import Wire, unfinished, wire
from tests.crash.people import NEEDS
from tests.crash.place import config
from tests.e2e.asking import verify
from tests.running import Server, StandIn, free_port, stand_in, wait_for


@contextlib.contextmanager
def apart(folder: Path, between: Wire) -> Iterator[tuple[Server, StandIn]]:
    """A server on one side, the stand-in on the other."""
    with stand_in("0.0.0.0", between.far.host, between.far.within) as vendors:
        server = Server(folder, free_port(), host=between.near.host, within=between.near.within)
        server.config.write_text(config(f"http://{between.far.wire}:{vendors.port}"))
        server.start()
        try:
            yield server, vendors
        finally:
            server.kill()


@pytest.mark.parametrize("direction", ["requests", "answers"])
def test_a_destination_that_is_cut_off_and_comes_back(tmp_path: Path, direction: str) -> None:
    journal = Journal(tmp_path / "history.jsonl", NEEDS)
    with wire() as between, apart(tmp_path, between) as (server, vendors):
        teller = Teller(server, journal)
        stays, leaves = teller.person(), teller.person()
        events = [teller.buys(stays)]
        for event in (*events, teller.buys(leaves)):  # connections stand, and are kept
            server.event(event)
        between.lose(direction)
        long = {"text": "x" * 30_000}  # more than fits into one packet, or into the kernel at once
        gone = [teller.buys(leaves, properties=long) for _ in range(2)]
        events += [teller.buys(stays) for _ in range(4)]
        wait_for(lambda: _tried(server, gone[0]), what="an attempt that timed out")
        assert teller.withdraws(leaves).status == 201
        for event in gone:
            wait_for(lambda e=event: _settled(server, e), what="withheld")
        heard = vendors_heard(vendors)
        between.heal(direction)
        assert server.admin("POST", "/v1/deliveries/retry", {}).status == 200
        for event in events:
            assert {d["state"] for d in server.event(event).values()} == {"delivered"}
        assert server.process is not None
        wait_for(lambda: not unfinished(server.process.pid), 60, what="the last packet")
        late = vendors.journal()[heard:]
        assert not {e for one in late for e in one["ids"]["messageIds"]} & set(gone)
        sends(vendors, journal)
        history = journal.history()
        assert check(history) == []
        assert {(e, d) for e in events for d in NEEDS} <= owed(history)
        assert server.stop() == 0
        verify(server)


def vendors_heard(vendors: StandIn) -> int:
    """How many requests arrived so far."""
    return len(vendors.journal())


def sends(vendors: StandIn, journal: Journal) -> None:
    """What arrived, by the stand-in's own clock."""
    for entry in vendors.journal():
        destination = entry["path"].rpartition("/")[2]
        for event in entry["ids"]["messageIds"]:
            start, end = entry["started_monotonic_ns"], entry["ended_monotonic_ns"]
            journal.sent(Send(event, destination, start, end, entry["status"]))


def _deliveries(server: Server, event: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.admin("GET", f"/v1/events/{event}").json["deliveries"]
    return found


def _tried(server: Server, event: str) -> bool:
    return any(delivery["attempts"] for delivery in _deliveries(server, event))


def _settled(server: Server, event: str) -> bool:
    return all(delivery["state"] == "withheld" for delivery in _deliveries(server, event))
