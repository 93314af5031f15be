"""The policy around a WSGI application (PEP 3333): Flask, Django, Bottle and others.

Put it around everything: ``app.wsgi_app = WsgiMiddleware(app.wsgi_app, rules)`` in Flask,
``application = WsgiMiddleware(get_wsgi_application(), rules)`` in Django.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any

from consentry.csp import response
from consentry.csp.response import Headers, Visit
from consentry.csp.values import Rules

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
App = Callable[[Environ, StartResponse], Iterable[bytes]]
_READ = (
    "cookie",
    "sec-gpc",
    "host",
    "sec-fetch-dest",
    "if-none-match",
    "if-match",
    "if-range",
    "range",
    "if-modified-since",
    response.GRANTED,
)
"""The request headers that are read here; all others stay where they are."""


class WsgiMiddleware:
    """As ``AsgiMiddleware``, for WSGI."""

    def __init__(
        self,
        app: App,
        rules: Rules,
        *,
        clock: Callable[[], float] = time.time,
        nonce: Callable[[], str] = lambda: secrets.token_urlsafe(16),
    ) -> None:
        self._app = app
        self._rules = rules
        self._clock = clock
        self._nonce = nonce

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        headers = [(n, environ[_key(n)]) for n in _READ if _key(n) in environ]
        seen = response.visit(
            self._rules,
            headers,
            method=environ["REQUEST_METHOD"],
            path=_text(environ.get("PATH_INFO", "")),
            root=_text(environ.get("SCRIPT_NAME", "")),
            scheme=environ.get("wsgi.url_scheme", "http"),
            now_s=self._clock(),
            nonce=self._nonce(),
        )
        inner = {name: value for name, value in environ.items() if name not in _KEYS}
        inner.update((_key(name), value) for name, value in response.asked(seen, headers))
        inner[response.NONCE] = seen.nonce
        return self._app(inner, self._starting(seen, start_response))

    def _starting(self, seen: Visit, start_response: StartResponse) -> StartResponse:
        def starting(status: str, headers: Headers, *error: Any) -> Any:
            code = int(status.partition(" ")[0])
            return start_response(
                status, response.answered(self._rules, seen, code, headers), *error
            )

        return starting


def _text(value: str) -> str:
    """What WSGI hands over as Latin-1 is UTF-8 (PEP 3333)."""
    return value.encode("latin-1", "replace").decode("utf-8", "replace")


def _key(name: str) -> str:
    return "HTTP_" + name.upper().replace("-", "_")


_KEYS = frozenset(map(_key, _READ))
