"""What every request shares: who asks for a write, when it was answered, how it may fail."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from consentry.core.record import Node, NodeKind
from consentry.flow.records import Origin
from consentry.ports import StoreError
from tests.simulation import checks
from tests.simulation.store import ASKED_BY

if TYPE_CHECKING:
    from tests.simulation.world import Request, Simulation


async def go_on(sim: Simulation, name: str, work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except StoreError as error:
        sim.counts.refused += 1
        sim.say(f"refused: {name} ({type(error).__name__}: {error})")
    except Exception as fault:
        sim.violate(f"{name} raised {type(fault).__name__}: {fault}")


class asked:
    """While this is entered, writes are this request's; leaving it closes the request."""

    def __init__(self, sim: Simulation, request: Request) -> None:
        self._sim = sim
        self._request = request

    def __enter__(self) -> None:
        self._sim.begin(self._request)
        ASKED_BY.set(self._request)  # each action is a task, with a context of its own

    def __exit__(self, *_: object) -> None:
        self._sim.close(self._request)


def answered(sim: Simulation, request: Request, *, again: bool = False) -> None:
    """The answer was sent."""
    if sim.process is not None and sim.process.gone:
        return
    sim.say(f"answered: {request.what}")
    if again:
        request.landed = True  # what it says is on record already, by the first of its kind
    sim.close(request)
    checks.acknowledged(sim, request, again=again)


def world_of(sim: Simulation) -> Any:
    assert sim.process is not None
    return sim.process.world


def origin_of(door: str, account: str | None) -> Origin:
    """public: a page. proven: a page with a subject token. server: a backend."""
    if door == "server":
        return Origin("backend", "server")
    return Origin("website", "public", account if door == "proven" else None)


def nodes_of(device: str | None, account: str | None) -> tuple[Node, ...]:
    nodes = []
    if device:
        nodes.append(Node(NodeKind.DEVICE, device))
    if account:
        nodes.append(Node(NodeKind.ACCOUNT, account))
    return tuple(nodes)
