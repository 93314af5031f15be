"""What each system was told of a choice and what it answered, as it went over the wire.

The ledger keeps digests of both and no more. A page that explains itself needs the words, so the
demo stands between the connectors and the guarded client and keeps what it sees, without keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import Any, Final, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

from consentry.destinations.http import TransportError
from consentry.destinations.instruction import Instruction, Reading
from consentry.destinations.message import Attempted, LastLook, Message, Request, Response
from consentry.destinations.registry import Connected, Kind
from consentry.destinations.spec import Spec
from consentry.destinations.transport import OutboundClient
from consentry.standin.control import HIDDEN, shown_body, shown_query

MOST_ORDERS: Final = 2_000
MOST_EXCHANGES: Final = 20  # of one attempt
LONGEST_ANSWER: Final = 4_000  # bytes

Exchange = dict[str, Any]
_exchanges: ContextVar[list[Exchange] | None] = ContextVar("exchanges", default=None)


class Overheard:
    """The exchanges of the latest attempt at each order, and of the latest time it was asked
    about. The oldest orders are forgotten first."""

    def __init__(self) -> None:
        self._told: dict[str, list[Exchange]] = {}
        self._asked: dict[str, list[Exchange]] = {}

    def kinds(self, kinds: Mapping[str, Kind]) -> dict[str, Kind]:
        """The same kinds, overheard."""
        return {
            name: replace(kind, connect=partial(self._connect, kind))
            for name, kind in kinds.items()
        }

    def told(self, order_id: str) -> list[Exchange]:
        """What was said and answered when the order was last tried."""
        return self._told.get(order_id, [])

    def asked(self, order_id: str) -> list[Exchange]:
        """What was said and answered when the system was last asked about the order."""
        return self._asked.get(order_id, [])

    def keep_told(self, order_ids: Sequence[str], exchanges: list[Exchange]) -> None:
        """Of an attempt that got as far as the wire."""
        for order_id in order_ids if exchanges else ():
            _put(self._told, order_id, exchanges)

    def keep_asked(self, order_id: str, exchanges: list[Exchange]) -> None:
        """Of one question."""
        if exchanges:
            _put(self._asked, order_id, exchanges)

    def _connect(self, kind: Kind, options: Any, client: OutboundClient) -> Connected:
        listening = cast(OutboundClient, _Listening(client))  # all that a connector calls of it
        return _Connected(kind.connect(options, listening), self)


def _put(kept: dict[str, list[Exchange]], order_id: str, exchanges: list[Exchange]) -> None:
    kept.pop(order_id, None)
    kept[order_id] = exchanges
    if len(kept) > MOST_ORDERS:
        del kept[next(iter(kept))]


class _Connected:
    """A destination whose orders are overheard; its events are not."""

    def __init__(self, inner: Connected, overheard: Overheard) -> None:
        self._inner = inner
        self._overheard = overheard

    @property
    def spec(self) -> Spec:
        return self._inner.spec

    async def send(self, messages: Sequence[Message], last_look: LastLook | None) -> Attempted:
        return await self._inner.send(messages, last_look)

    async def obey(
        self, instructions: Sequence[Instruction], last_look: LastLook | None
    ) -> Attempted:
        exchanges: list[Exchange] = []
        token = _exchanges.set(exchanges)
        try:
            return await self._inner.obey(instructions, last_look)
        finally:
            _exchanges.reset(token)
            self._overheard.keep_told([one.order_id for one in instructions], exchanges)

    async def read_back(self, instruction: Instruction, ref: str) -> Reading:
        exchanges: list[Exchange] = []
        token = _exchanges.set(exchanges)
        try:
            return await self._inner.read_back(instruction, ref)
        finally:
            _exchanges.reset(token)
            self._overheard.keep_asked(instruction.order_id, exchanges)

    async def close(self) -> None:
        await self._inner.close()


class _Listening:
    """The guarded client; whatever an order makes of it is noted."""

    def __init__(self, client: OutboundClient) -> None:
        self._client = client

    @property
    def allow_private(self) -> bool:
        return self._client.allow_private

    async def send(
        self,
        request: Request,
        last_look: LastLook | None = None,
        *,
        timeout_s: float | None = None,
    ) -> Response:
        try:
            response = await self._client.send(request, last_look, timeout_s=timeout_s)
        except TransportError as error:
            _note(request, status=None, answer=None, failure=str(error))
            raise
        answer = shown_body(response.body[:LONGEST_ANSWER])
        _note(request, status=response.status, answer=answer, failure=None)
        return response


def _note(request: Request, **answered: Any) -> None:
    exchanges = _exchanges.get()
    if exchanges is not None and len(exchanges) < MOST_EXCHANGES:
        exchanges.append(shown_request(request) | answered)


def shown_request(request: Request) -> Exchange:
    """A request without its headers and keys, for a page."""
    parts = urlsplit(request.url)
    query = urlencode(shown_query(dict(parse_qsl(parts.query))), safe=f"{HIDDEN}@,")
    return {
        "method": request.method,
        "path": parts.path + (f"?{query}" if query else ""),
        "body": shown_body(request.body),
    }
