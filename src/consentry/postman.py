"""The loop that sends mails and ends sign-ups. What one try does is ``flow/post.py``."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import structlog

from consentry.config import Config
from consentry.core.moment import DAY, Moment
from consentry.core.record import NodeKind
from consentry.destinations.transport import OutboundClient
from consentry.flow import opt_in
from consentry.flow.office import Office
from consentry.flow.post import deliver_mail
from consentry.flow.world import World
from consentry.mail import Sender, Sent
from consentry.notice import texts_of, topic_name
from consentry.outbox import Mail
from consentry.ports import StoreError

log = structlog.get_logger()
AT_ONCE = 4
LOOK_EVERY_S = 1.0
REMEMBERED_FOR = 30 * DAY  # a used or late link says so for a month; later it is unknown


class Postman:
    """One for a serving process. ``told`` hears what each try came to, ``lapsed`` how many did."""

    def __init__(
        self,
        world: World,
        *,
        told: Callable[[Mail, Sent], None],
        lapsed: Callable[[int], None],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.office = Office()
        self._world = world
        self._told = told
        self._lapsed = lapsed
        self._chance = chance
        self._came = asyncio.Event()
        self._forgot_at: Moment = 0

    def wake(self) -> None:
        """A mail is owed."""
        self._came.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            self._came.clear()
            try:
                more = await self.round()
            except StoreError as error:
                log.error("post_waits", error=type(error).__name__)
                more = False
            except Exception as fault:
                log.error("post_failed", error=type(fault).__name__)
                more = False
            if not more:
                await self._wait()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._came.wait()
        except TimeoutError:
            return

    async def round(self) -> bool:
        """Whatever is due now; whether there was any of it. Raises StoreError."""
        now = self._world.clock.now()
        ended = await opt_in.lapse(self._world, now)
        if ended:
            self._lapsed(ended)
        if now - self._forgot_at >= DAY:
            await self._world.store.outbox.forget(now - REMEMBERED_FOR)
            self._forgot_at = now
        due = self._world.store.outbox.mails_due(now, AT_ONCE)
        ended_as = await asyncio.gather(*map(self._try, due), return_exceptions=True)
        for fault in ended_as:
            if isinstance(fault, BaseException):
                raise fault
        return bool(due)

    async def _try(self, mail: Mail) -> None:
        self._told(mail, await deliver_mail(self._world, self.office, mail, self._chance()))


def office_of(config: Config, client: OutboundClient) -> Office:
    """Links and mails as this configuration has them."""
    notice = config.notice
    names = {topic.id: topic.name for topic in config.policy.topics}
    return Office(
        site=config.workspace,
        base_url=config.server.base_url,
        pages=config.pages,
        texts=lambda language: texts_of(notice, language),
        topic_name=lambda topic, language: topic_name(notice, topic, names[topic], language),
        senders=_senders(config, client),
    )


def _senders(config: Config, client: OutboundClient) -> dict[NodeKind, Sender]:
    found: dict[NodeKind, Sender] = {}
    if config.smtp is not None:
        from consentry.mail.smtp import SmtpSender

        found[NodeKind.EMAIL] = SmtpSender(config.smtp)
    if config.sms is not None:
        from consentry.mail.sms import SmsSender

        found[NodeKind.PHONE] = SmsSender(config.sms, client)
    return found
