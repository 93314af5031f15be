"""Text messages, through an HTTPS endpoint of the operator's that knows an SMS provider.

The endpoint is POSTed ``{"type": "sms.send", "timestamp", "data": {"id", "to", "text"}}``, signed
as Standard Webhooks says. 2xx means taken, 400, 404, 410 and 422 mean never, all else later.
``data.id`` and ``webhook-id`` are the same on every try. It goes through the guarded client, as
everything does that leaves by HTTP.
"""

from __future__ import annotations

from datetime import UTC, datetime

from consentry.config.values import Sms
from consentry.destinations.http import TransportError, json_body
from consentry.destinations.message import Request
from consentry.destinations.transport import OutboundClient
from consentry.destinations.webhook import signed_headers
from consentry.mail import Fate, Letter, Sent

_FINAL = frozenset({400, 404, 410, 422})


class SmsSender:
    """Hands text messages to ``[sms].url``."""

    def __init__(self, sms: Sms, client: OutboundClient) -> None:
        self._sms = sms
        self._client = client

    async def send(self, letter: Letter) -> Sent:
        """One try."""
        now = datetime.now(UTC)
        said = {
            "type": "sms.send",
            "timestamp": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "data": {"id": letter.letter_id, "to": letter.to, "text": letter.text},
        }
        body = json_body(said)
        headers = signed_headers(letter.letter_id, body, self._sms.secrets, now)
        request = Request("POST", self._sms.url, headers, body)
        try:
            answer = await self._client.send(request)
        except TransportError as error:
            return Sent(Fate.LATER, error.kind.value)
        if 200 <= answer.status < 300:
            return Sent(Fate.SENT)
        fate = Fate.NEVER if answer.status in _FINAL else Fate.LATER
        return Sent(fate, f"HTTP {answer.status}")
