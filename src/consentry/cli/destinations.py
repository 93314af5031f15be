"""`consentry destinations`: who receives, what each requires, how each is doing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from consentry.cli.options import json_option, server_at, server_url_option
from consentry.cli.output import emit, say, table

if TYPE_CHECKING:
    from consentry.destinations.registry import Kind

_COLUMNS = ("name", "kind", "requires", "state", "waiting", "dead", "lag", "oldest")


@click.command("destinations")
@server_url_option
@click.option("--kinds", is_flag=True, help="List the kinds there are; needs no server.")
@json_option
def command(server_url: str, kinds: bool, as_json: bool) -> None:
    """Show every destination: what it requires, whether it is paused, what waits.

    With --kinds, what each kind of destination can and cannot prove.
    """
    if kinds:
        _kinds(as_json)
        return
    found = server_at(server_url).get("/v1/destinations")
    if as_json:
        emit(found)
        return
    rows = found.get("destinations") or []
    if not rows:
        say("no destination is configured")
        return
    table(_COLUMNS, map(_row, rows))
    for row in rows:
        if row.get("paused"):
            reason, since = row["paused"].get("reason"), row["paused"].get("since")
            say(f"{row['name']} is paused since {since}: {reason}")
            say(f"  when that is put right: consentry deliveries retry --destination {row['name']}")


def _row(row: dict[str, Any]) -> tuple[object, ...]:
    oldest = row.get("oldestSeconds")
    return (
        row.get("name"),
        row.get("kind"),
        _requires(row),
        _state(row),
        row.get("waiting"),
        row.get("dead"),
        row.get("lag"),
        "" if oldest is None else f"{float(oldest):.0f} s",
    )


def _requires(row: dict[str, Any]) -> str:
    categories = row.get("categories") or []
    if categories:
        word = " or " if row.get("match") == "any" else " and "
        return word.join(map(str, categories))
    return f"exempt: {row['exempt']}" if row.get("exempt") else "unmapped"


def _state(row: dict[str, Any]) -> str:
    if not row.get("enabled", True):
        return "disabled"
    if row.get("paused"):
        return "paused"
    return "shadow" if row.get("shadow") else "sending"


def _kinds(as_json: bool) -> None:
    from consentry.destinations.registry import KINDS

    kinds = list(KINDS.values())
    if as_json:
        emit({"kinds": [_described(kind) for kind in kinds]})
        return
    rows = [(k.spec.kind, k.spec.title, k.spec.best.value, k.spec.proves) for k in kinds]
    table(("kind", "system", "best grade", "what an attempt proves"), rows)
    say("")
    table(("kind", "orders"), [(k.spec.kind, _orders_in_words(k)) for k in kinds])
    say("\nWhat an order leaves undone or unproven:\n")
    for kind in kinds:
        if kind.orders is not None:
            say(f"{kind.spec.kind}: {kind.orders.cannot}")


def _described(kind: Kind) -> dict[str, Any]:
    spec, orders = kind.spec, kind.orders
    return {
        "kind": spec.kind,
        "title": spec.title,
        "best": spec.best.value,
        "proves": spec.proves,
        "events": sorted(spec.events),
        "orders": None
        if orders is None
        else {
            "verbs": {verb.value: grade.value for verb, grade in orders.verbs.items()},
            "needs": sorted(orders.needs),
            "channels": sorted(orders.channels),
            "readsBack": orders.reads_back,
            "hears": orders.hears,
            "cannot": orders.cannot,
        },
    }


def _orders_in_words(kind: Kind) -> str:
    orders = kind.orders
    if orders is None:
        return "none: it cannot be told, so nothing more is sent to it"
    verbs = [f"{verb.value} ({grade.value})" for verb, grade in orders.verbs.items()]
    more = [
        word for word, has in (("read back", orders.reads_back), ("hears", orders.hears)) if has
    ]
    return ", ".join([*verbs, *more])
