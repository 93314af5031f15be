"""Everybody who tells other systems of choices: one `Orderer` for each configured destination.

A destination that is turned off has one too: it holds data of people who may refuse it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Sequence
from collections.abc import Mapping as Dict

import structlog

from consentry.clerk import Clerk
from consentry.config import Config, DestinationConfig
from consentry.core.delivery import Grade
from consentry.core.order import OrderState
from consentry.destinations.registry import Connected, Kind
from consentry.destinations.transport import OutboundClient
from consentry.flow import describe
from consentry.flow.propagate import Ended
from consentry.flow.world import Tellable, World
from consentry.orderer import Orderer
from consentry.orders import Order
from consentry.ports import StoreError
from consentry.web.order_meters import OrderMeters

log = structlog.get_logger()
STOP_GRACE_S = 10.0

Connect = Callable[[DestinationConfig], Connected]


class Orderers:
    """The orderers of a serving process, and what is known of each destination's orders."""

    def __init__(
        self,
        world: World,
        kinds: Dict[str, Kind],
        connect: Connect,
        meters: OrderMeters,
        client: OutboundClient,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.all: dict[str, Orderer] = {}
        self.clerk = Clerk(world, self.all, meters, client)
        self._world = world
        self._kinds = kinds
        self._connect = connect
        self._meters = meters
        self._chance = chance
        self._given: dict[str, DestinationConfig] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._clerking: asyncio.Task[None] | None = None
        self._removed: set[str] = set()
        world.owe = self.wake
        world.takes = {name: kind.orders for name, kind in kinds.items()}

    def wake(self) -> None:
        """Orders became durable."""
        for orderer in self.all.values():
            orderer.owe()

    def begin(self) -> None:
        """Look after orders, from now on."""
        self._clerking = asyncio.create_task(self.clerk.run(), name="clerk")

    def tell_what(self, config: Config) -> None:
        """From here on choices owe orders by this configuration."""
        self._world.told = {
            given.name: Tellable(self._kinds[given.kind].orders, given.topics)
            for given in config.destinations
        }

    async def man(self, config: Config) -> None:
        """An orderer for each destination as it is configured; those that changed begin anew."""
        self.clerk.alarm = config.alarm
        wanted = {given.name: given for given in config.destinations}
        changed = [name for name, given in self._given.items() if given != wanted.get(name)]
        await self._dismiss(changed)
        for name, given in wanted.items():
            if name not in self.all:
                self._employ(name, given)
        self._say_removed()

    def _say_removed(self) -> None:
        """Once: that a destination is gone, and orders for it are not."""
        try:
            found = self._world.store.orders.open(self._world.clock.now())
        except StoreError:
            return  # said with the next configuration
        owed = [one for one in found if one.destination not in self.all]
        for name, orders, since, _ in owed:
            if name not in self._removed:
                self.clerk.removed(name, orders, since)
        self._removed = {one.destination for one in owed}

    def _employ(self, name: str, given: DestinationConfig) -> None:
        orderer = Orderer(
            self._world,
            name,
            self._connect(given),
            self._kinds[given.kind].orders,
            concurrency=given.concurrency,
            told=self._told,
            chance=self._chance,
        )
        self.all[name] = orderer
        self._given[name] = given
        self._tasks[name] = asyncio.create_task(orderer.run(), name=f"orders of {name}")

    async def stop(self) -> None:
        """Finish what is on the wire, write what it came to."""
        if self._clerking is not None:
            self._clerking.cancel()
            await asyncio.gather(self._clerking, return_exceptions=True)
        await self._dismiss(list(self.all))

    async def _dismiss(self, names: Collection[str]) -> None:
        leaving = [self.all.pop(name) for name in names]
        tasks = [self._tasks.pop(name) for name in names]
        for name in names:
            del self._given[name]
        stopping = (orderer.stop(STOP_GRACE_S) for orderer in leaving)
        ended = await asyncio.gather(*stopping, *tasks, return_exceptions=True)
        for fault in ended:
            if isinstance(fault, Exception):
                log.error("orders_not_stopped", error=type(fault).__name__)

    def take_up(self, orders: Sequence[Order]) -> None:
        """Orders that wait again, durably."""
        for name, orderer in self.all.items():
            mine = [order for order in orders if order.destination == name]
            if mine:
                orderer.take_up(mine)

    def flying(self, order: Order) -> bool:
        """Whether it is on the wire at this moment."""
        orderer = self.all.get(order.destination)
        return orderer is not None and orderer.lane.is_busy_with(order.number)

    def _told(self, name: str, ended: Ended) -> None:
        order = ended.order
        self._meters.count(ended)
        if order.state is OrderState.TERMINAL and order.grade is Grade.FAILED_FINAL:
            self.clerk.failed(order)
        elif order.open:
            log.warning(
                "order_waits", destination=name, order=order.order_id, verb=order.verb.value,
                grade=str(order.grade), detail=order.detail, attempts=order.attempts,
            )  # fmt: skip
        if self._world.feed.watched:
            self._world.feed.tell(
                {
                    "kind": "order",
                    "destination": name,
                    "orderId": order.order_id,
                    "recordId": order.record_id,
                    "verb": order.verb.value,
                    "state": order.state.value,
                    "grade": order.grade,
                    "detail": order.detail,
                    "at": describe.time(self._world.clock.now()),
                }
            )
