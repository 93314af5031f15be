"""What `deliveries` and `dead-letters` have in common: pages of rows, and what to do to them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from consentry.cli.output import emit, say, table

_COLUMNS = ("destination", "position", "message", "state", "attempts", "first", "next", "outcome")


limit_option = click.option(
    "--limit",
    default=100,
    show_default=True,
    type=click.IntRange(min=1),
    help="End with the page that reaches this many.",
)


def pages(server: Any, path: str, member: str, limit: int, **query: Any) -> dict[str, Any]:
    """Whole pages until there are ``limit`` rows, and the cursor of what comes after them."""
    rows: list[Any] = []
    cursor = query.pop("cursor", None)
    while True:
        page = server.get(path, **query, cursor=cursor)
        rows += page.get(member) or ()
        cursor = page.get("next")
        if cursor is None or len(rows) >= limit:
            return {member: rows, "next": cursor}


def print_deliveries(found: dict[str, Any], member: str, as_json: bool, nothing: str) -> None:
    """Deliveries as JSON or as a table."""
    if as_json:
        emit(found)
        return
    rows = found[member]
    if not rows:
        say(nothing)
        return
    table(_COLUMNS, map(_row, rows))
    if found.get("next"):
        say(f"there are more: --cursor {found['next']}")


def _row(row: dict[str, Any]) -> tuple[object, ...]:
    outcome = ": ".join(str(row[name]) for name in ("grade", "detail") if row.get(name))
    members = ("destination", "position", "messageId", "state", "attempts", "firstAt", "nextAt")
    return *map(row.get, members), outcome


def chosen(destination: str | None, message_ids: Iterable[str], everything: bool) -> dict[str, Any]:
    """The body that says which deliveries are meant. Nothing named is a usage error."""
    body: dict[str, Any] = {}
    if destination is not None:
        body["destination"] = destination
    if ids := list(message_ids):
        body["messageIds"] = ids
    if bool(body) == everything:
        raise click.UsageError(
            "name what is meant with --destination and --message-id, or give --all"
        )
    return body
