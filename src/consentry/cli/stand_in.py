"""`consentry stand-in`: the vendors' side of the wire, for tests and for trying things out."""

from __future__ import annotations

import asyncio

import click

from consentry.cli.group import UNREACHABLE, CliError
from consentry.cli.options import json_option
from consentry.cli.output import emit_line, say


@click.command("stand-in")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    default=9100,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The port; 0 takes a free one.",
)
@json_option
def command(host: str, port: int, as_json: bool) -> None:
    """Run a stand-in that keeps each vendor's contract, at /{vendor}/..., until stopped.

    It checks what arrives as the vendor would, and misbehaves on request: POST
    /_ctl/{vendor} {"mode": "429"}. It belongs in tests, not on a public address.
    """
    from consentry.standin.app import serve

    def ready(chosen: int) -> None:
        if as_json:
            emit_line({"host": host, "port": chosen})
        else:
            say(f"stand-in on http://{host}:{chosen}/ (vendors: GET /_ctl)")

    try:
        asyncio.run(serve(host, port, ready))
    except OSError as error:
        reason = error.strerror or str(error)
        raise CliError(
            f"cannot listen on {host}:{port}: {reason}: choose another --port", UNREACHABLE
        ) from None
    except KeyboardInterrupt:
        return  # stopped, as asked
