"""The policy around an ASGI application: Starlette, FastAPI, Django, Quart and others.

Put it around everything, ``app = AsgiMiddleware(app, rules)``, so that error pages have it too.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from consentry.csp import response
from consentry.csp.response import Headers, Visit
from consentry.csp.values import Rules

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class AsgiMiddleware:
    """Each response of ``app`` gets the policy of its visitor.

    ``clock`` gives seconds since 1970, ``nonce`` an unguessable text for each response.
    """

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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = _decoded(scope["headers"])
        seen = response.visit(
            self._rules,
            headers,
            method=scope["method"],
            path=scope["path"],
            scheme=scope.get("scheme", "http"),
            now_s=self._clock(),
            nonce=self._nonce(),
        )
        given = _encoded([(n.lower(), v) for n, v in response.asked(seen, headers)])
        inner = {**scope, "headers": given, response.NONCE: seen.nonce}
        await self._app(inner, receive, self._sending(seen, send))

    def _sending(self, seen: Visit, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = _decoded(message.get("headers", ()))
                made = response.answered(self._rules, seen, message["status"], headers)
                message = {**message, "headers": _encoded([(n.lower(), v) for n, v in made])}
            await send(message)

        return sending


def _decoded(raw: Any) -> Headers:
    return [(bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in raw]


def _encoded(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
