"""`consentry init`: a configuration to begin with."""

from __future__ import annotations

from pathlib import Path

import click

from consentry.cli.group import USAGE, CliError
from consentry.cli.options import json_option
from consentry.cli.output import emit, say

NAME = "consentry.toml"


@click.command("init")
@click.argument("path", default=NAME, type=click.Path(path_type=Path))
@json_option
def command(path: Path, as_json: bool) -> None:
    """Write a commented configuration to PATH (consentry.toml).

    A folder gets a consentry.toml in it. A file that is there already is left alone.
    """
    from consentry.config import starter

    target = path / NAME if path.is_dir() else path
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(starter())
    except FileExistsError:
        raise CliError(f"{target} exists already: edit it, or name another file", USAGE) from None
    except OSError as error:
        raise CliError(f"{target} cannot be written: {error.strerror}", USAGE) from None
    if as_json:
        emit({"path": str(target)})
        return
    say(f"wrote {target}")
    say("next: 1. set the variables that its first lines name")
    say("      2. name your sites, categories and destinations in it")
    say(f"      3. consentry check {target}")
    say(f"      4. consentry serve --config {target}")
