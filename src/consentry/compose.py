"""The composition root: the one place that puts a workspace together and starts it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Mapping as Dict
from dataclasses import dataclass, field

import msgspec
import structlog

from consentry.clock import Clock
from consentry.config import Config, DestinationConfig
from consentry.core.delivery import State
from consentry.core.moment import DAY, SECOND
from consentry.core.policy import Mapping, Policy, Regime
from consentry.destinations.registry import KINDS, Connected, Kind
from consentry.destinations.transport import OutboundClient
from consentry.flow import describe
from consentry.flow.configure import take_policy
from consentry.flow.deliver import Settled
from consentry.flow.notices import Notices
from consentry.flow.propagate import try_again
from consentry.flow.subjects import Subjects
from consentry.flow.world import World
from consentry.ledger.entry import RecordType
from consentry.mail import Fate, Sent
from consentry.opening import open_store
from consentry.orderers import Orderers
from consentry.orders import Order
from consentry.outbox import Mail
from consentry.ports import Delivery, Progress, StoreError, StoreUnavailable
from consentry.postman import Postman, office_of
from consentry.web.meters import Meters
from consentry.web.site import Site
from consentry.worker import Pace, Worker

log = structlog.get_logger()
STOP_GRACE_S = 10.0
CLOCK_MAY_LAG_S = 60

Given = tuple[DestinationConfig, Mapping]


@dataclass
class Running:
    """A serving workspace: its site and its workers. ``Crew`` for the admin API.

    ``kinds`` are the kinds of destination there are; ``chance`` in [0, 1) spreads retries.
    """

    config: Config
    world: World
    client: OutboundClient
    kinds: Dict[str, Kind] = field(default_factory=lambda: KINDS)
    chance: Callable[[], float] = random.random
    site: Site = field(init=False)
    workers: dict[str, Worker] = field(default_factory=dict)
    postman: Postman = field(init=False)
    orderers: Orderers = field(init=False)
    _posting: asyncio.Task[None] | None = None
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _given: dict[str, Given] = field(default_factory=dict)

    async def requeue(self, rows: list[Delivery]) -> None:
        """Set rows to waiting again, by the workers that own them, durably.

        Raises StoreUnavailable if that could not be written for all of them.
        """
        failed: StoreError | None = None
        for name, worker in list(self.workers.items()):
            mine = [row for row in rows if row.destination == name]
            try:
                if mine:
                    await worker.take_up(mine)
            except StoreError as error:
                failed = error
        if failed is not None:
            raise failed

    async def try_orders(self, orders: Sequence[Order]) -> None:
        """Orders that failed, tried again now. Raises StoreUnavailable."""
        self.orderers.take_up(await try_again(self.world, orders))

    def on_the_wire(self, order: Order) -> bool:
        return self.orderers.flying(order)

    def notify(self) -> None:
        """Events became durable, or consent changed: workers look."""
        for worker in self.workers.values():
            worker.wake()

    async def take_config(self, config: Config) -> None:
        """Put a configuration that was found good into force.

        Workers of destinations that change are stopped before: a worker that still sends to
        the old address may not be asked by the new mapping. Raises StoreError when it
        cannot be recorded; then the old configuration stays in force, with its workers.
        """
        if self.workers and not self.world.store.available:
            # What workers have not written yet would be tried again by those that follow them.
            raise StoreUnavailable("the configuration cannot be put on record now")
        await self._seat(config)
        wanted = _wanted(config)
        changed = {n: g for n, g in self._given.items() if g != wanted.get(n)}
        try:
            await self._dismiss(list(changed))
            reach = {one.name: one.reach for one in config.destinations}
            notices = Notices(config.notice, config.policy, config.tags, reach=reach)
            await take_policy(self.world, config.policy, notices)
        except Exception:
            self._man(changed)
            raise
        self.orderers.tell_what(config)
        self.world.regimes = _regimes(config)
        self.world.shadow = config.shadow
        self.config = config
        self.site.take_config(config)
        self.world.followers.tell_all()
        self.site.office = self.postman.office = office_of(config, self.client)
        self._man(wanted)
        await self.orderers.man(config)
        log.info("configuration_taken", policy=config.policy.version, shadow=config.shadow)

    async def _seat(self, config: Config) -> None:
        """Where a new destination begins is fixed before any event is decided for it.

        Begun later, it would skip the events that were accepted in between.
        """
        store = self.world.store
        for mapping in config.policy.mappings:
            if mapping.enabled and store.position_for(mapping.name) is None:
                await store.record_progress(Progress(destination=mapping.name, position=store.end))

    def _man(self, wanted: dict[str, Given]) -> None:
        """A worker for every destination that is wanted and has none."""
        for name, given in wanted.items():
            if name not in self.workers:
                self._employ(name, *given)

    def _employ(self, name: str, given: DestinationConfig, mapping: Mapping) -> None:
        connected = self._connect(given, mapping)
        pace = Pace(given.concurrency, given.rate_limit, given.backoff)
        worker = Worker(self.world, name, connected, pace, told=self._told, chance=self.chance)
        self.workers[name] = worker
        self._given[name] = (given, mapping)
        self._tasks[name] = asyncio.create_task(worker.run(), name=f"worker {name}")

    def _connect(self, given: DestinationConfig, mapping: Mapping) -> Connected:
        options = given.options
        if "needs" in options.__struct_fields__ and not getattr(options, "needs", ()):
            # A warehouse filters by what the destination is mapped to, unless told otherwise.
            options = msgspec.structs.replace(options, needs=mapping.categories)
        return self.kinds[given.kind].connect(options, self.client)

    def connect_for_orders(self, given: DestinationConfig) -> Connected:
        """A connection of its own: events do not keep orders waiting."""
        return self._connect(given, self.config.policy.mapping[given.name])

    async def _dismiss(self, names: list[str]) -> None:
        """Stop workers together: none of them starts anything from here on."""
        leaving = [self.workers.pop(name) for name in names]
        tasks = [self._tasks.pop(name) for name in names]
        for name in names:
            del self._given[name]
        await _stop_all(leaving, tasks)
        for name in names:
            # Whoever changed a paused destination has looked at it.
            await self.world.store.end_pause(name)

    def _told(self, name: str, settled: Settled) -> None:
        self.site.meters.count_attempt(name, settled)
        outcome = settled.outcome
        if outcome is not None and settled.state is not State.DELIVERED:
            log.warning(
                "attempt_failed",
                destination=name,
                grade=outcome.grade.value,
                status=outcome.status,
                detail=outcome.detail,
            )
        if outcome is not None and outcome.pause:
            message = f"look at it, then: consentry deliveries retry --destination {name}"
            log.error(
                "destination_paused", destination=name, reason=outcome.detail, message=message
            )
        if self.world.feed.watched:
            self.world.feed.tell(
                {
                    "kind": "attempt",
                    "destination": name,
                    "messageId": settled.positioned.event.message_id,
                    "grade": settled.attempt.grade,
                    "state": settled.state.value,
                    "at": describe.time(settled.attempt.ended_at),
                    "crossed": settled.attempt.crossed,
                }
            )

    async def prune(self) -> int:
        """Forget what is past its retention."""
        now = self.world.clock.now()
        retention = self.config.retention
        await self.world.store.leaks.forget(now - int(retention.deliveries_days * DAY))
        return await self.world.store.prune(
            events_before=now - int(retention.events_days * DAY),
            attempts_before=now - int(retention.deliveries_days * DAY),
            dead_before=now - int(retention.dead_letters_days * DAY),
            destinations=[d.name for d in self.config.destinations],
        )

    def begin_post(self) -> None:
        """Send mails that are owed, from now on."""
        self._posting = asyncio.create_task(self.postman.run(), name="postman")

    def told_of_mail(self, mail: Mail, sent: Sent) -> None:
        """Count a try, and say what somebody has to look at: never to whom it was."""
        self.site.meters.mails.labels(mail.kind, sent.fate).inc()
        if sent.fate is not Fate.SENT:
            log.warning(
                "mail_not_sent", mail=mail.mail_id, fate=sent.fate, detail=sent.detail,
                attempts=mail.attempts + 1,
            )  # fmt: skip

    def told_of_lapse(self, count: int) -> None:
        """Sign-ups that nobody confirmed in time."""
        self.site.meters.sign_ups.labels("lapsed").inc(count)
        self.site.meters.choices.labels(RecordType.LAPSED).inc(count)

    async def stop(self) -> None:
        """Finish what is on the wire, write what it came to, let go of everything."""
        if self._posting is not None:
            await _settle_task(self._posting)
        await self.orderers.stop()
        await _stop_all(self.workers.values(), self._tasks.values())
        self.workers.clear()
        self._tasks.clear()
        await self.client.close()
        self.world.store.close()


async def start(config: Config, kinds: Dict[str, Kind] = KINDS) -> Running:
    """Open the store, put the policy on record, and start the workers."""
    clock = Clock()
    store, key = open_store(config, clock)
    behind_s = (store.newest - clock.now()) // SECOND
    if behind_s > CLOCK_MAY_LAG_S:
        log.warning("clock_behind_store", seconds=behind_s)
    clock = Clock(store.newest)  # a clock that was set back may not go before it
    nothing_yet = Policy(config.workspace)
    world = World(store, Subjects(store), clock, nothing_yet, 0)
    client = OutboundClient(
        allow_private=config.server.allow_private_destinations,
        ports=config.server.destination_ports,
    )
    running = Running(config, world, client, kinds)
    await begin(running, key.verify_key.to_text())
    return running


async def begin(running: Running, ledger_key: str) -> None:
    """Give it its site, put its configuration into force, and start its workers."""
    config, world = running.config, running.world
    running.postman = Postman(
        world, told=running.told_of_mail, lapsed=running.told_of_lapse, chance=running.chance
    )
    meters = Meters()
    running.site = Site(config, world, running, meters, ledger_key=ledger_key)
    running.orderers = Orderers(
        world,
        running.kinds,
        running.connect_for_orders,
        meters.orders,
        running.client,
        running.chance,
    )
    world.notify = running.notify
    running.site.post_soon = running.postman.wake
    await running.take_config(config)
    running.begin_post()
    running.orderers.begin()


def _regimes(config: Config) -> dict[str, Regime]:
    return {s.name: s.regime for s in config.sources if s.regime is not None}


def _wanted(config: Config) -> dict[str, Given]:
    """Every enabled destination with its mapping."""
    mapping = config.policy.mapping
    return {d.name: (d, mapping[d.name]) for d in config.destinations if mapping[d.name].enabled}


async def _stop_all(workers: Iterable[Worker], tasks: Iterable[asyncio.Task[None]]) -> None:
    """Stop all of them, also when one of them cannot be stopped as it should."""
    ended = await asyncio.gather(
        *(worker.stop(STOP_GRACE_S) for worker in workers), return_exceptions=True
    )
    for fault in ended:
        if isinstance(fault, BaseException):
            log.error("worker_stop_failed", error=type(fault).__name__)
    await asyncio.gather(*map(_settle_task, tasks))


async def _settle_task(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
