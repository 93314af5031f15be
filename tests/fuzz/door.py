"""How the checks reach what they check: the one place that knows its shapes."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace as changed

from consentry.core.event import Malformed
from consentry.web import messages, strict_json
from tests.core.told import told

__all__ = ["changed", "hot", "read_object", "size", "told"]


def read_object(data: bytes) -> dict[str, Any]:
    """The object that a body holds, whatever is in it. Raises Problem."""
    plain = strict_json.read_plain(data)
    return strict_json.read_carefully(data) if plain is None else plain[0]


def size(message: Any) -> int | Malformed:
    """How many bytes a message has as JSON, or its flaw."""
    found = strict_json.weigh(message)
    return len(found) if isinstance(found, bytes) else found


def hot(data: bytes, *, single: bool) -> list[int | Malformed] | None:
    """The same by the path of the tracking API, which has a reader of its own."""
    posted = messages.read_single(data) if single else messages.read_batch(data)
    found = [len(text) if isinstance(text, bytes) else text for _, text in posted]
    assert len(found) == posted.count
    return found
