"""What people are shown: one notice in every language, and which edition of it holds.

A value, replaced whole when the configuration changes. Every text in it was archived, and what
its categories mean is on record, before ``World.notices`` names it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import msgspec

from consentry.core.moment import Moment
from consentry.core.policy import Policy
from consentry.notice import (
    Edition,
    History,
    Notice,
    edition,
    languages,
    negotiate,
    ranges,
    render,
    told_by,
)
from consentry.notice.values import PageTag
from consentry.ports import Store


class Shown(NamedTuple):
    """What a hash stands for: which notice, in which language and layout."""

    id: str
    language: str
    layout: str


class Notices:
    """The notice of one configuration, with what was told before it."""

    def __init__(
        self,
        notice: Notice,
        policy: Policy,
        tags: Sequence[PageTag] = (),
        history: History | None = None,
        reach: Mapping[str, str] | None = None,
    ) -> None:
        self.notice = notice
        self.policy = policy
        self.tags = tuple(tags)
        self.languages = languages(notice.texts) or (notice.language,)
        self.rendered = {tag: render(notice, policy, tags, tag) for tag in self.languages}
        texts = {tag: one.digest for tag, one in self.rendered.items()}
        self.reach = reach
        self.told = told_by(notice, policy, tags, texts, reach)
        self.history = history or History()
        self._by_digest = {one.digest: one for one in self.rendered.values()}

    def after(self, history: History) -> Notices:
        """The same notice, after what was told before it and with it."""
        return Notices(self.notice, self.policy, self.tags, history, self.reach)

    def unarchived(self, store: Store) -> tuple[tuple[str, str], ...]:
        """Hash and text of what was never archived."""
        return tuple(
            (one.digest, one.canonical)
            for one in self.rendered.values()
            if store.notice(one.digest) is None
        )

    def edition(self, now: Moment) -> Edition:
        """Which edition holds now."""
        return edition(self.history, self.policy.categories, now)

    def is_edition(self, version: object, now: Moment) -> bool:
        """Whether there has been an edition of this name until now."""
        return version in self.history.versions or version == self.edition(now).version

    def covers_until(
        self, evidence: Mapping[str, Any], now: Moment, history: History
    ) -> Moment | None:
        """As ``History.covers_until``, of what was shown with a choice."""
        version = evidence.get("noticeVersion")
        if version not in self.history.versions and version == self.edition(now).version:
            # A date before which no consent counts made this edition, on the day it came.
            version = _last(self.history)
        return history.covers_until(evidence.get("noticeId"), version, evidence.get("noticeHash"))

    def language(self, asked: str | None, header: str) -> str:
        """The language to show: the one asked for by name, else by Accept-Language."""
        wanted = ranges(header)
        return negotiate(
            [asked, *wanted] if asked else wanted, self.languages, self.notice.language
        )

    def was_edition(self, digest: str, version: str | None, now: Moment) -> bool:
        """Whether a text was ever shown as the edition of this name; None names none."""
        if version is None:
            return True
        known = self.history.texts.get(digest)
        if known is not None and version in known.versions:
            return True
        return digest in self._by_digest and version == self.edition(now).version

    def shown(self, store: Store, digest: str) -> Shown | None:
        """What was shown under a hash; None if a configuration record names no such text."""
        now = self._by_digest.get(digest)
        if now is not None:
            return Shown(self.notice.id, now.language, self.notice.layout)
        text = store.notice(digest) if digest in self.history.texts else None
        return None if text is None else _read(text)


def _last(history: History) -> str | None:
    return max(history.versions, key=history.versions.__getitem__, default=None)


@cache
def nothing_shown() -> Notices:
    """Before a configuration is taken."""
    return Notices(Notice(), Policy(""))


def _read(text: str) -> Shown:
    """What a text says of itself that we have archived."""
    found = msgspec.json.decode(text, type=_Archived)
    return Shown(found.notice, found.language, found.layout)


class _Archived(msgspec.Struct):
    notice: str
    language: str
    layout: str
