"""`consentry propagation`: what other systems were told of choices, and what came of it."""

from __future__ import annotations

from typing import Any

import click

from consentry.cli.listing import limit_option
from consentry.cli.options import json_option, with_server, with_subject
from consentry.cli.output import emit, say, table

_STATUS = ("name", "kind", "open", "overdue", "drift", "oldest", "paused")


@click.group("propagation")
def command() -> None:
    """Orders: each one consent change owed to one destination."""


@command.command("status")
@with_server
@json_option
def status(server: Any, as_json: bool) -> None:
    """Per destination: what is open, since when, and where it holds something else."""
    found = server.get("/v1/propagation/status")
    if as_json:
        emit(found)
        return
    rows = found.get("destinations") or []
    if not rows:
        say("no destination is configured")
        return
    table(_STATUS, map(_status_row, rows))


@command.command("drift")
@with_server
@click.option("--destination", help="Only this one's.")
@json_option
def drift(server: Any, destination: str | None, as_json: bool) -> None:
    """Orders whose destination was asked, and holds something else than it was told."""
    found = server.get("/v1/propagation/drift", destination=destination)
    _print(found, "drift", as_json, "no destination holds anything else than it was told")


@command.command("subject")
@with_subject
@with_server
@click.option("--destination", help="Only this one's.")
@limit_option
@json_option
def subject(
    server: Any, subject: dict[str, str], destination: str | None, limit: int, as_json: bool
) -> None:
    """Orders about one person, the newest first. Name one identifier."""
    body: dict[str, Any] = {"subject": subject}
    if destination is not None:
        body["destination"] = destination
    orders: list[Any] = []
    cursor = None
    while True:
        asked = body if cursor is None else {**body, "cursor": cursor}
        page = server.post("/v1/propagation/lookup", asked)
        orders += page.get("orders") or ()
        cursor = page.get("next")
        if cursor is None or len(orders) >= limit:
            break
    found = {"orders": orders[:limit], "next": cursor}
    _print(found, "orders", as_json, "nobody was told anything about this identifier")


@command.command("retry")
@with_server
@click.option("--destination", help="Those of this one.")
@click.option("--order", "orders", multiple=True, help="This one; repeatable.")
@click.option("--all", "everything", is_flag=True, help="Everything that failed or waits.")
@json_option
def retry(
    server: Any,
    destination: str | None,
    orders: tuple[str, ...],
    everything: bool,
    as_json: bool,
) -> None:
    """Try again now what failed for good or waits. Whether it still holds is asked first."""
    body: dict[str, Any] = {}
    if destination is not None:
        body["destination"] = destination
    if orders:
        body["orderIds"] = list(orders)
    if bool(body) == everything:
        raise click.UsageError("name what is meant with --destination and --order, or give --all")
    answer = server.post("/v1/propagation/retry", body)
    if as_json:
        emit(answer)
        return
    say(f"{answer.get('retried', 0)} are tried again")


@command.command("drop")
@with_server
@click.option("--destination", required=True, help="One that is no longer configured.")
@json_option
def drop(server: Any, destination: str, as_json: bool) -> None:
    """End what is owed to a destination that was taken out of the configuration.

    It was not told, and the ledger says so of each. Without this the orders are kept, and sent should it come
    back.
    """
    answer = server.post("/v1/propagation/drop", {"destination": destination})
    if as_json:
        emit(answer)
        return
    say(f"{answer.get('dropped', 0)} ended without having been told")


def _print(found: dict[str, Any], member: str, as_json: bool, nothing: str) -> None:
    if as_json:
        emit(found)
        return
    rows = found.get(member) or []
    if not rows:
        say(nothing)
        return
    for row in rows:
        _say_order(row)


def _say_order(row: dict[str, Any]) -> None:
    """One order: what was to be done, and below it what came of it."""
    topics = ", ".join(f"{t['topic']} by {t['channel']}" for t in row.get("topics") or ())
    about = f" ({topics})" if topics else ""
    say(f"{row['acknowledgedAt']}  {row['destination']}: {row['verb']}{about}  {row['orderId']}")
    grade = ": ".join(str(row[name]) for name in ("grade", "detail") if row.get(name))
    ended = f" at {row['terminalAt']}" if row.get("terminalAt") else ""
    tries = len(row.get("attempts") or ())
    say(f"    {row['state']}{ended}; {grade or 'not tried yet'}; tries: {tries}")
    if row.get("supersededBy"):
        say(f"    a later order took its place: {row['supersededBy']}")
    if row.get("why"):
        say(f"    {row['why']}")
    if row.get("drift"):
        say("    drift: asked again, it holds something else")


def _status_row(row: dict[str, Any]) -> tuple[object, ...]:
    oldest = float(row.get("oldestSeconds") or 0.0)
    members = ("name", "kind", "open", "overdue", "drift")
    paused = "paused" if row.get("paused") else ""
    if row.get("removed"):
        row = {**row, "kind": "(removed)"}
    return *map(row.get, members), f"{oldest:.0f} s" if row.get("open") else "", paused
