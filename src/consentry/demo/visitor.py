"""The scripted visitor of ``consentry demo --once``: no browser, but real HTTP all the way."""

from __future__ import annotations

import asyncio
import base64
import sys
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from consentry.demo.backend import address_of
from consentry.demo.comparison import Judged, Outcome, Row, disagreements
from consentry.demo.stage import WRITE_KEY, PortTaken, Stage, listen, stage
from consentry.demo.stand_ins import FAILING, StandIns
from consentry.demo.table import Act, Told, print_story, print_told
from consentry.flow.deliver import UNSUPPORTED

PATIENCE_S = 15.0
LOOK_EVERY_S = 0.03
DEVICE = "device-of-the-visitor"
PRIVATE_DEVICE = "device-with-gpc"
ACCOUNT = "customer-ada"
EVERYTHING = "Withdraws everything"

NOTICE = (
    "We would like to use what you do in this shop for three things: Analytics, to see which "
    "pages work; E-mail marketing, to choose what we write to you; Advertising, to measure and "
    "show ads. Each is your choice, the shop works without them, and you can change your mind "
    "at any time under Privacy choices."
)


class Refused(Exception):
    """The server refused what a visitor may do. The message says what it answered."""


@dataclass
class Sent:
    """One event that the visitor caused, and what was said about it before it was sent."""

    title: str
    body: dict[str, Any]
    asked: dict[str, Judged]
    again: dict[str, Judged] = field(default_factory=dict)

    @property
    def message_id(self) -> str:
        message_id: str = self.body["messageId"]
        return message_id


async def play(port: int) -> int:
    """Play the story, print the table; 0 if what arrived equals what was allowed, else 1.

    Takes a free port where ``port`` is taken. Raises PortTaken if there is none. A visit that
    cannot be finished is a 1 too, and said on standard error.
    """
    try:
        listener = listen(port)
    except PortTaken:
        listener = listen(0)
    async with (
        stage(listener) as running,
        StandIns(running.stand_in, running.vendors) as stand_ins,
        aiohttp.ClientSession() as http,
    ):
        visitor = Visitor(running, stand_ins, http)
        try:
            await story(visitor)
            outcome = await visitor.outcome()
            told = await visitor.told_of(EVERYTHING)
        except (aiohttp.ClientError, Refused, TimeoutError) as fault:
            doing = visitor.acts[-1].title if visitor.acts else "the start"
            print(f"consentry: the visit ended after {doing!r}: {fault!r}", file=sys.stderr)
            return 1
    found = disagreements(outcome)
    print_story(visitor.acts, outcome, found)
    print_told(EVERYTHING, told)
    return 1 if found else 0


async def story(visitor: Visitor) -> None:
    """One visit, told in order."""
    await visitor.does("Arrives; nobody has asked yet", _page("Shop"))
    await visitor.chooses("Allows analytics only", {"analytics"}, "save")
    await visitor.does("Looks at mugs", _page("Mugs"))
    await visitor.does("Looks at a mug", _track("Product Viewed", product="Blue mug"))
    await visitor.signs_in("Signs in; the back end says so", plan="free")
    await visitor.chooses("Accepts all", {"analytics", "email", "advertising"}, "accept_all")
    await visitor.does("Orders", _track("Order Completed", total=18))
    await visitor.does_at_the_back_end("The shop ships it", "Order Shipped")
    await visitor.does(
        "Writes to support", _track("Ticket Opened", integrations={"ads": False, "email": False})
    )
    await visitor.lets_ads_fail("Ads fails with 500", True)
    await visitor.does("Adds a teapot", _track("Product Added", product="Teapot"), wait=False)
    await visitor.waits_for_ads_to_refuse()
    await visitor.withdraws("Withdraws advertising", ["advertising"])
    await visitor.lets_ads_fail("Ads recovers", False)
    await visitor.settled()
    await visitor.does("Orders again", _track("Order Completed", total=32))
    await visitor.withdraws(EVERYTHING, None)
    await visitor.does("Looks at plates", _page("Plates"))
    await visitor.chooses("Asks for the newsletter, in a form", {"email"}, "api", only={"email"})
    await visitor.does("Joins the newsletter", _track("Newsletter Joined"))
    await visitor.chooses("Refuses all", set(), "reject_all")
    await visitor.does("Signs out", _track("Signed Out"))
    visitor.becomes(PRIVATE_DEVICE, {"Sec-GPC": "1"})
    await visitor.does("Somebody whose browser says no (GPC)", _page("Shop"))


def _page(name: str) -> dict[str, Any]:
    return {"type": "page", "name": name}


def _track(
    event: str, integrations: dict[str, Any] | None = None, **properties: Any
) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "track", "event": event, "properties": properties}
    return made if integrations is None else {**made, "integrations": integrations}


def _named(message: dict[str, Any]) -> dict[str, Any]:
    """With a message id, which stands among the properties too: GA4 keeps it nowhere else."""
    message_id = str(uuid.uuid4())
    if message["type"] == "identify":
        return {**message, "messageId": message_id}
    properties = {**message.get("properties", {}), "event_id": message_id}
    return {**message, "properties": properties, "messageId": message_id}


class Visitor:
    """Somebody in the shop. Every step waits until what it caused is settled."""

    def __init__(self, running: Stage, stand_ins: StandIns, http: aiohttp.ClientSession) -> None:
        self.acts: list[Act] = []
        self._base = running.base.replace("localhost", "127.0.0.1")
        self._keys = running.keys
        self._stand_ins = stand_ins
        self._http = http
        self._sent: list[Sent] = []
        self._subject = {"anonymousId": DEVICE}
        self._headers: dict[str, str] = {}
        self._stamp: dict[str, bool] = {}
        self._records: dict[str, str] = {}

    # -- what a visitor does ------------------------------------------------------------------
    def becomes(self, device: str, headers: dict[str, str]) -> None:
        """Another person, in another browser."""
        self._subject, self._headers, self._stamp = {"anonymousId": device}, headers, {}

    async def does(self, title: str, message: dict[str, Any], *, wait: bool = True) -> None:
        """One event from the page, stamped with the choice as the page knows it."""
        body = {**_named(message), **self._subject}
        if self._stamp:
            body["context"] = {"consent": {"categoryPreferences": dict(self._stamp)}}
        await self._track(title, body, WRITE_KEY, self._headers)
        if self._headers:  # they brought a signal that the event itself does not show
            self._sent[-1].again = await self._ask(body)
        if wait:
            await self.settled()

    async def does_at_the_back_end(self, title: str, event: str) -> None:
        """One event from the shop's server. It bears no stamp: the records decide."""
        body = {**_named(_track(event)), "userId": ACCOUNT}
        await self._track(title, body, self._keys.backend, {})
        await self.settled()

    async def signs_in(self, title: str, **traits: Any) -> None:
        """The back end ties browser, account and address: a page's word would prove nothing."""
        self._subject = {**self._subject, "userId": ACCOUNT}
        traits["email"] = address_of(ACCOUNT)
        body = {**_named({"type": "identify"}), **self._subject, "traits": traits}
        await self._track(title, body, self._keys.backend, {})
        await self.settled()

    async def chooses(
        self, title: str, granted: set[str], action: str, only: set[str] | None = None
    ) -> None:
        """A choice through the consent API; ``only`` these categories, else all of them."""
        asked = {"analytics", "email", "advertising"} if only is None else only
        preferences = {category: category in granted for category in sorted(asked)}
        surface = "banner" if only is None else "form"
        evidence = {"action": action, "surface": surface, "language": "en", "page": "/"}
        notice = {"noticeId": "demo-shop", "noticeVersion": "1", "noticeText": NOTICE}
        body = {"preferences": preferences, "evidence": {**evidence, **notice}}
        await self._says(title, "/v1/consent", body)
        self._stamp |= preferences

    async def withdraws(self, title: str, categories: list[str] | None) -> None:
        """A withdrawal; of everything without ``categories``. What waits is asked about again."""
        body = {} if categories is None else {"categories": categories}
        waiting = [(sent, await self._waiting(sent)) for sent in self._sent]
        await self._says(title, "/v1/consent/withdraw", body)
        gone = categories or ["analytics", "email", "advertising"]
        self._stamp |= dict.fromkeys(gone, False)
        for sent, names in waiting:
            if names:
                now = await self._ask(sent.body)
                sent.again |= {name: now[name] for name in names}

    async def _waiting(self, sent: Sent) -> list[str]:
        states = await self._states(sent)
        return [one["destination"] for one in states if one["state"] == "waiting"]

    async def lets_ads_fail(self, title: str, failing: bool) -> None:
        if failing:
            await self._stand_ins.behave("ads", FAILING)
        else:
            await self._send("POST", "/demo/system", {"name": "ads", "down": False}, {})
        self.acts.append(Act(title))

    # -- what is awaited ------------------------------------------------------------------------
    async def settled(self) -> None:
        """Until nothing waits. Raises TimeoutError."""
        await _until(self._nothing_waits)

    async def _nothing_waits(self) -> bool:
        return not any([await self._waiting(sent) for sent in self._sent])

    async def waits_for_ads_to_refuse(self) -> None:
        """Until the last event was tried at ads, and refused, and what else it caused is done."""
        last = self._sent[-1]

        async def refused() -> bool:
            states = {one["destination"]: one for one in await self._states(last)}
            ads = states.pop("ads")
            return bool(ads["attempts"]) and all(o["state"] != "waiting" for o in states.values())

        await _until(refused)

    # -- what came of it --------------------------------------------------------------------------
    async def outcome(self) -> Outcome:
        """What was asked, what became of it, and what the destinations say they have."""
        await self.settled()
        kept = {name: await self._stand_ins.kept(name) for name in self._stand_ins.vendors}
        statuses: dict[tuple[str, str], list[int | None]] = {}
        for name in self._stand_ins.vendors:
            for request in await self._stand_ins.requests(name):
                for message_id in request["ids"]["messageIds"]:
                    statuses.setdefault((message_id, name), []).append(request["status"])
        rows = [
            Row(
                message_id=sent.message_id,
                destination=one["destination"],
                asked=sent.asked[one["destination"]],
                final=Judged.of(one["decision"]),
                state=one["state"],
                kept=sent.message_id in kept[one["destination"]],
                takes=all(made["grade"] != UNSUPPORTED for made in one["attempts"]),
                statuses=tuple(statuses.get((sent.message_id, one["destination"]), ())),
                again=sent.again.get(one["destination"]),
            )
            for sent in self._sent
            for one in await self._states(sent)
        ]
        return Outcome(tuple(rows), kept)

    async def told_of(self, title: str) -> list[Told]:
        """What every system made of one of the visitor's choices, once none is still to answer.

        Raises TimeoutError.
        """
        orders: list[dict[str, Any]] = []

        async def answered() -> bool:
            path = f"/v1/propagation/orders?subject=user_id:{ACCOUNT}"
            found = (await self._send("GET", path, None, self._admin))["orders"]
            orders[:] = [one for one in found if one["recordId"] == self._records[title]]
            return all(one["terminalAt"] is not None for one in orders)

        await _until(answered)
        said = [Told.of(order) for order in reversed(orders)]
        others = {one.destination for one in said if not one.is_gate}
        return [one for one in said if not one.is_gate or one.destination not in others]

    # -- requests -----------------------------------------------------------------------------------
    async def _track(
        self, title: str, body: dict[str, Any], key: str, headers: dict[str, str]
    ) -> None:
        sent = Sent(title, body, await self._ask(body))
        self._sent.append(sent)
        self.acts.append(Act(title, sent.message_id, body.get("event") or body.get("name")))
        path = f"/v1/{body['type']}"
        more = {**_basic(key), **headers}
        await self._send("POST", path, body, more)

    async def _ask(self, event: dict[str, Any]) -> dict[str, Judged]:
        """The decisions about an event now. Nothing is sent and nothing recorded."""
        items = [{"id": "it", "event": event}]
        answer = await self._send("POST", "/v1/decisions", {"items": items}, self._admin)
        decisions = answer["items"][0]["decisions"]
        return {decision["destination"]: Judged.of(decision) for decision in decisions}

    async def _states(self, sent: Sent) -> list[dict[str, Any]]:
        found = await self._send("GET", f"/v1/events/{sent.message_id}", None, self._admin)
        deliveries: list[dict[str, Any]] = found["deliveries"]
        return deliveries

    async def _says(self, title: str, path: str, body: dict[str, Any]) -> None:
        headers = {**_basic(WRITE_KEY), "Idempotency-Key": str(uuid.uuid4())}
        if "userId" in self._subject:
            signed_in = {"userId": self._subject["userId"]}
            token = (await self._send("POST", "/demo/token", signed_in, {}))["token"]
            headers["Consentry-Subject-Token"] = token
        answer = await self._send("POST", path, {"subject": self._subject, **body}, headers)
        self._records[title] = answer["recordId"]
        self.acts.append(Act(title))

    @property
    def _admin(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._keys.admin}"}

    async def _send(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Any:
        async with self._http.request(
            method, self._base + path, json=body, headers=headers
        ) as answer:
            if answer.status >= 400:
                raise Refused(f"{method} {path}: {answer.status} {await answer.text()}")
            return await answer.json()


def _basic(key: str) -> dict[str, str]:
    """A key as the user name of Basic authentication, as the SDKs send it."""
    return {"Authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}


async def _until(condition: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():  # noqa: ASYNC110 - asked over HTTP: no event tells
            await asyncio.sleep(LOOK_EVERY_S)
