"""`consentry check`: every problem of a configuration at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from consentry.cli.group import FAILED
from consentry.cli.options import json_option
from consentry.cli.output import emit, say

if TYPE_CHECKING:
    from consentry.config import Problem


@click.command("check")
@click.argument("file", default="consentry.toml", type=click.Path())
@json_option
def command(file: str, as_json: bool) -> None:
    """Report every error and warning of the configuration FILE, one per line.

    The variables that it names with env:NAME must be set, as for serving. Exit code 1 when
    there are errors; warnings alone are 0.
    """
    from consentry.config import ConfigError, load_config

    errors: tuple[Problem, ...] = ()
    try:
        warnings = load_config(file).warnings
    except ConfigError as error:
        errors, warnings = error.problems, error.warnings
    if as_json:
        emit(
            {
                "file": file,
                "ok": not errors,
                "errors": [_described(problem) for problem in errors],
                "warnings": [_described(problem) for problem in warnings],
            }
        )
    else:
        for problem in sorted((*errors, *warnings), key=lambda p: (p.line or 0, p.level)):
            say(str(problem))
        say(f"{file}: {_count(len(errors), 'error')}, {_count(len(warnings), 'warning')}")
    if errors:
        raise click.exceptions.Exit(FAILED)


def _described(problem: Problem) -> dict[str, Any]:
    return {"line": problem.line, "field": problem.field, "message": problem.message}


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
