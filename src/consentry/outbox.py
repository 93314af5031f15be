"""What is owed to an address: mails, and the sign-ups that wait for its yes.

A part of the store's port. ``tests/store/conformance_outbox.py`` is its meaning. A mail holds no
link: links are made when it is sent, so that none lies in the store. Of a confirmation link only
the SHA-256 is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from consentry.core.moment import Moment
from consentry.core.record import Node


class OptIn(msgspec.Struct, frozen=True, kw_only=True):
    """A sign-up that the address has not confirmed. It grants nothing.

    ``keys`` are topic keys, ``record_id`` is the record of the request, ``evidence`` what was
    shown then. From ``ends_at`` on it can no longer be confirmed.
    """

    opt_in_id: str
    node: Node
    keys: tuple[str, ...]
    requested_at: Moment
    ends_at: Moment
    record_id: str
    source: str
    language: str
    evidence: dict[str, Any] = {}


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """One mail or text message owed to one address.

    ``kind``: ``confirm`` asks about the sign-up ``opt_in_id``, ``edit`` carries a link to the
    address's own choices. ``attempts`` counts the tries that were begun.
    """

    mail_id: str
    kind: Literal["confirm", "edit"]
    node: Node
    language: str
    queued_at: Moment
    next_at: Moment
    attempts: int = 0
    opt_in_id: str | None = None


class Token(NamedTuple):
    """What a confirmation link is recognised by: the SHA-256 of what stands in it."""

    digest: bytes
    opt_in_id: str
    ends_at: Moment


class Outbox(Protocol):
    """Mails and sign-ups. New ones come with a ``Commit``, in the transaction of its records."""

    def opt_in(self, opt_in_id: str) -> OptIn | None:
        """A sign-up that waits; None once it was confirmed or has ended."""

    def opt_in_for(self, digest: bytes) -> str | None:
        """Which sign-up a confirmation link is of; also after that one has ended."""

    def opt_ins_ending(self, by: Moment, limit: int) -> Sequence[OptIn]:
        """Sign-ups with ``ends_at <= by``, the earliest first."""

    def mails_due(self, now: Moment, limit: int) -> Sequence[Mail]:
        """Mails with ``next_at <= now``, the earliest first."""

    def waiting(self) -> int:
        """How many mails are not settled."""

    def mails_to(self, node: Node, since: Moment) -> int:
        """How many mails were queued for an address at ``since`` or later, settled or not."""

    async def put_mail(self, mail: Mail, token: Token | None = None) -> None:
        """Replace a mail that waits, and keep a token with it. Raises as ``Store.commit``.

        A mail that was settled meanwhile stays settled.
        """

    async def settle_mail(self, mail_id: str) -> None:
        """A mail needs nothing more."""

    async def end_opt_in(self, opt_in_id: str) -> None:
        """A sign-up waits no longer. Its links are still recognised."""

    async def forget(self, before: Moment) -> None:
        """Forget how many mails were queued before it, and links of what ended before it."""
