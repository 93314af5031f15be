"""Events as people have them: one object, a list, a batch, or JSON Lines."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from consentry.cli.group import USAGE, CliError

LONGEST = 64 * 1024 * 1024  # characters


@dataclass(frozen=True, slots=True)
class Asked:
    """Events to be asked about. ``batch`` is what a batch says of all of them."""

    events: list[Any]
    batch: dict[str, Any] = field(default_factory=dict)


def read_events(text: str) -> Asked:
    """Read them. Raises CliError naming the line that is to blame."""
    if len(text) > LONGEST:
        raise CliError("that is too much to explain at once: cut it into parts", USAGE)
    text = text.removeprefix("\ufeff")
    if not text.strip():
        raise CliError("there is no event: give a file, or write one to standard input", USAGE)
    try:
        return _asked(_parse(text))
    except _NotOne:
        return Asked(_json_lines(text))


class _NotOne(Exception):
    """The text holds more than one JSON value."""


class _Repeated(ValueError):
    """A member stands twice: readers would disagree about which one counts."""


def _asked(value: Any) -> Asked:
    if isinstance(value, list):
        return Asked(value)
    if isinstance(value, dict) and isinstance(value.get("batch"), list):
        kept = ("context", "integrations", "sentAt")
        return Asked(value["batch"], {name: value[name] for name in kept if name in value})
    return Asked([value])


def _parse(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            raise _NotOne from None
        place = f"line {error.lineno}, column {error.colno}"
        raise CliError(f"this is not JSON: {error.msg} ({place})", USAGE) from None
    except (ValueError, RecursionError) as error:
        raise CliError(f"this is not JSON that has one meaning: {_reason(error)}", USAGE) from None


def _json_lines(text: str) -> list[Any]:
    events = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            events.append(json.loads(line, object_pairs_hook=_object, parse_constant=_no_constant))
        except (ValueError, RecursionError) as error:
            raise CliError(f"line {number} is not JSON: {_reason(error)}", USAGE) from None
    return events


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) < len(pairs):
        raise _Repeated("a member stands twice in one object")
    return plain


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
