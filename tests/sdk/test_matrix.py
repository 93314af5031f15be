"""Each row of the matrix in each regime, and each world at least once; `make soak` runs all of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser import Browser
from tests.e2e.asking import acme_with
from tests.running import Server, StandIn
from tests.sdk.matrix import CELLS, NOTICE, PLACES, ROWS, SERVER, TAGS, WORLDS, Cell, Street
from tests.sdk.site import Site

pytestmark = [pytest.mark.browser, pytest.mark.node]

SHORT = [
    Cell("opt_in", "first visit", False, "slow server"),
    Cell("opt_out", "first visit", True, "dead server"),
    Cell("opt_in", "accept", True, "two tabs"),
    Cell("notice", "accept", False, "other site"),
    Cell("opt_in", "reject", False, "other site"),
    Cell("opt_out", "reject", True, "plain"),
    Cell("opt_in", "choose", False, "dead server"),
    Cell("notice", "choose", True, "slow server"),
    Cell("opt_in", "change", True, "plain"),
    Cell("opt_out", "change", False, "two tabs"),
    Cell("opt_in", "withdraw", False, "two tabs"),
    Cell("notice", "withdraw", True, "plain"),
    Cell("opt_in", "expired", True, "other site"),
    Cell("opt_out", "expired", False, "plain"),
    Cell("opt_in", "new notice", False, "plain"),
    Cell("opt_in", "new notice", True, "two tabs"),
    Cell("notice", "new notice", False, "slow server"),
]


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory, vendors: StandIn) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("acme")
    with acme_with(folder, vendors.base, more=TAGS + NOTICE, tail=SERVER) as running:
        yield running


@pytest.fixture(scope="module")
def street(browser: Browser, shared_site: Site, acme: Server) -> Iterator[Street]:
    yield Street(browser, shared_site, acme)
    shared_site.reset()


@pytest.mark.parametrize("cell", SHORT, ids=lambda cell: cell.name)
def test_a_cell(street: Street, cell: Cell) -> None:
    street.play(cell)


def test_the_product_is_whole_and_so_is_the_choice_from_it() -> None:
    assert len(set(CELLS)) == len(CELLS) == len(ROWS) * len(PLACES) * 2 * len(WORLDS)
    assert set(SHORT) <= set(CELLS)
    for at, every in ((0, PLACES), (1, ROWS), (2, (False, True)), (3, WORLDS)):
        assert {cell[at] for cell in SHORT} == set(every)
