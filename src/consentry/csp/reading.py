"""The rules in a configuration file: the same ``[[category]]`` and ``[[tag]]`` the server reads."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from consentry.csp.values import LONGEST_AGE_DAYS, Category, Rules, Tag

MICROSECONDS = 1_000_000


def from_file(path: str | os.PathLike[str], **more: Any) -> Rules:
    """The rules in consentry.toml; ``more`` are the other fields of ``Rules``, in code.

    No secret is looked up. The host of ``[server].base_url`` may always be reached: choices are
    sent there. Raises ConfigError with everything that is wrong in the file, and ValueError.
    """
    from consentry.config import load_config  # loaded when it is asked for: rules may be in code

    config = load_config(path, None)
    enabled = {each.id for each in config.policy.categories if each.enabled}
    oldest = config.policy.settings.max_age_us
    categories = tuple(
        Category(
            each.id,
            each.essential,
            each.gpc,
            None if each.max_age_us is None else each.max_age_us / MICROSECONDS,
            None
            if each.requires_consent_since is None
            else each.requires_consent_since / MICROSECONDS,
        )
        for each in config.policy.categories
        if each.enabled
    )
    # What is turned off does not count; a tag that then needs nothing never runs.
    tags = tuple(
        Tag(
            tag.name,
            tuple(category for category in tag.categories if category in enabled),
            tag.hosts,
            tag.cookies,
            advanced=tag.mode == "advanced",
        )
        for tag in config.tags
    )
    if oldest is not None:
        days = oldest / MICROSECONDS / 86_400
        more.setdefault("max_age_days", min(days, LONGEST_AGE_DAYS))
    host = urlsplit(config.server.base_url or "").netloc.rpartition("@")[2].lower()
    own = (*((host,) if host else ()), *more.pop("own_hosts", ()))
    return Rules(categories=categories, tags=tags, own_hosts=own, **more)
