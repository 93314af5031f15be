"""The loop that looks after orders: what is open for long is said aloud, systems that can be asked
are asked again, and those of whom nobody spoke are told that a yes has grown too old. What is left
here of people who were erased goes too: no order of theirs may be written meanwhile. One for a serving process; it sends no orders itself."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import structlog

from consentry.config import Alarm
from consentry.core.moment import DAY, SECOND, Moment
from consentry.destinations.http import TransportError, json_body
from consentry.destinations.message import Request
from consentry.destinations.transport import OutboundClient
from consentry.destinations.webhook import signed_headers
from consentry.flow import describe
from consentry.flow.lapsed import Walk
from consentry.flow.read_back import Read, let_be, read_back
from consentry.flow.shred import Shredder
from consentry.flow.world import World
from consentry.orderer import Orderer
from consentry.orders import Order, Tried
from consentry.ports import Commit, StoreError
from consentry.web.order_meters import OrderMeters

log = structlog.get_logger()
STAGES = (15 * 60 * SECOND, DAY, 3 * DAY)
LOOK_EVERY_S = 1.0
ALARM_PAUSE_S = 30.0
ALARM_TIMEOUT_S = 15.0
MOST_ALARMS = 10_000
AT_ONCE = 8
SHRED_FOR_S = 0.5


class _Said(NamedTuple):
    """What the workspace's own endpoint is to hear. ``identity`` is the same on every try."""

    identity: str
    body: bytes


class Clerk:
    """``orderers`` are those that serve now. ``alarm`` is replaced with the configuration."""

    def __init__(
        self,
        world: World,
        orderers: Mapping[str, Orderer],
        meters: OrderMeters,
        client: OutboundClient,
        *,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self.alarm: Alarm | None = None
        self._world = world
        self._orderers = orderers
        self._meters = meters
        self._client = client
        self._look_every_s = look_every_s
        self._alarms: deque[_Said] = deque()
        self._alarm_at = 0.0
        self._walk = Walk(world)
        self._shredder = Shredder(world)

    async def run(self) -> None:
        """Until it is cancelled. Whatever fails is said and tried again."""
        while True:
            try:
                await self.round()
            except Exception as fault:
                log.error("clerk_failed", error=type(fault).__name__)
            await asyncio.sleep(self._look_every_s)

    async def round(self) -> None:
        """Whatever is due now."""
        await self._remind()
        await self._read_back()
        await self._tell_alarms()
        await self._look_for_lapses()
        await self._shred()

    async def _shred(self) -> None:
        """What is left here of people who were erased: for a while, then others have their turn."""
        loop = asyncio.get_running_loop()
        until = loop.time() + SHRED_FOR_S
        while loop.time() < until:
            try:
                done = await self._shredder.step()
            except StoreError as fault:
                log.error("erasure_waits", error=type(fault).__name__)
                return
            if done is None:
                return
            self._meters.shredded(done.part)
            if done.finished:
                log.info("erasure_finished", erasure=done.erasure_id)
            if done.part.waits:
                log.info("erasure_waits", erasure=done.erasure_id, orders=done.part.waits)

    async def _look_for_lapses(self) -> None:
        try:
            part = await self._walk.step()
        except StoreError as fault:
            log.error("lapses_not_looked_for", error=type(fault).__name__)
            return
        if part.lapses:
            orders = sum(len(lapse.orders) for lapse in part.lapses)
            log.warning("consent_expired", people=len(part.lapses), orders=orders)
        if part.unread:
            log.error("lapses_not_looked_for", records=part.unread)

    def hurry(self) -> None:
        """Try alarms that were not heard again at the next round."""
        self._alarm_at = 0.0

    # -- what is open for long ------------------------------------------------------------------
    async def _remind(self) -> None:
        """The last stage first: whatever was down for days is said once, as what it is.

        Nobody tries to tell a destination that is not configured, which was said as it went;
        what is said of its orders is said once it is back.
        """
        now, book = self._world.clock.now(), self._world.store.orders
        for stage in range(len(STAGES), 0, -1):
            late = book.overdue(now - STAGES[stage - 1], stage, self._orderers.keys())
            if not late:
                continue
            said = [
                msgspec.structs.replace(order, escalated=stage)
                for order in late
                if not self._is_busy(order)
            ]
            for order in said:
                if (orderer := self._orderers.get(order.destination)) is not None:
                    orderer.lane.mark(order)
            await self._world.store.commit(Commit(tried=tuple(map(Tried, said))))
            for order in said:
                self._say("order_overdue", order, STAGES[stage - 1] // SECOND)

    def _is_busy(self, order: Order) -> bool:
        """What came of it is on its way to the disk: nobody else may write of it."""
        orderer = self._orderers.get(order.destination)
        return orderer is not None and orderer.lane.is_busy_with(order.number)

    def failed(self, order: Order) -> None:
        """An order failed for good: somebody has to look."""
        self._say("order_failed", order, None)

    def _say(self, what: str, order: Order, after_s: int | None) -> None:
        self._meters.escalated.labels(order.destination, str(after_s or "failed")).inc()
        facts: dict[str, Any] = {
            "orderId": order.order_id,
            "recordId": order.record_id,
            "destination": order.destination,
            "verb": order.verb.value,
            "state": order.state.value,
            "grade": order.grade,
            "detail": order.detail,
            "attempts": order.attempts,
            "acknowledgedAt": describe.time(order.acknowledged_at),
            "afterSeconds": after_s,
        }
        log.error(
            what, destination=order.destination, order=order.order_id, verb=order.verb.value,
            grade=order.grade, detail=order.detail, after_s=after_s,
            message=f"look at it, then: consentry propagation retry --order {order.order_id}",
        )  # fmt: skip
        self._ring(f"{order.order_id}-{after_s or 'failed'}", what.replace("_", "."), facts)

    def removed(self, destination: str, orders: int, since: Moment) -> None:
        """A destination is not configured any more, and orders for it are still open."""
        self._meters.escalated.labels(destination, "removed").inc()
        log.warning(
            "orders_of_a_removed_destination", destination=destination, orders=orders,
            message="they are kept, and sent should it come back; to end them: "
            f"consentry propagation drop --destination {destination}",
        )  # fmt: skip
        facts = {"destination": destination, "open": orders, "oldestAt": describe.time(since)}
        self._ring(self._world.new_id("gone"), "destination.removed", facts)

    def _ring(self, identity: str, what: str, facts: dict[str, Any]) -> None:
        if self.alarm is None:
            return
        told = {"type": what, "timestamp": _now(), "data": facts}
        if len(self._alarms) == MOST_ALARMS:
            log.error("alarm_left_out", waiting=MOST_ALARMS)
            return
        self._alarms.append(_Said(identity, json_body(told)))

    async def _tell_alarms(self) -> None:
        """One after another; where it fails, the same again later."""
        loop = asyncio.get_running_loop()
        while self._alarms and self.alarm is not None and loop.time() >= self._alarm_at:
            said, alarm = self._alarms[0], self.alarm
            headers = signed_headers(said.identity, said.body, alarm.secrets, datetime.now(UTC))
            request = Request("POST", alarm.url, headers, said.body)
            try:
                answer = await self._client.send(request, timeout_s=ALARM_TIMEOUT_S)
                failure = None if 200 <= answer.status < 300 else f"HTTP {answer.status}"
            except TransportError as error:
                failure = error.kind.value
            if failure is not None:
                log.error("alarm_not_told", detail=failure, waiting=len(self._alarms))
                self._alarm_at = loop.time() + ALARM_PAUSE_S
                return
            self._alarms.popleft()

    # -- asked again ------------------------------------------------------------------------------
    async def _read_back(self) -> None:
        now = self._world.clock.now()
        due = self._world.store.orders.to_read(now, AT_ONCE)
        found = await asyncio.gather(*map(self._read_one, due), return_exceptions=True)
        for order, fault in zip(due, found, strict=True):
            if isinstance(fault, StoreError):
                raise fault
            if isinstance(fault, Exception):
                log.error(
                    "read_back_failed", destination=order.destination, error=type(fault).__name__
                )
                later = msgspec.structs.replace(order, read_at=now + DAY)
                await self._world.store.commit(Commit(tried=(Tried(later),)))

    async def _read_one(self, order: Order) -> None:
        orderer = self._orderers.get(order.destination)
        if orderer is None or not orderer.orders.reads_back:
            # It is not configured now; it may be again.
            later = msgspec.structs.replace(order, read_at=self._world.clock.now() + DAY)
            later = let_be(order) if order.erases else later
            await self._world.store.commit(Commit(tried=(Tried(later),)))
            return
        read = await read_back(self._world, orderer.connected, order)
        await self._world.store.commit(read.commit)
        self._tell(order, read)

    def _tell(self, before: Order, read: Read) -> None:
        order = read.order
        if read.again is not None:
            self._world.owe()
        if order.drift and not before.drift:
            log.error(
                "order_drift", destination=order.destination, order=order.order_id,
                verb=order.verb.value, again=None if read.again is None else read.again.order_id,
            )  # fmt: skip
        if self._world.feed.watched and (order.grade != before.grade or order.drift):
            self._world.feed.tell(
                {
                    "kind": "order",
                    "destination": order.destination,
                    "orderId": order.order_id,
                    "recordId": order.record_id,
                    "verb": order.verb.value,
                    "state": order.state.value,
                    "grade": order.grade,
                    "detail": order.detail,
                    "drift": order.drift,
                    "at": _now(),
                }
            )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
