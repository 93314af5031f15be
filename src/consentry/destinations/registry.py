"""Every kind of destination there is, and how each is connected.

Nothing is opened and no optional package is loaded here: a program that uses only a
webhook must not pay for a database driver.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from consentry.core.delivery import Grade, Outcome
from consentry.destinations import (
    amplitude,
    braze,
    console,
    customerio,
    datamanager,
    ga4,
    hubspot,
    klaviyo,
    mailchimp,
    meta,
    mixpanel,
    parquet,
    postgres,
    postgres_orders,
    posthog,
    rudderstack,
    segment,
    sendgrid,
    tiktok,
    twilio,
    webhook,
)
from consentry.destinations.instruction import (
    Found,
    Heard,
    InboundCall,
    Instruction,
    Orders,
    Reading,
)
from consentry.destinations.message import Attempted, LastLook, Message
from consentry.destinations.spec import Spec

if TYPE_CHECKING:
    from consentry.destinations.transport import OutboundClient


class Sender(Protocol):
    """What events are sent to.

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


class Connected(Sender, Protocol):
    """One configured destination, ready to be sent to and to be told of choices."""

    async def obey(
        self, instructions: Sequence[Instruction], last_look: LastLook | None
    ) -> Attempted:
        """One attempt for 1 to ``batch_max`` orders of the kind: an outcome each, in their order.

        As ``send``. A kind that takes no orders answers that they are gated.
        """
        ...

    async def read_back(self, instruction: Instruction, ref: str) -> Reading:
        """What it holds of the person now, beside what it was told. It changes nothing there.

        ``ref`` is what the outcome called the job, else empty. What the world does wrong is
        a `Reading` too: nobody knows.
        """
        ...


Connect = Callable[[Any, "OutboundClient"], Connected]
Hear = Callable[[InboundCall, Any], tuple[Heard, ...]]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of destination: its facts, the form of its options, the way to connect it.

    ``connect(options, client)`` never blocks and opens nothing; the first attempt does.
    ``options`` is an instance of the class ``options``. It raises `ExtraMissing`.
    ``orders`` is what it can be told of a choice; None: nothing, so its orders are gated.
    ``hear(call, options)`` reads the system's own call, and raises `Unproven`.
    """

    spec: Spec
    options: type[msgspec.Struct]
    connect: Connect
    orders: Orders | None = None
    hear: Hear | None = None


class ExtraMissing(RuntimeError):
    """A kind needs a package that is not installed. The message says what to install."""

    def __init__(self, kind: str, package: str, extra: str) -> None:
        super().__init__(
            f"a destination of kind {kind} needs {package}: install consentry[{extra}]"
        )


class _OverHttp:
    """A destination whose module sends through the shared client, which it does not own."""

    def __init__(self, module: ModuleType, options: Any, client: OutboundClient) -> None:
        self.spec: Spec = module.SPEC
        self._module = module
        self._options = options
        self._client = client

    async def send(self, messages: Sequence[Message], last_look: LastLook | None) -> Attempted:
        attempted: Attempted = await self._module.send(
            self._client, messages, self._options, last_look
        )
        return attempted

    async def obey(
        self, instructions: Sequence[Instruction], last_look: LastLook | None
    ) -> Attempted:
        obey = getattr(self._module, "obey", None)
        if obey is None:
            return gated(instructions)
        attempted: Attempted = await obey(self._client, instructions, self._options, last_look)
        return attempted

    async def read_back(self, instruction: Instruction, ref: str) -> Reading:
        read_back = getattr(self._module, "read_back", None)
        if read_back is None:
            return UNREADABLE
        reading: Reading = await read_back(self._client, instruction, self._options, ref)
        return reading

    async def close(self) -> None:
        """The client belongs to whoever made it."""


class _Silent:
    """A destination of its own making that takes no orders."""

    def __init__(self, sender: Sender) -> None:
        self.spec = sender.spec
        self.send = sender.send
        self.close = sender.close

    async def obey(
        self, instructions: Sequence[Instruction], last_look: LastLook | None
    ) -> Attempted:
        return gated(instructions)

    async def read_back(self, instruction: Instruction, ref: str) -> Reading:
        return UNREADABLE


def gated(instructions: Sequence[object]) -> Attempted:
    """The attempt at a system that cannot be told: our own gate is all there is."""
    outcome = Outcome(Grade.GATED, detail="it takes no orders; nothing more is sent to it")
    return Attempted((outcome,) * len(instructions))


UNREADABLE = Reading(Found.UNKNOWN, detail="it cannot be asked")


def _over_http(module: ModuleType) -> Kind:
    """The kind that a module describes: ``SPEC``, ``Options``, ``send``, and of orders
    (see `instruction`) as much as it has."""
    orders: Orders | None = getattr(module, "ORDERS", None)
    if (orders is None) != (getattr(module, "obey", None) is None):
        raise TypeError(f"{module.__name__}: ORDERS and obey belong together")
    if orders is not None and orders.reads_back != hasattr(module, "read_back"):
        raise TypeError(f"{module.__name__}: reads_back and read_back belong together")
    if orders is not None and orders.hears != hasattr(module, "hear"):
        raise TypeError(f"{module.__name__}: hears and hear belong together")
    return Kind(
        module.SPEC,
        module.Options,
        lambda options, client: _OverHttp(module, options, client),
        orders,
        getattr(module, "hear", None),
    )


def _silent(
    spec: Spec, options: type[msgspec.Struct], make: Callable[[Any, OutboundClient], Sender]
) -> Kind:
    return Kind(spec, options, lambda chosen, client: _Silent(make(chosen, client)))


def _with_extra(package: str, extra: str, kind: Kind) -> Kind:
    """``kind``, but connecting says at once, by name, if ``package`` is not installed."""

    def connect(options: Any, client: OutboundClient) -> Connected:
        if find_spec(package) is None:
            raise ExtraMissing(kind.spec.kind, package, extra)
        return kind.connect(options, client)

    return replace(kind, connect=connect)


KINDS: dict[str, Kind] = {
    kind.spec.kind: kind
    for kind in (
        _over_http(webhook),
        _over_http(segment),
        _over_http(rudderstack),
        _over_http(ga4),
        _over_http(amplitude),
        _over_http(mixpanel),
        _over_http(meta),
        _over_http(datamanager),
        _over_http(posthog),
        _over_http(twilio),
        _over_http(tiktok),
        _over_http(klaviyo),
        _over_http(braze),
        _over_http(hubspot),
        _over_http(mailchimp),
        _over_http(sendgrid),
        _over_http(customerio),
        _with_extra(
            "asyncpg",
            "postgres",
            Kind(postgres.SPEC, postgres.Options, postgres.Postgres, postgres_orders.ORDERS),
        ),
        _with_extra("pyarrow", "parquet", _silent(parquet.SPEC, parquet.Options, parquet.Parquet)),
        _silent(console.SPEC, console.Options, console.Console),
    )
}
