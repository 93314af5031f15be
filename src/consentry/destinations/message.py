"""What a destination is handed, and the words it answers in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from consentry.core.delivery import Outcome

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Message:
    """One event, cleaned for delivery.

    ``body`` is the event in Segment's common form, as JSON values: type, messageId,
    anonymousId/userId, timestamp, originalTimestamp, receivedAt, sentAt, context,
    integrations, and the members of its type. Write keys and subject tokens are already
    gone. ``consent`` is the effective preference per category as of this attempt.
    Times are RFC 3339 in UTC. One message is handed to several destinations: nobody changes it.
    """

    message_id: str
    type: str
    anonymous_id: str | None
    user_id: str | None
    timestamp: str
    received_at: str
    body: Mapping[str, Any]
    consent: Mapping[str, bool]
    _made: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def once(self, what: str, make: Callable[[], T]) -> T:
        """What ``make`` returns; made at most once where several destinations are told the same."""
        made: T | None = self._made.get(what)
        if made is None:
            made = self._made[what] = make()
        return made

    @property
    def subject_key(self) -> str:
        """What orders deliveries: the account if there is one, else the device."""
        return f"u:{self.user_id}" if self.user_id is not None else f"a:{self.anonymous_id}"


@dataclass(frozen=True, slots=True)
class Request:
    """One outbound HTTP request. ``headers`` may hold secrets and are never logged.

    ``digest`` is the SHA-256 of the body in lower-case hex, where it is known already.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    digest: str | None = None

    def __repr__(self) -> str:
        return f"Request({self.method}, {len(self.body)} bytes)"


@dataclass(frozen=True, slots=True)
class Response:
    """What came back. Header names are lower-case; the body is cut at 64 KiB."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Attempted:
    """One attempt for one or more messages: an outcome each, in the order they were given.

    Digests are SHA-256 in lower-case hex of the bytes of the request body and the answer's
    body, or None where there were none.
    """

    outcomes: tuple[Outcome, ...]
    request_digest: str | None = None
    response_digest: str | None = None


class LastLookRefused(Exception):
    """The decision changed between choosing to send and the first byte; nothing was sent."""


LastLook = Callable[[], None]
"""Called at the last moment before the first byte leaves. Raises LastLookRefused to stop it."""
