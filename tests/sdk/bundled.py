"""Vendors' SDKs from npm, bundled as a page that builds its own scripts would."""

from __future__ import annotations

import subprocess
from functools import cache

from tests.browser import JS


@cache
def bundled(entry: str) -> str:
    """The script made from one file of ``tests/e2e/js``."""
    built = subprocess.run(
        [
            *("npx", "esbuild", entry, "--bundle", "--format=iife", "--target=es2021"),
            *('--define:process.env.NODE_ENV="production"', "--log-level=error"),
        ],
        cwd=JS,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return built.stdout
