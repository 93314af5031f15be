"""Where the request vectors are tried: a shop, a tracker on another host, and what it received.

All of it is HTTPS, with a certificate that is made here, because browsers keep some kinds of
request for secure pages. The browser is told which port each name stands for.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from html import escape
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from consentry.csp import AsgiMiddleware, Rules
from tests.browser import Browser, Page, Visitor, launched
from tests.e2e.certificate import Certificate, certificate
from tests.running import WRITE_KEY, free_port, wait_for
from tests.served import ForBrowsers

SHOP, TRACKER = "shop.test", "tracker.test"
VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "vectors.json").read_text())
STOPPABLE = [v for v in VECTORS if v["kind"] != "beyond"]
BEYOND = [v for v in VECTORS if v["kind"] == "beyond"]
DONE = "window.done === true"
QUIET_S = 0.7
"""So long nothing may have arrived before a visit counts as over."""
PATIENCE_S = 20.0
"""The same, while something is still expected: only a failure takes so long."""

_LOADER = f'<script src="/sdk/consentry.js" data-key="{WRITE_KEY}"></script>'
SDK = {
    "gate": _LOADER,
    "bare": _LOADER,
    "guard": f'<script src="/sdk/consentry-guard.js" data-key="{WRITE_KEY}"></script>{_LOADER}',
}
"""What stands first in the head of a page; with the gate, every vector is marked as well."""

GATES = {
    "gate": '<template data-consent="advertising"><!--{}--></template>',
    "bare": '<template data-consent="advertising">{}</template>',
}
"""How markup is marked: as the documents say, and without the comment."""

_TYPES = {
    "js": ("text/javascript", b"export {}"),
    "css": ("text/css", b"i{}"),
    "html": ("text/html", b"<p>x"),
    "json": ("application/json", b"{}"),
    "png": ("image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    "vtt": ("text/vtt", b"WEBVTT\n"),
    "woff2": ("font/woff2", b"x"),
    "mp4": ("video/mp4", b"x"),
    "events": ("text/event-stream", b"data: x\n\n"),
    "ws": ("text/plain", b""),
}
_WORKER = """
const asked = new URL(self.location.href).searchParams
const u = asked.get('u')
if (asked.get('how') === 'import') importScripts(u)
else fetch(u).catch(() => {})
"""


# -- the tracker ------------------------------------------------------------------------------------
@dataclass
class Received:
    """What reached the tracker, by the visit that its path names."""

    by_visit: dict[str, set[str]] = field(default_factory=dict)
    last_s: float = 0.0

    def add(self, visit: str, vector: str) -> None:
        found = self.by_visit.setdefault(visit, set())
        if vector not in found:  # an EventSource calls again and again
            found.add(vector)
            self.last_s = time.monotonic()


def tracker(received: Received, cert: Certificate) -> contextlib.AbstractContextManager[int]:
    """An HTTPS server that remembers ``/visit/vector.type``; its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            parts = [unquote(part) for part in self.path.split("/")]
            length = int(self.headers.get("content-length") or 0)
            self.rfile.read(length)
            kind = "html"
            if len(parts) == 3:
                vector, _, kind = parts[2].rpartition(".")
                if self.command != "OPTIONS":
                    received.add(parts[1], vector)
            media, body = _TYPES.get(kind, _TYPES["html"])
            self.send_response(200)
            self.send_header("Content-Type", media)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Access-Control-Allow-Headers", "*")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_POST = do_HEAD = do_OPTIONS = _answer

        def log_message(self, *args: Any) -> None:
            """Nothing: what it received is what is asked for."""

    return _listening(Handler, cert)


@contextlib.contextmanager
def _listening(handler: type[BaseHTTPRequestHandler], cert: Certificate) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert.file, cert.key)

    class Server(ForBrowsers):
        def finish_request(self, request: Any, client_address: Any) -> None:
            # The handshake belongs to the connection's own thread.
            super().finish_request(context.wrap_socket(request, server_side=True), client_address)

    server = Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def counting(received: Received) -> Iterator[int]:
    """A UDP port that counts whoever speaks to it at all."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))

        def datagrams() -> None:
            while udp.recvfrom(2048)[0]:
                received.add("datagrams", "WebRTC")

        thread = threading.Thread(target=datagrams, daemon=True)
        thread.start()
        try:
            yield udp.getsockname()[1]
        finally:
            udp.sendto(b"", udp.getsockname())  # the last one is ours
            thread.join(10)


# -- the shop ---------------------------------------------------------------------------------------
def page(visit: str, vectors: list[dict[str, Any]], *, gated: str, head: str, udp: int) -> str:
    """A page with every vector in its own HTML: the worst case, all of it is parsed and scanned.

    ``gated`` is what stands around markup that waits, with ``{}`` for it; empty where none does.
    """
    parts = []
    for vector in vectors:
        url = url_of(visit, vector)
        if vector["kind"] == "markup":
            markup = vector["body"].replace("{url}", url)
            parts.append(gated.format(markup) if gated else markup)
        elif vector["kind"] in ("script", "beyond"):
            code = f"{{const u = {json.dumps(url)}, udp = {udp}\n{vector['body']}\n}}"
            attributes = ' type="text/plain" data-consent="advertising"' if gated else ""
            parts.append(f"<script{attributes}>{code}</script>")
    body = "\n".join(parts)
    return (
        f"<!doctype html><html><head><meta charset='utf-8'><title>{escape(visit)}</title>{head}"
        f"</head><body>{body}<script>addEventListener('load', () => {{ window.done = true }})"
        "</script></body></html>"
    )


def url_of(visit: str, vector: dict[str, Any]) -> str:
    """Where a vector calls: the path says who it was."""
    return f"https://{TRACKER}/{quote(visit)}/{quote(vector['name'] + '.' + vector['type'])}"


Asgi = Callable[[Any, Any, Any], Awaitable[None]]


def shop(rules: Rules, server: str | None, udp: int) -> Asgi:
    """Pages under ``/none/`` as they are, and under ``/csp/`` within the middleware.

    ``/v1`` and ``/sdk`` are passed on to ``server``, as a reverse proxy would.
    """

    async def vectors(request: Request) -> Response:
        visit, query = request.path_params["visit"], request.query_params
        chosen = BEYOND if query.get("beyond") else STOPPABLE
        gated = GATES.get(query.get("sdk", ""), "")
        if query.get("late"):  # after the page has been parsed, document.write would replace it
            chosen = [vector for vector in chosen if vector.get("late", True)]
        text = page(visit, chosen, gated=gated, head=SDK.get(query.get("sdk", ""), ""), udp=udp)
        headers = {"Cache-Control": "max-age=600", "ETag": '"page"'}
        if not gated:
            links = [v["body"].replace("{url}", url_of(visit, v)) for v in chosen if v["kind"] == "header"]  # fmt: skip
            headers |= {"Link": ", ".join(links)} if links else {}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return HTMLResponse(text, headers=headers)

    async def worker(request: Request) -> Response:
        return Response(_WORKER, media_type="text/javascript")

    async def passed_on(request: Request) -> Response:
        body = await request.body()
        return await asyncio.to_thread(_forward, server or "", request, body)

    app = Starlette(
        routes=[
            Route("/{side}/worker.js", worker),
            Route("/{side}/{visit}", vectors),
        ]
    )
    proxy = Starlette(routes=[Route("/{path:path}", passed_on, methods=["GET", "POST", "OPTIONS"])])
    wrapped = AsgiMiddleware(app, rules)

    async def route(scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "")
        inner: Asgi = wrapped if path.startswith("/csp/") else app
        await (proxy if path.startswith(("/v1/", "/sdk/")) else inner)(scope, receive, send)

    return route


def _forward(server: str, request: Request, body: bytes) -> Response:
    host, _, port = server.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    query = f"?{request.url.query}" if request.url.query else ""
    kept = ("content-type", "origin", "authorization", "accept-language", "sec-gpc")
    headers = {name: value for name, value in request.headers.items() if name in kept}
    try:
        connection.request(request.method, request.url.path + query, body, headers)
        answer = connection.getresponse()
        dropped = ("content-length", "connection", "transfer-encoding", "date")
        told = {n: v for n, v in answer.getheaders() if n.lower() not in dropped}
        return Response(answer.read(), answer.status, told)
    finally:
        connection.close()


@contextlib.contextmanager
def serving(app: Any, cert: Certificate) -> Iterator[int]:
    """An ASGI application over HTTPS, in a thread; its port."""
    port = free_port()
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        ssl_certfile=cert.file,
        ssl_keyfile=cert.key,
        log_config=None,
        lifespan="off",
        loop="asyncio",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_for(lambda: server.started, what="the shop")
        yield port
    finally:
        server.should_exit = True
        thread.join(10)


# -- a visit ----------------------------------------------------------------------------------------
@dataclass
class Street:
    """The shop, the tracker, and the browser that visits. ``said`` is what a page came back with."""

    browser: Browser
    received: Received
    visits: int = 0
    said: Any = None
    _stayed: tuple[Visitor, Page] | None = None

    def visit(
        self,
        side: str,
        *,
        cookie: str | None = None,
        query: str = "",
        expected: int | None = None,
        then: str | None = None,
        stays: bool = False,
    ) -> set[str]:
        """What the tracker received because of one visit.

        It is over when ``expected`` have arrived, or when nothing has for a while. ``then`` is
        run in the page once it is loaded. A visitor who ``stays`` may come back (``again``).
        """
        self.visits += 1
        name = f"visit {self.visits}"
        self.received.last_s = time.monotonic()
        url = f"https://{SHOP}/{side}/{quote(name)}?{query}"
        visitor = self.browser.newcomer()
        try:
            visitor.add(*_jar(cookie))
            page = visitor.open(url)
            page.wait(DONE)
            if then is not None:
                self.said = page.eval(then)
            self.received.last_s = time.monotonic()
            while not self._over(name, expected):
                time.sleep(0.02)
        finally:
            if stays:
                self._stayed = visitor, page
            else:
                visitor.leave()
        return self.received.by_visit.get(name, set())

    def again(self, side: str, cookie: str, expected: int | None = None) -> set[str]:
        """What arrived when the visitor who stayed came to the same page with another answer."""
        name = f"visit {self.visits}"
        self.received.by_visit.pop(name, None)
        assert self._stayed is not None
        visitor, page = self._stayed
        visitor.add(*_jar(cookie))
        page.goto("about:blank")
        page.goto(f"https://{SHOP}/{side}/{quote(name)}?")
        page.wait(DONE)
        self.received.last_s = time.monotonic()
        while not self._over(name, expected):
            time.sleep(0.02)
        return self.received.by_visit.get(name, set())

    def _over(self, name: str, expected: int | None) -> bool:
        arrived = len(self.received.by_visit.get(name, ()))
        if expected is not None and arrived >= expected:
            return True
        patience_s = QUIET_S if expected is None else PATIENCE_S
        return time.monotonic() - self.received.last_s > patience_s


def _jar(cookie: str | None) -> list[dict[str, Any]]:
    if cookie is None:
        return []
    return [{"name": "consentry", "value": cookie, "domain": SHOP, "path": "/", "secure": True}]


@contextlib.contextmanager
def street(folder: Path, rules: Rules, server: str | None = None) -> Iterator[Street]:
    """All of it; stopped at the end."""
    cert = certificate(folder)
    received = Received()
    with (
        tracker(received, cert) as tracker_port,
        counting(received) as udp,
        serving(shop(rules, server, udp), cert) as shop_port,
    ):
        ports = {SHOP: shop_port, TRACKER: tracker_port}
        names = {f"{name}:443": port for name, port in ports.items()}
        with launched(names, digest=cert.digest) as browser:
            yield Street(browser, received)
