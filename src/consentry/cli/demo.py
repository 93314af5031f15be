"""`consentry demo`: the whole product on one machine, with nothing to set up."""

from __future__ import annotations

import click


@click.command("demo")
@click.option("--once", is_flag=True, help="Play a scripted visitor, print the table, end.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The port of the shop; 0 takes a free one.",
)
def command(port: int, once: bool) -> None:
    """Run a small shop, ten stand-in destinations, and a page that explains each decision and
    says what every system made of a choice.

    Needs no files and no network. With --once it ends with exit code 0 only if what arrived
    equals what was allowed.
    """
    from consentry.demo import run

    raise click.exceptions.Exit(run(port, once))
