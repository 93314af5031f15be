"""``consentry stand-in``: one local server in the place of the vendors.

Nothing here goes out to the internet. Each vendor has a file that follows its documented
contract; this file is the wire: it finds the vendor, takes the mode, keeps the journal, and
makes the faults real. ``reset`` is a TCP reset, ``truncate`` promises more bytes than it sends
and hangs up, ``slow`` holds the connection, ``garbage`` is no JSON.

It has no authentication and tells what it received to whoever asks: bind it to loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

import msgspec
from aiohttp import ClientError, http_exceptions, web

from consentry.standin.amplitude import Amplitude
from consentry.standin.braze import Braze
from consentry.standin.control import Journal, Mode, Moment, Plan, Refusal, Switch, plan_from
from consentry.standin.customerio import CustomerIO
from consentry.standin.datamanager import DataManager
from consentry.standin.ga4 import GA4
from consentry.standin.google import Google
from consentry.standin.hubspot import HubSpot
from consentry.standin.klaviyo import Klaviyo
from consentry.standin.mailchimp import Mailchimp
from consentry.standin.meta import Meta
from consentry.standin.mixpanel import Mixpanel
from consentry.standin.posthog import PostHog
from consentry.standin.rudderstack import RudderStack
from consentry.standin.segment import Segment
from consentry.standin.sendgrid import SendGrid
from consentry.standin.tiktok import TikTok
from consentry.standin.twilio import Twilio
from consentry.standin.vendor import UNREADABLE, Call, Reply, Vendor
from consentry.standin.webhook import Webhook

MAX_BODY_BYTES: Final = 8 * 1024 * 1024
GARBAGE: Final = b'\x00\xff<html>{"not": json\xfe'
SHUTDOWN_S: Final = 1.0
_LOOK_S: Final = 0.05  # how often a waiting answer looks whether its client is still there
_REFUSING: Final = {Mode.UNAUTHORIZED: 401, Mode.RATE_LIMITED: 429, Mode.SERVER_ERROR: 500}
_GONE: Final = (
    ConnectionError,
    ClientError,
    web.RequestPayloadError,
    http_exceptions.HttpProcessingError,
)


class StandIn:
    """The vendors with their modes and journals, and the two request handlers."""

    def __init__(self, webhook_secrets: tuple[str, ...] = ()) -> None:
        self._webhook_secrets = webhook_secrets
        self._closing = asyncio.Event()
        self.reset()

    def reset(self) -> None:
        """Forget everything: modes, journals and persons."""
        vendors: tuple[Vendor, ...] = (
            Webhook(self._webhook_secrets),
            Segment(),
            RudderStack(),
            GA4(),
            Amplitude(),
            Mixpanel(),
            Meta(),
            TikTok(),
            Klaviyo(),
            Braze(),
            Google(),
            DataManager(),
            PostHog(),
            Twilio(),
            HubSpot(),
            Mailchimp(),
            SendGrid(),
            CustomerIO(),
        )
        self._vendors = {vendor.name: vendor for vendor in vendors}
        self._switches = {name: Switch() for name in self._vendors}
        self._journals = {name: Journal() for name in self._vendors}

    async def close(self, _: web.Application) -> None:
        """Let waiting answers go, so that the server can stop."""
        self._closing.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Every request comes here; the first segment of its path says where it goes."""
        started = Moment.now()
        first, slash, rest = request.path.lstrip("/").partition("/")
        if first == "_ctl":
            return await self._control(request, rest.strip("/"))
        if first not in self._vendors:
            known = ", ".join(self._vendors)
            return _json(404, {"code": "unknown_vendor", "message": f"There is: {known}, _ctl."})
        return await self._vendor(request, started, first, slash + rest)

    # The control plane

    async def _control(self, request: web.Request, what: str) -> web.Response:
        try:
            return _json(200, await self._controlled(request, what))
        except Refusal as refusal:
            return _json(refusal.status, refusal.body)

    async def _controlled(self, request: web.Request, what: str) -> dict[str, Any]:
        name, _, part = what.partition("/")
        if name and name != "reset" and name not in self._vendors:
            raise Refusal(404, "unknown_vendor", f"There is: {', '.join(self._vendors)}.")
        if part not in ("", "state", "journal") or (part and name == "reset"):
            raise Refusal(404, "not_found", "There is state and journal.")
        needed = "POST" if name and not part else "GET"
        if request.method != needed:
            raise Refusal(405, "method_not_allowed", f"Use {needed}.")
        if not name:
            return {"vendors": {each: self._shown(each) for each in self._vendors}}
        if name == "reset":
            self.reset()
            return {"reset": True}
        if part == "state":
            return self._vendors[name].persons.state(request.query.get("instance"))
        if part == "journal":
            after = _number(request, "after", default=0, least=0)
            limit = _number(request, "limit", default=10_000, least=1)
            return self._journals[name].page(after, min(limit, 10_000))
        self._switches[name].set(plan_from(await _control_body(request)))
        return {"vendor": name} | self._shown(name)

    def _shown(self, name: str) -> dict[str, Any]:
        return self._switches[name].shown() | {"notes": dict(self._vendors[name].notes)}

    # The vendors

    async def _vendor(
        self, request: web.Request, started: Moment, name: str, tail: str
    ) -> web.StreamResponse:
        vendor, journal = self._vendors[name], self._journals[name]
        plan = self._switches[name].take()
        instance, path = vendor.split(tail)
        read = (b"", False)
        try:
            read = await _read(request)
        finally:  # a request that is cancelled in the middle of its body is evidence too
            raw, oversize = read
            call = Call(
                method=request.method,
                instance=instance,
                path=path,
                query=dict(request.query),
                headers={key.lower(): value for key, value in request.headers.items()},
                raw=raw,
                body=_decoded(raw),
                oversize=oversize,
                mode=plan.mode,
                moment=started,
            )
            entry = journal.open(
                started=started,
                method=call.method,
                path=request.path,
                query=call.query,
                raw=raw,
                ids=vendor.ids(call),
                mode=plan.mode,
            )
            entry.ended = Moment.now() if _gone(request) else None
        response: web.StreamResponse = web.Response()
        try:
            if not _gone(request):
                response = await self._respond(request, vendor, call, plan)
                entry.status = response.status if response.prepared else None
        except ConnectionError:
            response = web.Response()  # nobody is there to read it
        finally:
            entry.ended = Moment.now()
        return response

    async def _respond(
        self, request: web.Request, vendor: Vendor, call: Call, plan: Plan
    ) -> web.StreamResponse:
        """Make the vendor's reply, wait if the mode says so, and put it on the wire."""
        reply = _reply(vendor, call, plan)
        if not await self._waited(request, plan.wait_s()) or reply is None:
            return _abort(request)
        headers = dict(reply.headers)
        if reply.content_type:
            headers["Content-Type"] = reply.content_type
        if plan.mode is Mode.TRUNCATE:
            return await _truncated(request, reply, headers)
        response = web.Response(status=reply.status, body=reply.body or None, headers=headers)
        await response.prepare(request)
        await response.write_eof()
        return response

    async def _waited(self, request: web.Request, seconds: float) -> bool:
        """Wait; False when the client has gone or the server is closing."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while (left := until - loop.time()) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), min(left, _LOOK_S))
            if self._closing.is_set() or _gone(request):
                return False
        return True


def _reply(vendor: Vendor, call: Call, plan: Plan) -> Reply | None:
    """What is to be answered; None is no answer at all."""
    if plan.mode is Mode.RESET:
        return None
    if plan.mode is Mode.GARBAGE:
        return Reply(200, GARBAGE)
    if status := _REFUSING.get(plan.mode):
        reply = vendor.refuse(call, status)
        if plan.retry_after is not None:
            retry = {"Retry-After": str(plan.retry_after)}
            reply = Reply(reply.status, reply.body, reply.content_type, {**reply.headers, **retry})
        return reply
    return vendor.answer(call)


async def _truncated(
    request: web.Request, reply: Reply, headers: dict[str, str]
) -> web.StreamResponse:
    """Promise more bytes than are sent, then hang up. A 204 cannot be cut, so it becomes 200."""
    body = reply.body or b"ok"
    status = 200 if reply.status == 204 else reply.status
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = len(body) + 64
    await response.prepare(request)
    await response.write(body[: max(1, len(body) // 2)])
    response.force_close()
    if request.transport is not None:
        request.transport.close()  # what was written goes out first, then FIN
    return response


def _abort(request: web.Request) -> web.Response:
    """Close with RST: with a linger time of nought the kernel does not say goodbye."""
    if request.transport is not None:
        sock = request.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response()


def _gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


async def _read(request: web.Request) -> tuple[bytes, bool]:
    """The body and whether it was too large to keep. An unfinished or unreadable one is empty."""
    try:
        return await request.read(), False
    except web.HTTPRequestEntityTooLarge:
        return b"", True
    except _GONE:
        return b"", False


def _decoded(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return UNREADABLE


async def _control_body(request: web.Request) -> object:
    raw, oversize = await _read(request)
    body = _decoded(raw)
    if oversize or body is UNREADABLE:
        raise Refusal(400, "invalid_body", "The body must be a JSON object.")
    return body


def _number(request: web.Request, name: str, *, default: int, least: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 18) or int(text) < least:
        raise Refusal(400, "invalid_parameter", f"{name} must be a whole number.", name)
    return int(text)


def _json(status: int, body: object) -> web.Response:
    return web.Response(
        status=status, body=msgspec.json.encode(body), content_type="application/json"
    )


def build_app(*, webhook_secrets: tuple[str, ...] = ()) -> web.Application:
    """The stand-in as an application.

    ``webhook_secrets`` are ``whsec_...`` or ``whpk_...`` strings, any of which may have signed;
    without them the webhook vendor checks the shape of its headers only. Raises ValueError for
    a secret that is neither.
    """
    stand_in = StandIn(webhook_secrets)
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.router.add_route("*", "/{tail:.*}", stand_in.handle)
    app.on_shutdown.append(stand_in.close)
    return app


async def serve(
    host: str,
    port: int,
    ready: Callable[[int], None] | None = None,
    *,
    webhook_secrets: tuple[str, ...] = (),
) -> None:
    """Listen on ``host:port`` until cancelled; ``ready`` is told the port (0 chooses one).

    Raises OSError if the address cannot be had. There is no access log: a query may hold a
    secret.
    """
    app = build_app(webhook_secrets=webhook_secrets)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        if ready is not None:
            ready(int(runner.addresses[0][1]))
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
