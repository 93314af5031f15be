"""`consentry link`: a link that speaks for one subject, for a mail or a letter."""

from __future__ import annotations

from typing import Any

import click

from consentry.cli.options import filled, json_option, with_server, with_subject
from consentry.cli.output import emit, say
from consentry.cli.subject import topics_named


@click.command("link")
@click.argument("type_", metavar="TYPE", type=click.Choice(["withdraw", "edit"]))
@with_subject
@with_server
@click.option("--category", "categories", multiple=True, help="Bind it to this one; repeatable.")
@click.option("--topic", "topics", multiple=True, metavar="TOPIC:CHANNEL", help="And to this.")
@click.option("--channel", "channels", multiple=True, help="And to this channel as a whole.")
@json_option
def command(
    server: Any,
    subject: dict[str, str],
    type_: str,
    categories: tuple[str, ...],
    topics: tuple[str, ...],
    channels: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make a link that can only withdraw, or one that can also grant for half an hour.

    Without --category, --topic and --channel it is about everything that people are asked.
    """
    named = {"categories": list(categories), "topics": topics_named(topics)}
    bound = filled({**named, "channels": list(channels)})
    made = server.post("/v1/links", {"subject": subject, "type": type_, **bound})
    if as_json:
        emit(made)
        return
    say(str(made.get("url")))
    say(f"expires: {made.get('expiresAt')}")
    for name, value in (made.get("headers") or {}).items():
        say(f"{name}: {value}")
