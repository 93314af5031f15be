"""Two network namespaces of the test's own, and a wire between them that loses one direction.

The server lives in one, the stand-in in the other, and the test reaches each over a wire of its
own that stays whole. Frames are lost by sending them to a hardware address that nobody has, so
whoever sends notices nothing, as on a real network. Everything is gone with the namespaces.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

_NOBODY = "02:00:00:00:00:99"


@dataclass(frozen=True, slots=True)
class Side:
    """One namespace. ``host`` is where the test reaches it, ``wire`` its end of the wire."""

    name: str
    host: str
    wire: str

    @property
    def within(self) -> tuple[str, ...]:
        """What runs a command in it."""
        return ("ip", "netns", "exec", self.name)


@dataclass(frozen=True, slots=True)
class Wire:
    """From ``near`` (the server) to ``far`` (the destinations)."""

    near: Side
    far: Side

    def lose(self, direction: str) -> None:
        """From here on ``requests`` or ``answers`` get lost."""
        side, other = self._ends(direction)
        _ip(f"-n {side.name} neigh replace {other.wire} lladdr {_NOBODY} dev wire nud permanent")

    def heal(self, direction: str) -> None:
        """They arrive again."""
        side, other = self._ends(direction)
        _ip(f"-n {side.name} neigh del {other.wire} dev wire")

    def _ends(self, direction: str) -> tuple[Side, Side]:
        ends = {"requests": (self.near, self.far), "answers": (self.far, self.near)}
        return ends[direction]


@contextlib.contextmanager
def wire() -> Iterator[Wire]:
    """Make both; skips the test where that is not allowed, and says what is missing."""
    tag, net = secrets.token_hex(3), secrets.randbelow(256)
    near = Side(f"cns-{tag}", f"10.213.{net}.1", f"10.213.{net}.129")
    far = Side(f"cnd-{tag}", f"10.213.{net}.5", f"10.213.{net}.130")
    try:
        try:
            _make(near, far, tag)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", "") or str(error)
            pytest.skip(f"needs root, ip(8), network namespaces and veth: {said.splitlines()[0]}")
        yield Wire(near, far)
    finally:
        for side in (near, far):
            if os.path.exists(f"/run/netns/{side.name}"):
                _ip(f"netns del {side.name}")  # its ends of every wire go with it


def _make(near: Side, far: Side, tag: str) -> None:
    for side in (near, far):
        _ip(f"netns add {side.name}")
        _ip(f"-n {side.name} link set lo up")
        link = f"{side.name[:3]}{tag}"
        _ip(f"link add {link} type veth peer name test netns {side.name}")
        ours = side.host.rpartition(".")[0] + f".{int(side.host.rpartition('.')[2]) + 1}"
        _ip(f"addr add {ours}/30 dev {link}")
        _ip(f"link set {link} up")
        _ip(f"-n {side.name} addr add {side.host}/30 dev test")
        _ip(f"-n {side.name} link set test up")
    _ip(f"-n {near.name} link add wire type veth peer name wire netns {far.name}")
    for side in (near, far):
        _ip(f"-n {side.name} addr add {side.wire}/30 dev wire")
        _ip(f"-n {side.name} link set wire up")


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True, capture_output=True, text=True)


def unfinished(pid: int) -> int:
    """Connections of this process' namespace that were closed with bytes still to be delivered.

    FIN_WAIT1, LAST_ACK and CLOSING in /proc/net/tcp: the kernel goes on sending those.
    """
    with open(f"/proc/{pid}/net/tcp") as table:
        states = [line.split()[3] for line in table.readlines()[1:]]
    return sum(state in ("04", "09", "0B") for state in states)
