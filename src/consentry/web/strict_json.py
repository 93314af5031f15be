"""JSON from strangers, read so that no two readers can disagree about it.

Of a repeated member most parsers keep the last, so ``{"consent": {..}, "consent": {}}`` would
hide a refusal from one reader and not from the next. A repeated member is refused, wherever
it stands; in a batch, the one message that holds it.
"""

from __future__ import annotations

import json
import zlib
from typing import Any

import msgspec

from consentry.core.event import Malformed
from consentry.web.problems import Problem

DEEPEST = 64
_QUOTE_ESCAPED = b"\\u0022"


class _Repeated(dict[str, Any]):
    """An object in which ``repeated`` stood more than once."""

    repeated: str


def read_object(body: bytes) -> dict[str, Any]:
    """The object that a body holds. Raises Problem 400.

    Objects inside it that repeat a member are marked; ``flaw`` finds them.
    """
    try:
        value = msgspec.json.decode(body)
        if _may_repeat(body, value):
            value = json.loads(body, object_pairs_hook=_object, parse_constant=_no_constant)
    except RecursionError:
        raise Problem(400, "too_deep", f"nested deeper than {DEEPEST} levels") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise Problem(400, "invalid_json", f"the body is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise Problem(400, "invalid_json", "the body must be a JSON object")
    if isinstance(value, _Repeated):
        raise Problem(400, "repeated_member", f"the member {value.repeated!r} stands twice")
    return value


def flaw(value: Any) -> Malformed | None:
    """Why one message may not be read: a repeated member, or nesting beyond 64 levels."""
    stack: list[tuple[Any, int]] = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        if depth > DEEPEST:
            return Malformed("too_deep", f"nested deeper than {DEEPEST} levels")
        if isinstance(item, dict):
            if isinstance(item, _Repeated):
                return Malformed("repeated_member", f"the member {item.repeated!r} stands twice")
            stack += [(v, depth + 1) for v in item.values() if isinstance(v, dict | list)]
        elif isinstance(item, list):
            stack += [(v, depth + 1) for v in item if isinstance(v, dict | list)]
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


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
