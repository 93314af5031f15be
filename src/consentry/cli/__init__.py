"""The command line. One file per command; nothing is loaded before it is asked for."""

from __future__ import annotations

import click

from consentry import __version__
from consentry.cli.group import LazyGroup

# Name: the module that holds its ``command``, and what it is for. The texts stand here so
# that `consentry --help` need not load twenty modules to print twenty lines.
COMMANDS = {
    "init": ("init", "Write a commented configuration to begin with."),
    "check": ("check", "Report every error and warning of a configuration."),
    "serve": ("serve", "Run the server."),
    "demo": ("demo", "Run a shop, three destinations and a page that explains."),
    "explain": ("explain", "Say what would be decided about events, and why."),
    "decide": ("decide", "Keep who of an audience may be in it."),
    "tail": ("tail", "Watch events, attempts and choices as they happen."),
    "subject": ("subject", "Show, withdraw for, or suppress one subject."),
    "choices": ("choice_counts", "Count how notices were answered, by day, region and wording."),
    "link": ("link", "Make a link that speaks for one subject, for a mail."),
    "deliveries": ("deliveries", "List and retry deliveries that wait."),
    "dead-letters": ("dead_letters", "List and replay deliveries that were given up."),
    "destinations": ("destinations", "Show every destination and how it is doing."),
    "propagation": ("propagation", "Show what other systems were told, and try it again."),
    "leaks": ("leaks", "Say what pages tried to send without consent."),
    "jurisdictions": ("jurisdictions", "List the laws that are known, by place and date."),
    "ledger": ("ledger", "Verify and export the ledger."),
    "backup": ("backup", "Copy a store while it is served, and restore a copy."),
    "import": ("import_", "Import choices that another system collected."),
    "stand-in": ("stand_in", "Run the stand-in for destinations, for tests."),
}


@click.group(
    cls=LazyGroup,
    commands_in=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="consentry")
def main() -> None:
    """Consentry: an event goes only where its person agreed.

    Commands that ask a running server take --server (or CONSENTRY_SERVER) and read the admin
    key from CONSENTRY_ADMIN_KEY. Exit codes: 0 done, 1 a check or comparison failed, 2 wrong
    usage, 3 wrong configuration, 4 the server or store could not be reached.
    """
