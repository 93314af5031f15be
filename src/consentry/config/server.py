"""Reads how the program runs: its keys, its store, how long it keeps things."""

from __future__ import annotations

from ipaddress import ip_network
from urllib.parse import urlsplit

from consentry.config.keys import check_key, warn_of_short
from consentry.config.lines import Path
from consentry.config.parts import MOST_DAYS
from consentry.config.places import CDNS, read_place_from
from consentry.config.table import ENV, Table
from consentry.config.values import Network, Retention, Server
from consentry.destinations.addresses import TargetRefused, parse_target

STORES = ("sqlite", "memory")


def read_retention(table: Table) -> Retention:
    """``[retention]``, in days."""
    usual = Retention()
    retention = Retention(
        table.number("events_days", MOST_DAYS) or usual.events_days,
        table.number("deliveries_days", MOST_DAYS) or usual.deliveries_days,
        table.number("dead_letters_days", MOST_DAYS) or usual.dead_letters_days,
    )
    table.finish()
    return retention


def read_store(table: Table) -> str:
    """``[store]``: the URL, resolved if it is ``env:NAME``."""
    url = url_with_password(table, "url") or "sqlite:///consentry.db"
    table.finish()
    scheme, separator, rest = url.partition("://")
    has_file = rest.startswith("/") and rest != "/"
    if scheme not in STORES or not separator or (scheme == "sqlite" and not has_file):
        table.error(
            "url", "must be sqlite:///FILE, or memory:// which forgets everything at the end"
        )
    return url


def url_with_password(table: Table, key: str) -> str | None:
    """A URL of a service of ours; None if it is missing, or noted as wrong."""
    text = table.text(key)
    if text is None:
        return None
    if text.startswith(ENV):
        text = table.reading.from_environment(text, table.at(key))
    elif _has_password(text):
        table.warning(key, 'a password stands in the file: write "env:NAME" and set that variable')
    if text is not None and not _readable(text):
        table.error(
            key, "is no URL: check it for stray brackets, a wrong port and control characters"
        )
        return None
    return text


def _has_password(url: str) -> bool:
    return _readable(url) and urlsplit(url).password is not None


def _readable(url: str) -> bool:
    try:
        port = urlsplit(url).port
    except ValueError:
        return False
    return url.isprintable() and port != 0


def read_server(table: Table) -> Server:
    """``[server]``."""
    admin_keys = table.secrets("admin_key")
    for secret in admin_keys:
        check_key(table, "admin_key", secret.reveal())
    warn_of_short(table, "admin_key", admin_keys)
    if table.raw("admin_key") is None:
        table.warning("admin_key", 'not set, so the admin API is closed: add "env:NAME" to use it')
    allow_private = table.flag("allow_private_destinations", False)
    if allow_private:
        table.warning(
            "allow_private_destinations",
            "lets destinations be on this machine and on plain http: turn it off in production",
        )
    server = Server(
        admin_keys=admin_keys,
        base_url=_base_url(table),
        allow_private_destinations=allow_private,
        trusted_proxies=_networks(table),
        place_from=read_place_from(table),
        mmdb=table.text("mmdb"),
        destination_ports=_ports(table),
    )
    if server.place_from is not None and not server.trusted_proxies:
        table.warning(
            "place_from", "has no effect without trusted_proxies: list the proxies that write it"
        )
    elif server.place_from is None and server.trusted_proxies:
        table.warning(
            "place_from",
            "not stated, so any network's headers of a visitor's place are believed from your "
            f"proxies, also where a visitor wrote them: name yours ({', '.join(CDNS)}, or your own)",
        )
    table.finish()
    return server


def _base_url(table: Table) -> str | None:
    text = table.text("base_url")
    if text is None:
        return None
    try:
        target = parse_target(text, allow_private=True)
    except TargetRefused as refused:
        table.error(
            "base_url", f"{refused}: write it as people see it, https://consent.shop.example"
        )
        return None
    if "?" in target.path:
        table.error("base_url", "must not hold a query: end it before the question mark")
    return target.url.rstrip("/")


def _networks(table: Table) -> tuple[Network, ...]:
    found: list[Network] = []
    for index, text in enumerate(table.texts("trusted_proxies")):
        path: Path = (*table.at("trusted_proxies"), index)
        try:
            network = ip_network(text)
        except ValueError:
            table.reading.notes.error(path, "must be an address or a network: 10.0.0.0/8")
            continue
        if network.prefixlen == 0:
            table.reading.notes.error(
                path, "is every address, so anyone could name any client: list your proxies"
            )
        found.append(network)
    return tuple(found)


def _ports(table: Table) -> frozenset[int]:
    value = table.raw("destination_ports")
    if value is None:
        return Server().destination_ports
    numbers = [v for v in value if type(v) is int] if isinstance(value, list) else []
    if not numbers or len(numbers) != len(value) or not all(1 <= n <= 65535 for n in numbers):
        table.error("destination_ports", "must be a list of ports: destination_ports = [443, 8443]")
        return Server().destination_ports
    return frozenset(numbers)
