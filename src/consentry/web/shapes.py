"""What the shapes of answers are put together from, as JSON Schema."""

from __future__ import annotations

from typing import Any

TEXT = {"type": "string"}
MAYBE = {"type": ["string", "null"]}
FLAG = {"type": "boolean"}


def shaped(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """An object with these members."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
    }


def listed(items: dict[str, Any]) -> dict[str, Any]:
    """A list of such."""
    return {"type": "array", "items": items}


def mapped(values: dict[str, Any]) -> dict[str, Any]:
    """An object whose members have any name."""
    return {"type": "object", "additionalProperties": values}
