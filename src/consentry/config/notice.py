"""Reads ``[notice]``: how people are asked. What would be dishonest is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from consentry.config.parts import LONGEST_NAME, MOST_DAYS
from consentry.config.table import Table
from consentry.core.policy import Category, Topic, days
from consentry.destinations.addresses import TargetRefused, parse_target
from consentry.notice import Layout, Notice, Theme, category_description, honesty
from consentry.notice.values import ASK_AGAIN_DAYS, COOKIE_DAYS

MOST_LANGUAGES = 200
MOST_TEXTS = 1000
LONGEST_TEXT = 2000  # characters
_TAG = re.compile(r"[a-z]{2,8}(-[A-Za-z0-9]{1,8})*")
_VERSION = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_DOMAIN = re.compile(r"\.?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+")


def read_notice(table: Table, categories: Sequence[Category], topics: Sequence[Topic]) -> Notice:
    """``[notice]``. A key that is not stated takes the value that is fair to who is asked."""
    usual = Notice()
    notice = Notice(
        id=_word(table, "id", usual.id),
        version=_word(table, "version", usual.version),
        language=_language(table, usual.language),
        layout=table.choice("layout", Layout, usual.layout),
        theme=table.choice("theme", Theme, usual.theme),
        theme_css=table.text("theme_css"),
        privacy_url=_url(table),
        controller=_controller(table),
        ask_again_days=table.number("ask_again_days", MOST_DAYS) or ASK_AGAIN_DAYS,
        grant_days=table.number("grant_days", MOST_DAYS),
        refusal_days=table.number("refusal_days", MOST_DAYS),
        cookie_domain=_domain(table),
        cookie_days=table.number("cookie_days", MOST_DAYS) or COOKIE_DAYS,
        page_policy=table.flag("page_policy", usual.page_policy),
        texts=_texts(table.table("texts")),
    )
    table.raw("texts")
    table.finish()
    for flaw in honesty.flaws(notice, _names(categories, topics)):
        table.reading.notes.error((*table.path, *flaw.key), flaw.message)
    for doubt in honesty.unread(notice):
        table.reading.notes.warning((*table.path, *doubt.key), doubt.message)
    _refuse_the_essential_that_is_not(table, categories)
    _warn_of_the_unexplained(table, notice, categories)
    return notice


def aged(categories: tuple[Category, ...], notice: Notice) -> tuple[Category, ...]:
    """The categories, in which no yes counts longer than ``grant_days``."""
    longest = days(notice.grant_days)
    if longest is None:
        return categories
    return tuple(
        category
        if category.essential
        else replace(category, max_age_us=min(longest, category.max_age_us or longest))
        for category in categories
    )


def _names(categories: Sequence[Category], topics: Sequence[Topic]) -> Iterator[str]:
    """Keys of texts that only this workspace has."""
    for category in categories:
        yield f"category.{category.id}.name"
        yield f"category.{category.id}.description"
    for topic in topics:
        yield f"topic.{topic.id}.name"


def _word(table: Table, key: str, usual: str) -> str:
    """A name that stands in the browser's cookie; a number may be written without quotes."""
    raw = table.raw(key)
    number = isinstance(raw, int) and not isinstance(raw, bool)
    value = str(raw) if number else table.text(key)
    if value is None:
        return usual
    if not _VERSION.fullmatch(value):
        table.error(key, "must be letters, digits, dots, hyphens or underscores, at most 64")
        return usual
    return value


def _language(table: Table, usual: str) -> str:
    value = table.text("language")
    if value is None:
        return usual
    if not _TAG.fullmatch(value):
        table.error("language", "must be a language tag: en, de, pt-BR")
        return usual
    return value


def _url(table: Table) -> str | None:
    """A page that people read: any site, or a path on the one where they are asked."""
    text = table.text("privacy_url")
    if text is None or (text.startswith("/") and not text.startswith("//") and text.isprintable()):
        return text
    try:
        return parse_target(text, allow_private=True).url
    except TargetRefused as refused:
        table.error("privacy_url", f"{refused}: write https://shop.example/privacy or /privacy")
        return None


def _controller(table: Table) -> str:
    name = table.text("controller") or ""
    if len(name) > LONGEST_NAME or not name.isprintable():
        table.error("controller", f"must be one line of at most {LONGEST_NAME} characters")
        return ""
    return name


def _domain(table: Table) -> str | None:
    text = table.text("cookie_domain")
    if text is None:
        return None
    if not _DOMAIN.fullmatch(text.lower()):
        table.error(
            "cookie_domain", 'must be a domain without scheme, port or path: ".shop.example"'
        )
        return None
    return "." + text.lower().removeprefix(".")


def _texts(table: Table) -> Mapping[str, Mapping[str, str]]:
    """``[notice.texts.LANGUAGE]``. A key may be written with quotes or as tables in tables."""
    found: dict[str, Mapping[str, str]] = {}
    if len(table.data) > MOST_LANGUAGES:
        table.reading.notes.error(table.path, f"keep at most {MOST_LANGUAGES} languages")
        return MappingProxyType({})
    for language in table.data:
        if not _TAG.fullmatch(language) or len(language) > LONGEST_NAME:
            table.error(language, "is no language tag: write [notice.texts.de]")
            continue
        own = table.table(language)
        found[language] = MappingProxyType(dict(_flat(own, own.data, ())))
    return MappingProxyType(found)


def _flat(
    table: Table, data: Mapping[str, Any], above: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    for key, value in data.items():
        name = (*above, key)
        path = (*table.path, *name)
        if isinstance(value, Mapping):
            yield from _flat(table, value, name)
        elif not isinstance(value, str) or not value.strip():
            table.reading.notes.error(path, "must be text that is not empty")
        elif len(value) > LONGEST_TEXT:
            table.reading.notes.error(path, f"keep it to at most {LONGEST_TEXT} characters")
        else:
            yield ".".join(name), value


def _refuse_the_essential_that_is_not(table: Table, categories: Sequence[Category]) -> None:
    for index, category in enumerate(categories):
        if category.essential and category.is_for in honesty.NEVER_ESSENTIAL:
            table.reading.notes.error(
                ("category", index, "essential"),
                f"{category.is_for} is not essential: people have to be asked about it",
            )


def _warn_of_the_unexplained(table: Table, notice: Notice, categories: Sequence[Category]) -> None:
    """Who is asked has to be told for what (GDPR, recital 42)."""
    for index, category in enumerate(categories):
        asked = category.id and category.enabled and not category.essential
        if asked and not category_description(notice, category, notice.language):
            table.reading.notes.warning(
                ("category", index),
                "people are asked for it and not told what it is for: add description",
            )
