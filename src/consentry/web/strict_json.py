"""JSON from strangers, read so that no two readers can disagree about it.

Of a repeated member most parsers keep the last, so ``{"consent": {..}, "consent": {}}`` would
hide a refusal from one reader and not from the next. A repeated member is refused, wherever
it stands; in a batch, the one message that holds it.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from consentry.core.event import Malformed
from consentry.web.problems import Problem

DEEPEST = 64
# What MessagePack, and with it the event log, can hold.
SMALLEST, LARGEST = -(1 << 63), (1 << 64) - 1
# Below a message of a batch, whose own depth is counted from itself.
_CUT_AT = DEEPEST + 8
_STEP = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)
_QUOTE_ESCAPED = b"\\u0022"
_encode = msgspec.json.Encoder().encode


class _Repeated(dict[str, Any]):
    """An object in which ``repeated`` stood more than once."""

    repeated: str


def read_checked(body: bytes) -> dict[str, Any]:
    """The object that a body holds, all of it sound. Raises Problem 400."""
    plain = _read_plainly(body, _whole)
    if plain is not None:
        value, texts = plain
        found = flaw(value) if _suspicious(texts[0]) else None
    else:
        value = _read_carefully(body)
        found = flaw(value)
    if found is not None:
        raise Problem(400, found.code, found.message, found.field)
    return value


def read_messages(body: bytes, *, single: bool) -> tuple[dict[str, Any], list[Any], list[Any]]:
    """A tracking body with its messages, and each of them as JSON, or as the flaw in it.

    Of a single one the body itself is the message. Objects that repeat a member, text that is not
    Unicode and numbers beyond what a float holds are marked, and found as flaws: so one bad
    message does not take its batch along. Raises Problem 400.
    """
    plain = _read_plainly(body, _whole if single else _parted)
    if plain is not None and (single or not _suspicious(plain[1][-1])):
        value, texts = plain
        messages = [value] if single else value["batch"]
        return (
            value,
            messages,
            [
                weigh(message) if _suspicious(text) else text
                for message, text in zip(messages, texts, strict=False)
            ],
        )
    value = _read_carefully(body)
    messages = [value] if single else value.get("batch")
    if not isinstance(messages, list):
        raise Problem(400, "invalid_batch", "batch must be a list of messages", "batch")
    return value, messages, [weigh(message) for message in messages]


def _read_plainly(
    body: bytes, texts_of: Callable[[dict[str, Any]], list[bytes]]
) -> tuple[dict[str, Any], list[bytes]] | None:
    """The object and the parts of it as JSON again; None if readers may disagree about it.

    Written again, a value has as many quotation marks as the body, unless a member was dropped
    because it stood twice, or the body spells a mark as an escape.
    """
    try:
        value = msgspec.json.decode(body)
        if type(value) is not dict or _QUOTE_ESCAPED in body:
            return None
        texts = texts_of(value)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None  # the careful reader says what is wrong, and in which message
    marks = sum([text.count(b'"') for text in texts])
    return (value, texts) if marks == body.count(b'"') else None


def _whole(value: dict[str, Any]) -> list[bytes]:
    return [_encode(value)]


def _parted(value: dict[str, Any]) -> list[bytes]:
    """Each message of a batch, and at the end what stands around them."""
    messages = value.get("batch")
    if not isinstance(messages, list):
        raise ValueError("no batch")
    return [*map(_encode, messages), _encode({**value, "batch": None})]


def _read_carefully(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(
            body.decode("utf-8", "surrogateescape"),
            object_pairs_hook=_object,
            parse_float=_number,
            parse_int=_number,
            parse_constant=_no_constant,
        )
    except RecursionError:
        return _read_carefully(_shallow(body))
    except ValueError as error:
        raise Problem(400, "invalid_json", f"the body is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise Problem(400, "invalid_json", "the body must be a JSON object")
    if isinstance(value, _Repeated):
        raise Problem(400, "repeated_member", f"the member {value.repeated!r} stands twice")
    around = _flaw_around(value)
    if around is not None:
        raise Problem(400, around.code, f"beside the messages: {around.message}")
    return value


def _flaw_around(value: dict[str, Any]) -> Malformed | None:
    """What is unsound beside the messages of a batch, where their own flaws do not show.

    A name that is no UTF-8 could be ``context`` to another reader. The context and the
    integrations are named in their own refusals.
    """
    if not isinstance(value.get("batch"), list):
        return None
    apart = ("batch", "context", "integrations")
    return flaw({name: inner for name, inner in value.items() if name not in apart})


def _shallow(body: bytes) -> bytes:
    """The body without what no parser can go down to; what is left is too deep all the same."""
    kept: list[bytes] = []
    depth, begin = 0, 0
    for found in _STEP.finditer(body):
        mark = found.group()
        if mark in (b"[", b"{"):
            depth += 1
            if depth == _CUT_AT:
                kept.append(body[begin : found.start()])
        elif mark in (b"]", b"}"):
            if depth == _CUT_AT:
                kept.append(b"0")
                begin = found.end()
            depth -= 1
    if depth < _CUT_AT:
        kept.append(body[begin:])
    return b"".join(kept)


def flaw(value: Any) -> Malformed | None:
    """Why one message may not be read.

    A repeated member, nesting beyond 64 levels, an integer beyond 64 bits, or a value that
    cannot be written as JSON again.
    """
    found = weigh(value)
    return found if isinstance(found, Malformed) else None


def weigh(value: Any) -> Malformed | bytes:
    """A message as JSON, or its ``flaw``."""
    found = _structure(value)
    if found is not None:
        return found
    try:
        return _encode(value)
    except (ValueError, TypeError, RecursionError):
        return Malformed("invalid_value", "holds text that is not Unicode, or no JSON number")


# Digits as one character: what is long shows at once.
_SHAPE = bytes.maketrans(b"0123456789", b"0000000000")
_MANY_DIGITS = b"0" * 19


def _suspicious(text: bytes) -> bool:
    """Whether it may hold an integer beyond 64 bits, or be nested too deeply."""
    if text.count(b"{") + text.count(b"[") > DEEPEST:
        return True
    return _MANY_DIGITS in text.translate(_SHAPE)


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
