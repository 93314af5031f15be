"""What vendors' own calls have in common: a signature, a time, and a body to be read.

Every check is in constant time, and a call is believed as a whole or not at all.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

import msgspec

from consentry.core import moment
from consentry.core.event import normal_email, normal_phone
from consentry.core.moment import SECOND, Moment
from consentry.core.record import Node, NodeKind
from consentry.destinations.instruction import InboundCall, Unproven
from consentry.secret import Secret

FRESH_S = 300  # HubSpot's bound; the others that sign a time state none


def hmac_sha256(secret: Secret, signed: bytes) -> bytes:
    """The MAC with the UTF-8 bytes of the secret as its key."""
    return hmac.new(
        secret.reveal().encode("utf-8", "surrogatepass"), signed, hashlib.sha256
    ).digest()


def header(call: InboundCall, name: str) -> str:
    """A header of the call. Raises `Unproven` without it."""
    value = call.headers.get(name, "").strip()
    if not value:
        raise Unproven(f"the header {name} is missing")
    return value


def prove_any(given: str, expected: Sequence[str]) -> None:
    """Raise `Unproven` unless ``given`` is one of ``expected``; all are compared."""
    found = False
    for each in expected:
        found |= hmac.compare_digest(given.encode("utf-8", "replace"), each.encode())
    if not found:
        raise Unproven("the signature does not fit")


def prove_fresh(now: Moment, stated: Moment) -> None:
    """Raise `Unproven` if the call is more than five minutes from now, in either direction."""
    if abs(now - stated) > FRESH_S * SECOND:
        raise Unproven("the call is too old, or from the future")


def unix_time(text: str, *, per_second: int = 1) -> Moment:
    """The moment of a whole number of seconds (or parts of one). Raises `Unproven`."""
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise Unproven("its time is unreadable")
    return int(text) * SECOND // per_second


def body_of(call: InboundCall) -> Any:
    """The JSON body. Raises `Unproven`: what cannot be read is not believed."""
    try:
        return msgspec.json.decode(call.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unproven("the body is no JSON") from None


def objects(value: object) -> list[dict[str, Any]]:
    """The objects in a list; nothing where it is none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text_of(holder: object, *names: str) -> str:
    """A text some levels down, or nothing."""
    for name in names:
        holder = holder.get(name) if isinstance(holder, dict) else None
    return holder if isinstance(holder, str) else ""


def email_node(text: object) -> Node | None:
    """The node of an address, as recorded: trimmed and lower-cased."""
    email = normal_email(text) if isinstance(text, str) else None
    return None if email is None else Node(NodeKind.EMAIL, email)


def phone_node(text: object) -> Node | None:
    """The node of a phone number, as recorded."""
    phone = normal_phone(text) if isinstance(text, str) else None
    return None if phone is None else Node(NodeKind.PHONE, phone)


def account_node(text: object) -> Node | None:
    """The node of a user id of ours, which the vendor knows as its external id."""
    return Node(NodeKind.ACCOUNT, text) if isinstance(text, str) and text else None


def nodes_of(account: object, address: Node | None, *, by_address: bool) -> tuple[Node, ...]:
    """Whom a vendor means: the account, and where it was said of that address the address too.

    One of them may be all that another system knows the person by. Nothing links the two here:
    a vendor's own records are no proof that an address is an account's.
    """
    named = account_node(account)
    if named is None:
        return () if address is None else (address,)
    return (named, address) if address is not None and by_address else (named,)


def time_of(value: object) -> Moment | None:
    """A stated time: seconds since 1970 or RFC 3339. None where there is none to be read."""
    if isinstance(value, bool):
        return None
    try:
        if isinstance(value, int | float):
            return int(value * SECOND) if 0 <= value < 1e11 else None
        return moment.parse(value) if isinstance(value, str) else None
    except ValueError:
        return None
