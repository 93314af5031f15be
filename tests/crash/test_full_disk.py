"""A disk that is full: nothing is acknowledged that is not durable, and room is noticed."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.crash.direct import Teller
from tests.crash.history import check
from tests.crash.place import Place, place
from tests.e2e.asking import verify
from tests.running import Answer, Server, call, wait_for

ROOM = 512 * 1024  # bytes that are left before it is full


class Disk(Protocol):
    """Somewhere to put a store, that can be filled up."""

    folder: Path

    def fill(self, server: Server) -> None:
        """Leave little room."""

    def make_room(self, server: Server) -> None:
        """Leave plenty."""


@dataclass(slots=True)
class Limited:
    """No file of the server may grow beyond what the largest has now (RLIMIT_FSIZE)."""

    folder: Path

    def fill(self, server: Server) -> None:
        largest = max(file.stat().st_size for file in self.folder.iterdir())
        self._limit(server, largest + ROOM)

    def make_room(self, server: Server) -> None:
        self._limit(server, resource.RLIM_INFINITY)

    def _limit(self, server: Server, size: int) -> None:
        assert server.process is not None
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@dataclass(slots=True)
class Small:
    """A file system of its own, with a file in it that takes nearly all of it."""

    folder: Path
    ballast: Path = field(init=False)

    def __post_init__(self) -> None:
        self.ballast = self.folder / "ballast"

    def fill(self, server: Server) -> None:
        room = os.statvfs(self.folder)
        with self.ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_bsize - ROOM)

    def make_room(self, server: Server) -> None:
        self.ballast.unlink()


@contextlib.contextmanager
def _small(folder: Path) -> Iterator[Small]:
    """Mounted for as long as the test runs; skips where that is not allowed."""
    command = ["mount", "-t", "tmpfs", "-o", "size=32m,mode=700", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        pytest.skip(f"needs root and mount(8) for a small tmpfs: {said.splitlines()[0]}")
    try:
        yield Small(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(params=["a limit on files", "a small file system"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    if request.param == "a limit on files":
        yield Limited(tmp_path)
    else:
        with _small(tmp_path) as small:
            yield small


def test_a_full_disk_accepts_nothing_and_loses_nothing(disk: Disk) -> None:
    with place(disk.folder) as here:
        server, teller = here.server, Teller(here.server, here.journal)
        person = teller.person()
        kept = [teller.buys(person)]
        assert teller.agrees(person).status == 201
        server.event(kept[0])
        disk.fill(server)
        refused = _fill(teller, kept)
        assert (refused.status, refused.json["code"]) == (503, "unavailable")
        assert int(refused.headers["retry-after"]) >= 1
        assert teller.withdraws(person).status == 503
        assert teller.agrees(person).status == 503
        _says_that_it_does_not_enforce(server)
        disk.make_room(server)
        wait_for(lambda: call(server.base, "GET", "/readyz").status == 200, what="ready again")
        # Who was refused is not withdrawn: they were told to ask again.
        kept.append(teller.buys(person))
        _everything_arrived(here, kept)
        assert teller.withdraws(person).status == 201
        server.kill()
        server.start()
        _everything_arrived(here, kept)
        assert check(here.journal.history()) == []
        assert server.stop() == 0
        verify(server)


def test_killed_on_a_full_disk_it_keeps_what_it_had_acknowledged(disk: Disk) -> None:
    with place(disk.folder) as here:
        server, teller = here.server, Teller(here.server, here.journal)
        person, leaves = teller.person(), teller.person()
        here.vendors.mode("webhook", "5xx")
        gone = teller.buys(leaves)
        kept = [teller.buys(person)]
        assert teller.withdraws(leaves).status == 201
        disk.fill(server)
        assert _fill(teller, kept).status == 503
        server.kill()
        if isinstance(disk, Small):
            _started_on_a_full_disk(server, teller)
            disk.make_room(server)
        server.start()
        here.resume()
        here.drain()
        _everything_arrived(here, kept)
        here.collect()
        assert not any(here.arrived[gone, d] for d in here.journal.needs)
        assert server.stop() == 0
        verify(server)


def _fill(teller: Teller, kept: list[str]) -> Answer:
    """Send until nothing more is taken, large or small; the answer that said so."""
    for size in (20_000, 2_000, 1):
        for _ in range(2000):
            event, answer = teller.try_to_buy(teller.person(), properties={"text": "x" * size})
            if answer.status != 200:
                break
            kept.append(event)
        else:
            raise AssertionError("the disk never was full")
    return answer


def _says_that_it_does_not_enforce(server: Server) -> None:
    ready = call(server.base, "GET", "/readyz")
    assert (ready.status, ready.json) == (503, {"ready": False, "enforcing": False})
    assert call(server.base, "GET", "/healthz").status == 200
    metrics = call(server.base, "GET", "/metrics").body.decode()
    assert "\nconsentry_enforcing 0.0\n" in metrics


def _started_on_a_full_disk(server: Server, teller: Teller) -> None:
    """It serves and says that it does not enforce, or it says why it does not start.

    It may enforce, too: room inside the write-ahead log is used again after a start. Then it
    records a withdrawal, or says from the first that it cannot on that it does not enforce.
    """
    server.spawn()
    assert server.process is not None

    def says() -> Any:
        if server.process is not None and server.process.poll() is not None:
            return server.process.returncode
        return call(server.base, "GET", "/healthz").status == 200

    found = wait_for(says, what="a word")
    if found is True:
        enforcing = call(server.base, "GET", "/readyz").status == 200
        if not enforcing or teller.withdraws(teller.person()).status != 201:
            _says_that_it_does_not_enforce(server)
        server.kill()
    else:
        assert found == 4


def _everything_arrived(here: Place, kept: list[str]) -> None:
    for event in kept:
        states = {delivery["state"] for delivery in here.server.event(event).values()}
        assert states == {"delivered"}, event
    here.collect()
    assert all(here.arrived[event, d] for event in kept for d in here.journal.needs)
