"""`consentry leaks`: what pages tried to send without consent, by host."""

from __future__ import annotations

from typing import Any

import click

from consentry.cli.options import json_option, with_server
from consentry.cli.output import emit, say, table

_COLUMNS = ("host", "categories", "tried", "left", "kinds", "pages", "last seen")
_SHOWN = 4  # pages of a host


@click.command("leaks")
@with_server
@click.option("--since", metavar="TIME", help="Leave out what was last seen before (RFC 3339).")
@json_option
def command(server: Any, since: str | None, as_json: bool) -> None:
    """Show what pages tried to send without consent, as browsers and the guard told it.

    "left" counts what a policy that only reports let go. A host without categories is not named
    by any [[tag]]: add it to one, or to the application's own hosts.
    """
    found = server.get("/v1/leaks", since=since)
    if as_json:
        emit(found)
        return
    hosts: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in found.get("leaks") or ():
        hosts.setdefault((row["source"], row["host"]), []).append(row)
    if not hosts:
        say("nothing was told")
        return
    table(_COLUMNS, map(_row, hosts.values()))
    unknown = sorted({host for (_, host), rows in hosts.items() if _is_unmapped(rows)} - {"*"})
    if unknown:
        say(f"no [[tag]] names: {', '.join(unknown)}")


def _is_unmapped(rows: list[dict[str, Any]]) -> bool:
    """Whether requests went to a host that no tag names; what a page stores goes nowhere."""
    return not rows[0]["tags"] and any(row["kind"] not in ("cookie", "storage") for row in rows)


def _row(rows: list[dict[str, Any]]) -> tuple[object, ...]:
    pages = list(dict.fromkeys(row["page"] or "?" for row in rows))
    more = ["..."] if len(pages) > _SHOWN else []
    return (
        rows[0]["host"],
        ", ".join(rows[0]["categories"]) or "unknown",
        sum(row["count"] for row in rows),
        sum(row["count"] for row in rows if not row["stopped"]),
        ", ".join(sorted({row["kind"] for row in rows})),
        " ".join(pages[:_SHOWN] + more),
        max(row["lastAt"] for row in rows),
    )
