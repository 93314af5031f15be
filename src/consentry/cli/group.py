"""The group of all commands: loads each when it is asked for, and words every failure.

What goes wrong in the world or at the keyboard is one line on standard error, which says
what to do next, and an exit code. A traceback is left for our own mistakes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any, NoReturn

import click

FAILED = 1  # a check or comparison failed
USAGE = 2
CONFIGURATION = 3
UNREACHABLE = 4
_INTERRUPTED = 130  # 128 + SIGINT, as shells count


class CliError(click.ClickException):
    """What the person at the keyboard should read. ``message`` is one line, without secrets."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.status = exit_code


class LazyGroup(click.Group):
    """A group whose commands live in modules of ``consentry.cli``."""

    def __init__(
        self, *args: Any, commands_in: Mapping[str, tuple[str, str]] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._modules = dict(commands_in or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._modules:
            return None
        module = import_module(f"consentry.cli.{self._modules[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click does, from the texts at hand."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._modules.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, and end the process with the exit code of what happened."""
        run = partial(
            super().main,
            args,
            prog_name,
            complete_var,
            standalone_mode=False,
            windows_expand_args=windows_expand_args,
            **extra,
        )
        if not standalone_mode:
            return run()
        try:
            code: object = run()
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(USAGE)
        except click.UsageError as error:
            _end(_usage(error), USAGE)
        except CliError as error:
            _end(error.message, error.status)
        except click.ClickException as error:
            _end(error.format_message(), error.exit_code)
        except click.Abort:
            sys.exit(_INTERRUPTED)
        except OSError as error:
            _end(f"{_named(error)}{error.strerror or error}", UNREACHABLE)
        sys.exit(code if isinstance(code, int) else 0)


def _usage(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx is not None else "consentry"
    return f"{error.format_message().rstrip('.')}: see `{path} --help`"


def _named(error: OSError) -> str:
    return f"{error.filename}: " if isinstance(error.filename, str) else ""


def _end(message: str, code: int) -> NoReturn:
    from consentry.cli.output import shown

    click.echo(f"consentry: {shown(message)}", err=True)
    sys.exit(code)
