"""What Schemathesis cannot know: which key tracking calls take beside the operator's."""

from __future__ import annotations

from typing import Any

import schemathesis

from tests.running import WRITE_KEY

TRACKING = ("/v1/track", "/v1/batch")


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """The write key in the body sends an event; the operator's in the header opens it later."""
    if context.operation.path not in TRACKING or not isinstance(body, dict):
        return body
    messages = body.get("batch") if isinstance(body.get("batch"), list) else [body]
    for n, message in enumerate(messages):
        if isinstance(message, dict):
            message.setdefault("messageId", f"made-up-{n}")
    return {**body, "writeKey": WRITE_KEY}
