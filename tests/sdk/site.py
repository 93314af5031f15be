"""The site of the browser tests: a shop and its trackers on names of their own, on one port.

``/sdk/`` and ``/v1/`` lead to a real server, as they would behind a proxy of the shop. Where a
test says so the policy document is its own, or the server does not answer.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from tests.served import ForBrowsers

PIXEL = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00,"
PIXEL += b"\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
HELD_S = 30.0
HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "date", "server"}


@dataclass
class Asked:
    """One request that arrived."""

    method: str
    host: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Site:
    """``pages`` and ``scripts`` by ``host/path``. ``server`` is ok, dead or slow.

    ``policy`` None: the server's own. ``added`` are headers for the server, as a CDN adds them. The next ``unanswered`` choices get no reply. ``missing`` are paths that fail, ``stalled`` those
    that are never answered; ``between``: what stands before the server answers with this status. ``replies`` are other answers of the server, by path.
    """

    port: int
    upstream: str = ""
    policy: dict[str, Any] | None = None
    unanswered: int = 0
    pages: dict[str, str] = field(default_factory=dict)
    scripts: dict[str, str] = field(default_factory=dict)
    replies: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    added: dict[str, str] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    stalled: set[str] = field(default_factory=set)
    between: dict[str, int] = field(default_factory=dict)
    server: str = "ok"
    asked: list[Asked] = field(default_factory=list)

    def reset(self) -> None:
        self.pages.clear()
        self.scripts.clear()
        self.replies.clear()
        self.headers.clear()
        self.added.clear()
        self.missing.clear()
        self.stalled.clear()
        self.between.clear()
        self.asked.clear()
        self.unanswered = 0
        self.server, self.policy = "ok", None

    def to(self, host: str) -> list[str]:
        """The paths that one host was asked for, in order."""
        return [one.path for one in list(self.asked) if one.host == host]

    def told(self, path: str) -> list[Any]:
        """The JSON bodies posted to a path of the server, in order."""
        return [one.json for one in list(self.asked) if one.path == path and one.method == "POST"]

    def choices(self) -> list[Any]:
        """The choices that arrived, each once: a page that was left may have sent one again."""
        found = {
            one.headers["idempotency-key"]: one.json
            for one in list(self.asked)
            if one.path == "/v1/consent" and one.method == "POST"
        }
        return list(found.values())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, format: str, *args: Any) -> None:
        return

    def _any(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        host = self.headers.get("host", "").partition(":")[0]
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, host, url.path, url.query, headers, body)
        self.site.asked.append(asked)
        while url.path in self.site.stalled:
            time.sleep(0.02)
        if url.path == "/v1/consent" and self.site.unanswered:
            self.site.unanswered -= 1
            time.sleep(HELD_S)
            self.close_connection = True
            return
        if url.path.startswith("/v1/"):
            self._server(asked)
        elif url.path in self.site.missing:
            self._answer(503, {}, b"")
        elif url.path.startswith("/sdk/"):
            self._forward(asked)
        elif (page := self.site.pages.get(host + url.path)) is not None:
            self._answer(200, {"Content-Type": "text/html", **self.site.headers}, page.encode())
        else:
            self._tracker(asked)

    do_GET = do_POST = do_OPTIONS = do_HEAD = _any

    def _server(self, asked: Asked) -> None:
        if self.site.server == "slow":
            while self.site.server == "slow":
                time.sleep(0.02)
        if self.site.server == "dead":
            self.close_connection = True
            self.connection.close()
        elif asked.path.endswith("/policy") and self.site.policy is not None:
            self._json(self.site.policy)
        elif asked.path in self.site.between:
            status = self.site.between[asked.path]
            self._answer(status, {"Content-Type": "text/html"}, b"<h1>No</h1>")
        elif asked.path in self.site.replies:
            self._json(self.site.replies[asked.path])
        else:
            self._forward(asked)

    def _json(self, value: Any) -> None:
        content = json.dumps(value).encode()
        self._answer(200, {"Content-Type": "application/json"}, content)

    def _forward(self, asked: Asked) -> None:
        connection = http.client.HTTPConnection(self.site.upstream, timeout=30)
        try:
            dropped = {*HOP, "accept-encoding"}
            sent = {name: value for name, value in asked.headers.items() if name not in dropped}
            connection.request(asked.method, self.path, asked.body, {**sent, **self.site.added})
            answer = connection.getresponse()
            if answer.getheader("content-type", "").startswith("text/event-stream"):
                self._stream(answer)
                return
            content = answer.read()
            kept = [(n, v) for n, v in answer.getheaders() if n.lower() not in HOP]
            self._answer(answer.status, kept, content)
        finally:
            connection.close()

    def _stream(self, answer: http.client.HTTPResponse) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(OSError, http.client.HTTPException):
            while part := answer.read1(4096):
                self.wfile.write(part)

    def _tracker(self, asked: Asked) -> None:
        open_ = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "*"}
        if asked.path.endswith(".js"):
            ran = f"(window.ran ??= []).push({json.dumps(asked.path)});"
            content = self.site.scripts.get(asked.host + asked.path, ran).encode()
            self._answer(200, {"Content-Type": "text/javascript", **open_}, content)
        elif asked.path.endswith(".html"):
            self._answer(200, {"Content-Type": "text/html", **open_}, b"<p>embedded")
        else:
            self._answer(200, {"Content-Type": "image/gif", **open_}, PIXEL)

    def _answer(
        self, status: int, headers: dict[str, str] | list[tuple[str, str]], content: bytes
    ) -> None:
        with contextlib.suppress(OSError):
            self.send_response(status)
            for name, value in headers.items() if isinstance(headers, dict) else headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)


@contextlib.contextmanager
def site() -> Iterator[Site]:
    """Serve it. ``upstream`` is where the real server is: host and port, set by who has one."""
    server = ForBrowsers(("127.0.0.1", 0), _Handler)
    running = Site(server.server_address[1])
    server.RequestHandlerClass = type("Handler", (_Handler,), {"site": running})
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.server = "ok"
        server.shutdown()
        server.server_close()
        thread.join()
