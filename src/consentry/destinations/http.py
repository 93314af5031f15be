"""What an HTTP exchange came to, in the words of a delivery.

The client itself is `transport.OutboundClient`; its errors are named here so that a
destination can be described without loading an HTTP library.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from consentry.core.delivery import Grade, Outcome
from consentry.destinations.message import Attempted, LastLook, Message, Request, Response

if TYPE_CHECKING:
    from consentry.destinations.transport import OutboundClient

LONGEST_RETRY_AFTER_S = 86_400


class Kind(StrEnum):
    """Why an exchange gave no answer. This list is closed."""

    BLOCKED = "blocked"  # our own guard: the target or the request is refused
    UNRESOLVED = "unresolved"  # the name has no address
    REFUSED = "refused"  # no connection could be made
    TIMEOUT = "timeout"
    RESET = "reset"  # the connection ended before the answer did
    TLS = "tls"
    PROTOCOL = "protocol"  # the answer is not HTTP


class TransportError(Exception):
    """No answer came. The message holds the kind and the host at most.

    ``wrote`` says whether the request was handed to the network: if so, the destination
    may have received it although no answer came.
    """

    def __init__(self, kind: Kind, host: str = "", *, wrote: bool = False) -> None:
        super().__init__(f"{kind} ({host})" if host else str(kind))
        self.kind = kind
        self.host = host
        self.wrote = wrote


class Unsendable(ValueError):
    """This message cannot be told to this destination. Holds no personal data."""


def json_body(value: Any) -> bytes:
    """``value`` as JSON. Raises `Unsendable` if it holds what JSON in UTF-8 cannot say."""
    try:
        return msgspec.json.encode(value)
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError):
        raise Unsendable("the event cannot be written as JSON") from None


OptionsT = TypeVar("OptionsT")  # those of one kind
T = TypeVar("T")  # what is sent: a Message, or an Instruction


async def exchange(
    client: OutboundClient,
    make: Callable[[], Request],
    messages: Sequence[T],
    outcomes_of: Callable[[Response, Sequence[T]], tuple[Outcome, ...]],
    last_look: LastLook | None,
    *,
    timeout_s: float | None = None,
) -> Attempted:
    """Send what ``make`` gives and say what became of each message or instruction, in their order.

    Where ``make`` raises `Unsendable` nothing is sent. ``timeout_s`` bounds the whole exchange; None takes the client's own bound.
    The request digest is None when nothing was written. Raises `LastLookRefused`, or
    whatever else ``last_look`` raises; then nothing was written either.
    """
    try:
        request = make()
    except Unsendable as reason:
        return unsent(reason, messages)
    try:
        response = await client.send(request, last_look, timeout_s=timeout_s)
    except TransportError as error:
        digest = _digest_of(request) if error.wrote else None
        return Attempted((outcome_of_error(error),) * len(messages), digest)
    outcomes = outcomes_of(response, messages)
    assert len(outcomes) == len(messages), "one outcome for each message"
    return Attempted(
        outcomes, _digest_of(request), digest_of(response.body) if response.body else None
    )


def sender(
    request_for: Callable[[Sequence[Message], OptionsT, datetime], Request],
    outcomes_of: Callable[[Response, Sequence[Message]], tuple[Outcome, ...]],
    timeout_of: Callable[[OptionsT], float | None] = lambda options: None,
) -> Callable[
    [OutboundClient, Sequence[Message], OptionsT, LastLook | None], Coroutine[Any, Any, Attempted]
]:
    """How a system is sent events, where one request and its answer are one attempt."""

    async def send(
        client: OutboundClient,
        messages: Sequence[Message],
        options: OptionsT,
        last_look: LastLook | None,
    ) -> Attempted:
        return await exchange(
            client,
            lambda: request_for(messages, options, datetime.now(UTC)),
            messages,
            outcomes_of,
            last_look,
            timeout_s=timeout_of(options),
        )

    return send


def unsent(reason: Unsendable, messages: Sequence[object]) -> Attempted:
    """The attempt that ended before a request existed: final, for every message."""
    return Attempted((Outcome(Grade.FAILED_FINAL, detail=str(reason)),) * len(messages))


def outcome_of_error(error: TransportError) -> Outcome:
    """No answer: try again, unless our own guard refused, which a retry cannot change."""
    if error.kind is Kind.BLOCKED:
        return Outcome(Grade.FAILED_FINAL, detail=str(error), pause=True)
    return Outcome(Grade.FAILED_RETRY, detail=str(error))


FINAL_5XX = frozenset({501, 505, 511})
RETRY_4XX = frozenset({408, 460})
MAY_THROTTLE = frozenset({502, 503, 504})


def outcome_of_status(status: int, headers: Mapping[str, str]) -> Outcome:
    """The usual reading of a status; ``headers`` have lower-case names.

    Retry sets are those of Segment's own SDKs (408, 429, 460 and 5xx without 501, 505
    and 511). 401 and 403 pause the destination: the delivery is not at fault. A redirect
    is final, since following one would leave the checked address. All else is final too.
    """
    detail = f"HTTP {status}"
    if 200 <= status <= 299:
        return Outcome(Grade.ACCEPTED, status, detail)
    if status == 429 or status in MAY_THROTTLE:
        wait_s = retry_after_s(headers)
        if status == 429 or wait_s is not None:
            return Outcome(Grade.RATE_LIMITED, status, detail, retry_after_s=wait_s)
    if status in (401, 403):
        return Outcome(Grade.AUTH_BLOCKED, status, detail, pause=True)
    if status in RETRY_4XX or (500 <= status <= 599 and status not in FINAL_5XX):
        return Outcome(Grade.FAILED_RETRY, status, detail)
    if 300 <= status <= 399:
        return Outcome(Grade.FAILED_FINAL, status, f"{detail}: redirects are not followed")
    return Outcome(Grade.FAILED_FINAL, status, detail)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """``Retry-After`` in seconds within 0 to 86 400, or None if absent or unreadable.

    A date is measured against the answer's own ``Date``, so that our clock and theirs
    need not agree; without ``Date`` it says nothing.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        wait_s = float(text[:10])
    else:
        until, sent = _http_date(text), _http_date(headers.get("date", ""))
        if until is None or sent is None:
            return None
        wait_s = (until - sent).total_seconds()
    return min(max(wait_s, 0.0), float(LONGEST_RETRY_AFTER_S))


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else None


def digest_of(content: bytes) -> str:
    """SHA-256 in lower-case hex."""
    return hashlib.sha256(content).hexdigest()


def _digest_of(request: Request) -> str:
    return request.digest or digest_of(request.body)
