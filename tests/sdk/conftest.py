"""A real server, and the site before it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser import Browser, Visitor
from tests.e2e.conftest import acme, standing_in, vendors
from tests.running import Server
from tests.sdk.site import Site
from tests.sdk.ui import Ui, pages

__all__ = ["acme", "standing_in", "vendors"]


@pytest.fixture(scope="session")
def ui(browser: Browser) -> Iterator[Ui]:
    """The page of the tests test_ui_*."""
    with pages(browser) as running:
        yield running


@pytest.fixture(scope="module")
def shared_site(town: Site, acme: Server) -> Site:
    """The site in front of this module's server."""
    town.upstream = acme.base.removeprefix("http://")
    return town


@pytest.fixture
def shop(shared_site: Site) -> Site:
    shared_site.reset()
    return shared_site


@pytest.fixture
def visitor(browser: Browser, shop: Site) -> Iterator[Visitor]:
    with browser.visitor() as who:
        yield who
    shop.server = "ok"
