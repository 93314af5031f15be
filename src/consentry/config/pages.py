"""Reads what pages, links, mails and alarms need: ``[pages]``, ``[smtp]``, ``[sms]``, ``[propagation]``."""

from __future__ import annotations

from urllib.parse import urlsplit

from consentry.config.destinations import url_fault
from consentry.config.keys import warn_of_short
from consentry.config.problem import Notes
from consentry.config.server import url_with_password
from consentry.config.table import Table
from consentry.config.values import Alarm, Pages, Server, Sms, Smtp, SmtpTls
from consentry.secret import Secret

SHORTEST_WITHDRAW_DAYS = 365  # an unsubscribe link must work long after the mail was sent
LONGEST_WITHDRAW_DAYS = 3650
LONGEST_EDIT_MINUTES = 30  # whoever finds the mail later may not answer for the person
CONFIRM_HOURS = (24, 72)
MOST_MAILS_A_DAY = 20


def read_pages(table: Table) -> Pages:
    """``[pages]``. Without a secret no link can be made; what a device chose can be changed."""
    usual = Pages()
    secrets = table.secrets("secret")
    warn_of_short(table, "secret", secrets)
    pages = Pages(
        secrets=secrets,
        withdraw_days=_within(
            table,
            "withdraw_days",
            usual.withdraw_days,
            SHORTEST_WITHDRAW_DAYS,
            LONGEST_WITHDRAW_DAYS,
        ),
        edit_minutes=_within(table, "edit_minutes", usual.edit_minutes, 5, LONGEST_EDIT_MINUTES),
        confirm_hours=_within(table, "confirm_hours", usual.confirm_hours, *CONFIRM_HOURS),
        mails_a_day=_within(table, "mails_a_day", usual.mails_a_day, 1, MOST_MAILS_A_DAY),
    )
    table.finish()
    return pages


def _within(table: Table, key: str, usual: int, least: int, most: int) -> int:
    value = table.whole(key, usual, most)
    if value < least:
        table.error(key, f"must be a whole number from {least} to {most}")
        return usual
    return value


def read_smtp(table: Table) -> Smtp:
    """``[smtp]``: where mail is handed over, whom it comes from, how the way is encrypted."""
    table.required("url")
    url = url_with_password(table, "url") or ""
    sender = table.required("from")
    scheme = urlsplit(url).scheme
    by_scheme = SmtpTls.TLS if scheme == "smtps" else SmtpTls.STARTTLS
    smtp = Smtp(Secret(url), sender, table.choice("tls", SmtpTls, by_scheme), ca=table.text("ca"))
    table.finish()
    if url and (scheme not in ("smtp", "smtps") or not urlsplit(url).hostname):
        table.error("url", "must be smtp://host:587 or smtps://host")
    if scheme == "smtps" and smtp.tls is not SmtpTls.TLS:
        table.error("tls", "smtps:// is encrypted from the start: leave tls out, or write smtp://")
    if smtp.tls is SmtpTls.NONE:
        table.warning(
            "tls", "mails and their links travel unencrypted: use it on this machine only"
        )
    if sender and ("@" not in sender or not sender.isprintable()):
        table.error(
            "from", "must be an address: privacy@shop.example or Shop <privacy@shop.example>"
        )
    return smtp


def read_sms(table: Table, server: Server) -> Sms:
    """``[sms]``: an endpoint of yours that sends text messages, and the secrets we sign with."""
    return Sms(*_endpoint(table, server, "url"))


def read_alarm(table: Table, server: Server) -> Alarm:
    """``[propagation]``: an endpoint of yours that hears of orders nobody has followed."""
    return Alarm(*_endpoint(table, server, "webhook_url"))


def _endpoint(table: Table, server: Server, key: str) -> tuple[str, tuple[Secret, ...]]:
    url = table.required(key)
    fault = url_fault(url, server) if url else None
    if fault:
        table.error(key, fault)
    if table.raw("secret") is None:
        table.error("secret", 'missing: add secret = "env:NAME"; the endpoint checks our signature')
    secrets = table.secrets("secret")
    warn_of_short(table, "secret", secrets)
    table.finish()
    return url, secrets


def warn_of_links(notes: Notes, server: Server, pages: Pages, *, mails: bool) -> None:
    """Links that nobody could follow, or that anybody on the way could read."""
    wanted = mails or bool(pages.secrets)
    if wanted and server.base_url is None:
        notes.warning(
            ("server", "base_url"),
            "not set, so links to the pages cannot be made and forms are refused: "
            "write it as people see it, https://consent.shop.example",
        )
    elif wanted and server.base_url and not _is_safe(server.base_url):
        notes.warning(("server", "base_url"), "is not https, so links can be read on their way")
    if mails and not pages.secrets:
        notes.warning(
            ("pages", "secret"), 'not set, so mails cannot carry links: add "env:NAME" to send them'
        )


def _is_safe(base_url: str) -> bool:
    place = urlsplit(base_url)
    return place.scheme == "https" or place.hostname in ("localhost", "127.0.0.1", "::1")
