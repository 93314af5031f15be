"""`consentry subject`: what is known of one subject, and the doors that can be closed for it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import click

from consentry.cli.erasure import erase, erasure
from consentry.cli.group import UNREACHABLE, CliError
from consentry.cli.options import filled, json_option, output_option, with_server, with_subject
from consentry.cli.output import emit, new_file, note, say, table

_MOST_PAGES = 1000
_EVIDENCE = (
    "action",
    "surface",
    "noticeId",
    "noticeVersion",
    "noticeHash",
    "noticeKnown",
    "noticeContradicts",
    "language",
    "layout",
    "host",
    "page",
    "sdkVersion",
    "network",
    "browser",
)
_PLACE = ("jurisdiction", "regime", "rule", "ruleVersion")


@click.group("subject")
def command() -> None:
    """Show or export what is known of one subject, withdraw for it, suppress or erase it.

    Identifiers are options. They are sent in a request's body, never in a URL.
    """


command.add_command(erase)
command.add_command(erasure)


@command.command("show")
@with_subject
@with_server
@click.option(
    "--limit", default=100, show_default=True, type=click.IntRange(min=0), help="Records."
)
@json_option
def show(server: Any, subject: dict[str, str], limit: int, as_json: bool) -> None:
    """Preferences as they are now, signals, and the latest records."""
    found = server.post("/v1/subjects/lookup", {"subject": subject, "history": limit > 0})
    history = list(found.get("history") or ())
    pages = 0
    while found.get("next") and len(history) < limit and pages < _MOST_PAGES:
        more = server.post(
            "/v1/subjects/lookup",
            {"subject": subject, "history": True, "cursor": found["next"]},
        )
        history += more.get("history") or ()
        found["next"] = more.get("next")
        pages += 1
    found["history"] = history[:limit]
    if as_json:
        emit(found)
    else:
        _print_subject(found)


@command.command("withdraw")
@with_subject
@with_server
@click.option("--category", "categories", multiple=True, help="Withdraw this one only; repeatable.")
@click.option(
    "--topic", "topics", multiple=True, metavar="TOPIC:CHANNEL", help="And this; repeatable."
)
@click.option(
    "--channel", "channels", multiple=True, help="And this channel as a whole; repeatable."
)
@json_option
def withdraw(
    server: Any,
    subject: dict[str, str],
    categories: tuple[str, ...],
    topics: tuple[str, ...],
    channels: tuple[str, ...],
    as_json: bool,
) -> None:
    """Withdraw consent for a subject: everything that is not essential, or what is named.

    When this returns, no delivery that needs what was withdrawn starts any more.
    """
    named = {"categories": list(categories), "topics": topics_named(topics)}
    asked = filled({**named, "channels": list(channels)})
    answer = server.post("/v1/consent/withdraw", {"subject": subject, **asked})
    if as_json:
        emit(answer)
        return
    say(f"recorded as {answer.get('recordId')} (seq {answer.get('seq')})")
    unknown = answer.get("unknown") or []
    if unknown:
        note(f"the workspace has no {', '.join(map(str, unknown))}: check the spelling")
    _print_preferences(answer.get("preferences") or {})
    orders = answer.get("orders") or ()
    if orders:
        say(f"destinations that are told: {len(orders)} orders")


@command.command("suppress")
@with_subject
@with_server
@click.option("--reason", help="Why; kept with the record.")
@json_option
def suppress(server: Any, subject: dict[str, str], reason: str | None, as_json: bool) -> None:
    """Put a subject on the suppression list: its events are not even stored."""
    _suppression(server, "suppress", subject, reason, as_json)


@command.command("unsuppress")
@with_subject
@with_server
@click.option("--reason", help="Why; kept with the record.")
@json_option
def unsuppress(server: Any, subject: dict[str, str], reason: str | None, as_json: bool) -> None:
    """Take a subject off the suppression list. Its earlier grants stay void."""
    _suppression(server, "unsuppress", subject, reason, as_json)


@command.command("export")
@with_subject
@with_server
@output_option
@click.option("--json", "as_json", is_flag=True, help="JSON Lines; it is the only format.")
def export(server: Any, subject: dict[str, str], output_path: str | None, as_json: bool) -> None:
    """Write everything that is known of one person, as JSON Lines.

    Identifiers, preferences, records with what was shown, orders, and events with every attempt.
    What also names another account of a shared device is left out, and counted in the last line.
    """
    with ExitStack() as stack:
        out = sys.stdout if output_path is None else stack.enter_context(new_file(output_path))
        last: dict[str, Any] = {}
        for last in server.lines("/v1/subjects/export", {"subject": subject}):
            out.write(json.dumps(last, separators=(",", ":")) + "\n")
        if last.get("kind") != "end":
            raise CliError("the server's answer was cut off: export again", UNREACHABLE)
    if output_path is not None:
        counts = ", ".join(f"{n} {kind}s" for kind, n in (last.get("counts") or {}).items())
        note(f"wrote {output_path}: {counts or 'nothing is known of this person'}")


def _suppression(
    server: Any, verb: str, subject: dict[str, str], reason: str | None, as_json: bool
) -> None:
    body = {"subject": subject, **filled({"reason": reason})}
    answer = server.post(f"/v1/subjects/{verb}", body)
    if as_json:
        emit(answer)
    else:
        state = "suppressed" if answer.get("suppressed") else "not suppressed"
        say(f"recorded as {answer.get('recordId')}: {state}")


def topics_named(named: tuple[str, ...]) -> dict[str, dict[str, bool]]:
    """``news:email`` as topics with channels. Raises UsageError."""
    topics: dict[str, dict[str, bool]] = {}
    for text in named:
        topic, colon, channel = text.rpartition(":")
        if not (topic and colon and channel):
            raise click.UsageError(f"--topic {text}: write it as TOPIC:CHANNEL, news:email")
        topics.setdefault(topic, {})[channel] = False
    return topics


def _print_subject(found: dict[str, Any]) -> None:
    named = found.get("subject") or {}
    devices = ", ".join(named.get("anonymousIds") or ()) or "none"
    say(f"account: {named.get('userId') or 'none'}   devices: {devices}")
    say(
        "SUPPRESSED: nothing about this subject is stored or sent"
        if found.get("suppressed")
        else ""
    )
    _print_preferences(found.get("preferences") or {})
    topics = (found.get("topics") or {}).items()
    _print_preferences(
        {f"{t}:{c}": state for t, channels in topics for c, state in channels.items()}
    )
    for channel, said in (found.get("channels") or {}).items():
        if said.get("state") == "denied":
            say(f"channel {channel} refused as a whole since {said.get('at')}")
    for name, signal in (found.get("signals") or {}).items():
        covers = ", ".join(signal.get("covers") or ())
        say(f"signal {name} since {signal.get('firstSeenAt')}: {covers}")
    if found.get("history"):
        columns = ("seq", "received", "type", "source", "change", "record")
        table(columns, map(_record_row, found["history"]), title="records, newest first")
        for entry in found["history"]:
            _print_evidence(entry)
    if found.get("next"):
        say("there are more records: --limit shows them")


def _print_preferences(preferences: dict[str, Any]) -> None:
    columns = ("category", "state", "effective", "why", "since", "record")
    members = ("state", "effective", "why", "at", "recordId")
    if preferences:
        table(columns, ([name, *map(p.get, members)] for name, p in preferences.items()))


def _record_row(entry: dict[str, Any]) -> tuple[object, ...]:
    change = ", ".join(_changes(entry.get("before") or {}, entry.get("after") or {}))
    return (
        entry.get("seq"),
        entry.get("receivedAt"),
        entry.get("type"),
        entry.get("source"),
        change,
        entry.get("recordId"),
    )


def _print_evidence(entry: dict[str, Any]) -> None:
    """How and where a choice was made, and what the person was shown."""
    evidence, place = entry.get("evidence") or {}, entry.get("place") or {}
    told = {name: evidence[name] for name in _EVIDENCE if evidence.get(name) is not None}
    if not told or entry.get("type") == "config":
        return
    told.update((name, place[name]) for name in _PLACE if place.get(name) is not None)
    say(f"{entry.get('recordId')}: " + ", ".join(f"{k} {v}" for k, v in told.items()))


def _changes(before: dict[str, str], after: dict[str, str]) -> Iterator[str]:
    for category, state in after.items():
        was = before.get(category, "never_collected")
        yield f"{category} {state}" if was == state else f"{category} {was} -> {state}"
