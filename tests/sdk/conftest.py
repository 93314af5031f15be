"""A real server for the browser files."""

from __future__ import annotations

from tests.e2e.conftest import acme, vendors

__all__ = ["acme", "vendors"]
