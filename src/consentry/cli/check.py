"""`consentry check`: every problem of a configuration at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from consentry.cli.group import FAILED
from consentry.cli.jurisdictions import at_option, day
from consentry.cli.options import json_option
from consentry.cli.output import emit, say

if TYPE_CHECKING:
    from consentry.config import Config, Problem


@click.command("check")
@click.argument("file", default="consentry.toml", type=click.Path())
@at_option
@json_option
def command(file: str, at: Any, as_json: bool) -> None:
    """Report every error and warning of the configuration FILE, one per line.

    The variables that it names with env:NAME must be set, as for serving. Where places are
    looked for, rows of laws that are past their review are named. Exit code 1 when there are
    errors; warnings alone are 0.
    """
    from consentry.config import ConfigError, load_config

    errors: tuple[Problem, ...] = ()
    try:
        config = load_config(file)
        warnings = (*config.warnings, *_past_review(config, day(at)))
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


def _past_review(config: Config, date: str) -> tuple[Problem, ...]:
    """Rows of laws that this configuration relies on and nobody has read again in time."""
    server = config.server
    if not (server.trusted_proxies or server.mmdb):
        return ()
    from consentry.config import Problem
    from consentry.jurisdictions import due

    late = ", ".join(f"{row.id} ({row.review_by})" for row in due(date))
    if not late:
        return ()
    message = (
        f"rows of laws are past their review, so take a newer release or read them yourself: {late}"
    )
    return (Problem("warning", message, "server", None),)


def _described(problem: Problem) -> dict[str, Any]:
    return {"line": problem.line, "field": problem.field, "message": problem.message}


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
