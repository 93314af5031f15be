"""What every call to Klaviyo has in common, and how it is asked about people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec

from consentry.destinations.http import json_body
from consentry.destinations.inbound import objects, text_of
from consentry.destinations.instruction import Person
from consentry.destinations.message import Request
from consentry.destinations.obeying import check_topics
from consentry.destinations.options import check_base_url, check_secrets
from consentry.secret import Secret

CHANNELS = frozenset({"email", "sms"})
FIELDS = {"email": "email", "sms": "phone_number"}
PROFILES_MAX = 100  # of one job, and of one page
_KEPT = frozenset({"INVALID_EMAIL", "HARD_BOUNCE"})  # what a subscription does not lift


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which Klaviyo account receives.

    ``api_key``: a private key (``pk_…``); the first is used, others wait for rotation.
    ``lists``: ids of lists by "topic:channel", the channel being email or sms.
    ``resubscribe``: whether a granted topic may lift an opt-out that Klaviyo holds.
    ``webhook_secret``: what its system webhooks are signed with.
    ``revision``: the version of its interface, a date.
    """

    TOPIC_IDS: ClassVar[str] = "lists"
    CHANNELS: ClassVar[frozenset[str]] = CHANNELS

    api_key: tuple[Secret, ...]
    lists: dict[str, str] = {}
    resubscribe: bool = False
    webhook_secret: tuple[Secret, ...] = ()
    base_url: str = "https://a.klaviyo.com"
    revision: str = "2026-10-15"

    def __post_init__(self) -> None:
        check_base_url(self.base_url)
        check_secrets("api_key", self.api_key)
        check_secrets("webhook_secret", self.webhook_secret, needed=False)
        check_topics("lists", self.lists, CHANNELS)
        try:
            datetime.strptime(self.revision, "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            raise ValueError('revision: must be a date, such as "2026-10-15"') from None


def request_to(options: Options, method: str, path: str, data: object = None) -> Request:
    headers = (
        ("Authorization", f"Klaviyo-API-Key {options.api_key[0].reveal()}"),
        ("revision", options.revision),
        ("Accept", "application/vnd.api+json"),
    )
    url = f"{options.base_url.rstrip('/')}/api/{path}"
    if data is None:
        return Request(method, url, headers, b"")
    typed = (*headers, ("Content-Type", "application/vnd.api+json"))
    return Request(method, url, typed, json_body({"data": data}))


def identifiers(channel: str, person: Person) -> Sequence[str]:
    return person.emails if channel == "email" else person.phones


def _lookup(options: Options, path: str, name: str, values: Sequence[str]) -> Request:
    chosen = f"any({name},{json.dumps(list(values), separators=(',', ':'))})"
    query = f"filter={quote(chosen, safe='')}&page%5Bsize%5D={PROFILES_MAX}"
    return request_to(
        options, "GET", f"{path}?additional-fields%5Bprofile%5D=subscriptions&{query}"
    )


def list_request(options: Options, channel: str, identity: str, values: Sequence[str]) -> Request:
    """Who of these is on a list: ``GET /api/lists/{id}/profiles``, filtered. At most 100."""
    path = f"lists/{quote(identity, safe='')}/profiles"
    return _lookup(options, path, FIELDS[channel], values)


def profiles_request(options: Options, name: str, values: Sequence[str]) -> Request:
    """``GET /api/profiles`` by address or phone number, with their subscriptions. At most 100."""
    return _lookup(options, "profiles", name, values)


def profiles_in(document: Any) -> list[dict[str, Any]] | None:
    """The attributes of the profiles in an answer; None if it is another answer."""
    if not isinstance(document, dict) or not isinstance(document.get("data"), list):
        return None
    return [
        item["attributes"]
        for item in objects(document["data"])
        if isinstance(item.get("attributes"), dict)
    ]


def is_suppressed(profile: Mapping[str, Any]) -> bool:
    """Whether a subscription would lift an opt-out of this profile, or it cannot be told."""
    marketing: Any = profile
    for name in ("subscriptions", "email", "marketing"):
        marketing = marketing.get(name) if isinstance(marketing, Mapping) else None
    if not isinstance(marketing, Mapping):
        return True  # asked for, and not there: nobody knows
    if marketing.get("consent") == "UNSUBSCRIBED":
        return True
    held = objects(marketing.get("suppression"))
    return any(text_of(suppression, "reason") not in _KEPT for suppression in held)
