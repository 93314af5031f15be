"""What is tried in Chromium alone, and why. ``make test-firefox`` runs all else in Firefox.

A test is named as a path within ``tests`` and its name; without parameters all of them are meant.
"""

from __future__ import annotations

import os

NO_PINGS = "Firefox sends no pings unless somebody turns them on (browser.send_pings)"
NOT_IN_FIREFOX = {
    "sdk/test_guard.py::test_markup_of_the_page_that_pings_does_so_once_granted": NO_PINGS,
    "e2e/test_sdk_browser.py::test_the_browser_asks_once_per_path": "Firefox, when it is driven, "
    "asks before each request: it keeps no answer to a preflight",
}


def driven() -> str:
    """Which browser the tests drive: ``chromium``, or what CONSENTRY_BROWSER says."""
    return os.environ.get("CONSENTRY_BROWSER", "chromium")


def not_here(test: str) -> str | None:
    """Why a test is not run in the browser that is driven; null where it is."""
    return NOT_IN_FIREFOX.get(test.partition("[")[0]) if driven() == "firefox" else None
