"""What a workspace says of its notice: how people are asked, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

ASK_AGAIN_DAYS = 184.0
"""Six months, rounded up: what regulators ask for who ask for a number
(France, Italy, Czechia; proposed for the Union in COM(2025) 837, art. 88a)."""
COOKIE_DAYS = 365.0
NO_TEXTS: Mapping[str, Mapping[str, str]] = MappingProxyType({})


class Layout(StrEnum):
    """Where the banner stands. A modal one has to be answered or closed first."""

    BAR = "bar"
    BOX = "box"
    MODAL = "modal"


class Theme(StrEnum):
    """Its colours; ``auto`` follows the browser."""

    AUTO = "auto"
    LIGHT = "light"
    DARK = "dark"


@dataclass(frozen=True, slots=True)
class Notice:
    """How people are asked.

    Raising ``version`` asks everybody again. ``language`` is the one that names in the
    configuration are written in, and the one for whom no other fits. ``texts`` are the workspace's
    own, by language and key. Days: ``ask_again_days`` until a refusal is asked about again,
    ``grant_days`` and ``refusal_days`` for which an answer counts, None for no limit, and
    ``cookie_days`` for which the browser keeps it. ``cookie_domain`` begins with a dot. ``theme_css`` is a style
    sheet of the site, which ``consentry check`` looks at. ``page_policy``: the pages have a Content-Security-Policy
    that follows consent. ``controller`` is who asks, where that is not the workspace by its name.
    """

    id: str = "default"
    version: str = "1"
    language: str = "en"
    layout: Layout = Layout.BAR
    theme: Theme = Theme.AUTO
    theme_css: str | None = None
    privacy_url: str | None = None
    controller: str = ""
    ask_again_days: float = ASK_AGAIN_DAYS
    grant_days: float | None = None
    refusal_days: float | None = None
    cookie_domain: str | None = None
    cookie_days: float = COOKIE_DAYS
    page_policy: bool = False
    texts: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: NO_TEXTS)


class Tagged(Protocol):
    """What a notice needs to know of a tag."""

    @property
    def name(self) -> str: ...

    @property
    def categories(self) -> tuple[str, ...]: ...


class PageTag(Tagged, Protocol):
    """What a page needs to know of a tag."""

    @property
    def hosts(self) -> tuple[str, ...]: ...

    @property
    def cookies(self) -> tuple[str, ...]: ...

    @property
    def revoke(self) -> str | None: ...

    @property
    def mode(self) -> str: ...
