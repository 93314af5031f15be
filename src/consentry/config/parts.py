"""Reads every part of a configuration but the destinations."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Set
from dataclasses import replace
from typing import NamedTuple

from consentry.config.lines import Path
from consentry.config.problem import field_name, suggestion
from consentry.config.table import Reading, Table
from consentry.config.values import Enforcement, Mode, Tag
from consentry.core.policy import (
    EVERY_TOPIC,
    SEGMENT,
    STRICT,
    AccountChoices,
    Category,
    Devices,
    Purpose,
    Regime,
    Settings,
    StampRule,
    Topic,
    Unmapped,
    Unstamped,
    days,
)

LONGEST_CATEGORY = 34  # characters: spec/enforcement.md, "fewer than 35"
LONGEST_NAME = 64
MOST_DAYS = 36_500.0
_FUNCTION = re.compile(r"[A-Za-z_$][\w$]*(\.[A-Za-z_$][\w$]*)*", re.ASCII)
_COOKIE_PATH = re.compile(r"[\x21-\x3a\x3c-\x7e]{0,1000}")  # behind the first slash
_HOST = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


class Workspace(NamedTuple):
    """The ``[workspace]`` table."""

    name: str
    enforcement: Enforcement
    settings: Settings
    shadow: bool


def read_workspace(table: Table) -> Workspace:
    """``[workspace]``. A setting that is not stated is the profile's."""
    name = table.required("name")
    enforcement = table.choice("enforcement", Enforcement, Enforcement.STRICT)
    profile = STRICT if enforcement is Enforcement.STRICT else SEGMENT
    settings = replace(
        profile,
        regime=read_regime(table),
        unstamped=table.choice("unstamped", Unstamped, profile.unstamped),
        unmapped=table.choice("unmapped", Unmapped, profile.unmapped),
        stamp=table.choice("stamp", StampRule, profile.stamp),
        devices=table.choice("devices", Devices, profile.devices),
        account_choices=table.choice("account_choices", AccountChoices, profile.account_choices),
        max_age_us=days(table.number("max_age_days", MOST_DAYS)),
    )
    shadow = table.flag("shadow", False)
    table.finish()
    return Workspace(name, enforcement, settings, shadow)


def read_category(table: Table) -> Category:
    """One ``[[category]]``."""
    identity = _identity(table, topic=False)
    essential = table.flag("essential", False)
    enabled = table.flag("enabled", True)
    if table.raw("gpc") is None and not essential:
        table.warning(
            "gpc",
            "not stated, so a Global Privacy Control signal refuses this category: "
            "write gpc = true or gpc = false",
        )
    category = Category(
        id=identity,
        name=table.text("name") or identity,
        essential=essential,
        enabled=enabled,
        regime=read_regime(table),
        requires_consent_since=table.moment("requires_consent_since"),
        max_age_us=days(table.number("max_age_days", MOST_DAYS)),
        gpc=table.flag("gpc", not essential),
        description=table.text("description") or "",
        purpose=_purpose(table),
    )
    table.finish()
    return category


def _purpose(table: Table) -> Purpose | None:
    """What a law would call it; None where it is not stated, then its id may say."""
    if table.raw("purpose") is None:
        return None
    return table.choice("purpose", Purpose, Purpose.ADVERTISING)


def read_topic(table: Table) -> Topic:
    """One ``[[topic]]``. Without channels it is sent by e-mail."""
    identity = _identity(table, topic=True)
    if identity == EVERY_TOPIC:
        table.error("id", 'must not be "*", which stands for every topic: rename it')
    channels = table.texts("channels")
    if table.raw("channels") == []:
        table.error("channels", 'must not be an empty list: add one, such as "email"')
    for index, channel in enumerate(channels):
        fault = _id_fault(channel, topic=True)
        if fault:
            table.reading.notes.error((*table.at("channels"), index), fault)
    topic = Topic(
        identity,
        table.text("name") or identity,
        channels or ("email",),
        read_reason(table, "transactional"),
    )
    table.finish()
    return topic


def read_reason(table: Table, key: str) -> str | None:
    """Why something needs no consent, in somebody's words; None where the key is left out."""
    value = table.raw(key)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        table.error(key, "must say why, in words that an auditor can read, or be left out")
        return None
    return value.strip()


def _identity(table: Table, *, topic: bool) -> str:
    identity = table.required("id")
    fault = _id_fault(identity, topic=topic) if identity else None
    if fault:
        table.error("id", fault)
    return identity


def _id_fault(text: str, *, topic: bool) -> str | None:
    """What is wrong with an id. A comma would split it in the browser's cookie."""
    if text[0].isdigit():
        return "must not start with a digit: put a letter first"
    if len(text) > LONGEST_CATEGORY:
        return f"is {len(text)} characters long: shorten it to at most {LONGEST_CATEGORY}"
    if text.startswith("topic:"):
        return 'must not start with "topic:", which is kept for topics: rename it'
    if text != text.strip() or not text.isprintable() or "," in text:
        return "must not hold a comma, a control character or spaces around it: rename it"
    if topic and ":" in text:
        return 'must not hold ":": rename it'
    return None


def read_regime(table: Table) -> Regime | None:
    """The regime of a category or a source, None where it states none."""
    return (
        table.choice("regime", Regime, Regime.OPT_IN) if table.raw("regime") is not None else None
    )


def read_name(table: Table) -> str:
    """The name of a source, destination or tag: shown to people, and part of URLs."""
    name = table.required("name")
    if len(name) > LONGEST_NAME:
        table.error("name", f"is {len(name)} characters long: shorten it to at most {LONGEST_NAME}")
    elif name != name.strip() or not name.isprintable() or "/" in name:
        table.error("name", 'must not hold "/", a control character or spaces around it: rename it')
    return name


def read_tag(table: Table, categories: Set[str]) -> Tag:
    """One ``[[tag]]``."""
    tag = Tag(
        name=read_name(table),
        categories=read_categories(table, categories),
        hosts=tuple(host.lower() for host in table.texts("hosts")),
        cookies=table.texts("cookies"),
        revoke=table.text("revoke"),
        mode=table.choice("mode", Mode, Mode.BASIC),
    )
    for index, host in enumerate(tag.hosts):
        if not _HOST.fullmatch(host):
            table.reading.notes.error(
                (*table.at("hosts"), index),
                "must be a host without scheme or path: cdn.example or *.cdn.example",
            )
    for index, entry in enumerate(tag.cookies):
        name, space, path = entry.partition(" /")
        if space and ("*" in name or not _COOKIE_PATH.fullmatch(path)):
            table.reading.notes.error(
                (*table.at("cookies"), index),
                "with a path needs the whole name, for no request shows what else is there, and a "
                'path of printable ASCII without spaces and ";": "_ad_shop /shop"',
            )
    if tag.revoke is not None and not _FUNCTION.fullmatch(tag.revoke):
        table.error("revoke", "must be the name of a function, from window on: adPixel.revoke")
    if not tag.categories:
        table.warning("categories", "needs no category, so it never runs: add the ones it needs")
    table.finish()
    return tag


def unknown_category(identity: str, known: Set[str]) -> str:
    """The message for a category that does not exist."""
    wrong = json.dumps(identity, ensure_ascii=False)
    return f"there is no category {wrong}: " + suggestion(identity, known, "the categories are")


def read_categories(table: Table, known: Set[str]) -> tuple[str, ...]:
    """The categories that something needs; each must exist."""
    found = table.texts("categories")
    for index, identity in enumerate(table.raw("categories") if found else ()):
        if identity not in known and identity in found:
            table.reading.notes.error(
                (*table.at("categories"), index),
                unknown_category(identity, known),
            )
    return found


def refuse_repeats(reading: Reading, found: Iterable[tuple[Path, object]]) -> None:
    """Note every second use of a value that must be used once. The value is not shown."""
    first: dict[object, Path] = {}
    for path, value in found:
        if value in first:
            reading.notes.error(
                path, f"is the same as {field_name(first[value])}: change one of them"
            )
        elif value != "":
            first[value] = path
