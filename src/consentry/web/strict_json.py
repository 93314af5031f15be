"""JSON from strangers, read so that no two readers can disagree about it.

Of a repeated member most parsers keep the last, so ``{"consent": {..}, "consent": {}}`` would
hide a refusal from one reader and not from the next. A repeated member is refused, wherever
it stands; in a batch, the one message that holds it.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable
from typing import Any

import msgspec

from consentry.core.event import Malformed
from consentry.web.problems import Problem

DEEPEST = 64
# What MessagePack, and with it the event log, can hold.
SMALLEST, LARGEST = -(1 << 63), (1 << 64) - 1
_QUOTE_ESCAPED = b"\\u0022"


class _Repeated(dict[str, Any]):
    """An object in which ``repeated`` stood more than once."""

    repeated: str


def read_object(body: bytes) -> dict[str, Any]:
    """The object that a body holds. Raises Problem 400.

    Objects inside it that repeat a member, text that is not Unicode and numbers beyond what a
    float holds are marked; ``flaw`` finds them. So one bad message does not take its batch along.
    """
    try:
        value = _read(body)
    except RecursionError:
        raise Problem(400, "too_deep", f"nested deeper than {DEEPEST} levels") from None
    except ValueError as error:
        raise Problem(400, "invalid_json", f"the body is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise Problem(400, "invalid_json", "the body must be a JSON object")
    if isinstance(value, _Repeated):
        raise Problem(400, "repeated_member", f"the member {value.repeated!r} stands twice")
    return value


def _read(body: bytes) -> Any:
    try:
        value = msgspec.json.decode(body)
        if not _may_repeat(body, value):
            return value
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass  # the careful reader says what is wrong, and in which message
    return json.loads(
        body.decode("utf-8", "surrogateescape"),
        object_pairs_hook=_object,
        parse_float=_number,
        parse_int=_number,
        parse_constant=_no_constant,
    )


def flaw(value: Any) -> Malformed | None:
    """Why one message may not be read.

    A repeated member, nesting beyond 64 levels, an integer beyond 64 bits, or a value that
    cannot be written as JSON again.
    """
    found = weigh(value)
    return found if isinstance(found, Malformed) else None


def weigh(value: Any) -> Malformed | int:
    """How many bytes a message takes as JSON, or its ``flaw``."""
    found = _structure(value)
    if found is not None:
        return found
    try:
        return len(msgspec.json.encode(value))
    except (ValueError, TypeError, RecursionError):
        return Malformed("invalid_value", "holds text that is not Unicode, or no JSON number")


def _structure(value: Any) -> Malformed | None:
    stack: list[tuple[Any, int]] = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        if depth > DEEPEST:
            return Malformed("too_deep", f"nested deeper than {DEEPEST} levels")
        if isinstance(item, _Repeated):
            return Malformed("repeated_member", f"the member {item.repeated!r} stands twice")
        if isinstance(item, dict):
            parts: Iterable[Any] = item.values()
        else:
            parts = item if isinstance(item, list) else (item,)
        for part in parts:
            kind = type(part)
            if kind is int and not SMALLEST <= part <= LARGEST:
                return Malformed("invalid_value", "holds an integer beyond 64 bits")
            if kind is dict or kind is list or kind is _Repeated:
                stack.append((part, depth + 1))
    return None


def gunzip(body: bytes, longest: int) -> bytes:
    """Decompress, but never more than ``longest`` bytes. Raises Problem 400."""
    inflate = zlib.decompressobj(wbits=31)
    try:
        plain = inflate.decompress(body, longest + 1)
    except zlib.error:
        raise Problem(400, "invalid_gzip", "the body is not valid gzip") from None
    if len(plain) > longest:
        raise Problem(400, "too_large", f"the body unpacks to more than {longest} bytes")
    if not inflate.eof:
        raise Problem(400, "invalid_gzip", "the gzip body is cut off")
    if inflate.unused_data:
        # A second member could hold what the first one's reader never sees.
        raise Problem(400, "invalid_gzip", "something follows the gzip body")
    return plain


def _may_repeat(body: bytes, value: Any) -> bool:
    """Whether a member may have been lost in reading.

    Written again, the value has as many quotation marks as the body, unless a member was
    dropped, or the body spells a mark as an escape.
    """
    return _QUOTE_ESCAPED in body or msgspec.json.encode(value).count(b'"') != body.count(b'"')


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    marked = _Repeated(plain)
    seen: set[str] = set()
    marked.repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return marked


class _NoNumber:
    """Stands where a number stood that no reader would understand alike."""


def _number(text: str) -> Any:
    if text.lstrip("-").isdigit():
        # Longer ones are beyond 64 bits; reading them takes time that grows with the square.
        return int(text) if len(text) <= 20 else _NoNumber()
    value = float(text)
    return value if math.isfinite(value) else _NoNumber()


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
