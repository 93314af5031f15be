"""Every kind of destination there is, and how each is connected.

Nothing is opened and no optional package is loaded here: a program that uses only a
webhook must not pay for a database driver.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from consentry.destinations import console, ga4, parquet, postgres, rudderstack, segment, webhook
from consentry.destinations.message import Attempted, LastLook, Message
from consentry.destinations.spec import Spec

if TYPE_CHECKING:
    from consentry.destinations.transport import OutboundClient


class Connected(Protocol):
    """One configured destination, ready to be sent to.

    ``spec`` holds the limits that the caller keeps; options may have made them smaller
    than those of the kind.
    """

    @property
    def spec(self) -> Spec:
        """The facts and limits of this destination."""
        ...

    async def send(self, messages: Sequence[Message], last_look: LastLook | None) -> Attempted:
        """One attempt for 1 to ``spec.batch_max`` messages: an outcome each, in their order.

        What the world does wrong is an outcome, not an exception. What ``last_look``
        raises propagates; then nothing was sent.
        """
        ...

    async def close(self) -> None:
        """Let go of what is held. Sending afterwards is a mistake."""
        ...


Connect = Callable[[Any, "OutboundClient"], Connected]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of destination: its facts, the form of its options, the way to connect it.

    ``connect(options, client)`` never blocks and opens nothing; the first attempt does.
    ``options`` is an instance of the class ``options``. It raises `ExtraMissing`.
    """

    spec: Spec
    options: type[msgspec.Struct]
    connect: Connect


class ExtraMissing(RuntimeError):
    """A kind needs a package that is not installed. The message says what to install."""

    def __init__(self, kind: str, package: str, extra: str) -> None:
        super().__init__(
            f"a destination of kind {kind} needs {package}: install consentry[{extra}]"
        )


SendOverHttp = Callable[
    ["OutboundClient", Sequence[Message], Any, LastLook | None], Awaitable[Attempted]
]


class _OverHttp:
    """A destination whose module sends through the shared client, which it does not own."""

    def __init__(
        self, spec: Spec, send: SendOverHttp, options: Any, client: OutboundClient
    ) -> None:
        self.spec = spec
        self._send = send
        self._options = options
        self._client = client

    async def send(self, messages: Sequence[Message], last_look: LastLook | None) -> Attempted:
        return await self._send(self._client, messages, self._options, last_look)

    async def close(self) -> None:
        """The client belongs to whoever made it."""


def _over_http(spec: Spec, options: type[msgspec.Struct], send: SendOverHttp) -> Kind:
    return Kind(spec, options, lambda chosen, client: _OverHttp(spec, send, chosen, client))


def _with_extra(package: str, extra: str, kind: Kind) -> Kind:
    """``kind``, but connecting says at once, by name, if ``package`` is not installed."""

    def connect(options: Any, client: OutboundClient) -> Connected:
        if find_spec(package) is None:
            raise ExtraMissing(kind.spec.kind, package, extra)
        return kind.connect(options, client)

    return Kind(kind.spec, kind.options, connect)


KINDS: dict[str, Kind] = {
    kind.spec.kind: kind
    for kind in (
        _over_http(webhook.SPEC, webhook.Options, webhook.send),
        _over_http(segment.SPEC, segment.Options, segment.send),
        _over_http(rudderstack.SPEC, rudderstack.Options, rudderstack.send),
        _over_http(ga4.SPEC, ga4.Options, ga4.send),
        _with_extra(
            "asyncpg", "postgres", Kind(postgres.SPEC, postgres.Options, postgres.Postgres)
        ),
        _with_extra("pyarrow", "parquet", Kind(parquet.SPEC, parquet.Options, parquet.Parquet)),
        Kind(console.SPEC, console.Options, console.Console),
    )
}
