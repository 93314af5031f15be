"""What every call to Mailchimp has in common."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import ClassVar
from urllib.parse import quote

import msgspec

from consentry.destinations.http import json_body
from consentry.destinations.message import Request
from consentry.destinations.obeying import check_topics
from consentry.destinations.options import check_base_url, check_secrets
from consentry.secret import Secret

CHANNELS = frozenset({"email"})


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which Mailchimp account receives.

    ``api_key``: it ends in the data centre (``…-us1``); the first is used, others wait.
    ``audience``: id of the audience whose members the events are of.
    ``lists``: by "topic:email" the id of an audience, or "AUDIENCE/INTEREST" for an interest in it.
    ``resubscribe``: whether a whole grant subscribes to ``audience`` again.
    ``webhook_secret``: the parameter ``secret`` in the URL that Mailchimp is given to call.
    ``base_url``: without it the API of the key's data centre.
    """

    TOPIC_IDS: ClassVar[str] = "lists"
    CHANNELS: ClassVar[frozenset[str]] = CHANNELS

    api_key: tuple[Secret, ...]
    audience: str
    lists: dict[str, str] = {}
    resubscribe: bool = False
    webhook_secret: tuple[Secret, ...] = ()
    base_url: str | None = None

    def __post_init__(self) -> None:
        check_secrets("api_key", self.api_key)
        check_secrets("webhook_secret", self.webhook_secret, needed=False)
        check_topics("lists", self.lists, CHANNELS)
        if not self.audience.strip() or "/" in self.audience:
            raise ValueError("audience: must be the id of an audience")
        for key, identity in self.lists.items():
            parts = identity.split("/")
            if len(parts) > 2 or not all(part.strip() for part in parts):
                raise ValueError(f'lists: "{key}" must be "AUDIENCE" or "AUDIENCE/INTEREST"')
        if self.base_url is not None:
            check_base_url(self.base_url)
        else:
            for secret in self.api_key:
                centre = secret.reveal().rpartition("-")[2]
                if not (centre.isascii() and centre.isalnum() and len(centre) <= 8):
                    raise ValueError(
                        "api_key: must end in its data centre, as -us1, or set base_url"
                    )


def audiences(options: Options) -> list[str]:
    """Every audience that the configuration names, each once."""
    named = [identity.partition("/")[0] for identity in options.lists.values()]
    return list(dict.fromkeys([options.audience, *named]))


def member_path(audience: str, email: str) -> str:
    """Below ``/3.0/``. A member's id is the MD5 of the small letters of the address."""
    digest = hashlib.md5(email.lower().encode(), usedforsecurity=False).hexdigest()
    return f"lists/{quote(audience, safe='')}/members/{digest}"


def request_to(options: Options, method: str, path: str, body: object = None) -> Request:
    """One request with the key. Raises `Unsendable`."""
    key = options.api_key[0].reveal()
    credentials = b64encode(f"consentry:{key}".encode()).decode()
    headers = (("Authorization", f"Basic {credentials}"),)
    base = options.base_url or f"https://{key.rpartition('-')[2]}.api.mailchimp.com"
    url = f"{base.rstrip('/')}/3.0/{path}"
    if body is None:
        return Request(method, url, headers, b"")
    return Request(method, url, (*headers, ("Content-Type", "application/json")), json_body(body))
