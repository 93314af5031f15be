"""The destinations of the demo, as the demo asks them: what they hold, and how they behave."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import aiohttp

SHOWN = 100  # requests of each that a page gets
STOPPED_FOR_S = 60.0
DOWN = "reset"  # it hangs up on whoever calls
FAILING = "5xx"


class StandIns:
    """The stand-in's control plane, over HTTP.

    ``vendors`` maps each destination's name to its kind. Each is another kind, so that each has
    modes of its own. ``stopped_for_s`` is for how many seconds one is down that is stopped.
    """

    def __init__(
        self, url: str, vendors: Mapping[str, str], *, stopped_for_s: float = STOPPED_FOR_S
    ) -> None:
        self._url = url
        self._stopped_for_s = stopped_for_s
        self.vendors = dict(vendors)
        self.until: dict[str, datetime] = {}
        self._waking: dict[str, asyncio.Task[None]] = {}
        self._last: dict[str, int] = defaultdict(int)

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        for waking in self._waking.values():
            waking.cancel()
        await asyncio.gather(*self._waking.values(), return_exceptions=True)
        await self._http.close()

    async def behave(self, destination: str, mode: str) -> None:
        """From the next request on; ``ok``, or a mode of the stand-in."""
        path = f"{self._url}/_ctl/{self.vendors[destination]}"
        async with self._http.post(path, json={"mode": mode}) as answer:
            answer.raise_for_status()

    async def stop(self, destination: str, then: Callable[[str], Awaitable[None]]) -> None:
        """It is down from the next request on, for a while; ``then`` is awaited with its name."""
        await self.behave(destination, DOWN)
        self._forget(destination)
        self.until[destination] = datetime.now(UTC) + timedelta(seconds=self._stopped_for_s)
        self._waking[destination] = asyncio.create_task(self._wake(destination, then))

    async def start(self, destination: str) -> None:
        """It answers again."""
        self._forget(destination)
        await self.behave(destination, "ok")

    async def _wake(self, destination: str, then: Callable[[str], Awaitable[None]]) -> None:
        await asyncio.sleep(self._stopped_for_s)
        del self._waking[destination]  # what follows must not cancel this very task
        await then(destination)

    def _forget(self, destination: str) -> None:
        self.until.pop(destination, None)
        if (waking := self._waking.pop(destination, None)) is not None:
            waking.cancel()

    def shown(self, destination: str) -> dict[str, Any]:
        """A line of the feed that says whether it is stopped, and until when."""
        until = self.until.get(destination)
        return {
            "kind": "system",
            "destination": destination,
            "until": None if until is None else until.isoformat(timespec="milliseconds"),
        }

    async def kept(self, destination: str) -> set[str]:
        """Message ids of the events that a destination took over."""
        state = await self._get(f"/_ctl/{self.vendors[destination]}/state")
        persons = state["persons"].values()
        # Meta keeps an event under its name and its id.
        held = (event["messageId"] for person in persons for event in person["events"])
        return {name.rpartition(" ")[2] for name in held}

    async def requests(self, destination: str, after: int = 0) -> list[dict[str, Any]]:
        """Every request that a destination was sent since number ``after``, in their order."""
        found: list[dict[str, Any]] = []
        while True:
            page = await self._get(f"/_ctl/{self.vendors[destination]}/journal?after={after}")
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
        events = [
            {"messageId": message_id, "at": entry["started_at"], "status": entry["status"]}
            for entry in entries
            for message_id in entry["ids"]["messageIds"]
        ]
        return events[: -SHOWN - 1 : -1]

    async def _get(self, path: str) -> Any:
        async with self._http.get(self._url + path) as answer:
            answer.raise_for_status()
            return await answer.json()
