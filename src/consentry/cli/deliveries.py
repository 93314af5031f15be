"""`consentry deliveries`: what waits, and trying it again now."""

from __future__ import annotations

from typing import Any

import click

from consentry.cli.listing import chosen, limit_option, pages, print_deliveries
from consentry.cli.options import json_option, with_server
from consentry.cli.output import emit, say


@click.group("deliveries")
def command() -> None:
    """List and retry deliveries that wait for another attempt."""


@command.command("list")
@with_server
@click.option("--destination", help="Only this one's.")
@click.option("--state", type=click.Choice(["waiting", "dead"]), help="Only those in this state.")
@limit_option
@click.option("--cursor", help="Begin where an earlier list ended.")
@json_option
def list_command(
    server: Any,
    destination: str | None,
    state: str | None,
    limit: int,
    cursor: str | None,
    as_json: bool,
) -> None:
    """Deliveries that are retried, held back, or dead. What simply waits its turn is not here."""
    query = {"destination": destination, "state": state, "cursor": cursor}
    found = pages(server, "/v1/deliveries", "deliveries", limit, **query)
    print_deliveries(found, "deliveries", as_json, "nothing is being retried")


@command.command("retry")
@with_server
@click.option("--destination", help="Those of this one, which is resumed if it was paused.")
@click.option("--message-id", "message_ids", multiple=True, help="This event's; repeatable.")
@click.option("--all", "everything", is_flag=True, help="Everything that waits.")
@json_option
def retry(
    server: Any,
    destination: str | None,
    message_ids: tuple[str, ...],
    everything: bool,
    as_json: bool,
) -> None:
    """Try again now, and resume paused destinations. The decision is asked again first."""
    answer = server.post("/v1/deliveries/retry", chosen(destination, message_ids, everything))
    if as_json:
        emit(answer)
        return
    resumed = ", ".join(answer.get("resumed") or ())
    say(
        f"{answer.get('retried', 0)} are tried again" + (f"; resumed: {resumed}" if resumed else "")
    )
