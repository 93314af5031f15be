"""Mail over SMTP submission (RFC 6409), encrypted unless the configuration says otherwise."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from email.headerregistry import Address, BaseHeader, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP, Policy
from email.utils import format_datetime, parseaddr
from typing import Any
from urllib.parse import unquote, urlsplit

import aiosmtplib

from consentry.config.values import Smtp, SmtpTls
from consentry.mail import Fate, Letter, Sent

TIMEOUT_S = 30.0
_PORTS = {SmtpTls.TLS: 465, SmtpTls.STARTTLS: 587, SmtpTls.NONE: 25}


class _OneLine(UnstructuredHeader, BaseHeader):
    """Mail programs read List-Unsubscribe as it stands (RFC 8058, 3.1): no word of it may be
    encoded, and the URI in it cannot be folded. A line has at most 998 characters."""

    def fold(self, *, policy: Policy[Any]) -> str:
        return f"{self.name}: {self}{policy.linesep}"


LONGEST_LINE = 998  # characters (RFC 5322, 2.1.1)
_HEADERS = HeaderRegistry()
_HEADERS.map_to_type("list-unsubscribe", _OneLine)
_POLICY = SMTP.clone(header_factory=_HEADERS)


class SmtpSender:
    """One connection for each letter: few are sent, and none waits for another's fault."""

    def __init__(self, smtp: Smtp) -> None:
        self._smtp = smtp
        place = urlsplit(smtp.url.reveal())
        self._host = place.hostname or ""
        self._port = place.port or _PORTS[smtp.tls]
        self._user = unquote(place.username) if place.username else None
        self._password = unquote(place.password) if place.password else None

    async def send(self, letter: Letter) -> Sent:
        """One try. A permanent refusal (5yz, RFC 5321 4.2.1) of address or message is final."""
        try:
            message = message_for(letter, self._smtp.sender, datetime.now(UTC))
        except ValueError:
            return Sent(Fate.NEVER, "the address cannot stand in a mail's header")
        try:
            await self._hand_over(message)
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = [refused.code for refused in error.recipients]
            return _judged(max(codes, default=0), "recipient refused")
        except (aiosmtplib.SMTPSenderRefused, aiosmtplib.SMTPAuthenticationError) as error:
            # That is about us, not about who receives: somebody has to look.
            return Sent(Fate.LATER, f"{type(error).__name__} {error.code}")
        except aiosmtplib.SMTPDataError as error:
            return _judged(error.code, "message refused")
        except aiosmtplib.SMTPNotSupported:
            return Sent(Fate.NEVER, "the server does not take this address")
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            return Sent(Fate.LATER, type(error).__name__)
        return Sent(Fate.SENT)

    async def _hand_over(self, message: EmailMessage) -> None:
        smtp = self._smtp
        secured = smtp.tls is not SmtpTls.NONE
        context = ssl.create_default_context(cafile=smtp.ca) if secured else None
        client = aiosmtplib.SMTP(
            hostname=self._host,
            port=self._port,
            username=self._user,
            password=self._password,
            use_tls=smtp.tls is SmtpTls.TLS,
            start_tls=smtp.tls is SmtpTls.STARTTLS,
            tls_context=context,
            timeout=TIMEOUT_S,
        )
        async with client:
            await client.send_message(message)


def message_for(letter: Letter, sender: str, now: datetime) -> EmailMessage:
    """The mail. Raises ValueError for an address that no header can hold."""
    name, address = parseaddr(sender)
    message = EmailMessage(policy=_POLICY)
    message["From"] = Address(name, addr_spec=address)
    message["To"] = Address(addr_spec=letter.to)
    message["Subject"] = letter.subject
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<{letter.letter_id}@{address.partition('@')[2]}>"
    # A machine wrote it: no vacation notice shall answer (RFC 3834, 5).
    message["Auto-Submitted"] = "auto-generated"
    link = f"<{letter.unsubscribe}>"
    if letter.unsubscribe is not None and len("List-Unsubscribe: " + link) <= LONGEST_LINE:
        message["List-Unsubscribe"] = link
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content(letter.text)
    return message


def _judged(code: int, what: str) -> Sent:
    return Sent(Fate.NEVER if 500 <= code <= 599 else Fate.LATER, f"{what} {code}")
