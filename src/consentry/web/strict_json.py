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
from typing import Annotated, Any

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

_PLAIN_LEVELS = 8
"""How deeply nested the quick reader takes an object: the work to prepare it doubles with each."""


def _plain_decoder() -> Callable[[bytes], dict[str, Any]]:
    """Reads objects that are no deeper, and whose integers have 64 bits with their sign.

    What it must not take it refuses while it reads: to look for it afterwards took as long again.
    """
    bounds = msgspec.Meta(ge=SMALLEST, le=(1 << 63) - 1)
    scalar = None | bool | Annotated[int, bounds] | float | str
    value: Any = scalar
    for _ in range(_PLAIN_LEVELS - 1):
        value = scalar | list[value] | dict[str, value]
    decode: Callable[[bytes], dict[str, Any]] = msgspec.json.Decoder(dict[str, value]).decode
    return decode


_decode_plain = _plain_decoder()


class _Repeated(dict[str, Any]):
    """An object in which ``repeated`` stood more than once."""

    repeated: str


def read_checked(body: bytes) -> dict[str, Any]:
    """The object that a body holds, all of it sound. Raises Problem 400."""
    plain = read_plain(body)
    if plain is not None:
        return plain[0]
    value = read_carefully(body)
    found = flaw(value)
    if found is not None:
        raise Problem(400, found.code, found.message, found.field)
    return value


def read_plain(raw: bytes) -> tuple[dict[str, Any], bytes] | None:
    """An object and its JSON, where it is sound and no two readers can disagree about it.

    None of anything else, and of what is nested deeply: then a careful reader must look. What is
    written again as it came has lost no member. Written otherwise, it has as many quotation marks
    as it had, unless a member was dropped because it stood twice, or a mark is spelled as an escape.
    """
    try:
        value = _decode_plain(raw)
        text = _encode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return (value, text) if as_it_came(text, raw) else None


def as_it_came(text: bytes, raw: bytes) -> bool:
    """Whether what was read of ``raw``, and written again as ``text``, has all of its members."""
    if text == raw:
        return True
    return _QUOTE_ESCAPED not in raw and text.count(b'"') == raw.count(b'"')


def read_carefully(body: bytes) -> dict[str, Any]:
    """The object that a body holds, with what is unsound in it marked, for ``weigh`` to find.

    Objects that repeat a member, text that is not Unicode and numbers beyond what a float holds
    are marked. Raises Problem 400 where nothing can be read, or a member of the body itself stands
    twice, or beside the messages of a batch something is unsound.
    """
    value = load_carefully(body)
    if not isinstance(value, dict):
        raise Problem(400, "invalid_json", "the body must be a JSON object")
    if isinstance(value, _Repeated):
        raise Problem(400, "repeated_member", f"the member {value.repeated!r} stands twice")
    around = _flaw_around(value)
    if around is not None:
        raise Problem(400, around.code, f"beside the messages: {around.message}")
    return value


def load_carefully(raw: bytes) -> Any:
    """Any value, with what is unsound in it marked. Raises Problem 400 for what is no JSON."""
    try:
        return json.loads(
            raw.decode("utf-8", "surrogateescape"),
            object_pairs_hook=_object,
            parse_float=_number,
            parse_int=_number,
            parse_constant=_no_constant,
        )
    except RecursionError:
        return load_carefully(_shallow(raw))
    except ValueError as error:
        raise Problem(400, "invalid_json", f"the body is not valid JSON: {error}") from None


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
