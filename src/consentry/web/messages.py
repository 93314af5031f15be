"""The messages of a tracking body, read one by one.

A message is some fifty objects. Read one by one, each lies where the one before it lay, in memory
that is at hand; a batch that is read whole is spread over memory that is not, and what happens to
it afterwards takes twice as long.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from consentry.core.event import Malformed
from consentry.web.problems import Problem
from consentry.web.strict_json import (
    as_it_came,
    load_carefully,
    read_carefully,
    read_plain,
    weigh,
)

Pair = tuple[Any, bytes | Malformed]
"""A message with its JSON, or with the flaw in it."""

_encode = msgspec.json.Encoder().encode
_members_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_parts_of = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Posted:
    """A body: what stands around its messages, how many there are, and each of them, once.

    Going through them raises Problem 400 where one is no JSON to every reader.
    """

    __slots__ = ("_pairs", "around", "count")

    def __init__(self, around: dict[str, Any], count: int, pairs: Iterable[Pair]) -> None:
        self.around = around
        self.count = count
        self._pairs = iter(pairs)

    def __iter__(self) -> Iterator[Pair]:
        return self._pairs


def read_single(body: bytes) -> Posted:
    """A body that is itself the message. Raises Problem 400."""
    plain = read_plain(body)
    if plain is None:
        value = read_carefully(body)
        return Posted({"writeKey": value.get("writeKey")}, 1, _weighed([value]))
    return Posted({"writeKey": plain[0].get("writeKey")}, 1, [plain])


def read_batch(body: bytes) -> Posted:
    """A body with messages in ``batch``. One that is unsound does not take the others along.

    Raises Problem 400.
    """
    parted = _parted(body)
    if parted is not None:
        around, parts = parted
        return Posted(around, len(parts), map(_read, parts))
    value = read_carefully(body)
    messages = value.pop("batch", None)
    if not isinstance(messages, list):
        raise Problem(400, "invalid_batch", "batch must be a list of messages", "batch")
    return Posted(value, len(messages), _weighed(messages))


def _weighed(messages: list[Any]) -> Iterator[Pair]:
    return ((message, weigh(message)) for message in messages)


def _parted(body: bytes) -> tuple[dict[str, Any], list[msgspec.Raw]] | None:
    """What stands around the messages, and each of them as it came. None: look carefully."""
    try:
        members = _members_of(body)
        parts = _parts_of(members["batch"])
    except (msgspec.MsgspecError, ValueError, RecursionError, KeyError):
        return None
    if not as_it_came(_encode(members), body):
        return None
    members["batch"] = msgspec.Raw(b"null")
    plain = read_plain(_encode(members))
    return None if plain is None else (plain[0], parts)


def _read(part: msgspec.Raw) -> Pair:
    raw = bytes(part)
    plain = read_plain(raw)
    if plain is not None:
        return plain
    value = load_carefully(raw)
    return value, weigh(value)
