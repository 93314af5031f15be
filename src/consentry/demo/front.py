"""The demo's front: its pages and what they ask, before the real application.

No key but the public write key reaches a page: this front is the shop's own back end, and
whoever can reach it sees everything. So it answers to loopback names only (a page on another
host that resolves to this machine has another Host), and takes no orders from other origins.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.jwk import OctKey
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from consentry.core.record import Node, NodeKind
from consentry.demo import views
from consentry.demo.stand_ins import VENDORS, StandIns
from consentry.web.app import create_app
from consentry.web.call import Answer
from consentry.web.problems import Problem, json_response
from consentry.web.site import Site, read_body

LONGEST_BODY = 4096
LONGEST_ID = 200
TOKEN_LIFE_S = 600
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
    "/demo/assets/live.js": ("live.js", "text/javascript"),
    "/demo/assets/icon.svg": ("icon.svg", "image/svg+xml"),
}


@dataclass
class Demo:
    """What the demo's handlers are given."""

    site: Site
    stand_ins: StandIns
    token_secret: str
    closing: asyncio.Event
    run: str = field(default_factory=lambda: secrets.token_hex(8))


Handler = Callable[[Demo, Request], Awaitable[Answer]]


def create_front(
    site: Site,
    stand_ins: StandIns,
    *,
    token_secret: str,
    port: int,
    closing: asyncio.Event,
    stop: Callable[[], Awaitable[None]],
) -> ASGIApp:
    """The demo's application. ``closing`` ends open streams, ``stop`` is awaited at the end."""
    inner = create_app(site, stop)
    demo = Demo(site, stand_ins, token_secret, closing)
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
            "destinations": [
                {"name": m.name, "categories": list(m.categories)} for m in policy.mappings
            ],
            "run": demo.run,
        }
    )


async def post_sign_in(demo: Demo, request: Request) -> Answer:
    """POST /demo/sign-in: the shop's back end says, signed, who is signed in.

    A real one checks a password first. Without the token a page could not grant for an account.
    """
    body = await _body(request, SignIn)
    now = int(time.time())
    claims = {
        "typ": "subject",
        "sub": body.user_id,
        "aud": "shop",
        "iat": now,
        "exp": now + TOKEN_LIFE_S,
    }
    token = jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(demo.token_secret))
    return json_response({"token": token})


async def post_ads(demo: Demo, request: Request) -> Answer:
    """POST /demo/ads: ads fails from now on, or recovers; then what waits for it is tried."""
    failing = (await _body(request, Ads)).failing
    await demo.stand_ins.let_ads_fail(failing)
    if not failing:
        crew, store = demo.site.crew, demo.site.world.store
        await crew.workers["ads"].resume()
        await crew.requeue(list(store.deliveries("ads", "waiting")))
    return json_response({"adsFailing": failing})


async def get_received(demo: Demo, request: Request) -> Answer:
    """GET /demo/received: what each stand-in was sent, newest first."""
    return json_response(
        {
            "adsFailing": demo.stand_ins.ads_failing,
            "received": {name: await demo.stand_ins.received(name) for name in VENDORS},
        }
    )


async def get_subject(demo: Demo, request: Request) -> Answer:
    """GET /demo/subject?anonymousId=: one subject's preferences, history and the ledger's size."""
    anonymous_id = request.query_params.get("anonymousId", "")
    if not 1 <= len(anonymous_id) <= LONGEST_ID:
        raise Problem(400, "missing_id", "name the subject by anonymousId", "anonymousId")
    return json_response(views.subject(demo.site.world, Node(NodeKind.DEVICE, anonymous_id)))


async def get_feed(demo: Demo, request: Request) -> Answer:
    """GET /demo/feed: what happened lately, then what happens, one JSON document a line."""
    return StreamingResponse(
        views.feed_lines(demo.site, demo.closing),
        media_type="application/x-ndjson",
        headers={"Cache-Control": "no-store"},
    )


HANDLERS: dict[tuple[str, str], Handler] = {
    ("GET", "/demo/setting"): get_setting,
    ("GET", "/demo/feed"): get_feed,
    ("GET", "/demo/received"): get_received,
    ("GET", "/demo/subject"): get_subject,
    ("POST", "/demo/sign-in"): post_sign_in,
    ("POST", "/demo/ads"): post_ads,
}


class SignIn(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Who signs in."""

    user_id: str


class Ads(msgspec.Struct, forbid_unknown_fields=True):
    """How ads shall behave."""

    failing: bool


async def _body(request: Request, type_: type[Any]) -> Any:
    """A small JSON body. Raises Problem 400; 415 for what a foreign form could send."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise Problem(415, "unsupported_type", "send application/json")
    try:
        return msgspec.json.decode(await read_body(request, LONGEST_BODY), type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Problem(400, "invalid_body", f"the body is no {type_.__name__}") from None
