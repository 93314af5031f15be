"""The configuration file: read once, checked whole, then frozen.

``read_config`` is the whole of it. It takes text and an environment and gives a
:class:`Config`, or raises one :class:`ConfigError` that holds every error with its line
and field. Nothing is guessed: an unknown key is refused, a secret whose variable is unset
is an error, and what is not stated takes the value that withholds.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from consentry.config import lines as config_lines
from consentry.config.destinations import read_destination
from consentry.config.notice import aged, read_notice
from consentry.config.pages import read_alarm, read_pages, read_sms, read_smtp, warn_of_links
from consentry.config.parts import (
    read_category,
    read_tag,
    read_topic,
    read_workspace,
    refuse_repeats,
)
from consentry.config.problem import ConfigError, Notes, Problem
from consentry.config.server import read_retention, read_server, read_store
from consentry.config.sources import read_source
from consentry.config.table import Reading, Table
from consentry.config.values import (
    Alarm,
    Config,
    DestinationConfig,
    Enforcement,
    Kind,
    Mode,
    Pages,
    Retention,
    Server,
    Sms,
    Smtp,
    SmtpTls,
    Source,
    Tag,
)
from consentry.config.warnings import (
    warn_of_emptiness,
    warn_of_loose_settings,
    warn_of_mappings,
)
from consentry.core.policy import Policy

__all__ = [
    "Alarm",
    "Config",
    "ConfigError",
    "DestinationConfig",
    "Enforcement",
    "Kind",
    "Mode",
    "Pages",
    "Problem",
    "Retention",
    "Server",
    "Sms",
    "Smtp",
    "SmtpTls",
    "Source",
    "Tag",
    "load_config",
    "read_config",
    "starter",
]

LONGEST = 1_000_000  # characters of a configuration
MOST = 500  # tables of one sort
MOST_DESTINATIONS = 63  # one bit each in the mask that is stored with every event
_LINE = re.compile(r"\(at line (\d+), column \d+\)")


def read_config(
    text: str, environ: Mapping[str, str] | None, *, kinds: Mapping[str, Kind]
) -> Config:
    """Read a configuration.

    ``environ`` is where ``env:NAME`` is looked up, ``kinds`` the destination kinds by name. None
    is for who needs the policy alone: no variable is looked up, and where secrets would stand
    are stand-ins that open nothing.
    Pure: nothing outside the arguments is read. Raises ConfigError with all errors.
    """
    text = text.removeprefix("\ufeff")
    document = _parse(text)
    notes = Notes(text)
    config = _read(Table(document, (), Reading(notes, environ)), kinds)
    if notes.errors:
        raise ConfigError(notes.errors, notes.warnings)
    return config


def load_config(
    path: str | os.PathLike[str],
    environ: Mapping[str, str] | None = os.environ,
    *,
    kinds: Mapping[str, Kind] | None = None,
) -> Config:
    """Read the configuration in the file ``path``; ``kinds`` are those that ship unless given.

    Raises ConfigError, also when there is no such file or it cannot be read.
    """
    if kinds is None:
        from consentry.destinations.registry import KINDS  # here, so that checking stays cheap

        kinds = KINDS
    return read_config(_text_of(Path(path)), environ, kinds=kinds)


def starter() -> str:
    """A commented configuration to begin with; it names the variables it needs."""
    return resources.files("consentry.config").joinpath("starter.toml").read_text(encoding="utf-8")


def _text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        message = f"there is no {path}: write one with `consentry init`, or name another file"
        raise _refusal(message) from None
    except OSError as error:
        raise _refusal(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise _refusal(f"{path} is not UTF-8: save it as UTF-8", line) from None


def _refusal(message: str, line: int | None = None) -> ConfigError:
    return ConfigError([Problem("error", message, "", line)])


def _parse(text: str) -> dict[str, Any]:
    if len(text) > LONGEST:
        raise _refusal(f"the file is longer than {LONGEST} characters: shorten it")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise _refusal("the file is nested too deeply: flatten it") from None
    except ValueError as error:  # TOMLDecodeError is one, and so is a number of 5,000 digits
        found = _LINE.search(str(error))
        line = int(found[1]) if found else text.rstrip("\n").count("\n") + 1
        reason = str(error).partition(" (at ")[0]
        raise _refusal(f"this is no valid TOML: {reason}: correct this line", line) from None


def _read(top: Table, kinds: Mapping[str, Kind]) -> Config:
    """Every part in turn. The result means nothing if an error was noted on the way."""
    notes = top.reading.notes
    workspace = read_workspace(top.table("workspace"))
    categories = tuple(read_category(table) for table in top.tables("category", MOST))
    known = {category.id for category in categories if category.id}
    topics = tuple(read_topic(table) for table in top.tables("topic", MOST))
    sources = tuple(read_source(table) for table in top.tables("source", MOST))
    server = read_server(top.table("server"))
    pairs = [
        read_destination(table, kinds, known, server, {t.id: t.channels for t in topics})
        for table in top.tables("destination", MOST_DESTINATIONS)
    ]
    mappings = tuple(mapping for mapping, _ in pairs)
    notice = read_notice(top.table("notice"), categories, topics)
    categories = aged(categories, notice)
    config = Config(
        workspace=workspace.name,
        enforcement=workspace.enforcement,
        shadow=workspace.shadow,
        policy=Policy(workspace.name, workspace.settings, categories, mappings, topics),
        sources=sources,
        destinations=tuple(found for _, found in pairs if found is not None),
        tags=tuple(read_tag(table, known) for table in top.tables("tag", MOST)),
        notice=notice,
        retention=read_retention(top.table("retention")),
        store_url=read_store(top.table("store")),
        server=server,
        smtp=read_smtp(top.table("smtp")) if "smtp" in top.data else None,
        sms=read_sms(top.table("sms"), server) if "sms" in top.data else None,
        alarm=read_alarm(top.table("propagation"), server) if "propagation" in top.data else None,
        pages=read_pages(top.table("pages")),
    )
    top.finish()
    _refuse_repeats(top.reading, config)
    warn_of_loose_settings(notes, workspace)
    warn_of_mappings(notes, config.policy, config.tags)
    warn_of_emptiness(notes, sources, config.policy)
    mails = config.smtp is not None or config.sms is not None
    warn_of_links(notes, server, config.pages, mails=mails)
    return replace(config, warnings=notes.warnings)


def _refuse_repeats(reading: Reading, config: Config) -> None:
    """Names and ids once each, and no key that opens two doors."""
    named: dict[str, Sequence[str]] = {
        "category": [category.id for category in config.policy.categories],
        "topic": [topic.id for topic in config.policy.topics],
        "source": [source.name for source in config.sources],
        "destination": [mapping.name for mapping in config.policy.mappings],
        "tag": [tag.name for tag in config.tags],
    }
    for table, names in named.items():
        key = "id" if table in ("category", "topic") else "name"
        refuse_repeats(reading, (((table, i, key), name) for i, name in enumerate(names)))
    keys: list[tuple[config_lines.Path, str]] = []
    for index, source in enumerate(config.sources):
        place = ("source", index)
        keys += [((*place, "write_key"), key) for key in source.write_keys]
        keys += [((*place, "secret_key"), key.reveal()) for key in source.secret_keys]
    keys += [(("server", "admin_key"), key.reveal()) for key in config.server.admin_keys]
    refuse_repeats(reading, keys)
