"""A workspace in memory behind its real application, asked without a network."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from consentry import compose
from consentry.config import Config, read_config
from consentry.destinations import registry
from consentry.web.app import App, create_app
from tests.running import ADMIN_KEY, BACKEND_KEY, LINK_SECRET

CONFIG = """
[workspace]
name = "Acme"
[store]
url = "memory://"
[[category]]
id = "analytics"
gpc = false
[[category]]
id = "advertising"
gpc = true
[[topic]]
id = "news"
channels = ["email", "sms"]
[[source]]
name = "website"
write_key = "wk_website"
[[source]]
name = "backend"
secret_key = "env:BACKEND"
[pages]
secret = "env:LINKS"
[smtp]
url = "smtp://127.0.0.1:1"
from = "privacy@acme.example"
[server]
allow_private_destinations = true
base_url = "https://consent.acme.example"
admin_key = "env:ADMIN"
"""
ENVIRON = {"BACKEND": BACKEND_KEY, "LINKS": LINK_SECRET, "ADMIN": ADMIN_KEY}


def config(more: str = "", environ: dict[str, str] | None = None) -> Config:
    return read_config(CONFIG + more, {**ENVIRON, **(environ or {})}, kinds=registry.KINDS)


class Asked:
    """What came back."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body
        self.cookies: list[str] = []


class Place:
    """A running workspace and its application."""

    def __init__(self, running: compose.Running) -> None:
        self.running = running
        self.app: App = create_app(running.site)

    @classmethod
    async def open(cls, more: str = "") -> Place:
        return cls(await compose.start(config(more)))

    async def close(self) -> None:
        await self.running.stop()

    @property
    def records(self) -> list[Any]:
        return [entry.record for entry in self.running.world.store.ledger()]

    async def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Asked:
        place, _, query = path.partition("?")
        scope = {
            "type": "http",
            "http_version": "1.1",
            "scheme": "http",
            "method": method,
            "path": place,
            "raw_path": place.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "headers": [
                (name.lower().encode(), value.encode("latin-1"))
                for name, value in (headers or {}).items()
            ],
        }
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        content = b"".join(message.get("body", b"") for message in sent[1:])
        asked = Asked(sent[0]["status"], found, content)
        asked.cookies = [v.decode() for n, v in sent[0]["headers"] if n == b"set-cookie"]
        return asked

    async def post(
        self, path: str, fields: list[tuple[str, str]], headers: dict[str, str] | None = None
    ) -> Asked:
        told = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
        return await self.ask("POST", path, urlencode(fields).encode(), told)
