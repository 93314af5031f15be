"""The three destinations, as the demo asks them: what they hold, and how they behave."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Self

import aiohttp

# Each destination of the demo is another kind, so that each has modes of its own.
VENDORS = {"analytics": "rudderstack", "email": "segment", "ads": "webhook"}
SHOWN = 100  # requests of each that a page gets


class StandIns:
    """The stand-in's control plane, over HTTP."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._last: dict[str, int] = defaultdict(int)
        self.ads_failing = False

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def let_ads_fail(self, failing: bool) -> None:
        """From the next request on, ads answers 500; or as it should again."""
        mode = {"mode": "5xx" if failing else "ok"}
        async with self._http.post(f"{self._url}/_ctl/{VENDORS['ads']}", json=mode) as answer:
            answer.raise_for_status()
        self.ads_failing = failing

    async def kept(self, destination: str) -> set[str]:
        """Message ids of the events that a destination took over."""
        state = await self._get(f"/_ctl/{VENDORS[destination]}/state")
        persons = state["persons"].values()
        return {event["messageId"] for person in persons for event in person["events"]}

    async def requests(self, destination: str, after: int = 0) -> list[dict[str, Any]]:
        """Every request that a destination was sent since number ``after``, in their order."""
        found: list[dict[str, Any]] = []
        while True:
            page = await self._get(f"/_ctl/{VENDORS[destination]}/journal?after={after}")
            found += page["entries"]
            if page["next"] is None:
                return found
            after = page["next"]

    async def received(self, destination: str) -> list[dict[str, Any]]:
        """The latest events that a destination was sent, newest first, for a page."""
        last = self._last[destination]
        entries = await self.requests(destination, max(0, last - SHOWN))
        if entries:
            self._last[destination] = entries[-1]["n"]
        events = [event for entry in entries for event in _events(entry)]
        return events[: -SHOWN - 1 : -1]

    async def _get(self, path: str) -> Any:
        async with self._http.get(self._url + path) as answer:
            answer.raise_for_status()
            return await answer.json()


def _events(entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The events in one request, in the few words that a page shows."""
    body = entry["body"] if isinstance(entry["body"], dict) else {}
    sent = body["batch"] if "batch" in body else [body.get("data", {})]
    for event in sent:
        consent = event.get("context", {}).get("consent", {}).get("categoryPreferences", {})
        yield {
            "at": entry["started_at"],
            "status": entry["status"],
            "messageId": event.get("messageId"),
            "type": event.get("type"),
            "event": event.get("event") or event.get("name"),
            "userId": event.get("userId"),
            "consent": consent,
        }
