"""What options of several kinds have in common, checked as they are read."""

from __future__ import annotations

from collections.abc import Sequence

from consentry.destinations.addresses import parse_target
from consentry.secret import Secret


def check_base_url(url: str, option: str = "base_url") -> None:
    """Raise ValueError unless it is the beginning of URLs. The client judges the place."""
    parse_target(url, allow_private=True)
    if "?" in url:
        raise ValueError(f"{option}: must not hold a query")


def check_secrets(option: str, secrets: Sequence[Secret], *, needed: bool = True) -> None:
    """Raise ValueError if one is needed and missing, or one is empty."""
    if (needed and not secrets) or not all(secret.reveal().strip() for secret in secrets):
        raise ValueError(f"{option}: one is needed, and it must not be empty")
