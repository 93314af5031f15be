"""The route table. Hot paths are found in a dictionary; the rest pays for a router."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from consentry.ports import StoreConflict, StoreError, StoreRefused
from consentry.web import (
    admin,
    consent,
    cookies,
    decisions,
    erasure,
    export,
    faults,
    imports,
    inbound,
    ingest,
    notices,
    openapi,
    ops,
    policy,
    propagation,
    reports,
    sdk,
    stream,
    suppression,
)
from consentry.web.call import Answer, Call, Reply
from consentry.web.pages import confirm, forms, html, links, preferences, unsubscribe
from consentry.web.problems import Problem
from consentry.web.site import Site

Handler = Callable[[Site, Request], Awaitable[Answer]]
Direct = Callable[[Site, Call], Awaitable[Reply]]
T = TypeVar("T", bound=Answer)
log = structlog.get_logger()

HOT: dict[tuple[str, str], Direct] = {
    **{("POST", f"/v1/{name}"): ingest.single(name) for name in ingest.SHORT_PATHS.values()},
    **{("POST", f"/v1/{short}"): ingest.single(n) for short, n in ingest.SHORT_PATHS.items()},
    **{("POST", path): ingest.batch for path in ("/v1/batch", "/v1/import", "/v1/b")},
    ("POST", "/v1/m"): ingest.metrics,
    ("POST", "/v1/consent"): consent.post_consent,
    ("POST", "/v1/consent/withdraw"): consent.post_withdraw,
    ("POST", "/v1/decisions"): decisions.post_decisions,
    ("POST", "/v1/notices/noted"): notices.post_noted,
}

SUBJECTS = "/v1/subjects/"
"""What is read of a subject has its name in the path, so it is in no dictionary."""

COLD: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/v1/projects/{write_key}/settings", ingest.settings),
    ("GET", "/v1/projects/{write_key}/policy", policy.get_policy),
    ("GET", "/v1/stream", stream.get_stream),
    ("GET", "/v1/choices", notices.get_choices),
    ("GET", "/v1/subjects/{subject:path}", consent.get_subject),
    ("POST", "/v1/subjects/lookup", consent.post_lookup),
    ("POST", "/v1/subjects/suppress", suppression.post_suppress),
    ("POST", "/v1/subjects/unsuppress", suppression.post_unsuppress),
    ("POST", "/v1/subjects/export", export.post_export),
    ("POST", "/v1/subjects/erase", erasure.post_erase),
    ("GET", "/v1/erasures/{erasure_id}", erasure.get_erasure),
    ("GET", "/v1/suppressions", suppression.get_suppressions),
    ("POST", "/v1/imports", imports.post_imports),
    ("GET", "/v1/events/{message_id:path}", decisions.get_event),
    ("GET", "/v1/destinations", admin.get_destinations),
    ("GET", "/v1/deliveries", admin.get_deliveries),
    ("POST", "/v1/deliveries/retry", admin.post_retry),
    ("GET", "/v1/dead-letters", admin.get_dead_letters),
    ("POST", "/v1/dead-letters/replay", admin.post_replay),
    ("GET", "/v1/propagation/orders", propagation.get_orders),
    ("POST", "/v1/propagation/lookup", propagation.post_lookup),
    ("GET", "/v1/propagation/status", propagation.get_status),
    ("GET", "/v1/propagation/drift", propagation.get_drift),
    ("POST", "/v1/propagation/retry", propagation.post_retry),
    ("POST", "/v1/propagation/drop", propagation.post_drop),
    ("GET", "/v1/inbound/{destination}", inbound.get_inbound),
    ("POST", "/v1/inbound/{destination}", inbound.post_inbound),
    ("GET", "/v1/ledger", admin.get_ledger),
    ("GET", "/v1/ledger/checkpoint", admin.get_checkpoint),
    ("GET", "/v1/ledger/key", admin.get_key),
    ("GET", "/v1/notices/{digest}", admin.get_notice),
    ("GET", "/v1/tail", admin.get_tail),
    ("POST", "/v1/consent/cookies", cookies.post_cookies),
    ("POST", "/v1/csp-reports", reports.post_reports),
    ("GET", "/v1/leaks", reports.get_leaks),
    ("POST", "/v1/links", links.post_links),
    ("POST", "/v1/forms", forms.post_forms),
    ("GET", "/preferences", html.as_page(preferences.get_preferences)),
    ("POST", "/preferences", html.as_page(preferences.post_preferences)),
    ("GET", "/unsubscribe", html.as_page(unsubscribe.get_unsubscribe)),
    ("POST", "/unsubscribe", html.as_page(unsubscribe.post_unsubscribe)),
    ("GET", "/confirm", html.as_page(confirm.get_confirm)),
    ("POST", "/confirm", html.as_page(confirm.post_confirm)),
    ("GET", "/pages.css", html.get_style),
    ("GET", "/healthz", ops.healthz),
    ("GET", "/readyz", ops.readyz),
    ("GET", "/metrics", ops.metrics),
    ("GET", "/openapi.json", openapi.document),
    ("GET", "/.well-known/gpc.json", ops.gpc),
    ("GET", "/sdk/{file:path}", sdk.get_file),
)

# What browsers call from other origins, with a public key.
_PROJECTS = "/v1/projects/"
_CROSS_ORIGIN = (
    "/v1/consent",
    "/v1/subjects",
    "/v1/csp-reports",
    "/v1/stream",
    "/v1/forms",
    _PROJECTS,
)
_TRACKING = frozenset(path for _, path in HOT) - {"/v1/decisions"}
_ALLOW_HEADERS = (
    "authorization, content-type, content-encoding, x-retry-count, idempotency-key, "
    "consentry-subject-token, consentry-anonymous-id, consentry-sent-at"
)


class App:
    """The ASGI application. ``stop`` is awaited when the server shuts down."""

    def __init__(self, site: Site, stop: Callable[[], Awaitable[None]] | None = None) -> None:
        self._site = site
        self._stop = stop
        self._routes = [
            (method, Route(path, endpoint=_unused, methods=[method]), handler)
            for method, path, handler in COLD
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send, self._stop)
        elif scope["type"] == "http":
            answer: Answer
            if self.is_direct(scope):
                answer = await self.answer(Call(scope, receive))
            else:
                answer = await self._answer_cold(Request(scope, receive))
            await answer(scope, receive, send)

    def is_direct(self, scope: Scope) -> bool:
        """Whether ``answer`` answers this: the paths where what a framework costs is felt."""
        return _direct(scope["method"], scope["path"]) is not None

    async def answer(self, call: Call) -> Reply:
        """The answer on a hot path. A server that has the whole body may ask here."""
        handler = _direct(call.method, call.path)
        assert handler is not None, "not a hot path"
        reply = await _guarded(handler(self._site, call), call.path)
        _add_cors(self._site, call.path, call.headers.get("origin"), reply)
        return reply

    async def _answer_cold(self, request: Request) -> Answer:
        path = request.scope["path"]
        answer = await _guarded(_routed(self._site, request, self._routes), path)
        _add_cors(self._site, path, request.headers.get("origin"), answer)
        return answer


def create_app(site: Site, stop: Callable[[], Awaitable[None]] | None = None) -> App:
    """The application of one site."""
    return App(site, stop)


def _direct(method: str, path: str) -> Direct | None:
    """What answers a hot path."""
    handler = HOT.get((method, path))
    if handler is None and method == "GET" and path.startswith(SUBJECTS):
        return consent.get_subject
    return handler


async def _routed(site: Site, request: Request, routes: list[Any]) -> Answer:
    if request.method == "OPTIONS":
        return _preflight(request)
    return await _find(request, routes)(site, request)


async def _guarded(answering: Awaitable[T], path: str) -> T | Reply:
    """The answer, or what is answered when there is none."""
    try:
        return await answering
    except Problem as problem:
        return problem.as_response()
    except (StoreConflict, StoreRefused) as fault:
        faults.say(fault, path=_route_name(path))
        return _fault()
    except StoreError as error:
        log.error("store_failed", error=type(error).__name__)
        message = "the store cannot be read; nothing is sent until it can"
        return Problem(503, "unavailable", message, retry_after_s=2).as_response()
    except Exception as fault:
        faults.say(fault, path=_route_name(path))
        return _fault()


def _fault() -> Reply:
    return Problem(500, "internal_error", "this is a fault of the server").as_response()


def _find(request: Request, routes: list[Any]) -> Handler:
    partial: list[str] = []
    for method, route, handler in routes:
        match, child = route.matches(request.scope)
        if match is Match.FULL:
            request.scope["path_params"] = child["path_params"]
            found: Handler = handler
            return found
        if match is Match.PARTIAL:
            partial.append(method)
    allowed = [m for m, path in HOT if path == request.url.path] + partial
    if allowed:
        methods = ", ".join(sorted(set(allowed)))
        raise Problem(405, "method_not_allowed", f"this path takes {methods}", allow=methods)
    raise Problem(404, "not_found", "there is nothing at this path")


def _route_name(path: str) -> str:
    """The path without what may identify somebody."""
    parts = path.split("/")
    return "/".join(parts[:3])


def _preflight(request: Request) -> Response:
    return Response(
        status_code=204,
        headers={
            "Access-Control-Allow-Methods": "POST, GET, OPTIONS",
            # x-retry-count is listed at once, or each retry would cost a second preflight.
            "Access-Control-Allow-Headers": _ALLOW_HEADERS,
            "Access-Control-Max-Age": "7200",
        },
    )


def _add_cors(site: Site, path: str, origin: str | None, response: Answer) -> None:
    """Browsers of an allowed origin may read answers, and how long to wait before a retry."""
    if path not in _TRACKING and not path.startswith(_CROSS_ORIGIN):
        return
    _vary_by_origin(response)
    if origin and _known_origin(site, origin, path):
        allowed = (b"access-control-allow-origin", origin.encode("latin-1"))
        response.raw_headers += [allowed, (b"access-control-expose-headers", b"Retry-After")]


def _vary_by_origin(response: Answer) -> None:
    """Beside whatever else an answer differs by, on the one line that every cache reads."""
    headers = response.raw_headers
    before = [value for name, value in headers if name == b"vary"]
    kept = [header for header in headers if header[0] != b"vary"]
    response.raw_headers = [*kept, (b"vary", b", ".join((*before, b"Origin")))]


def _known_origin(site: Site, origin: str, path: str) -> bool:
    """Whether a source allows this origin; where the path names a key, only its own source."""
    public = [source for source in site.config.sources if not source.trusted]
    if path.startswith(_PROJECTS):
        named = site.source_of(path.removeprefix(_PROJECTS).partition("/")[0])
        public = [source for source in public if source is named]
    return any(not source.origins or origin in source.origins for source in public)


async def _lifespan(
    receive: Receive, send: Send, stop: Callable[[], Awaitable[None]] | None
) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        else:
            if stop is not None:
                await stop()
            await send({"type": "lifespan.shutdown.complete"})
            return


async def _unused(request: Request) -> Response:
    raise AssertionError("handlers are called by the table")
