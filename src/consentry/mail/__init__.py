"""Mails and text messages: what is handed over, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Letter:
    """One message to one address, in plain text and without anything that tracks.

    ``letter_id`` is the same on every try, so that a receiver may tell a repetition.
    ``unsubscribe`` is a one-click address (RFC 8058), where the mail belongs to a list.
    """

    letter_id: str
    to: str
    subject: str
    text: str
    unsubscribe: str | None = None

    def __repr__(self) -> str:
        return f"Letter({self.letter_id})"


class Fate(StrEnum):
    """What one try came to."""

    SENT = "sent"
    LATER = "later"  # try again
    NEVER = "never"  # this address or this message will not be taken


@dataclass(frozen=True, slots=True)
class Sent:
    """``detail`` is one line for a person; it holds no address and no secret."""

    fate: Fate
    detail: str = ""


class Sender(Protocol):
    """Hands letters over. Raises nothing of the network's: that is a ``Sent``."""

    async def send(self, letter: Letter) -> Sent: ...
