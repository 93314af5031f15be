"""A shop with pages, forms and mail, and what its visitors' browsers do without a script."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.mailbox import Mailbox
from tests.running import BACKEND_KEY, WRITE_KEY, Answer, Server, call, free_port

ORIGIN = "https://shop.example"
CONFIG = """
[workspace]
name = "Acme"
{workspace}
[store]
url = "sqlite:///consentry.db"
[[category]]
id = "essential"
essential = true
[[category]]
id = "analytics"
gpc = false
[[category]]
id = "advertising"
gpc = true
[[topic]]
id = "news"
name = "Newsletter"
channels = ["email", "sms"]
[[topic]]
id = "offers"
name = "Offers"
channels = ["email"]
[[source]]
name = "website"
write_key = "wk_website"
origins = ["{origin}"]
[[source]]
name = "backend"
secret_key = "env:CONSENTRY_BACKEND_KEY"
{more}
[server]
allow_private_destinations = true
admin_key = "env:CONSENTRY_ADMIN_KEY"
base_url = "{base}"
"""
PAGES = '[pages]\nsecret = "env:LINK_SECRET"\n'
SMTP = (
    '[smtp]\nurl = "smtp://127.0.0.1:{port}"\nfrom = "Acme <privacy@acme.example>"\ntls = "none"\n'
)


@contextlib.contextmanager
def shop(folder: Path, *parts: str, workspace: str = "", start: bool = True) -> Iterator[Server]:
    """Start one; ``parts`` are more tables of its configuration."""
    server = Server(folder, free_port())
    server.config.write_text(
        CONFIG.format(base=server.base, origin=ORIGIN, more="\n".join(parts), workspace=workspace)
    )
    if start:
        server.start()
    try:
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.stop()


def smtp(box: Mailbox) -> str:
    return SMTP.format(port=box.port)


def sign_up(
    server: Server, email: str, topics: Any = None, key: str = WRITE_KEY, **more: Any
) -> Answer:
    """A form that a script sends."""
    body = {
        "subject": {"email": email},
        "topics": {"news": {"email": True}} if topics is None else topics,
        **more,
    }
    return call(server.base, "POST", "/v1/forms", body, basic=key)


def link(server: Server, subject: dict[str, str], type_: str, **more: Any) -> str:
    """A link for an operator's mail, as path and query."""
    body = {"subject": subject, "type": type_, **more}
    answer = call(server.base, "POST", "/v1/links", body, key=BACKEND_KEY)
    assert answer.status == 200, answer.body
    return path_of(answer.json["url"])


def path_of(url: str) -> str:
    place = urlsplit(url)
    return f"{place.path}?{place.query}"


def get(server: Server, path: str, headers: dict[str, str] | None = None) -> Answer:
    return call(server.base, "GET", path, headers=headers)


def post(
    server: Server,
    path: str,
    fields: list[tuple[str, str]] | dict[str, str],
    headers: dict[str, str] | None = None,
) -> Answer:
    """A form as a browser sends it."""
    told = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
    return call(server.base, "POST", path, urlencode(fields).encode(), headers=told)


class Form(HTMLParser):
    """The first form of a page: where it goes, what it holds, and what a person can press."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.action = ""
        self.hidden: list[tuple[str, str]] = []
        self.on: list[str] = []
        self.switches: list[str] = []
        self.buttons: list[str] = []
        self._inside = False
        self._done = False
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        name, value = found.get("name") or "", found.get("value") or ""
        if tag == "form" and not self._done:
            self._inside, self.action = True, found.get("action") or ""
        elif not self._inside:
            return
        elif tag == "input" and found.get("type") == "hidden":
            self.hidden.append((name, value))
        elif tag == "input" and found.get("type") == "checkbox":
            self.switches.append(value)
            if "checked" in found:
                self.on.append(value)
        elif tag == "button":
            self.buttons.append(value)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form" and self._inside:
            self._inside, self._done = False, True

    def filled(self, do: str, on: list[str] | None = None) -> list[tuple[str, str]]:
        """What the browser sends when ``do`` is pressed with these switches on."""
        assert do in self.buttons
        chosen = self.on if on is None else on
        return [*self.hidden, *(("on", value) for value in chosen), ("do", do)]


def confirmed(server: Server, path: str, headers: dict[str, str] | None = None) -> Answer:
    """A confirmation link, opened and answered."""
    return post(server, path, Form(get(server, path).body).filled("confirm"), headers)


def title(answer: Answer) -> str:
    found = re.search(r"<h1>(.*?)</h1>", answer.body.decode(), re.DOTALL)
    assert found is not None
    return found[1]
