"""Mails and sign-ups in SQLite."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from consentry.core.moment import Moment
from consentry.core.record import Node
from consentry.outbox import Mail, OptIn, Token
from consentry.store import codec, sqlite_mails
from consentry.store.codec import RowKeys
from consentry.store.sqlite_read import SqliteReader, reading


class SqliteOutbox:
    """Implements ``consentry.outbox.Outbox``. ``submit`` runs a task in the store's writer."""

    def __init__(
        self, read: SqliteReader, keys: RowKeys, submit: Callable[[Any], Awaitable[Any]]
    ) -> None:
        self._read = read
        self._keys = keys
        self._submit = submit

    @reading
    def opt_in(self, opt_in_id: str) -> OptIn | None:
        body = self._read.value("opt_in", opt_in_id)
        return None if body is None else codec.decode_opt_in(body)

    @reading
    def opt_in_for(self, digest: bytes) -> str | None:
        opt_in_id: str | None = self._read.value("opt_in_for", digest)
        return opt_in_id

    @reading
    def opt_ins_ending(self, by: Moment, limit: int) -> Sequence[OptIn]:
        rows = self._read.rows("opt_ins_ending", by, limit)
        return [codec.decode_opt_in(body) for (body,) in rows]

    @reading
    def mails_due(self, now: Moment, limit: int) -> Sequence[Mail]:
        return [codec.decode_mail(body) for (body,) in self._read.rows("mails_due", now, limit)]

    @reading
    def waiting(self) -> int:
        return int(self._read.value("mails_waiting"))

    @reading
    def mails_to(self, node: Node, since: Moment) -> int:
        return int(self._read.value("mails_to", self._keys.node(node), since))

    async def put_mail(self, mail: Mail, token: Token | None = None) -> None:
        await self._submit(partial(sqlite_mails.change, mail=mail, token=token))

    async def settle_mail(self, mail_id: str) -> None:
        await self._submit(partial(sqlite_mails.run, query="settle_mail", row=(mail_id,)))

    async def end_opt_in(self, opt_in_id: str) -> None:
        await self._submit(partial(sqlite_mails.run, query="end_opt_in", row=(opt_in_id,)))

    async def forget(self, before: Moment) -> None:
        await self._submit(partial(sqlite_mails.run, query="forget_mails", row=(before,)))
        await self._submit(partial(sqlite_mails.run, query="forget_tokens", row=(before,)))
