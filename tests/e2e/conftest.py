"""A real server for each module of these tests, and a real stand-in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.asking import acme_with
from tests.running import Server, StandIn, stand_in


@pytest.fixture(scope="session")
def standing_in() -> Iterator[StandIn]:
    """A process for all modules of a worker."""
    with stand_in() as running:
        yield running


@pytest.fixture(scope="module")
def vendors(standing_in: StandIn) -> StandIn:
    """The stand-in, which knows of nothing that was before."""
    standing_in.reset()
    return standing_in


@pytest.fixture
def well(vendors: StandIn) -> Iterator[StandIn]:
    """The stand-in, which behaves well again afterwards."""
    yield vendors
    vendors.mode("webhook", "ok")


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory, vendors: StandIn) -> Iterator[Server]:
    """The usual workspace, once for a module."""
    with acme_with(tmp_path_factory.mktemp("acme"), vendors.base) as running:
        yield running
