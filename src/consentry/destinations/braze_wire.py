"""What every call to Braze has in common."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from consentry.destinations.http import json_body
from consentry.destinations.message import Request, Response
from consentry.destinations.obeying import check_topics
from consentry.destinations.options import check_base_url, check_secrets
from consentry.secret import Secret

CHANNELS = frozenset({"email", "sms", "push"})
NAMED_MAX = 50  # identifiers of one request


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which Braze workspace receives.

    ``api_key``: a REST key; the first is used, others wait for rotation.
    ``base_url``: the REST endpoint of the instance, such as https://rest.iad-01.braze.com.
    ``groups``: ids of subscription groups by "topic:channel": email, sms or push.
    ``resubscribe``: whether a whole grant sets e-mail and push back to subscribed.
    ``alias_label``: under which label people without an account are known.
    ``webhook_token``: the bearer token that a custom Currents connector sends.
    """

    TOPIC_IDS: ClassVar[str] = "groups"
    CHANNELS: ClassVar[frozenset[str]] = CHANNELS

    api_key: tuple[Secret, ...]
    base_url: str
    groups: dict[str, str] = {}
    resubscribe: bool = False
    alias_label: str = "anonymous_id"
    webhook_token: tuple[Secret, ...] = ()

    def __post_init__(self) -> None:
        check_base_url(self.base_url)
        check_secrets("api_key", self.api_key)
        check_secrets("webhook_token", self.webhook_token, needed=False)
        check_topics("groups", self.groups, CHANNELS)
        if not self.alias_label.strip():
            raise ValueError("alias_label: must not be empty")


def request_to(options: Options, method: str, path: str, body: object = None) -> Request:
    """One request with the key. Raises `Unsendable`."""
    headers = (("Authorization", f"Bearer {options.api_key[0].reveal()}"),)
    url = f"{options.base_url.rstrip('/')}/{path}"
    if body is None:
        return Request(method, url, headers, b"")
    return Request(method, url, (*headers, ("Content-Type", "application/json")), json_body(body))


def with_wait(response: Response) -> Response:
    """The answer with Braze's own name for ``Retry-After`` read as that one."""
    own = response.headers.get("x-ratelimit-retry-after")
    if own is None or "retry-after" in response.headers:
        return response
    return Response(response.status, {**response.headers, "retry-after": own}, response.body)
