"""The rules in a configuration file: the same ``[[category]]`` and ``[[tag]]`` the server reads."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from consentry.csp.values import DAY_S, LONGEST_AGE_DAYS, Category, Rules, Tag

if TYPE_CHECKING:
    from consentry.config import Config
    from consentry.notice import History

MICROSECONDS = 1_000_000


def from_file(
    path: str | os.PathLike[str],
    *,
    store: str | os.PathLike[str] | None = None,
    document: Mapping[str, Any] | None = None,
    **more: Any,
) -> Rules:
    """The rules in consentry.toml; ``more`` are the other fields of ``Rules``, in code.

    No secret is looked up. The host of ``[server].base_url`` may always be reached: choices are
    sent there. When each category took its meaning is read from the server's store, a SQLite
    file: ``store``, else that of ``[store].url`` where it is on this machine. On another machine
    hand over the server's policy document (``GET /v1/projects/WRITE_KEY/policy``) as
    ``document``. Raises ConfigError with everything that is wrong in the file, StoreError, and
    ValueError.
    """
    from consentry.config import load_config  # loaded when it is asked for: rules may be in code
    from consentry.notice import as_told

    config = load_config(path, None)
    history = _history(config, store)
    policy = as_told(config.policy, history)
    told = _since(document)
    enabled = {each.id for each in policy.categories if each.enabled}
    categories = tuple(
        Category(
            each.id,
            each.essential,
            each.gpc,
            None if each.max_age_us is None else each.max_age_us / MICROSECONDS,
            _latest(each.requires_consent_since, each.since, told.get(each.id)),
        )
        for each in policy.categories
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
    editions = {name: _seconds(at) for name, at in history.versions.items()}
    more.setdefault("editions", editions)
    longest = _max_age_days(config, document)
    if longest is not None:
        more.setdefault("max_age_days", longest)
    host = urlsplit(config.server.base_url or "").netloc.rpartition("@")[2].lower()
    own = (*((host,) if host else ()), *more.pop("own_hosts", ()))
    return Rules(categories=categories, tags=tags, own_hosts=own, **more)


def _history(config: Config, store: str | os.PathLike[str] | None) -> History:
    """What the server with this store has told people; nothing where there is no store here."""
    from consentry.clock import Clock
    from consentry.flow.configure import history_in
    from consentry.notice import History

    path = config.store_url.removeprefix("sqlite:///") if store is None else os.fspath(store)
    if store is None and (path == config.store_url or not os.path.isfile(path)):
        return History()
    from consentry.store.record_file import RecordFile

    records = RecordFile(path)
    try:
        return history_in(records, config.policy, config.notice, config.tags, Clock().now())
    finally:
        records.close()


def _since(document: Mapping[str, Any] | None) -> dict[str, int]:
    """When each category took its meaning, as the server tells pages. Raises ValueError."""
    from consentry.core.moment import parse

    if document is None:
        return {}
    found = {one["id"]: one.get("since") for one in document["categories"]}
    return {name: parse(at) for name, at in found.items() if at is not None}


def _max_age_days(config: Config, document: Mapping[str, Any] | None) -> float | None:
    """How long a yes counts at most. Where places decide, the law that lets it least is taken:
    who hands out these rules does not know where a visitor is."""
    from consentry.core.rule import UNKNOWN
    from consentry.jurisdictions import rule_of

    stated = config.policy.settings.max_age_us
    days: list[float] = [] if stated is None else [stated / MICROSECONDS / DAY_S]
    if config.server.trusted_proxies or config.server.mmdb:
        rule = rule_of(UNKNOWN, int(time.time() * MICROSECONDS))
        days += [] if rule.grant_days is None else [rule.grant_days]
    told = None if document is None else document["ask"]["grantDays"]
    days += [] if told is None else [told]
    return min(*days, LONGEST_AGE_DAYS) if days else None


def _seconds(moment: int) -> float:
    return moment / MICROSECONDS


def _latest(*moments: int | None) -> float | None:
    stated = [one for one in moments if one is not None]
    return _seconds(max(stated)) if stated else None
