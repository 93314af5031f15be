"""Requests that keep each vendor's contract, and a client that sends them."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import ClientResponse, ClientSession

BASIC = "Basic " + base64.b64encode(b"wk_1:").decode()
EVENT: dict[str, Any] = {
    "type": "track",
    "event": "Order Completed",
    "messageId": "m-1",
    "userId": "alice",
    "anonymousId": "anon-1",
    "timestamp": "2026-11-01T00:00:00Z",
}
HIT: dict[str, Any] = {
    "client_id": "anon-1",
    "user_id": "alice",
    "consent": {"ad_user_data": "DENIED", "ad_personalization": "DENIED"},
    "events": [{"name": "order_completed", "params": {"value": 3, "message_id": "m-1"}}],
}


@dataclass(frozen=True)
class Sent:
    """One request, ready to be sent and to be varied."""

    path: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"
    raw: bytes | None = None

    def but(self, **changes: Any) -> Sent:
        """The same request with something changed."""
        return replace(self, **changes)

    def bytes(self) -> bytes:
        """The body as it goes out."""
        if self.raw is not None:
            return self.raw
        return b"" if self.body is None else json.dumps(self.body).encode()


def envelope(kind: str = "event.forwarded", data: Any = None, **others: Any) -> dict[str, Any]:
    """A Standard Webhooks body."""
    held = EVENT if data is None else data
    return {"type": kind, "timestamp": "2026-11-01T00:00:00Z", "data": held} | others


def webhook(body: Any = None, *, webhook_id: str = "msg-1", path: str = "/webhook") -> Sent:
    """A webhook with headers of the right shape and a signature by nobody."""
    headers = {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(time.time())),
        "webhook-signature": "v1," + base64.b64encode(b"x" * 32).decode(),
    }
    return Sent(path, envelope() if body is None else body, headers)


WEBHOOK = webhook()
SEGMENT = Sent("/segment/v1/batch", {"batch": [EVENT]}, {"Authorization": BASIC})
RUDDERSTACK = Sent("/rudderstack/v1/batch", {"batch": [EVENT]}, {"Authorization": BASIC})
GA4 = Sent("/ga4/mp/collect?measurement_id=G-1&api_secret=s3cret", HIT)
REGULATION = Sent(
    "/segment/regulations",
    {"regulationType": "SUPPRESS_ONLY", "subjectType": "USER_ID", "subjectIds": ["alice"]},
    {"Authorization": "Bearer t", "Accept": "application/vnd.segment.v1+json"},
)
VALID = {"webhook": WEBHOOK, "segment": SEGMENT, "rudderstack": RUDDERSTACK, "ga4": GA4}


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.raw)


@dataclass(frozen=True)
class Wire:
    """A real HTTP client of a running stand-in."""

    session: ClientSession
    host: str
    port: int

    async def open(self, sent: Sent) -> ClientResponse:
        """Send and return when the headers of the answer are there."""
        url = f"http://{self.host}:{self.port}{sent.path}"
        return await self.session.request(
            sent.method, url, data=sent.bytes(), headers=dict(sent.headers)
        )

    async def send(self, sent: Sent) -> Answer:
        """Send and read the whole answer."""
        response = await self.open(sent)
        return Answer(response.status, response.headers, await response.read())

    async def mode(self, vendor: str, mode: str, **others: Any) -> Answer:
        """Set a vendor's mode."""
        return await self.send(Sent(f"/_ctl/{vendor}", {"mode": mode} | others))

    async def get(self, path: str) -> Any:
        """Read something of the control plane."""
        answer = await self.send(Sent(path, method="GET"))
        assert answer.status == 200, answer.raw
        return answer.json()

    async def persons(self, vendor: str) -> dict[str, Any]:
        """The persons that a vendor knows."""
        state = await self.get(f"/_ctl/{vendor}/state")
        persons: dict[str, Any] = state["persons"]
        return persons

    async def journal(self, vendor: str) -> list[dict[str, Any]]:
        """The first page of a vendor's journal."""
        page = await self.get(f"/_ctl/{vendor}/journal?after=0")
        entries: list[dict[str, Any]] = page["entries"]
        return entries
