"""A real server and a real stand-in, each a process of its own, on free loopback ports."""

from __future__ import annotations

import base64
import contextlib
import http.client
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ADMIN_KEY = "admin-0123456789-0123456789-0123456789"
BACKEND_KEY = "backend-0123456789-0123456789-0123456"
HOOK_SECRET = "hook-0123456789-0123456789-0123456789"
LINK_SECRET = "links-0123456789-0123456789-0123456789"
TOKEN_SECRET = "token-0123456789-0123456789-0123456789"
WRITE_KEY = "wk_website"
ENVIRONMENT = {
    "CONSENTRY_ADMIN_KEY": ADMIN_KEY,
    "CONSENTRY_BACKEND_KEY": BACKEND_KEY,
    "HOOK_SECRET": HOOK_SECRET,
    "LINK_SECRET": LINK_SECRET,
    "TOKEN_SECRET": TOKEN_SECRET,
}

CONFIG = """
[workspace]
name = "Acme"
{workspace}
[store]
url = "sqlite:///consentry.db"
[[category]]
id = "analytics"
name = "Analytics"
gpc = false
[[category]]
id = "advertising"
name = "Advertising"
gpc = true
[[source]]
name = "website"
write_key = "wk_website"
subject_token_secret = "env:TOKEN_SECRET"
{website}
[[source]]
name = "backend"
secret_key = "env:CONSENTRY_BACKEND_KEY"
[[destination]]
name = "warehouse"
kind = "webhook"
categories = ["analytics"]
url = "{stand_in}/webhook/warehouse"
secret = "env:HOOK_SECRET"
[[destination]]
name = "ads"
kind = "webhook"
categories = ["advertising", "analytics"]
url = "{stand_in}/webhook/ads"
secret = "env:HOOK_SECRET"
{more}
[server]
allow_private_destinations = true
admin_key = "env:CONSENTRY_ADMIN_KEY"
"""


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def call(
    base: str,
    method: str,
    path: str,
    body: Any = None,
    *,
    key: str | None = None,
    basic: str | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """One request; ``body`` may be bytes or JSON. ``key`` goes as Bearer, ``basic`` as user name."""
    sent = dict(headers or {})
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    if key is not None:
        sent["Authorization"] = f"Bearer {key}"
    if basic is not None:
        sent["Authorization"] = "Basic " + base64.b64encode(f"{basic}:".encode()).decode()
    host, _, port = base.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    try:
        connection.request(method, path, data, sent)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())
    finally:
        connection.close()


def _ports() -> Iterator[int]:
    """Ports of this process alone, and none of those that the system gives to whoever asks for any:
    a server that was killed must find its own port free when it is started again.
    """
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw8").removeprefix("gw")) % 9
    ports = range(10_000 + number * 2_400, 10_000 + (number + 1) * 2_400)
    first = random.randrange(len(ports))  # another run may be going on
    return itertools.cycle([*ports[first:], *ports[:first]])


_PORTS = _ports()


def free_port() -> int:
    """A port that nobody has."""
    for port in _PORTS:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError


def wait_for(condition: Any, timeout_s: float = 60.0, what: str = "condition") -> Any:
    """Poll until the condition gives something true; fail loudly when it never does."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with contextlib.suppress(ConnectionError, http.client.HTTPException, TimeoutError):
            found = condition()
            if found:
                return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come true in {timeout_s} s")


@dataclass
class StandIn:
    """The vendors' stand-in."""

    port: int
    process: subprocess.Popen[bytes]
    host: str = "127.0.0.1"

    @property
    def base(self) -> str:
        return f"http://{self.host}:{self.port}"

    def journal(self, vendor: str = "webhook", after: int = 0) -> list[dict[str, Any]]:
        """Every request that it received, or those after a number."""
        entries: list[dict[str, Any]] = []
        while True:
            page = call(self.base, "GET", f"/_ctl/{vendor}/journal?after={after}").json
            assert page["lost"] == 0, "the journal was full and forgot"
            entries += page["entries"]
            if not page["entries"] or page["next"] is None:
                return entries
            after = page["next"]

    def received(self, instance: str, vendor: str = "webhook") -> list[str]:
        """Message ids that one instance received, in order, with repetitions."""
        return [
            message_id
            for entry in self.journal(vendor)
            if entry["path"].startswith(f"/{vendor}/{instance}")
            for message_id in entry["ids"]["messageIds"]
        ]

    def orders(self, instance: str, vendor: str = "webhook") -> list[dict[str, Any]]:
        """What one instance was told of choices, in order, with repetitions."""
        return [
            entry["body"]
            for entry in self.journal(vendor)
            if entry["path"].startswith(f"/{vendor}/{instance}")
            and entry["body"]["type"].startswith(("consent.", "subject."))
            and entry["body"]["type"] != "consent.updated"  # an event, not an order
        ]

    def mode(self, vendor: str, mode: str, **more: Any) -> None:
        answer = call(self.base, "POST", f"/_ctl/{vendor}", {"mode": mode, **more})
        assert answer.status == 200, answer.body

    def reset(self) -> None:
        assert call(self.base, "POST", "/_ctl/reset").status == 200


@contextlib.contextmanager
def stand_in(
    listen: str = "127.0.0.1", host: str = "127.0.0.1", within: tuple[str, ...] = ()
) -> Iterator[StandIn]:
    """Start one; stop it at the end. ``within`` stands before its command, to run it elsewhere.

    ``listen`` is the address it listens on, ``host`` where it is reached from here.
    """
    port = free_port()
    process = subprocess.Popen(
        [
            *within,
            *(sys.executable, "-m", "consentry", "stand-in"),
            *("--host", listen, "--port", str(port)),
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        running = StandIn(port, process, host)
        wait_for(lambda: call(running.base, "GET", "/_ctl").status == 200, what="stand-in")
        yield running
    finally:
        process.kill()
        process.wait()


@dataclass
class Server:
    """One `consentry serve` on a folder of its own."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=lambda: dict(ENVIRONMENT))
    host: str = "127.0.0.1"
    within: tuple[str, ...] = ()

    @property
    def base(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def config(self) -> Path:
        return self.folder / "consentry.toml"

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text()

    def start(self) -> None:
        """Start, and wait until it answers."""
        self.spawn()
        self.ready()

    def spawn(self) -> None:
        """Start, and do not wait. ``within`` stands before the command, to run it elsewhere."""
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *self.within,
                    *(sys.executable, "-m", "consentry", "serve", "--config", "consentry.toml"),
                    *("--host", self.host, "--port", str(self.port)),
                ],
                cwd=self.folder,
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=log,
            )

    def ready(self) -> None:
        """Wait until it answers."""
        try:
            wait_for(self._answers, what="server")
        except AssertionError:
            raise AssertionError(self.log) from None

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended: {self.log}")
        return call(self.base, "GET", "/healthz").status == 200

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    # -- what tests ask of it -----------------------------------------------------------------
    def track(self, message: dict[str, Any], key: str = WRITE_KEY, **more: Any) -> Answer:
        path = f"/v1/{message.get('type', 'track')}"
        return call(self.base, "POST", path, message, basic=key, **more)

    def admin(self, method: str, path: str, body: Any = None) -> Answer:
        return call(self.base, method, path, body, key=ADMIN_KEY)

    def event(self, message_id: str) -> dict[str, dict[str, Any]]:
        """The deliveries of an event by destination, once none of them waits."""

        def settled() -> dict[str, dict[str, Any]] | None:
            answer = self.admin("GET", f"/v1/events/{message_id}")
            if answer.status != 200:
                return None
            found = {d["destination"]: d for d in answer.json["deliveries"]}
            return None if any(d["state"] == "waiting" for d in found.values()) else found

        found: dict[str, dict[str, Any]] = wait_for(settled, what=f"{message_id} settled")
        return found


@contextlib.contextmanager
def server(
    folder: Path,
    stand_in_base: str,
    *,
    workspace: str = "",
    website: str = "",
    more: str = "",
    **environment: str,
) -> Iterator[Server]:
    """Start one with the usual configuration, and more of an environment; stop it at the end."""
    running = Server(folder, free_port())
    running.environment |= environment
    running.config.write_text(
        CONFIG.format(stand_in=stand_in_base, workspace=workspace, website=website, more=more)
    )
    running.start()
    try:
        yield running
    finally:
        if running.process is not None and running.process.poll() is None:
            running.stop()
