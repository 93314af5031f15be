"""Links that speak for a person: what each may do, and until when.

A link's token is encrypted (JWE, A256GCM, RFC 7516), so that nobody reads an address in a URL or
in a proxy's log, and whoever has no key can neither make nor change one. Each type has a key of
its own, derived from the configured secret: a token of one type does not even open as another.

A confirmation link is no such token. It must work once, so it is chance, and its hash is kept.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from consentry.core.moment import Moment
from consentry.core.record import Node
from consentry.secret import Secret

if TYPE_CHECKING:  # loaded with the first token: a start does not wait for it
    from joserfc.jwk import OctKey

LONGEST_TOKEN = 8192  # characters
_ALGORITHMS = ["dir", "A256GCM"]
_CONFIRMATION_BYTES = 32  # ASVS 11.5.1 asks for 16


class LinkType(StrEnum):
    """What a token opens: one page each."""

    WITHDRAW = "withdraw"
    EDIT = "edit"
    FORM = "form"  # a page's own form, for the device that was shown it


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a link speaks for, and what it may touch.

    ``keys`` are the categories and topic keys it is bound to; None for all. ``alone``: it was
    asked for by whoever reads the mailbox, so it tells of that address and of nothing linked.
    """

    subject: tuple[Node, ...]
    expires_at: Moment
    keys: tuple[str, ...] | None = None
    alone: bool = False

    def covers(self, key: str) -> bool:
        return self.keys is None or key in self.keys


@dataclass(frozen=True, slots=True)
class Expired:
    """A token that was good once. ``link`` may be trusted, and may do nothing."""

    link: Link


class Links:
    """Makes tokens with the first secret, and opens those of any.

    Without secrets nothing can be made, and every token is unreadable.
    """

    def __init__(self, secrets: Sequence[Secret]) -> None:
        self._secrets = tuple(secrets)
        self._keys: dict[LinkType, list[OctKey]] = {}

    @property
    def ready(self) -> bool:
        """Whether there is a secret to make tokens with."""
        return bool(self._secrets)

    def token(self, type_: LinkType, link: Link) -> str:
        """For a URL. Raises LookupError without a secret."""
        if not self.ready:
            raise LookupError("[pages].secret is not set")
        from joserfc import jwe

        header = {"alg": "dir", "enc": "A256GCM"}
        return jwe.encrypt_compact(header, msgspec.json.encode(link), self._keys_of(type_)[0])

    def read(self, type_: LinkType, token: str, now: Moment) -> Link | Expired | None:
        """What a token says at ``now``; None for any doubt at all."""
        if not token.isascii() or len(token) > LONGEST_TOKEN:
            return None
        for key in self._keys_of(type_):
            link = _opened(token, key)
            if link is not None:
                return link if now < link.expires_at else Expired(link)
        return None

    def _keys_of(self, type_: LinkType) -> list[OctKey]:
        if type_ not in self._keys:
            self._keys[type_] = [_key(secret, type_) for secret in self._secrets]
        return self._keys[type_]


def confirmation() -> str:
    """A token that works once: 256 bits of chance."""
    return secrets.token_urlsafe(_CONFIRMATION_BYTES)


def digest_of(confirmation: str) -> bytes:
    """What a confirmation token is recognised by."""
    return hashlib.sha256(confirmation.encode("utf-8", "surrogatepass")).digest()


def _key(secret: Secret, type_: LinkType) -> OctKey:
    """HKDF (RFC 5869): what one key is for, no other is."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    from joserfc.jwk import OctKey

    derive = HKDF(hashes.SHA256(), 32, salt=None, info=f"consentry link {type_}".encode())
    return OctKey.import_key(derive.derive(secret.reveal().encode("utf-8", "surrogatepass")))


def _opened(token: str, key: OctKey) -> Link | None:
    from joserfc import jwe
    from joserfc.errors import JoseError

    try:
        content = jwe.decrypt_compact(token, key, algorithms=_ALGORITHMS).plaintext
        return msgspec.json.decode(content or b"", type=Link)
    except (JoseError, ValueError, TypeError, KeyError, RecursionError):
        return None
