"""Access to Google's APIs with the key of a service account (RFC 7523).

A JWT signed with the key is exchanged for a token, which is kept until shortly before its end.
The token belongs to the client that fetched it and dies with it. Nothing here is ever logged: an
error names the option and no value.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from weakref import WeakKeyDictionary

import msgspec

from consentry.core.delivery import Grade, Outcome
from consentry.destinations.batches import object_of, unreadable
from consentry.destinations.http import TransportError, outcome_of_error, outcome_of_status
from consentry.destinations.message import Attempted, Request, Response
from consentry.destinations.options import check_base_url, check_secrets
from consentry.secret import Secret

if TYPE_CHECKING:
    from consentry.destinations.transport import OutboundClient

TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LIFETIME_S = 3600  # the longest that Google takes
EARLY_S = 120.0  # before its end a token is not used any more


@dataclass(frozen=True, slots=True)
class Access:
    """Whose key, where it is exchanged, and for what. Hashed, never shown."""

    key: Secret | None
    file: str | None
    token_url: str
    scope: str

    def __repr__(self) -> str:
        return f"Access({self.scope})"


class NoToken(Exception):
    """There is no token; ``outcome`` says why, and whether to try again."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.detail)
        self.outcome = outcome


class _Key(msgspec.Struct):
    """What of a service account's key file is used."""

    client_email: str
    private_key: str
    private_key_id: str = ""


_tokens: WeakKeyDictionary[OutboundClient, dict[Access, tuple[str, float]]] = WeakKeyDictionary()


def access_of(
    keys: Sequence[Secret], file: str | None, token_url: str, scope: str
) -> Access | None:
    """The access that options describe; None where there is no key."""
    if not keys and not file:
        return None
    return Access(keys[0] if keys else None, file, token_url, scope)


def check_access(keys: Sequence[Secret], file: str | None, token_url: str) -> None:
    """Raise ValueError if the options that describe an access cannot be used."""
    check_secrets("service_account", keys, needed=False)
    check_base_url(token_url, "token_url")
    if keys and file is not None:
        raise ValueError("service_account, service_account_file: one of them")
    if file is not None and not file.strip():
        raise ValueError("service_account_file: must not be empty")


async def token_for(client: OutboundClient, access: Access) -> str:
    """A token that is good for a while. Raises `NoToken`."""
    kept = _tokens.setdefault(client, {})
    token, until = kept.get(access, ("", 0.0))
    if time.monotonic() < until:
        return token
    key = await _key_of(access)
    request = token_request(key, access, int(time.time()))
    try:
        response = await client.send(request)
    except TransportError as error:
        raise NoToken(outcome_of_error(error)) from None
    token, lasts_s = read_token(response)
    kept[access] = (token, time.monotonic() + lasts_s - EARLY_S)
    return token


def forget(client: OutboundClient, access: Access) -> None:
    """Use this token no more: it was refused."""
    _tokens.setdefault(client, {}).pop(access, None)


async def _key_of(access: Access) -> _Key:
    text: str | bytes
    option = "service_account"
    if access.key is not None:
        text = access.key.reveal()
    else:
        option = "service_account_file"
        try:
            text = await asyncio.to_thread(Path(access.file or "").read_bytes)
        except (OSError, ValueError):
            raise NoToken(_no_key(option)) from None
    try:
        return msgspec.json.decode(text, type=_Key)
    except (msgspec.MsgspecError, UnicodeError):
        raise NoToken(_no_key(option)) from None


def _no_key(option: str) -> Outcome:
    detail = f"{option}: there is no key of a service account"
    return Outcome(Grade.AUTH_BLOCKED, detail=detail, pause=True)


def token_request(key: _Key, access: Access, now_s: int) -> Request:
    """Asks for a token. Raises `NoToken` if the key cannot sign."""
    from joserfc import jwt
    from joserfc.errors import JoseError
    from joserfc.jwk import RSAKey

    claims = {
        "iss": key.client_email,
        "scope": access.scope,
        "aud": access.token_url,
        "iat": now_s,
        "exp": now_s + LIFETIME_S,
    }
    header: dict[str, Any] = {"alg": "RS256", "typ": "JWT"}
    if key.private_key_id:
        header["kid"] = key.private_key_id
    try:
        assertion = jwt.encode(header, claims, RSAKey.import_key(key.private_key))
    except (JoseError, ValueError, TypeError):
        raise NoToken(_no_key("service_account")) from None
    body = urlencode({"grant_type": GRANT, "assertion": assertion}).encode()
    form = ("Content-Type", "application/x-www-form-urlencoded")
    return Request("POST", access.token_url, (form,), body)


def read_token(response: Response) -> tuple[str, float]:
    """The token and how many seconds it lasts. Raises `NoToken`."""
    usual = outcome_of_status(response.status, response.headers)
    if usual.grade is Grade.FAILED_FINAL:  # invalid_grant, invalid_scope: the key or its rights
        usual = Outcome(Grade.AUTH_BLOCKED, response.status, "the key was refused", pause=True)
    if usual.grade is not Grade.ACCEPTED:
        raise NoToken(usual)
    body = object_of(response)
    token, lasts_s = body.get("access_token"), body.get("expires_in")
    if not isinstance(token, str) or not token or not isinstance(lasts_s, int):
        raise NoToken(unreadable(response))
    return token, float(min(lasts_s, LIFETIME_S))


async def with_token(
    client: OutboundClient,
    access: Access,
    places: int,
    attempt: Callable[[str], Awaitable[Attempted]],
) -> Attempted:
    """What ``attempt`` makes of a token; without one, why there is none, for all ``places``.

    A token that was refused is not used again.
    """
    try:
        token = await token_for(client, access)
    except NoToken as reason:
        return Attempted((reason.outcome,) * places)
    attempted = await attempt(token)
    if any(outcome.grade is Grade.AUTH_BLOCKED for outcome in attempted.outcomes):
        forget(client, access)
    return attempted
