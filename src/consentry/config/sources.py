"""Reads the sources: who may send, and how they prove it."""

from __future__ import annotations

from consentry.config.keys import check_key, warn_of_short
from consentry.config.parts import read_name, read_regime
from consentry.config.table import ENV, Table
from consentry.config.values import Source
from consentry.destinations.addresses import TargetRefused, parse_target
from consentry.secret import Secret


def read_source(table: Table) -> Source:
    """One ``[[source]]``: public with a write key, server with a secret key."""
    name = read_name(table)
    public, server = table.raw("write_key") is not None, table.raw("secret_key") is not None
    if public == server:
        wrong = "has both write_key and secret_key" if public else "has no key"
        table.reading.notes.error(
            table.path,
            f"{wrong}: give it write_key (public, from pages and apps) "
            "or secret_key (from your servers), not both",
        )
    source = Source(
        name=name,
        write_keys=_write_keys(table),
        secret_keys=_secret_keys(table),
        origins=_origins(table),
        regime=read_regime(table),
        subject_token_secrets=table.secrets("subject_token_secret"),
        rate_limit=table.number("rate_limit"),
    )
    warn_of_short(table, "subject_token_secret", source.subject_token_secrets)
    if source.trusted:
        for key in ("origins", "subject_token_secret"):
            if table.raw(key) is not None:
                table.warning(key, "has no effect on a source with a secret key: remove it")
    else:
        _warn_of_open_door(table, source)
    table.finish()
    return source


def _write_keys(table: Table) -> tuple[str, ...]:
    found = []
    for text in table.keys("write_key"):
        path = table.at("write_key")
        key = table.reading.from_environment(text, path) if text.startswith(ENV) else text
        if key is not None:
            check_key(table, "write_key", key)
            found.append(key)
    return tuple(found)


def _secret_keys(table: Table) -> tuple[Secret, ...]:
    found = table.secrets("secret_key")
    for secret in found:
        check_key(table, "secret_key", secret.reveal())
    warn_of_short(table, "secret_key", found)
    return found


def _warn_of_open_door(table: Table, source: Source) -> None:
    if not source.subject_token_secrets:
        table.warning(
            "subject_token_secret",
            "a public source without one cannot prove who a person is, so it cannot grant for "
            "an account: add it if people sign in",
        )
    if not source.origins:
        table.warning(
            "origins",
            "without a list, any site may use this key: add the sites that may, "
            'such as ["https://shop.example"]',
        )


def _origins(table: Table) -> tuple[str, ...]:
    found = []
    for index, text in enumerate(table.texts("origins")):
        try:
            target = parse_target(text, allow_private=True)
        except TargetRefused:
            target = None
        if target is None or target.path != "/":
            table.reading.notes.error(
                (*table.at("origins"), index),
                "must be an origin as browsers send it, without a path: "
                "https://host or https://host:port",
            )
        else:
            found.append(target.origin)
    return tuple(dict.fromkeys(found))
