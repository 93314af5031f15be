"""The demo's front: its pages and what they ask, before the real application.

No key but the public write key reaches a page: this front is the shop's own back end, and
whoever can reach it sees everything. So it answers to loopback names only (a page on another
host that resolves to this machine has another Host), and takes no orders from other origins.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from consentry.core.record import Node, NodeKind
from consentry.demo import views
from consentry.demo.backend import BackEnd
from consentry.demo.overheard import Overheard
from consentry.demo.stand_ins import StandIns
from consentry.web.app import create_app
from consentry.web.arriving import read_body
from consentry.web.call import Answer
from consentry.web.problems import Problem, json_response
from consentry.web.site import Site

LONGEST_BODY = 4096
LONGEST_ID = 200
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'; object-src 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
FILES = {
    "/": ("shop.html", "text/html"),
    "/live": ("live.html", "text/html"),
    "/demo/assets/style.css": ("style.css", "text/css"),
    "/demo/assets/common.js": ("common.js", "text/javascript"),
    "/demo/assets/shop.js": ("shop.js", "text/javascript"),
    "/demo/assets/counter.js": ("counter.js", "text/javascript"),
    "/demo/assets/ads.js": ("ads.js", "text/javascript"),
    "/demo/assets/timeline.js": ("timeline.js", "text/javascript"),
    "/demo/assets/live.js": ("live.js", "text/javascript"),
    "/demo/assets/icon.svg": ("icon.svg", "image/svg+xml"),
}


@dataclass
class Demo:
    """What the demo's handlers are given."""

    site: Site
    stand_ins: StandIns
    overheard: Overheard
    back_end: BackEnd
    closing: asyncio.Event
    run: str = field(default_factory=lambda: secrets.token_hex(8))

    async def is_back(self, name: str) -> None:
        """A system answers again, and events that were given up for now are tried. Its orders
        are left to themselves: that they catch up is what is shown."""
        await self.stand_ins.start(name)
        self.site.world.feed.tell(self.stand_ins.shown(name))
        crew, store = self.site.crew, self.site.world.store
        if (worker := crew.workers.get(name)) is not None:
            await worker.resume()
            await crew.requeue(list(store.deliveries(name, "waiting")))


Handler = Callable[[Demo, Request], Awaitable[Answer]]


def create_front(demo: Demo, *, port: int, stop: Callable[[], Awaitable[None]]) -> ASGIApp:
    """The demo's application. ``stop`` is awaited at the end."""
    inner = create_app(demo.site, stop)
    hosts = frozenset({f"localhost:{port}", f"127.0.0.1:{port}"})

    async def front(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await inner(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            _check_place(request, hosts)
            response = await _answer(demo, request)
        except Problem as problem:
            response = problem.as_response()
        if response is None:
            await inner(scope, receive, send)
        else:
            await response(scope, receive, send)

    return front


def _check_place(request: Request, hosts: frozenset[str]) -> None:
    """Raises Problem 403 for another host, and for an order from another site's page."""
    if request.headers.get("host", "") not in hosts:
        raise Problem(403, "forbidden", "the demo answers on this machine's own names only")
    if not request.url.path.startswith("/demo/"):
        return
    origin = request.headers.get("origin")
    foreign = origin is not None and origin.removeprefix("http://") not in hosts
    if foreign or request.headers.get("sec-fetch-site", "same-origin") == "cross-site":
        raise Problem(403, "forbidden", "the demo answers its own pages only")


async def _answer(demo: Demo, request: Request) -> Answer | None:
    path = request.url.path
    if path in FILES and request.method in ("GET", "HEAD"):
        return _file(*FILES[path])
    if not path.startswith("/demo/"):
        return None
    handler = HANDLERS.get((request.method, path))
    if handler is None:
        raise Problem(404, "not_found", "there is nothing at this path")
    return await handler(demo, request)


def _file(name: str, media_type: str) -> Answer:
    content = resources.files("consentry.demo").joinpath("pages", name).read_bytes()
    return Response(content, media_type=media_type, headers=PAGE_HEADERS)


async def get_setting(demo: Demo, request: Request) -> Answer:
    """GET /demo/setting: what a page must know of the workspace. All of it is public."""
    config, policy = demo.site.config, demo.site.world.policy
    public = next(source for source in config.sources if not source.trusted)
    return json_response(
        {
            "writeKey": public.write_keys[0],
            "categories": [{"id": c.id, "name": c.name} for c in policy.categories],
            "topics": [{"id": t.id, "name": t.name} for t in policy.topics],
            "destinations": [views.system(one, policy) for one in config.destinations],
            "run": demo.run,
        }
    )


async def post_sign_in(demo: Demo, request: Request) -> Answer:
    """POST /demo/sign-in: the shop's back end knows who that is, and says so to the server.

    A real one checks a password first.
    """
    body = await _body(request, SignIn)
    await demo.back_end.knows(body.user_id, body.anonymous_id, body.name)
    return json_response({"token": demo.back_end.token(body.user_id)})


async def post_token(demo: Demo, request: Request) -> Answer:
    """POST /demo/token: the shop's back end says, signed, who is signed in.

    Without it a page could not grant for an account.
    """
    return json_response({"token": demo.back_end.token((await _body(request, Who)).user_id)})


async def post_system(demo: Demo, request: Request) -> Answer:
    """POST /demo/system: one of them is down for a minute, or answers again."""
    body = await _body(request, System)
    if body.name not in demo.stand_ins.vendors:
        raise Problem(404, "unknown_destination", "there is no such system", "name")
    if body.down:
        await demo.stand_ins.stop(body.name, demo.is_back)
        demo.site.world.feed.tell(demo.stand_ins.shown(body.name))
    else:
        await demo.is_back(body.name)
    return json_response(demo.stand_ins.shown(body.name))


async def get_received(demo: Demo, request: Request) -> Answer:
    """GET /demo/received: which events each stand-in was sent, newest first."""
    stand_ins = demo.stand_ins
    return json_response({name: await stand_ins.received(name) for name in stand_ins.vendors})


async def get_subject(demo: Demo, request: Request) -> Answer:
    """GET /demo/subject?anonymousId=: one subject's preferences, history and the ledger's size."""
    anonymous_id = request.query_params.get("anonymousId", "")
    if not 1 <= len(anonymous_id) <= LONGEST_ID:
        raise Problem(400, "missing_id", "name the subject by anonymousId", "anonymousId")
    return json_response(views.subject(demo.site.world, Node(NodeKind.DEVICE, anonymous_id)))


async def get_feed(demo: Demo, request: Request) -> Answer:
    """GET /demo/feed: what happened lately, then what happens, one JSON document a line."""
    systems = [demo.stand_ins.shown(name) for name in demo.stand_ins.vendors]
    return StreamingResponse(
        views.feed_lines(demo.site, demo.overheard, systems, demo.closing),
        media_type="application/x-ndjson",
        headers={"Cache-Control": "no-store"},
    )


HANDLERS: dict[tuple[str, str], Handler] = {
    ("GET", "/demo/setting"): get_setting,
    ("GET", "/demo/feed"): get_feed,
    ("GET", "/demo/received"): get_received,
    ("GET", "/demo/subject"): get_subject,
    ("POST", "/demo/sign-in"): post_sign_in,
    ("POST", "/demo/token"): post_token,
    ("POST", "/demo/system"): post_system,
}


class Who(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """An account."""

    user_id: str


class SignIn(Who, forbid_unknown_fields=True, rename="camel"):
    """Who signs in, and in which browser."""

    anonymous_id: str
    name: str = ""


class System(msgspec.Struct, forbid_unknown_fields=True):
    """How one of the systems shall behave."""

    name: str
    down: bool


async def _body(request: Request, type_: type[Any]) -> Any:
    """A small JSON body. Raises Problem 400; 415 for what a foreign form could send."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise Problem(415, "unsupported_type", "send application/json")
    try:
        return msgspec.json.decode(await read_body(request, LONGEST_BODY), type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Problem(400, "invalid_body", f"the body is no {type_.__name__}") from None
