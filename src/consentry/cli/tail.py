"""`consentry tail`: events, attempts and choices as they happen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import click

from consentry.cli.options import json_option, with_server
from consentry.cli.output import console, emit_line, note, shown


@click.command("tail")
@with_server
@click.option("--count", "-n", type=click.IntRange(min=1), help="End after so many lines.")
@json_option
def command(server: Any, count: int | None, as_json: bool) -> None:
    """Watch a running server: what came in, what was decided, what was tried, who chose.

    Shows from now on, until interrupted. With --json one JSON object per line.
    """
    try:
        for number, happened in enumerate(_watched(server), start=1):
            if as_json:
                emit_line(happened)
            else:
                _print(happened)
            if number == count:
                return
        note("the server ended the stream: run tail again to go on")
    except KeyboardInterrupt:
        return  # stopped, as asked


def _watched(server: Any) -> Iterator[dict[str, Any]]:
    stream: Iterator[dict[str, Any]] = server.lines("/v1/tail", endless=True)
    return stream


def _print(happened: dict[str, Any]) -> None:
    from rich.text import Text

    describe = _LINES.get(str(happened.get("kind")), _other)
    line = Text()
    for text, style in describe(happened):
        line.append(shown(text), style=style)
    console().print(line, soft_wrap=True)


Parts = Iterator[tuple[str, str]]


def _event(happened: dict[str, Any]) -> Parts:
    yield f"{_time(happened.get('receivedAt'))} ", "dim"
    yield "event    ", "bold"
    yield f"{happened.get('type')} {happened.get('event') or ''}".strip(), ""
    yield f" from {happened.get('source')} ({_subject(happened.get('subject'))})", "dim"
    for decision in happened.get("decisions") or ():
        allowed = decision.get("decision") == "allow"
        yield f"  {decision.get('destination')}: ", ""
        if allowed:
            yield "allow", "green"
        else:
            yield f"withhold ({decision.get('reason')})", "yellow"


def _attempt(happened: dict[str, Any]) -> Parts:
    yield f"{_time(happened.get('at'))} ", "dim"
    yield "attempt  ", "bold"
    yield f"{happened.get('destination')}: {happened.get('grade')}, {happened.get('state')}", ""
    yield f" ({happened.get('messageId')})", "dim"
    if happened.get("crossed"):
        yield " crossed a withdrawal", "red"


def _choice(happened: dict[str, Any]) -> Parts:
    yield f"{_time(happened.get('receivedAt'))} ", "dim"
    yield f"{happened.get('type') or 'choice'!s:<9}", "bold"
    yield _subject(happened.get("subject")), ""
    before, after = happened.get("before") or {}, happened.get("after") or {}
    for category, state in after.items():
        style = "green" if state == "granted" else "yellow"
        yield f"  {category}: {before.get(category, 'never_collected')} -> ", ""
        yield str(state), style
    yield f"  ({happened.get('recordId')})", "dim"


def _other(happened: dict[str, Any]) -> Parts:
    yield str(happened), "dim"


_LINES: dict[str, Callable[[dict[str, Any]], Parts]] = {
    "event": _event,
    "attempt": _attempt,
    "choice": _choice,
}


def _time(text: object) -> str:
    """The time of day in an RFC 3339 text, UTC."""
    return str(text or "")[11:19]


def _subject(subject: object) -> str:
    if not isinstance(subject, dict):
        return ""
    return " ".join(f"{name}={value}" for name, value in subject.items() if value)
