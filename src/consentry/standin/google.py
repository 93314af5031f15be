"""Google's token endpoint: a signed claim of a service account for a token (RFC 7523).

The signature is not checked, for the stand-in knows no keys; the shape of the claim is.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from consentry.standin.control import Ids
from consentry.standin.vendor import Call, Persons, Reply, split_before

GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LIFETIME_S: Final = 3600
_SCOPE: Final = "https://www.googleapis.com/auth/"


class Google:
    """The stand-in of oauth2.googleapis.com."""

    name = "google"
    notes: Mapping[str, str] = {
        "noop": "Behaves as ok: a token is a token.",
        "partial": "Behaves as ok: a token is a token.",
        "401": "HTTP 400 with invalid_grant, as Google answers.",
    }

    def __init__(self) -> None:
        self.persons = Persons()

    def split(self, tail: str) -> tuple[str, str]:
        """The instance and the path below it."""
        return split_before(tail, frozenset({"token"}))

    def ids(self, call: Call) -> Ids:
        """A claim is about nobody."""
        return Ids()

    def refuse(self, call: Call, status: int) -> Reply:
        """An error in the form of OAuth."""
        if status == 401:
            return _error(400, "invalid_grant")
        return _error(status, "rate_limit_exceeded" if status == 429 else "internal_failure")

    def answer(self, call: Call) -> Reply:
        """A token for a claim of the right shape."""
        form = call.form()
        if call.path != "/token" or call.method != "POST" or form is None:
            return _error(404, "invalid_request")
        if form.get("grant_type") != [GRANT]:
            return _error(400, "unsupported_grant_type")
        assertion = form.get("assertion", [""])[0]
        if (fault := _fault(assertion, call.moment.unix_s)) is not None:
            return _error(400, fault)
        token = "ya29." + hashlib.sha256(assertion.encode()).hexdigest()[:32]
        told = {"access_token": token, "expires_in": 3599, "token_type": "Bearer"}
        return Reply.json(200, told)


def _fault(assertion: str, now_s: float) -> str | None:
    parts = assertion.split(".")
    header, claims = (_object(part) for part in (*parts, "", "")[:2])
    if len(parts) != 3 or header.get("alg") != "RS256" or not parts[2]:
        return "invalid_grant"
    issued, expires = claims.get("iat"), claims.get("exp")
    if not isinstance(issued, int) or not isinstance(expires, int) or not claims.get("iss"):
        return "invalid_grant"
    if expires - issued > LIFETIME_S or not issued - 300 <= now_s <= expires:
        return "invalid_grant"
    if not str(claims.get("aud", "")).endswith("/token"):
        return "invalid_grant"
    scopes = str(claims.get("scope", "")).split()
    if not scopes or not all(scope.startswith(_SCOPE) for scope in scopes):
        return "invalid_scope"
    return None


def _object(part: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (msgspec.DecodeError, binascii.Error, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _error(status: int, error: str) -> Reply:
    return Reply.json(status, {"error": error, "error_description": "stand-in"})
