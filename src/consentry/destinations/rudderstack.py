"""RudderStack: events go on through the data plane, which speaks Segment's API."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from consentry.core.delivery import Grade
from consentry.destinations import segment_wire
from consentry.destinations.http import Unsendable, exchange, unsent
from consentry.destinations.message import Attempted, LastLook, Message, Request
from consentry.destinations.spec import ALL_EVENTS, Spec
from consentry.secret import Secret

if TYPE_CHECKING:
    from consentry.destinations.transport import OutboundClient

SPEC = Spec(
    kind="rudderstack",
    title="RudderStack",
    batch_max=segment_wire.BATCH_MAX,
    batch_bytes=segment_wire.BATCH_BYTES,
    events=ALL_EVENTS,
    proves=(
        "A 2xx proves that the data plane took the batch; it cannot say what its own "
        "destinations received."
    ),
    best=Grade.ACCEPTED,
)


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which RudderStack source receives.

    ``base_url``: the data plane, without ``/v1``.
    ``write_key``: the source's write key; the first is used, others wait for rotation.
    """

    base_url: str
    write_key: tuple[Secret, ...]

    def __post_init__(self) -> None:
        segment_wire.check_options(self.base_url, self.write_key)


def request_for(messages: Sequence[Message], options: Options, now: datetime) -> Request:
    """One batch of 1 to 100 messages. ``now`` is not used: the batch tells no time.

    Raises `Unsendable` if the body is too large.
    """
    return segment_wire.batch_request(options.base_url, options.write_key[0], messages)


outcomes_of = segment_wire.batch_outcomes


async def send(
    client: OutboundClient,
    messages: Sequence[Message],
    options: Options,
    last_look: LastLook | None,
) -> Attempted:
    """One attempt for one batch."""
    try:
        request = request_for(messages, options, datetime.now(UTC))
    except Unsendable as reason:
        return unsent(reason, messages)
    return await exchange(client, request, messages, outcomes_of, last_look)
