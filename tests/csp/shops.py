"""The same small shop in every framework, and a way to ask each of them one request.

Each shop has these pages: ``/page`` shows its nonce, ``/stream`` comes in two parts, ``/own``
has a policy of its own, ``/etag`` knows validators, ``/boom`` fails, ``/image`` is no document,
``/cookie`` sets the cookie of an ad.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from wsgiref.validate import validator

import django
import fastapi
import flask
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from consentry.csp import GRANTED, NONCE, AsgiMiddleware, Rules, WsgiMiddleware

ETAG = '"v1"'
OWN = "script-src 'self'; img-src https:"


@dataclass
class Got:
    """An answer: header names in lower case, in the order they came, and the parts of the body."""

    status: int
    headers: list[tuple[str, str]]
    parts: list[bytes]

    def all(self, name: str) -> list[str]:
        return [value for each, value in self.headers if each == name]

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)


Ask = Callable[..., Got]


# -- the answers, as plain values -------------------------------------------------------------------
def plain(where: str, nonce: str, granted: str, validator: str | None) -> tuple[int, str, dict[str, str]]:  # fmt: skip
    """Status, body and headers of one page."""
    html = {"Content-Type": "text/html; charset=utf-8"}
    if where == "page":
        return 200, f"nonce={nonce} granted={granted}", html
    if where == "own":
        return 200, "own", {**html, "Content-Security-Policy": OWN}
    if where == "etag":
        if validator == ETAG:
            return 304, "", {"ETag": ETAG}
        return 200, "tagged", {**html, "ETag": ETAG, "Cache-Control": "max-age=600"}
    if where == "image":
        return 200, "image", {"Content-Type": "image/png", "Cache-Control": "public, max-age=600"}
    if where == "cookie":
        return 200, "cookie", {**html, "Set-Cookie": "_ad=1; Path=/; HttpOnly"}
    raise RuntimeError("boom")


def starlette_shop(rules: Rules) -> Ask:
    return asgi(
        AsgiMiddleware(Starlette(routes=_routes(), exception_handlers={500: _failed}), rules)
    )


def starlette_shop_inside(rules: Rules) -> Ask:
    """The middleware where Starlette puts middleware: inside of its own error pages."""
    app = Starlette(routes=_routes())
    app.add_middleware(AsgiMiddleware, rules=rules)
    return asgi(app)


async def _failed(request: Request, error: Exception) -> Response:
    return HTMLResponse("failed", 500)


def _routes() -> list[Route]:
    return [Route("/stream", _stream), Route("/{where}", _answer)]


async def _answer(request: Request) -> Response:
    status, body, headers = plain(
        request.path_params["where"],
        request.scope[NONCE],
        request.headers[GRANTED],
        request.headers.get("if-none-match"),
    )
    return Response(body, status, headers)


async def _stream(request: Request) -> Response:
    async def parts() -> AsyncIterator[str]:
        yield "one "
        yield "two"

    return StreamingResponse(parts(), media_type="text/html")


def fastapi_shop(rules: Rules) -> Ask:
    app = fastapi.FastAPI()

    @app.api_route("/stream", methods=["GET", "HEAD"])
    async def stream(request: fastapi.Request) -> Response:
        return await _stream(request)

    @app.api_route("/{where}", methods=["GET", "HEAD"])
    async def answer(where: str, request: fastapi.Request) -> Response:
        return await _answer(request)

    app.add_exception_handler(Exception, _failed)
    return asgi(AsgiMiddleware(app, rules))


def flask_shop(rules: Rules) -> Ask:
    app = flask.Flask("shop")

    @app.get("/stream")
    def stream() -> flask.Response:
        return flask.Response(iter(["one ", "two"]), mimetype="text/html")

    @app.get("/<where>")
    def answer(where: str) -> flask.Response:
        asked = flask.request
        return flask.Response(*_reordered(plain(where, asked.environ[NONCE], asked.headers[GRANTED], asked.headers.get("If-None-Match"))))  # fmt: skip

    app.wsgi_app = WsgiMiddleware(app.wsgi_app, rules)  # type: ignore[method-assign]
    return wsgi(app)


def _reordered(found: tuple[int, str, dict[str, str]]) -> tuple[str, int, dict[str, str]]:
    status, body, headers = found
    return body, status, headers


def _django() -> None:
    if not settings.configured:
        settings.configure(
            ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="only-here", MIDDLEWARE=[]
        )
        django.setup()


def django_wsgi_shop(rules: Rules) -> Ask:
    _django()
    return wsgi(WsgiMiddleware(get_wsgi_application(), rules))


def django_asgi_shop(rules: Rules) -> Ask:
    _django()
    return asgi(AsgiMiddleware(get_asgi_application(), rules))


def _django_answer(request: HttpRequest, where: str) -> HttpResponse:
    scope = getattr(request, "scope", None)
    nonce = request.META[NONCE] if scope is None else scope[NONCE]
    granted = request.headers["Consentry-Granted"]
    status, body, headers = plain(where, nonce, granted, request.headers.get("If-None-Match"))
    answer = HttpResponse(body, status=status)
    if "Content-Type" not in headers:
        del answer["Content-Type"]
    for name, value in headers.items():
        answer[name] = value
    return answer


def _django_stream(request: HttpRequest) -> StreamingHttpResponse:
    if not hasattr(request, "scope"):
        return StreamingHttpResponse(iter(["one ", "two"]))

    async def parts() -> AsyncIterator[str]:
        yield "one "
        yield "two"

    return StreamingHttpResponse(parts())


urlpatterns = [path("stream", _django_stream), path("<str:where>", _django_answer)]

SHOPS: dict[str, Callable[[Rules], Ask]] = {
    "starlette": starlette_shop,
    "starlette, added": starlette_shop_inside,
    "fastapi": fastapi_shop,
    "django wsgi": django_wsgi_shop,
    "django asgi": django_asgi_shop,
    "flask": flask_shop,
}


# -- asking ---------------------------------------------------------------------------------------
def asgi(app: Any) -> Ask:
    """Ask an ASGI application."""

    def ask(where: str, method: str = "GET", **headers: str) -> Got:
        return asyncio.run(_asked(app, where, method, headers))

    return ask


async def _asked(app: Any, where: str, method: str, headers: dict[str, str]) -> Got:
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": where,
        "raw_path": where.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"shop.example"), *((n.replace("_", "-").lower().encode(), v.encode()) for n, v in headers.items())],
        "client": ("127.0.0.1", 1),
        "server": ("shop.example", 443),
    }  # fmt: skip
    sent: list[dict[str, Any]] = []
    done = asyncio.Event()
    left = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if left:
            return left.pop()
        await done.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    with suppress(RuntimeError):  # of /boom: servers log it, after the answer was sent
        await app(scope, receive, send)
    assert [m["type"] for m in sent[:1]] == ["http.response.start"]
    pairs = [(n.decode(), v.decode()) for n, v in sent[0]["headers"]]
    parts = [m["body"] for m in sent[1:] if m.get("body")]
    return Got(sent[0]["status"], [(n.lower(), v) for n, v in pairs], parts)


def wsgi(app: Any) -> Ask:
    """Ask a WSGI application, with PEP 3333's own checks around it."""

    def ask(where: str, method: str = "GET", **headers: str) -> Got:
        environ = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": where,
            "QUERY_STRING": "",
            "SERVER_NAME": "shop.example",
            "SERVER_PORT": "443",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "shop.example",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            **{f"HTTP_{name.upper()}": value for name, value in headers.items()},
        }
        started: list[Any] = []
        parts = list(_read(validator(app), environ, started))
        status, pairs = started[-1]
        return Got(int(status[:3]), [(n.lower(), v) for n, v in pairs], [p for p in parts if p])

    return ask


def _read(app: Any, environ: dict[str, Any], started: list[Any]) -> Iterator[bytes]:
    def start_response(status: str, headers: list[tuple[str, str]], error: Any = None) -> Any:
        started.append((status, headers))
        return lambda data: None

    body = app(environ, start_response)
    try:
        yield from body
    finally:
        body.close()
