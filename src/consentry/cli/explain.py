"""`consentry explain`: what would be decided about an event, and why."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import IO, TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from consentry.cli.events import Asked, read_events
from consentry.cli.group import FAILED, USAGE, CliError
from consentry.cli.options import (
    config_option,
    json_option,
    load,
    path_of,
    server_at,
    server_url_option,
)
from consentry.cli.output import emit, note, table

if TYPE_CHECKING:
    from consentry.config import Config
    from consentry.core.rule import Place

_AT_ONCE = 1000  # events
_BYTES_AT_ONCE = 2 * 1024 * 1024
_COLUMNS = ("event", "destination", "decision", "reason", "failed", "grounds")


@click.command("explain")
@click.argument("file", type=click.File("r", encoding="utf-8"), default="-")
@config_option
@click.option("--source", help="With --config: the source that the events come from.")
@click.option("--country", metavar="CC", help="Where it happens: ISO 3166-1, such as US.")
@click.option("--region", metavar="RR", help="Its part: ISO 3166-2 without the country, as CA.")
@server_url_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    file: IO[str],
    config_path: str | None,
    source: str | None,
    country: str | None,
    region: str | None,
    server_url: str,
    as_json: bool,
) -> None:
    """Say for each event in FILE (or standard input) what would be decided, and why.

    FILE holds one event, a list, a batch, or JSON Lines, as a Segment SDK sends them. A
    running server is asked; with --config the decision is made here, from that
    configuration and the records in its store. Nothing is sent and nothing recorded. Exit
    code 1 when an event would be refused.
    """
    typed = ctx.get_parameter_source("server_url") is ParameterSource.COMMANDLINE
    if config_path is not None and typed:
        raise click.UsageError("give --server or --config, not both")
    if source is not None and config_path is None:
        raise click.UsageError("--source belongs to --config: a server knows its own")
    if region is not None and country is None:
        raise click.UsageError("--region belongs to --country")
    place = None if country is None else _place(country, region)
    if file.isatty():
        note("reading events from the terminal: end with Ctrl-D")
    try:
        asked = read_events(file.read())
    except UnicodeDecodeError:
        raise CliError("the events are not UTF-8: save them as UTF-8", USAGE) from None
    ids = _ids(asked.events)
    if config_path is None:
        answer = _ask_server(server_url, ids, asked, place)
    else:
        answer = _decide_here(load(config_path), source, ids, asked, place)
    if as_json:
        emit(answer)
    else:
        labels = dict(zip(ids, map(_label, ids, asked.events), strict=True))
        table(_COLUMNS, _rows(answer["items"], labels))
    if any("error" in item for item in answer["items"]):
        raise click.exceptions.Exit(FAILED)


def _place(country: str, region: str | None) -> Place:
    from consentry.core.rule import How, Place

    return Place(country.upper(), None if region is None else region.upper(), How.TOLD)


def _ids(events: Sequence[Any]) -> list[str]:
    """An id for each event: its message id where that is one of a kind, else its number."""
    ids: list[str] = []
    seen: set[str] = set()
    for number, event in enumerate(events, start=1):
        own = event.get("messageId") if isinstance(event, dict) else None
        if not isinstance(own, str) or not 0 < len(own) <= 200 or own in seen:
            own = f"event {number}"
        seen.add(own)
        ids.append(own)
    return ids


def _label(item_id: str, event: Any) -> str:
    if not isinstance(event, dict):
        return item_id
    name = event.get("event") or event.get("name")
    return " ".join(str(part) for part in (event.get("type"), name, f"({item_id})") if part)


def _ask_server(url: str, ids: list[str], asked: Asked, place: Place | None) -> dict[str, Any]:
    if asked.batch.get("context") or asked.batch.get("integrations"):
        raise CliError(
            "this batch says something of all its events, and a server is asked about single "
            "ones: use --config, or write it into each event",
            USAGE,
        )
    server = server_at(url)
    questions: list[dict[str, Any]] = [
        {"id": item_id, "event": event} for item_id, event in zip(ids, asked.events, strict=True)
    ]
    if place is not None:
        where = {"country": place.country, **({"region": place.region} if place.region else {})}
        questions = [{**question, "place": where} for question in questions]
    answer: dict[str, Any] = {"items": []}
    for some in _parts(questions):
        part = server.post("/v1/decisions", {"items": some})
        answer = {**part, "items": [*answer["items"], *part.get("items", [])]}
    return answer


def _parts(questions: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """As many together as one request takes; one request for none, to hear the policy."""
    part: list[dict[str, Any]] = []
    size = 0
    for question in questions:
        length = len(json.dumps(question))
        if part and (len(part) == _AT_ONCE or size + length > _BYTES_AT_ONCE):
            yield part
            part, size = [], 0
        part.append(question)
        size += length
    if part or not questions:
        yield part


def _decide_here(
    config: Config, source: str | None, ids: list[str], asked: Asked, place: Place | None
) -> dict[str, Any]:
    from consentry.cli.offline import Offline
    from consentry.flow.offline import NoRecords

    names = [known.name for known in config.sources]
    if source is not None and source not in names:
        raise CliError(f"there is no source {source}: there are {', '.join(names)}", USAGE)
    answer: dict[str, Any]
    path = path_of(config.store_url) if config.store_url.startswith("sqlite:") else ""
    if not os.path.exists(path):
        note("decided without any records: there is no store yet")
        answer = Offline(config, NoRecords(), source, place).explain(ids, asked.events, asked.batch)
        return {**answer, "records": None}
    from consentry.cli.ledger_file import LedgerFile

    with closing(LedgerFile(path)) as ledger:
        answer = Offline(config, ledger, source, place).explain(ids, asked.events, asked.batch)
        return {**answer, "records": ledger.end}


def _rows(items: Iterable[Any], labels: dict[str, str]) -> Iterator[tuple[object, ...]]:
    for item in items:
        label = labels.get(item["id"], item["id"])
        if "error" in item:
            error = item["error"]
            yield label, "", "error", f"{error['code']}: {error['message']}", "", ""
            continue
        if not item["decisions"]:
            yield label, "none is configured", "", "", "", ""
        for decision in item["decisions"]:
            yield (
                label,
                decision.get("destination", ""),
                decision["decision"],
                decision["reason"],
                ", ".join(_failed(decision.get("categories", []))),
                ", ".join(_ground(ground) for ground in decision.get("grounds", [])),
            )
            label = ""


def _failed(categories: Iterable[dict[str, Any]]) -> Iterator[str]:
    return (f"{c['id']}: {c['why']}" for c in categories if c["effective"] != "granted")


def _ground(ground: dict[str, Any]) -> str:
    names = {"recordId": "record"}
    return ", ".join(
        names.get(kind, kind) if value is True else f"{names.get(kind, kind)} {value}"
        for kind, value in ground.items()
    )
