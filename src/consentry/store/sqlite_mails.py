"""What the SQLite store writes of mails and sign-ups, inside the one transaction of a group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from consentry.outbox import Mail, Token
from consentry.ports import Commit
from consentry.store import codec
from consentry.store.codec import RowKeys
from consentry.store.statements import queries

SQL = queries("sqlite_write")


def write(db: apsw.Connection, keys: RowKeys, commits: Sequence[Commit]) -> None:
    """The mails and sign-ups of a group of commits."""
    mails = [mail for commit in commits for mail in commit.mails]
    if mails:
        rows = [(mail.mail_id, mail.next_at, codec.encode(mail)) for mail in mails]
        db.executemany(SQL["add_mail"], rows)
        counted = [(keys.node(mail.node), mail.queued_at, mail.mail_id) for mail in mails]
        db.executemany(SQL["add_mail_to"], counted)
    opt_ins = [opt_in for commit in commits for opt_in in commit.opt_ins]
    if opt_ins:
        waiting = [(one.opt_in_id, one.ends_at, codec.encode(one)) for one in opt_ins]
        db.executemany(SQL["add_opt_in"], waiting)


def change(db: apsw.Connection, mail: Mail, token: Token | None) -> None:
    """A mail that was tried, and the token of the link that it will carry."""
    db.execute(SQL["change_mail"], (mail.mail_id, mail.next_at, codec.encode(mail)))
    if token is not None:
        db.execute(SQL["add_token"], tuple(token))


def run(db: apsw.Connection, query: str, row: tuple[Any, ...]) -> None:
    """One statement."""
    db.execute(SQL[query], row)
