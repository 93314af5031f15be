"""`consentry serve`: the server."""

from __future__ import annotations

import asyncio

import click

from consentry.cli.group import CONFIGURATION, UNREACHABLE, CliError
from consentry.cli.options import load


@click.command("serve")
@click.option(
    "--config",
    "config_path",
    default="consentry.toml",
    show_default=True,
    type=click.Path(dir_okay=False),
    help="The configuration file.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="The port."
)
def command(config_path: str, host: str, port: int) -> None:
    """Run the server until SIGTERM or SIGINT.

    A changed configuration file is taken without a restart; a bad one is refused and the
    old one kept.
    """
    load(config_path)  # a bad file is worded here, before anything is opened
    import uvloop

    from consentry.config import ConfigError
    from consentry.ledger.note import NoteError
    from consentry.opening import BadStore
    from consentry.ports import StoreError
    from consentry.serving import serve

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(config_path, host, port))
    except ConfigError:
        load(config_path)  # words it, if the file is still as it was
        raise CliError(f"{config_path} changed while starting: start again", UNREACHABLE) from None
    except (BadStore, NoteError) as error:
        raise CliError(f"the store cannot be used: {error}", CONFIGURATION) from None
    except StoreError as error:
        raise CliError(str(error), UNREACHABLE) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise CliError(
            f"cannot serve on {host}:{port}: {reason}: choose another --port", UNREACHABLE
        ) from None
    except KeyboardInterrupt:
        return  # stopped, as asked
