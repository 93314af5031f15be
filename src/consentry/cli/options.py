"""Options that several commands share, and what they are turned into."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from consentry.cli.group import CONFIGURATION, CliError

if TYPE_CHECKING:
    from consentry.config import Config

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_SERVER = "http://127.0.0.1:8000"
ADMIN_KEY = "CONSENTRY_ADMIN_KEY"
SUBJECT_OPTIONS = {
    "user_id": "userId",
    "anonymous_id": "anonymousId",
    "email": "email",
    "phone": "phone",
}

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON instead of tables, for programs."
)
server_url_option = click.option(
    "--server",
    "server_url",
    default=DEFAULT_SERVER,
    envvar="CONSENTRY_SERVER",
    show_envvar=True,
    show_default=True,
    metavar="URL",
    help="The server to ask. Its admin key is read from CONSENTRY_ADMIN_KEY.",
)
config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="The configuration file.",
)
store_option = click.option(
    "--store",
    "store_path",
    type=click.Path(dir_okay=False),
    metavar="PATH",
    help="The store's SQLite file, instead of the one that the configuration names.",
)


def with_server(function: Callable[..., None]) -> Callable[..., None]:
    """Adds --server, and hands the command a ``server``."""

    @server_url_option
    @wraps(function)
    def command(*args: Any, server_url: str, **kwargs: Any) -> None:
        function(*args, server=server_at(server_url), **kwargs)

    return command


output_option = click.option(
    "--output",
    "-o",
    "output_path",
    type=click.Path(dir_okay=False),
    help="A new file to write to, instead of standard output.",
)


def with_subject(function: Callable[..., None]) -> Callable[..., None]:
    """Adds the options that identify a subject, and hands the command a ``subject``."""

    @wraps(function)
    def command(*args: Any, **kwargs: Any) -> None:
        named = {member: kwargs.pop(option) for option, member in SUBJECT_OPTIONS.items()}
        subject = {member: value for member, value in named.items() if value}
        if not subject:
            raise click.UsageError(
                "name the subject with --user-id, --anonymous-id, --email or --phone"
            )
        function(*args, subject=subject, **kwargs)

    decorated: Callable[..., None] = command
    for option in reversed(SUBJECT_OPTIONS):
        decorated = click.option(f"--{option.replace('_', '-')}", option)(decorated)
    return decorated


def server_at(url: str) -> Any:
    """The server with this URL and the admin key of the environment."""
    from consentry.cli.http import Server

    return Server(url, os.environ.get(ADMIN_KEY) or None)


def load(path: str) -> Config:
    """The configuration in a file. A bad one is a CliError that names its first error."""
    from consentry.config import ConfigError, load_config

    try:
        return load_config(path)
    except ConfigError as error:
        first, more = error.problems[0], len(error.problems) - 1
        rest = f" (and {more} more)" if more else ""
        raise CliError(
            f"{path}: {first}{rest}: see `consentry check {path}`", CONFIGURATION
        ) from None


def store_file(config_path: str | None, store_path: str | None) -> str:
    """The store's SQLite file, by one of the two options or by ./consentry.toml."""
    if store_path is not None:
        if config_path is not None:
            raise click.UsageError("give --config or --store, not both")
        return store_path
    return path_of(load(config_path or "consentry.toml").store_url)


def path_of(store_url: str) -> str:
    """``sqlite:///FILE`` as a path; relative ones are meant from the current folder."""
    scheme, _, path = store_url.partition(":///")
    if scheme != "sqlite" or not path:
        raise CliError("the store is not in a SQLite file: name one with --store", CONFIGURATION)
    return path


def filled(values: Mapping[str, Any]) -> dict[str, Any]:
    """Only what was given: an option that was left out is no member of a request."""
    return {name: value for name, value in values.items() if value not in (None, (), [], {}, "")}
