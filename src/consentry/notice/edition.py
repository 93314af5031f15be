"""Which edition of a notice holds, and what is new in it.

People are asked again when what they would agree to has grown: a new category, another purpose,
another destination or tag behind it, or a date before which consent no longer counts. Other
words for the same thing ask nobody again (a refusal may not be worn down, Cal. Civ. Code
1798.135(a)(4)), unless the workspace raises ``[notice].version``.

What was told when is read from the ledger: every change of configuration is a record in it.
Who asks for a decision is handed the same (``as_told``), so an old yes covers no new recipient.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from consentry.core.moment import SECOND, Moment
from consentry.core.policy import Category, Policy
from consentry.notice.rendered import destinations_of
from consentry.notice.values import Notice, PageTag


class Meaning(msgspec.Struct, frozen=True):
    """What a yes to one category covers: a purpose, and who acts on it.

    ``via`` are the kinds and hosts behind those names; None where nobody has noted them. Another
    vendor under an old name is somebody else.
    """

    purpose: str
    covers: tuple[str, ...] = ()
    via: tuple[str, ...] | None = None

    def grew_from(self, before: Meaning) -> bool:
        """Whether somebody who said yes before was not told of all this."""
        if self.purpose != before.purpose or not set(self.covers) <= set(before.covers):
            return True
        known = self.via is not None and before.via is not None
        return known and not set(self.via or ()) <= set(before.via or ())


class Shown(NamedTuple):
    """A text that was shown: the latest change of meaning in it, and the names of its editions."""

    latest: Moment
    versions: frozenset[str]


_NEVER_SHOWN = Shown(0, frozenset())


class Told(msgspec.Struct, frozen=True, rename="camel"):
    """What a notice said from one change of configuration on: a part of that record's evidence.

    ``texts`` are the hashes of what was shown, by language.
    """

    id: str
    version: str
    categories: dict[str, Meaning] = {}
    texts: dict[str, str] = {}


def told_by(
    notice: Notice,
    policy: Policy,
    tags: Sequence[PageTag],
    texts: dict[str, str],
    reach: Mapping[str, str] | None = None,
) -> Told:
    """What this configuration tells people.

    ``reach`` are the hosts that destinations send to, by name; None where they are not known.
    """
    meanings = {
        category.id: Meaning(
            category.is_for or category.id,
            _covers(policy, tags, category.id),
            None if reach is None else _via(policy, tags, category.id, reach),
        )
        for category in policy.categories
        if category.enabled and not category.essential
    }
    return Told(notice.id, notice.version, meanings, texts)


def _covers(policy: Policy, tags: Sequence[PageTag], category: str) -> tuple[str, ...]:
    destinations = [f"destination:{name}" for name in destinations_of(policy, category)]
    return (*destinations, *(f"tag:{tag.name}" for tag in tags if category in tag.categories))


def _via(
    policy: Policy, tags: Sequence[PageTag], category: str, reach: Mapping[str, str]
) -> tuple[str, ...]:
    """Who is behind the names: the kind and the host of a destination, the hosts of a tag."""
    names = destinations_of(policy, category)
    found = [f"destination:{n}:{policy.mapping[n].kind}:{reach.get(n, '')}" for n in names]
    hosts = [
        f"tag:{tag.name}:{host}" for tag in tags if category in tag.categories for host in tag.hosts
    ]
    return (*found, *hosts)


def read_told(evidence: dict[str, Any]) -> Told | None:
    """That part of a configuration record; None where the record has none."""
    found = evidence.get("notice")
    return None if found is None else msgspec.convert(found, Told)


@dataclass(frozen=True)
class History:
    """What people were told until now.

    ``began``: when the first notice was; ``versioned``: when the present id and version were
    first in force; ``since``: when each category took the meaning that it has. ``versions`` are
    the names of all editions up to here, each with the latest change of meaning in it. ``texts``
    are those that were shown, by hash: the same moment, and the names of the editions it was of.
    """

    began: Moment | None = None
    versioned: Moment = 0
    id: str = ""
    version: str = ""
    meanings: dict[str, Meaning] = field(default_factory=dict)
    since: dict[str, Moment] = field(default_factory=dict)
    versions: Mapping[str, Moment] = field(default_factory=dict)
    texts: Mapping[str, Shown] = field(default_factory=dict)

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
        latest = max((grown.versioned, *_dates(grown, told)))
        name = _name(grown, latest)
        shown = {
            digest: Shown(latest, self.texts.get(digest, _NEVER_SHOWN).versions | {name})
            for digest in told.texts.values()
        }
        return replace(
            grown,
            versions={**self.versions, name: latest},
            texts={**self.texts, **shown},
        )

    def grown(self, category: str) -> Moment | None:
        """When a category took its meaning; None where it is the one that it began with."""
        since = self.since.get(category)
        return None if since is None or since == self.began else since

    def covers_until(
        self, notice: str | None, version: str | None, text: str | None
    ) -> Moment | None:
        """Up to which change of meaning somebody was told who was shown this.

        ``text`` is its hash. None where it says nothing of our notice. An edition of ours that
        never was covers only what there was from the beginning.
        """
        shown = None if text is None else self.texts.get(text)
        found = [] if shown is None else [shown.latest]
        if version is not None and (notice == self.id or found):
            found.append(self.versions.get(version, self.began or 0))
        return min(found) if found else None


def _dates(history: History, told: Told) -> list[Moment]:
    return [history.since[category] for category in told.categories]


def history_of(records: Iterable[tuple[Moment, Told]]) -> History:
    """Folded from the first record to the last."""
    history = History()
    for at, told in records:
        history = history.then(at, told)
    return history


def as_told(policy: Policy, history: History) -> Policy:
    """The policy that decides: with when each category took its meaning, after it began."""
    categories = tuple(
        category if category.essential else replace(category, since=history.grown(category.id))
        for category in policy.categories
    )
    return policy if categories == policy.categories else replace(policy, categories=categories)


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
