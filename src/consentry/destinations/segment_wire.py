"""The tracking API's batch form, as Segment and RudderStack both take it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from consentry.core.delivery import Grade, Outcome
from consentry.destinations.addresses import parse_target
from consentry.destinations.http import Unsendable, json_body, outcome_of_status
from consentry.destinations.message import Message, Request, Response
from consentry.secret import Secret

BATCH_MAX = 100
BATCH_BYTES = 450 * 1000  # both refuse above 500 KB; their own SDKs stop near 475 KB

# The receiver corrects clocks with `sentAt`. Our timestamp is corrected already, so the
# members that would make it do so again stay at home.
_CLOCKS = frozenset({"sentAt", "receivedAt", "originalTimestamp"})


def batch_request(base_url: str, write_key: Secret, messages: Sequence[Message]) -> Request:
    """``POST {base_url}/v1/batch`` with Basic authentication.

    Raises `Unsendable` if the body is over 450 000 bytes, and ValueError for an empty
    batch or one of over 100: that limit is the caller's to hold.
    """
    if not 1 <= len(messages) <= BATCH_MAX:
        raise ValueError(f"a batch holds 1 to {BATCH_MAX} messages, not {len(messages)}")
    body = json_body({"batch": [_item(message) for message in messages]})
    if len(body) > BATCH_BYTES:
        raise Unsendable(f"the batch is over {BATCH_BYTES} bytes")
    credentials = base64.b64encode(f"{write_key.reveal()}:".encode()).decode()
    headers = (("Content-Type", "application/json"), ("Authorization", f"Basic {credentials}"))
    return Request("POST", f"{base_url.rstrip('/')}/v1/batch", headers, body)


def _item(message: Message) -> dict[str, Any]:
    item = {name: value for name, value in message.body.items() if name not in _CLOCKS}
    item["timestamp"] = message.timestamp
    context = item.get("context")
    context = dict(context) if isinstance(context, dict) else {}
    captured = context.get("consent")
    consent = dict(captured) if isinstance(captured, dict) else {}
    consent["categoryPreferences"] = _narrowed(consent.get("categoryPreferences"), message.consent)
    context["consent"] = consent
    item["context"] = context
    return item


def _narrowed(captured: object, effective: Mapping[str, bool]) -> dict[str, bool]:
    """What the receiver may pass on: yes only if it is yes now and was not no then.

    The receiver has destinations of its own. An event without this object goes to all of
    them, and one with the preferences as captured ignores a withdrawal made since.
    """
    then = captured if isinstance(captured, dict) else {}
    return {
        category: effective.get(category) is True and then.get(category, True) is True
        for category in sorted({*then, *effective})
    }


def batch_outcomes(response: Response, messages: Sequence[Message]) -> tuple[Outcome, ...]:
    """One outcome for the whole batch: the answer says nothing about single messages.

    410 is tried again here, as the SDKs for this API do.
    """
    outcome = outcome_of_status(response.status, response.headers)
    if response.status == 410:
        outcome = Outcome(Grade.FAILED_RETRY, 410, "HTTP 410")
    return (outcome,) * len(messages)


def check_options(base_url: str, write_key: Sequence[Secret]) -> None:
    """Raise ValueError if the two options that both kinds share cannot be used."""
    parse_target(base_url, allow_private=True)  # its form; the client judges the place
    if "?" in base_url:
        raise ValueError("base_url: must not hold a query")
    if not write_key or not all(key.reveal() for key in write_key):
        raise ValueError("write_key: one is needed, and it must not be empty")
