"""What every call to HubSpot has in common."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from consentry.destinations.http import json_body
from consentry.destinations.message import Request
from consentry.destinations.obeying import check_topics
from consentry.destinations.options import check_base_url, check_secrets
from consentry.secret import Secret

CHANNELS = frozenset({"email"})
BASES = (
    "CONSENT_WITH_NOTICE",
    "LEGITIMATE_INTEREST_CLIENT",
    "LEGITIMATE_INTEREST_OTHER",
    "LEGITIMATE_INTEREST_PQL",
    "NON_GDPR",
    "PERFORMANCE_OF_CONTRACT",
    "PROCESS_AND_STORE",
)


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which HubSpot account receives.

    ``access_token``: a private app's token; the first is used, others wait for rotation.
    ``portal_id``: the account's number, in front of the names of its custom events.
    ``subscriptions``: ids of subscription types by "topic:email".
    ``legal_basis``, ``explanation``: what a change of a subscription is founded on.
    ``client_secret``: the app's, by which it signs what it tells us.
    """

    TOPIC_IDS: ClassVar[str] = "subscriptions"
    CHANNELS: ClassVar[frozenset[str]] = CHANNELS

    access_token: tuple[Secret, ...]
    portal_id: str
    subscriptions: dict[str, str] = {}
    legal_basis: str = "CONSENT_WITH_NOTICE"
    explanation: str = "The person's own choice, recorded in a consent ledger."
    client_secret: tuple[Secret, ...] = ()
    base_url: str = "https://api.hubapi.com"

    def __post_init__(self) -> None:
        check_base_url(self.base_url)
        check_secrets("access_token", self.access_token)
        check_secrets("client_secret", self.client_secret, needed=False)
        check_topics("subscriptions", self.subscriptions, CHANNELS)
        if not self.portal_id.isascii() or not self.portal_id.isdigit():
            raise ValueError("portal_id: must be the account's number, as text")
        for key, identity in self.subscriptions.items():
            if not (identity.isascii() and identity.isdigit()):
                raise ValueError(f'subscriptions: "{key}" must be a number, as text')
        if self.legal_basis not in BASES:
            raise ValueError(f"legal_basis: must be one of {', '.join(BASES)}")


def request_to(options: Options, method: str, path: str, body: object = None) -> Request:
    headers = (("Authorization", f"Bearer {options.access_token[0].reveal()}"),)
    url = f"{options.base_url.rstrip('/')}/{path}"
    if body is None:
        return Request(method, url, headers, b"")
    return Request(method, url, (*headers, ("Content-Type", "application/json")), json_body(body))
