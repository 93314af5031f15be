"""Reads the destinations: what all of them share, and the options of their kind."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Set
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo

from consentry.config.lines import Path
from consentry.config.parts import (
    read_categories,
    read_name,
    read_reason,
    unknown_category,
)
from consentry.config.problem import suggestion
from consentry.config.table import ENV, MOST_KEYS, Reading, Table
from consentry.config.values import DestinationConfig, Kind, Server
from consentry.core import policy
from consentry.core.policy import Match
from consentry.destinations.addresses import TargetRefused, parse_target
from consentry.secret import Secret

MOST_HOURS = 24.0 * 366
MOST_AT_ONCE = 256
_NAMED_FAULT = re.compile(
    r"(?P<field>[a-z_][a-z0-9_]*)(?P<more>, [a-z0-9_, ]+)?: (?P<fault>.+)", re.DOTALL
)
_EXPECTED = re.compile(r"Expected `(?P<want>[^`]+)`(?:, got `(?P<got>[^`]+)`)?(?: - at .*)?")
_TYPES = {
    "str": "text",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
}


def read_destination(
    table: Table,
    kinds: Mapping[str, Kind],
    categories: Set[str],
    server: Server,
    topics: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> tuple[policy.Mapping, DestinationConfig | None]:
    """One ``[[destination]]``. The second is None when its kind or options are wrong.

    ``topics`` are the channels of each topic by its id.
    """
    name = read_name(table)
    if name == "All":
        table.error("name", '"All" means every destination in an event: choose another name')
    kind_name = table.required("kind")
    mapping = policy.Mapping(
        name=name,
        kind=kind_name,
        categories=read_categories(table, categories),
        match=table.choice("match", Match, Match.ALL),
        enabled=table.flag("enabled", True),
        exempt=read_reason(table, "exempt"),
        share_consent=table.flag("share_consent", False),
    )
    retry_hours = table.number("retry_hours", MOST_HOURS)
    concurrency = table.whole("concurrency", 8, MOST_AT_ONCE)
    rate_limit = table.number("rate_limit")
    carried = _topics(table, topics)
    kind = kinds.get(kind_name)
    if kind is None:
        if kind_name:
            wrong = json.dumps(kind_name, ensure_ascii=False)
            table.error(
                "kind",
                f"there is no kind {wrong}: " + suggestion(kind_name, kinds, "the kinds are"),
            )
        return mapping, None  # without a kind nobody can say which other keys are right
    if "base_url" not in kind.options.__struct_fields__ and table.raw("base_url") is not None:
        table.warning("base_url", f"has no effect for {kind_name}, which has no vendor's host")
    options = _OptionsReader(table, server, categories).read(kind.options)
    table.finish()
    if options is None:
        return mapping, None
    if topics.keys() & set(carried) and (kind.orders is None or not kind.orders.channels):
        table.error("topics", f"{kind_name} is told of no topic: it writes to nobody")
    _check_ids(table, options, carried, topics)
    return mapping, DestinationConfig(
        name, kind_name, options, retry_hours or 4.0, concurrency, rate_limit, carried
    )


def _topics(table: Table, known: Mapping[str, Any]) -> tuple[str, ...]:
    """Which topics it sends to people about; orders about others do not concern it."""
    carried = table.texts("topics")
    for index, identity in enumerate(carried):
        if identity not in known:
            wrong = json.dumps(identity, ensure_ascii=False)
            hint = suggestion(identity, known, "the topics are")
            fault = f"there is no topic {wrong}: {hint}"
            table.reading.notes.error((*table.at("topics"), index), fault)
    return carried


def _check_ids(
    table: Table,
    options: msgspec.Struct,
    carried: tuple[str, ...],
    topics: Mapping[str, tuple[str, ...]],
) -> None:
    """Whether each topic has the system's own id, where a kind has a table of them.

    The kind says so by two class variables of its options, ``TOPIC_IDS`` and ``CHANNELS``. What
    has no id is gated when an order comes, so it is better said now.
    """
    option: str | None = getattr(options, "TOPIC_IDS", None)
    if option is None:
        return
    ids: Mapping[str, str] = getattr(options, option)
    reached: Set[str] = getattr(options, "CHANNELS", frozenset())
    for topic in carried:
        ways = [way for way in topics.get(topic, ()) if way in reached]
        missing = [f'"{topic}:{way}"' for way in ways if f"{topic}:{way}" not in ids]
        if not ways:
            reach = ", ".join(sorted(reached))
            table.error(
                "topics", f'nobody is sent "{topic}" by {reach}, all that this kind reaches'
            )
        elif len(missing) == len(ways):
            table.error(
                "topics", f'"{topic}" has no id there: add {" or ".join(missing)} to {option}'
            )
        elif missing:
            table.warning("topics", f"orders for {', '.join(missing)} are gated: no id in {option}")
    for key in sorted(ids):
        if key.rpartition(":")[0] not in carried:
            table.warning(option, f'"{key}" has no effect: its topic is not in topics')


class _OptionsReader:
    """Fills the Options of a kind, field by field, so that every wrong field is noted."""

    def __init__(self, table: Table, server: Server, categories: Set[str]) -> None:
        self._table = table
        self._server = server
        self._categories = categories
        self._wrong = False

    def read(self, options: type[msgspec.Struct]) -> msgspec.Struct | None:
        """The options, or None after noting what is wrong with them."""
        values: dict[str, Any] = {}
        for field in msgspec.structs.fields(options):
            key = field.encode_name
            value = self._table.raw(key)
            if value is None:
                if field.required:
                    self._note(self._table.at(key), f"missing: add {key} = …")
                continue
            values[field.name] = self._field(field, value)
        if self._wrong:
            return None
        try:
            return options(**values)
        except ValueError as fault:
            self._note_whole(fault, set(values))
            return None

    def _note(self, path: Path, message: str) -> None:
        self._wrong = True
        self._table.reading.notes.error(path, message)

    def _field(self, field: FieldInfo, value: Any) -> Any:
        path = self._table.at(field.encode_name)
        secret = _mentions(field.type, Secret)
        if secret:
            value = self._listed(field, value, path)
        elif isinstance(value, str) and value.startswith(ENV):
            value = self._table.reading.from_environment(value, path)
            if value is None:
                self._wrong = True
                return None
        if isinstance(value, float) and not math.isfinite(value):
            self._note(path, "must be a number that is neither infinite nor nan")
            return None
        try:
            found = msgspec.convert(value, field.type, dec_hook=_Hook(self._table.reading, path))
        except msgspec.ValidationError as fault:
            self._note(path, 'must be text: "env:NAME"' if secret else _plainly(fault, field))
            return None
        if not secret:
            self._check_meaning(field.encode_name, path, found)
        return found

    def _listed(self, field: FieldInfo, value: Any, path: Path) -> Any:
        """One secret where a tuple of them is asked for, as a list; never more than two."""
        if not any(get_origin(t) is tuple for t in (field.type, *get_args(field.type))):
            return value
        if isinstance(value, list) and len(value) > MOST_KEYS:
            self._note(
                path, f"holds {len(value)}: keep at most {MOST_KEYS}, the new one and the old one"
            )
        return [value] if isinstance(value, str) else value

    def _check_meaning(self, key: str, path: Path, value: Any) -> None:
        """What options mean by their names: a URL to send to, categories to ask about."""
        if key == "url" or key.endswith("_url"):
            if isinstance(value, str) and value.lower().startswith(("http:", "https:")):
                fault = url_fault(value, self._server)
                if fault:
                    self._note(path, fault)
        elif key == "needs" or key.endswith("_category"):
            for identity in value if isinstance(value, tuple) else [value]:
                if isinstance(identity, str) and identity not in self._categories:
                    self._note(path, unknown_category(identity, self._categories))

    def _note_whole(self, fault: ValueError, given: Set[str]) -> None:
        """An error of the options as a whole; it may name its field in front.

        What follows from a secret that is not there is not said twice.
        """
        notes = self._table.reading.notes
        unset = {key for key in given if notes.failed(self._table.at(key))}
        named = _NAMED_FAULT.fullmatch(str(fault))
        if named and named["more"] is None:
            if named["field"] not in unset:
                self._note(self._table.at(named["field"]), named["fault"])
        elif not unset:
            urls = sorted(key for key in given if key == "url" or key.endswith("_url"))
            place = self._table.at(urls[0]) if isinstance(fault, TargetRefused) and urls else None
            self._note(place or self._table.path, str(fault))


class _Hook:
    """Makes a Secret of a text while msgspec converts a field."""

    def __init__(self, reading: Reading, path: Path) -> None:
        self._reading = reading
        self._path = path

    def __call__(self, wanted: type, value: Any) -> Any:
        if wanted is not Secret or not isinstance(value, str):
            raise ValueError("not text")
        return self._reading.secret(value, self._path)


def url_fault(url: str, server: Server) -> str | None:
    """Why ``url`` is not sent to, and what to do about it. The URL is not shown."""
    try:
        target = parse_target(url, allow_private=True)
    except TargetRefused as refused:
        return f"{refused}: correct it"
    if server.allow_private_destinations:
        return None
    try:
        parse_target(url, allow_private=False, ports=frozenset({target.port}))
    except TargetRefused as refused:
        return (
            f"{refused}; for development only, allow_private_destinations = true under [server] "
            "opens plain http and this machine"
        )
    if target.port not in server.destination_ports:
        ports = sorted({*server.destination_ports, target.port})
        return f"port {target.port} is not open: write destination_ports = {ports} under [server]"
    return None


def _mentions(annotation: Any, wanted: type) -> bool:
    return annotation is wanted or any(_mentions(a, wanted) for a in get_args(annotation))


def _plainly(fault: msgspec.ValidationError, field: FieldInfo) -> str:
    """msgspec's sentence in words of a configuration file."""
    if get_origin(field.type) is Literal:
        return f"must be one of {', '.join(map(str, get_args(field.type)))}"
    found = _EXPECTED.fullmatch(str(fault))
    if found is None:
        return str(fault)
    names = (part.strip() for part in found["want"].split("|"))
    want = " or ".join(_TYPES.get(name, name) for name in names if name != "null")
    got = _TYPES.get(found["got"], found["got"])
    return f"must be {want}, not {got}" if got else f"must be {want}"
