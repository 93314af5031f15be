"""What every call to SendGrid has in common."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as NotBase64
from typing import ClassVar

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from consentry.destinations.http import json_body
from consentry.destinations.message import Request
from consentry.destinations.obeying import check_topics
from consentry.destinations.options import check_base_url, check_secrets
from consentry.secret import Secret

CHANNELS = frozenset({"email"})


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which SendGrid account receives.

    ``api_key``: the first is used, others wait for rotation.
    ``groups``: ids of unsubscribe groups by "topic:email".
    ``resubscribe``: whether a whole grant takes an address off the global unsubscribes.
    ``verification_key``: the public keys of its signed event webhook, base64 as it shows them.
    ``base_url``: https://api.eu.sendgrid.com for its European region.
    """

    TOPIC_IDS: ClassVar[str] = "groups"
    CHANNELS: ClassVar[frozenset[str]] = CHANNELS

    api_key: tuple[Secret, ...]
    groups: dict[str, str] = {}
    resubscribe: bool = False
    verification_key: tuple[str, ...] = ()
    base_url: str = "https://api.sendgrid.com"

    def __post_init__(self) -> None:
        check_base_url(self.base_url)
        check_secrets("api_key", self.api_key)
        check_topics("groups", self.groups, CHANNELS)
        for key, identity in self.groups.items():
            if not (identity.isascii() and identity.isdigit()):
                raise ValueError(f'groups: "{key}" must be a number, as text')
        for text in self.verification_key:
            public_key(text)


def public_key(text: str) -> ec.EllipticCurvePublicKey:
    """The key in base64 (DER). Raises ValueError naming the option."""
    try:
        key = load_der_public_key(b64decode(text, validate=True))
    except (NotBase64, ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("verification_key: must be the base64 that SendGrid shows")
    return key


def request_to(options: Options, method: str, path: str, body: object = None) -> Request:
    """One request with the key. Raises `Unsendable`."""
    headers = (("Authorization", f"Bearer {options.api_key[0].reveal()}"),)
    url = f"{options.base_url.rstrip('/')}/v3/{path}"
    if body is None:
        return Request(method, url, headers, b"")
    return Request(method, url, (*headers, ("Content-Type", "application/json")), json_body(body))
