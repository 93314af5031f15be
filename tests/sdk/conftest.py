"""A real server, the site before it, and Chromium, once for a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import acme, vendors
from tests.running import Server
from tests.sdk.chrome import Chrome, Visitor, chrome
from tests.sdk.site import Site, site
from tests.sdk.ui import Browser, chromium

__all__ = ["acme", "vendors"]


@pytest.fixture(scope="session")
def ui() -> Iterator[Browser]:
    """Chromium with the page of the tests test_ui_*."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def shared_site(acme: Server) -> Iterator[Site]:
    with site(acme.base) as running:
        yield running


@pytest.fixture(scope="module")
def browser(shared_site: Site) -> Iterator[Chrome]:
    with chrome(shared_site.port) as running:
        yield running


@pytest.fixture
def shop(shared_site: Site) -> Site:
    shared_site.reset()
    return shared_site


@pytest.fixture
def visitor(browser: Chrome, shop: Site) -> Iterator[Visitor]:
    with browser.visitor() as who:
        yield who
    shop.server = "ok"
