"""`consentry choices`: how often notices were shown and how they were answered."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from consentry.cli.options import json_option, with_server
from consentry.cli.output import emit, say, table

_COUNTED = ("shown", "accepted", "refused", "chosen", "closed", "changed")


@click.command("choices")
@with_server
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="The first day, UTC.")
@click.option(
    "--by",
    default="day",
    show_default=True,
    metavar="NAMES",
    help="What to tell apart: some of day,region,version,language.",
)
@json_option
def command(server: Any, since: datetime | None, by: str, as_json: bool) -> None:
    """Show how often notices were shown, accepted, refused, chosen from, closed and changed.

    A first answer is accepted, refused or chosen; whoever answers again has changed it. A
    notice is told apart by its version, which is another after every change of what it asks.
    """
    day = None if since is None else since.date().isoformat()
    found = server.get("/v1/choices", since=day, by=by)
    if as_json:
        emit(found)
        return
    rows = found.get("rows") or ()
    if not rows:
        say("nothing was counted")
        return
    columns = (*(found.get("by") or ()), *_COUNTED)
    table(columns, ([row.get(column) for column in columns] for row in rows))
