"""Mails and sign-ups in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

from consentry.core.moment import Moment
from consentry.core.record import Node
from consentry.outbox import Mail, OptIn, Token
from consentry.ports import StoreRefused


class MemoryOutbox:
    """Implements ``consentry.outbox.Outbox``. ``begin`` raises where the store cannot write."""

    def __init__(self, begin: Callable[[], None]) -> None:
        self._begin = begin
        self._mails: dict[str, Mail] = {}
        self._queued: set[tuple[Node, Moment, str]] = set()
        self._opt_ins: dict[str, OptIn] = {}
        self._tokens: dict[bytes, Token] = {}

    def refuse_repeats(self, mails: Sequence[Mail], opt_ins: Sequence[OptIn]) -> None:
        """Raises StoreRefused where an id is there already: ids are given out once."""
        ids = [mail.mail_id for mail in mails]
        queued = {(mail.node, mail.queued_at, mail.mail_id) for mail in mails}
        waiting = [opt_in.opt_in_id for opt_in in opt_ins]
        if (
            len(set(ids)) < len(ids)
            or len(set(waiting)) < len(waiting)
            or not self._mails.keys().isdisjoint(ids)
            or not self._queued.isdisjoint(queued)
            or not self._opt_ins.keys().isdisjoint(waiting)
        ):
            raise StoreRefused("this cannot be stored: an id is there already")

    def add(self, mails: Sequence[Mail], opt_ins: Sequence[OptIn]) -> None:
        """Those of one commit."""
        self._mails.update((mail.mail_id, mail) for mail in mails)
        self._queued.update((mail.node, mail.queued_at, mail.mail_id) for mail in mails)
        self._opt_ins.update((opt_in.opt_in_id, opt_in) for opt_in in opt_ins)

    def opt_in(self, opt_in_id: str) -> OptIn | None:
        return self._opt_ins.get(opt_in_id)

    def opt_in_for(self, digest: bytes) -> str | None:
        token = self._tokens.get(digest)
        return None if token is None else token.opt_in_id

    def opt_ins_ending(self, by: Moment, limit: int) -> Sequence[OptIn]:
        ending = [one for one in self._opt_ins.values() if one.ends_at <= by]
        return sorted(ending, key=lambda one: (one.ends_at, one.opt_in_id))[:limit]

    def mails_due(self, now: Moment, limit: int) -> Sequence[Mail]:
        due = [mail for mail in self._mails.values() if mail.next_at <= now]
        return sorted(due, key=lambda mail: (mail.next_at, mail.mail_id))[:limit]

    def waiting(self) -> int:
        return len(self._mails)

    def mails_to(self, node: Node, since: Moment) -> int:
        return sum(to == node and at >= since for to, at, _ in self._queued)

    def forget_people(self, gone: AbstractSet[Node]) -> None:
        """Owe them nothing, and recognise no link of theirs."""
        self._mails = {i: mail for i, mail in self._mails.items() if mail.node not in gone}
        self._queued = {kept for kept in self._queued if kept[0] not in gone}
        ended = {i for i, opt_in in self._opt_ins.items() if opt_in.node in gone}
        self._opt_ins = {i: one for i, one in self._opt_ins.items() if i not in ended}
        self._tokens = {d: t for d, t in self._tokens.items() if t.opt_in_id not in ended}

    async def put_mail(self, mail: Mail, token: Token | None = None) -> None:
        self._begin()
        if mail.mail_id in self._mails:
            self._mails[mail.mail_id] = mail
        if token is not None:
            self._tokens.setdefault(token.digest, token)

    async def settle_mail(self, mail_id: str) -> None:
        self._begin()
        self._mails.pop(mail_id, None)

    async def end_opt_in(self, opt_in_id: str) -> None:
        self._begin()
        self._opt_ins.pop(opt_in_id, None)

    async def forget(self, before: Moment) -> None:
        self._begin()
        self._queued = {kept for kept in self._queued if kept[1] >= before}
        self._tokens = {d: token for d, token in self._tokens.items() if token.ends_at >= before}
