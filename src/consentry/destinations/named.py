"""Identifiers as advertising systems want them: normalised, then hashed. Pure.

Rules: the systems' own guides, as their integrations apply them (Segment's
action-destinations, google/analytics/admin/v1alpha, Google's Data Manager guide).
"""

from __future__ import annotations

import hashlib
import re

_NO_DIGITS = re.compile(r"[^0-9]")
_GMAIL = ("gmail.com", "googlemail.com")


def sha256(text: str) -> str:
    """SHA-256 in lower-case hex; "" of "", which must not look like somebody."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() if text else ""


def email(address: str) -> str:
    """Trimmed and in lower case; "" if it is no address."""
    plain = address.strip().lower()
    local, at, domain = plain.rpartition("@")
    return plain if at and local and domain else ""


def google_email(address: str) -> str:
    """As `email`; of a Gmail address without the dots before the @."""
    plain = email(address)
    local, _, domain = plain.rpartition("@")
    if domain in _GMAIL:
        plain_local = local.replace(".", "")
        return f"{plain_local}@{domain}" if plain_local else ""
    return plain


def e164(number: str) -> str:
    """``+`` and the digits of a number that says its country, by ``+`` or ``00``; else "".

    With a plus before it, a number that was written for use at home is a stranger's elsewhere.
    """
    digits = _NO_DIGITS.sub("", number)
    if not number.strip().startswith("+"):
        if not digits.startswith("00"):
            return ""
        digits = digits[2:]
    return f"+{digits}" if 0 < len(digits) <= 15 and digits[0] != "0" else ""


def meta_phone(number: str) -> str:
    """The digits without leading zeros; "" if nothing is left, as Meta wants it."""
    digits = _NO_DIGITS.sub("", number).lstrip("0")
    return digits if len(digits) <= 15 else ""
