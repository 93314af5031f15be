"""Where these tests take place: a server, the stand-in, and a tap on the wire between them."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.crash.journal import Journal
from tests.crash.people import NEEDS
from tests.crash.tap import Tap
from tests.running import CONFIG, Server, StandIn, free_port, stand_in, wait_for

TIMEOUT_S = 2.0
"""How long the server waits for a destination's answer."""


def config(base: str) -> str:
    """The usual workspace, less patient with its destinations."""
    text = CONFIG.format(stand_in=base, workspace="", website="", more="")
    secret = 'secret = "env:HOOK_SECRET"\n'
    return text.replace(secret, f"{secret}timeout_s = {TIMEOUT_S}\n")


class Told(NamedTuple):
    """One attempt at an order, as the destination saw it. ``seq`` is the record's place."""

    destination: str
    order: str
    seq: int
    people: tuple[str, ...]
    taken: bool


def _told(destination: str, data: dict[str, Any], taken: bool) -> Told:
    subject = data["subject"]
    people = (*subject["anonymousIds"], *subject["userIds"])
    return Told(destination, data["orderId"], data["seq"], people, taken)


@dataclass(slots=True)
class Place:
    """What runs. ``journal`` gets every send from the tap, and what clients write.

    ``requests`` and ``arrived`` count by (event, destination) what the stand-in's own journal
    says it got, and what of it was taken over and answered.
    """

    server: Server
    vendors: StandIn
    journal: Journal
    tap: Tap
    seen: int = 0
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    arrived: Counter[tuple[str, str]] = field(default_factory=Counter)
    told: list[Told] = field(default_factory=list)

    def resume(self) -> None:
        """The destinations behave, and what waits is tried now."""
        self.vendors.mode("webhook", "ok")
        assert self.server.admin("POST", "/v1/deliveries/retry", {}).status == 200

    def drain(self, timeout_s: float = 60.0) -> None:
        """Wait until nothing waits for any destination any more."""
        wait_for(self._drained, timeout_s, what="the drain")

    def follow(self, timeout_s: float = 60.0) -> None:
        """Wait until no order is open any more."""
        wait_for(self._followed, timeout_s, what="every order's end")

    def _followed(self) -> bool:
        listed = self.server.admin("GET", "/v1/propagation/status").json["destinations"]
        if all(d["open"] == 0 for d in listed):
            return True
        self.vendors.mode("webhook", "ok")
        assert self.server.admin("POST", "/v1/propagation/retry", {}).status == 200
        return False

    def _drained(self) -> bool:
        listed = self.server.admin("GET", "/v1/destinations").json["destinations"]
        assert not any(d["paused"] for d in listed), listed
        if all(d["waiting"] == 0 and d["lag"] == 0 for d in listed):
            return True
        self.resume()
        return False

    def collect(self) -> None:
        """Fetch what is new in the stand-in's journal, which forgets when it is full."""
        for entry in self.vendors.journal(after=self.seen):
            self.seen = entry["n"]
            destination = entry["path"].rpartition("/")[2]
            taken = entry["status"] == 200 and entry["mode"] in ("ok", "slow")
            if entry["body"] and entry["body"]["type"].startswith(("consent.w", "consent.g")):
                self.told.append(_told(destination, entry["body"]["data"], taken))
            for event in entry["ids"]["messageIds"]:
                self.requests[event, destination] += 1
                self.arrived[event, destination] += taken


@contextlib.contextmanager
def place(
    folder: Path, *, start: bool = True, environment: dict[str, str] | None = None
) -> Iterator[Place]:
    """Start everything in this folder; stop it at the end. The journal stays there."""
    journal = Journal(folder / "history.jsonl", NEEDS)
    with stand_in() as vendors:
        tap = Tap(vendors.port, journal.sent)
        server = Server(folder, free_port())
        server.environment |= environment or {}
        server.config.write_text(config(tap.base))
        try:
            if start:
                server.start()
            yield Place(server, vendors, journal, tap)
        finally:
            if server.process is not None and server.process.poll() is None:
                server.kill()
            tap.close()
            journal.close()
