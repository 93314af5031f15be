"""`consentry dead-letters`: what was given up, and sending it after all."""

from __future__ import annotations

from typing import Any

import click

from consentry.cli.listing import chosen, limit_option, pages, print_deliveries
from consentry.cli.options import json_option, with_server
from consentry.cli.output import emit, say


@click.group("dead-letters")
def command() -> None:
    """List and replay deliveries that were given up."""


@command.command("list")
@with_server
@click.option("--destination", help="Only this one's.")
@limit_option
@click.option("--cursor", help="Begin where an earlier list ended.")
@json_option
def list_command(
    server: Any, destination: str | None, limit: int, cursor: str | None, as_json: bool
) -> None:
    """Deliveries that were given up, with the last outcome of each."""
    query = {"destination": destination, "cursor": cursor}
    found = pages(server, "/v1/dead-letters", "deadLetters", limit, **query)
    print_deliveries(found, "deadLetters", as_json, "there are no dead letters")


@command.command("replay")
@with_server
@click.option("--destination", help="Those of this one.")
@click.option("--message-id", "message_ids", multiple=True, help="This event's; repeatable.")
@click.option("--all", "everything", is_flag=True, help="Every dead letter.")
@json_option
def replay(
    server: Any,
    destination: str | None,
    message_ids: tuple[str, ...],
    everything: bool,
    as_json: bool,
) -> None:
    """Send again what was given up. The decision is asked again now: consent may be gone."""
    answer = server.post("/v1/dead-letters/replay", chosen(destination, message_ids, everything))
    if as_json:
        emit(answer)
    else:
        say(f"{answer.get('replayed', 0)} are replayed")
        say("`consentry deliveries list` shows those that fail again")
