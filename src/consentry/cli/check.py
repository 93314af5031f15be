"""`consentry check`: every problem of a configuration at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
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
@click.option(
    "--theme",
    type=click.Path(exists=True, dir_okay=False),
    help="Also check a style sheet that sets the notice's colours.",
)
@json_option
def command(file: str, at: Any, theme: str | None, as_json: bool) -> None:
    """Report every error and warning of the configuration FILE, one per line.

    The variables that it names with env:NAME must be set, as for serving. Where places are
    looked for, rows of laws that are past their review are named. A theme has to be readable,
    and may not reach one button alone. Exit code 1 when there are errors; warnings alone are 0.
    """
    from consentry.config import ConfigError, load_config

    errors: tuple[Problem, ...] = ()
    try:
        config = load_config(file)
        warnings = (*config.warnings, *_past_review(config, day(at)))
        if theme is None and config.notice.theme_css is not None:
            theme = str(Path(file).parent / config.notice.theme_css)
    except ConfigError as error:
        errors, warnings = error.problems, error.warnings
    if theme is not None:
        errors = (*errors, *_flaws_of(theme))
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


def _flaws_of(theme: str) -> Iterator[Problem]:
    """What is wrong with a theme, by its own lines."""
    from consentry import sdk
    from consentry.config import Problem
    from consentry.notice.theme import flaws_of_theme

    try:
        css = Path(theme).read_text("utf-8")
    except OSError as error:
        yield Problem("error", f"cannot be read: {error.strerror}", theme, None)
        return
    except UnicodeDecodeError:
        yield Problem("error", "is not UTF-8: save it as UTF-8", theme, None)
        return
    for flaw in flaws_of_theme(css, sdk.files()["consentry-ui.css"].decode()):
        field = f"{theme}: {flaw.field}" if flaw.field else theme
        yield Problem("error", flaw.message, field, flaw.line)


def _described(problem: Problem) -> dict[str, Any]:
    return {"line": problem.line, "field": problem.field, "message": problem.message}


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
