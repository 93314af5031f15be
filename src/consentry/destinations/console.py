"""The console: one line per event on standard output or standard error.

For development only. The line of format ``short`` shows ids and nothing else of a person;
``json`` shows the whole event, so it does not belong where logs are kept.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from consentry.core.delivery import Grade, Outcome
from consentry.destinations.message import Attempted, LastLook, Message
from consentry.destinations.spec import ALL_EVENTS, Spec

if TYPE_CHECKING:
    from consentry.destinations.transport import OutboundClient

SPEC = Spec(
    kind="console",
    title="Console (development)",
    batch_max=100,
    batch_bytes=1024 * 1024,
    events=ALL_EVENTS,
    proves="A line was handed to the stream; nobody can say whether it was read or kept.",
    best=Grade.SENT_UNVERIFIABLE,
)


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the lines go and what they show.

    ``stream``: standard output or standard error.
    ``format``: ``short`` for ids only, ``json`` for the whole event and its consent.
    """

    stream: Literal["stdout", "stderr"] = "stdout"
    format: Literal["json", "short"] = "short"


def line_for(message: Message, options: Options) -> str:
    """The line for one message, in ASCII and without its line end.

    All that came from outside is escaped: an id must not be able to end its line or to
    steer a terminal. Raises ValueError or TypeError if the event is no JSON.
    """
    if options.format == "json":
        line = {"event": message.body, "consent": message.consent}
        return json.dumps(line, allow_nan=False, separators=(",", ":"))
    ids = {
        "message": message.message_id,
        "anonymous": message.anonymous_id,
        "user": message.user_id,
    }
    words = [f"{name}={json.dumps(value)}" for name, value in ids.items() if value is not None]
    return " ".join([_plain(message.received_at), _plain(message.type), *words])


def _plain(text: str) -> str:
    """Text that should be a plain word; escaped like the rest if it is not."""
    return json.dumps(text)[1:-1]


class Console:
    """A connected console. It opens nothing: the stream is the process's own."""

    def __init__(self, options: Options, client: OutboundClient) -> None:
        self.spec = SPEC
        self._options = options

    async def send(self, messages: Sequence[Message], last_look: LastLook | None) -> Attempted:
        """Write a line for each message that can be written as JSON, then flush."""
        outcomes: list[Outcome] = []
        lines: list[str] = []
        for message in messages:
            try:
                lines.append(line_for(message, self._options) + "\n")
                outcomes.append(Outcome(Grade.SENT_UNVERIFIABLE, detail="written"))
            except (TypeError, ValueError, RecursionError):
                reason = "the event cannot be written as JSON"
                outcomes.append(Outcome(Grade.FAILED_FINAL, detail=reason))
        if not lines:
            return Attempted(tuple(outcomes))
        if last_look is not None:
            last_look()
        text = "".join(lines)
        try:
            # Looked up now: a program may have replaced the stream since it started.
            stream = sys.stdout if self._options.stream == "stdout" else sys.stderr
            stream.write(text)
            stream.flush()
        except (OSError, ValueError, AttributeError) as error:  # broken, closed, none at all
            failed = Outcome(Grade.FAILED_RETRY, detail=f"the stream: {type(error).__name__}")
            outcomes = [o if o.grade is Grade.FAILED_FINAL else failed for o in outcomes]
        return Attempted(tuple(outcomes), hashlib.sha256(text.encode()).hexdigest())

    async def close(self) -> None:
        """Nothing is held."""
