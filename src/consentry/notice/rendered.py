"""What a person is shown: the texts in one language, the layout, and the hash that stands for them.

The hash is in every record of a choice, and the text that it is of is archived once, before
anybody can be shown it. So it is known what stood in front of a person, word for word.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import msgspec

from consentry.core.policy import Category, Policy
from consentry.notice.languages import Texts, direction, shipped, texts_in, widest_first
from consentry.notice.values import Notice, PageTag

# What the banner, the preference centre, placeholders and forms show. Pages and mail have more.
IN_THE_PAGE = ("action.", "banner.", "gpc.", "centre.", "category.", "placeholder.", "form.")
# And, where there are topics, what the preference centre shows to who is signed in.
OF_TOPICS = ("page.preferences.topics", "page.channel.", "page.channels.")


@dataclass(frozen=True, slots=True)
class ShownCategory:
    """One category as it is shown. ``destinations`` and ``tags`` are the names of who needs it."""

    id: str
    name: str
    description: str
    essential: bool
    destinations: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ShownTopic:
    """One topic as it is shown."""

    id: str
    name: str
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A notice in one language. ``digest`` is the SHA-256 of ``canonical`` in hexadecimal.

    ``texts`` are those that the page shows, without the names of categories.
    """

    language: str
    direction: str
    texts: Mapping[str, str]
    categories: tuple[ShownCategory, ...]
    topics: tuple[ShownTopic, ...]
    canonical: str
    digest: str


def render(notice: Notice, policy: Policy, tags: Sequence[PageTag], language: str) -> Rendered:
    """The notice in one language that there is (``languages.languages``)."""
    every = texts_in(language, notice.texts)
    here = IN_THE_PAGE + OF_TOPICS if policy.topics else IN_THE_PAGE
    texts = {key: every[key] for key in sorted(every) if key.startswith(here)}
    texts = {key: text for key, text in texts.items() if not _names_category(key)}
    shown = tuple(
        ShownCategory(
            category.id,
            category_name(notice, category, language),
            category_description(notice, category, language),
            category.essential,
            destinations_of(policy, category.id),
            tuple(tag.name for tag in tags if category.id in tag.categories),
        )
        for category in policy.categories
        if category.enabled
    )
    topics = tuple(
        ShownTopic(one.id, topic_name(notice, one.id, one.name, language), one.channels)
        for one in policy.topics
        if one.transactional is None
    )
    archived = {
        "notice": notice.id,
        "language": language,
        "layout": notice.layout,
        "controller": controller_of(notice, policy),
        "privacyUrl": notice.privacy_url,
        "texts": texts,
        "categories": [asdict(one) for one in shown],
        "hosts": {tag.name: tag.hosts for tag in tags if tag.categories},
    }
    if topics:
        archived["topics"] = [asdict(one) for one in topics]
    canonical = msgspec.json.encode(archived, order="sorted").decode()
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return Rendered(language, direction(every), texts, shown, topics, canonical, digest)


def controller_of(notice: Notice, policy: Policy) -> str:
    """Who asks: as stated, else the name of the workspace."""
    return notice.controller or policy.workspace


def destinations_of(policy: Policy, category: str) -> tuple[str, ...]:
    """The names of enabled destinations that need this category."""
    return tuple(m.name for m in policy.mappings if m.enabled and category in m.categories)


def category_name(notice: Notice, category: Category, language: str) -> str:
    """A category's name in one language.

    The workspace's own word for this language comes first, then, in the language that the
    configuration is written in, the configured name, then the one that is shipped.
    """
    stated = category.name if category.name != category.id else ""
    return _worded(notice, category.id, "name", stated, language) or category.id


def category_description(notice: Notice, category: Category, language: str) -> str:
    """What a category is for, in one language; empty where nobody has said it."""
    return _worded(notice, category.id, "description", category.description, language)


def _worded(notice: Notice, category: str, part: str, stated: str, language: str) -> str:
    key = f"category.{category}.{part}"
    tags = widest_first(language)
    own = _narrowest(notice.texts, tags, key)
    if own:
        return own
    ours = _narrowest(shipped(), tags, key)
    return (stated or ours) if notice.language in tags else (ours or stated)


def _narrowest(texts: Mapping[str, Texts], tags: Sequence[str], key: str) -> str:
    """What the narrowest of these languages says; empty where none does."""
    return next((text for tag in reversed(tags) if (text := texts.get(tag, {}).get(key))), "")


def topic_name(notice: Notice, topic_id: str, name: str, language: str) -> str:
    """A topic's name in one language: the workspace's own word, else the configured name."""
    own = _narrowest(notice.texts, widest_first(language), f"topic.{topic_id}.name")
    return own or name or topic_id


def texts_of(notice: Notice, language: str) -> Texts:
    """Every text in one language, with those of pages and mail."""
    return texts_in(language, notice.texts)


def _names_category(key: str) -> bool:
    """Whether a key words one category: ``category.ID.name`` or ``category.ID.description``."""
    return key.count(".") >= 2 and key.startswith("category.")
