"""Which edition of a notice holds, and what is new in it.

People are asked again when what they would agree to has grown: a new category, another purpose,
another destination or tag behind it, or a date before which consent no longer counts. Other
words for the same thing ask nobody again (a refusal may not be worn down, Cal. Civ. Code
1798.135(a)(4)), unless the workspace raises ``[notice].version``.

What was told when is read from the ledger: every change of configuration is a record in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from consentry.core.moment import SECOND, Moment
from consentry.core.policy import Category, Policy
from consentry.notice.rendered import destinations_of
from consentry.notice.values import Notice, Tagged


class Meaning(msgspec.Struct, frozen=True):
    """What a yes to one category covers: a purpose, and who acts on it."""

    purpose: str
    covers: tuple[str, ...] = ()

    def grew_from(self, before: Meaning) -> bool:
        """Whether somebody who said yes before was not told of all this."""
        return self.purpose != before.purpose or not set(self.covers) <= set(before.covers)


class Told(msgspec.Struct, frozen=True, rename="camel"):
    """What a notice said from one change of configuration on: a part of that record's evidence.

    ``texts`` are the hashes of what was shown, by language.
    """

    id: str
    version: str
    categories: dict[str, Meaning] = {}
    texts: dict[str, str] = {}


def told_by(notice: Notice, policy: Policy, tags: Sequence[Tagged], texts: dict[str, str]) -> Told:
    """What this configuration tells people."""
    meanings = {
        category.id: Meaning(category.is_for or category.id, _covers(policy, tags, category.id))
        for category in policy.categories
        if category.enabled and not category.essential
    }
    return Told(notice.id, notice.version, meanings, texts)


def _covers(policy: Policy, tags: Sequence[Tagged], category: str) -> tuple[str, ...]:
    destinations = [f"destination:{name}" for name in destinations_of(policy, category)]
    return (*destinations, *(f"tag:{tag.name}" for tag in tags if category in tag.categories))


def read_told(evidence: dict[str, Any]) -> Told | None:
    """That part of a configuration record; None where the record has none."""
    found = evidence.get("notice")
    return None if found is None else msgspec.convert(found, Told)


@dataclass(frozen=True)
class History:
    """What people were told until now.

    ``began``: when the first notice was; ``versioned``: when the present id and version were
    first in force; ``since``: when each category took the meaning that it has. ``versions`` are
    the names of all editions up to here.
    """

    began: Moment | None = None
    versioned: Moment = 0
    id: str = ""
    version: str = ""
    meanings: dict[str, Meaning] = field(default_factory=dict)
    since: dict[str, Moment] = field(default_factory=dict)
    versions: frozenset[str] = frozenset()

    def then(self, at: Moment, told: Told) -> History:
        """The history with one more record, received at ``at``."""
        same = (told.id, told.version) == (self.id, self.version)
        since = dict(self.since)
        for category, meaning in told.categories.items():
            before = self.meanings.get(category)
            if before is None or meaning.grew_from(before):
                since[category] = at
        grown = History(
            at if self.began is None else self.began,
            self.versioned if same else at,
            told.id,
            told.version,
            {**self.meanings, **told.categories},
            since,
        )
        names = {_name(grown, max((grown.versioned, *_dates(grown, told))))}
        return History(**{**vars(grown), "versions": self.versions | names})


def _dates(history: History, told: Told) -> list[Moment]:
    return [history.since[category] for category in told.categories]


def history_of(records: Iterable[tuple[Moment, Told]]) -> History:
    """Folded from the first record to the last."""
    history = History()
    for at, told in records:
        history = history.then(at, told)
    return history


class Edition(NamedTuple):
    """What holds now. ``changed`` are the categories that are new since the edition before.

    ``version`` is the configured one, followed by the second of the latest change of meaning
    where there was one since: ``1.20261127091500``. ``since`` is when each category took its
    present meaning: whoever answered before has not been asked about it.
    """

    version: str
    changed: tuple[str, ...]
    since: dict[str, Moment]


def edition(history: History, categories: Sequence[Category], now: Moment) -> Edition:
    """The edition of ``now``, of a configuration that is the last in ``history``."""
    began = history.began or 0
    since = {
        category.id: max(history.since.get(category.id, began), _required(category, now))
        for category in categories
        if category.enabled and not category.essential
    }
    latest = max((history.versioned, *since.values()))
    changed = () if latest <= began else tuple(c for c, at in since.items() if at == latest)
    return Edition(_name(history, latest), changed, since)


def _required(category: Category, now: Moment) -> Moment:
    """Consent from before does not count, so whoever gave it is asked again."""
    required = category.requires_consent_since
    return 0 if required is None or required > now else required


def _name(history: History, latest: Moment) -> str:
    if latest <= history.versioned:
        return history.version
    at = datetime.fromtimestamp(latest // SECOND, UTC)
    return f"{history.version}.{at:%Y%m%d%H%M%S}"
