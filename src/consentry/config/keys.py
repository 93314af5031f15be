"""What a key must look like to be carried in headers and paths."""

from __future__ import annotations

import re
from collections.abc import Iterable

from consentry.config.table import Table
from consentry.secret import Secret

SHORTEST_SECRET = 32  # bytes; RFC 7518, 3.2: an HS256 key is no shorter than its hash
_KEY = re.compile(r"[!-~]+")
_KEY_STOPS = re.compile(r"[:/?#%\"\\]")  # a key stands in Basic authentication and in paths


def check_key(table: Table, field: str, key: str) -> None:
    """Note a key that a header or a path cannot carry. The key is not shown."""
    if not _KEY.fullmatch(key) or _KEY_STOPS.search(key):
        table.error(field, 'must be ASCII without spaces and without any of : / ? # % " \\')


def warn_of_short(table: Table, key: str, secrets: Iterable[Secret]) -> None:
    """Note secrets that are short enough to be guessed."""
    if any(len(secret.reveal().encode("utf-8", "replace")) < SHORTEST_SECRET for secret in secrets):
        table.warning(
            key,
            f"is shorter than {SHORTEST_SECRET} bytes and may be guessed: "
            "make one with `openssl rand -hex 32`",
        )
