"""The processes that are measured and those around them: Consentry, nginx, and the sink."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import cpu
from tests.running import Answer, call, free_port, wait_for

ROOT = Path(__file__).parent.parent
BUILD = ROOT / ".build" / "bench"
ADMIN_KEY = "admin-0123456789-0123456789-0123456789"
WRITE_KEY = "wk_website"
BASIC = "Basic " + base64.b64encode(f"{WRITE_KEY}:".encode()).decode()
CATEGORIES = (
    "analytics", "advertising", "functional", "personalisation",
    "social", "performance", "research", "support",
)  # fmt: skip
NEEDS = (("analytics",), ("advertising", "analytics"), ("functional",), ("social",), ("support",))
"""What each of the five destinations needs."""
TEN = NEEDS + tuple((category,) for category in CATEGORIES[1:6])
"""The same for ten."""
Needs = tuple[tuple[str, ...], ...]
SETTLE_S = 0.2


def config(sink: str, store: str = "sqlite:///consentry.db", needs: Needs = NEEDS) -> str:
    """A workspace of eight categories and a webhook destination at ``sink`` for each of ``needs``."""
    parts = [
        f'[workspace]\nname = "Bench"\n[store]\nurl = "{store}"\n[server]\n'
        'allow_private_destinations = true\nadmin_key = "env:CONSENTRY_ADMIN_KEY"\n'
        f'[[source]]\nname = "website"\nwrite_key = "{WRITE_KEY}"\n'
    ]
    parts += [f'[[category]]\nid = "{c}"\nname = "{c}"\ngpc = false\n' for c in CATEGORIES]
    parts += [
        f'[[destination]]\nname = "hook{n}"\nkind = "webhook"\nurl = "{sink}/hook{n}"\n'
        f'secret = "env:HOOK_SECRET"\ncategories = [{", ".join(map(_quoted, one))}]\n'
        for n, one in enumerate(needs)
    ]
    return "".join(parts)


def _quoted(text: str) -> str:
    return f'"{text}"'


ENVIRONMENT = {
    "CONSENTRY_ADMIN_KEY": ADMIN_KEY,
    "HOOK_SECRET": "hook-0123456789-0123456789-0123456789",
}


@dataclass
class Server:
    """One `consentry serve` on the server's core."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cpu_s(self) -> float:
        return cpu.cpu_s(self.process.pid)

    def memory_mb(self, field: str = "VmRSS") -> float:
        return cpu.memory_mb(self.process.pid, field)

    def admin(self, method: str, path: str, body: Any = None) -> Answer:
        return call(self.base, method, path, body, key=ADMIN_KEY)

    def settled_cpu_s(self, timeout_s: float = 120.0) -> float:
        """CPU seconds once the process has nothing more to do."""
        seen, quiet, deadline = self.cpu_s(), 0, time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            time.sleep(SETTLE_S)
            now = self.cpu_s()
            # Twice in a row: once may only mean that the neighbours had the core.
            quiet = quiet + 1 if now - seen < 0.02 * SETTLE_S else 0
            if quiet == 2:
                return now
            seen = now
        raise TimeoutError("the server did not come to rest")


def start(folder: Path, port: int) -> Server:
    """Start the process; it may not answer yet."""
    log = (folder / "server.log").open("ab")
    command = [sys.executable, "-m", "consentry", "serve", "--config", "consentry.toml"]
    process = subprocess.Popen(
        cpu.pinned(cpu.SERVER_CORE, [*command, "--port", str(port)]),
        cwd=folder,
        env={**os.environ, **ENVIRONMENT},
        stdout=log,
        stderr=log,
    )
    return Server(folder, port, process)


@contextlib.contextmanager
def consentry(sink: str, preloaded: Path | None = None, needs: Needs = NEEDS) -> Iterator[Server]:
    """A server with destinations at ``sink``, on a copy of a preloaded store if given."""
    with workplace() as folder:
        (folder / "consentry.toml").write_text(config(sink, needs=needs))
        if preloaded is not None:
            for file in preloaded.iterdir():
                shutil.copy(file, folder / file.name)
            os.sync()  # what was copied must not reach the disk while we measure
        running = start(folder, free_port())
        try:
            wait_for(lambda: _answers(running), timeout_s=60, what="server")
            yield running
        finally:
            stop(running.process)


def _answers(running: Server) -> bool:
    if running.process.poll() is not None:
        raise SystemExit((running.folder / "server.log").read_text())
    return call(running.base, "GET", "/healthz").status == 200


def stop(process: subprocess.Popen[Any]) -> None:
    """SIGTERM, and SIGKILL for one that does not end."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """A folder on the disk that holds the project, gone at the end."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="run-") as folder:
        yield Path(folder)


NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000; client_body_buffer_size 256k;
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 '{{"success":true}}'; }} }}
}}
"""


@contextlib.contextmanager
def nginx() -> Iterator[tuple[int, int]]:
    """An nginx of one worker that answers 200 to everything; gives its port and process id."""
    with workplace() as folder:
        port = free_port()
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port))
        program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or "nginx"
        command = [program, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
        process = subprocess.Popen(cpu.pinned(cpu.SERVER_CORE, command), stderr=subprocess.DEVNULL)
        try:
            base = f"http://127.0.0.1:{port}"
            wait_for(lambda: call(base, "GET", "/").status == 200, what="nginx")
            yield port, process.pid
        finally:
            stop(process)


@dataclass
class Sink:
    """The local destination, a process of its own on the core of the load."""

    port: int

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def mode(self, mode: str) -> None:
        """``ok`` answers 200, ``refuse`` 401, ``hold`` nothing until the mode changes."""
        assert call(self.base, "POST", f"/_mode/{mode}").status == 200

    def count(self) -> int:
        """Requests received, control apart."""
        return int(call(self.base, "GET", "/_count").body)

    def held(self) -> int:
        """Requests that wait for an answer."""
        return int(call(self.base, "GET", "/_held").body)


@contextlib.contextmanager
def sink() -> Iterator[Sink]:
    """Start a sink in mode ``ok``."""
    port = free_port()
    command = [sys.executable, "-m", "bench.sink", str(port)]
    process = subprocess.Popen(cpu.pinned(cpu.LOAD_CORE, command), cwd=ROOT)
    try:
        running = Sink(port)
        wait_for(lambda: running.count() == 0, what="sink")
        yield running
    finally:
        stop(process)


def event(message_id: str, device: str = "dev-00000001") -> dict[str, Any]:
    """An event of about 1 KB that consents to every category."""
    return {
        "type": "track",
        "event": "Product Viewed",
        "messageId": message_id,
        "anonymousId": device,
        "context": {
            "page": {"url": "https://shop.example/catalogue/3/item-11", "title": "Travel mug"},
            "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/150.0",
            "library": {"name": "analytics.js", "version": "npm:next-1.84.3"},
            "consent": {"categoryPreferences": dict.fromkeys(CATEGORIES, True)},
        },
        "properties": {"note": "x" * 420},
        "integrations": {},
    }


def post_events(running: Server, unique: str, count: int, devices: int = 1) -> None:
    """Have so many events accepted, in batches of 100. Each goes to all five destinations."""
    for first in range(0, count, 100):
        numbers = range(first, min(first + 100, count))
        batch = [event(f"{unique}-{n:08d}", f"dev-{n * 7 % devices:08d}") for n in numbers]
        answer = call(running.base, "POST", "/v1/batch", {"batch": batch}, basic=WRITE_KEY)
        assert answer.status == 200, answer.body


def pause_all(running: Server, receiver: Sink) -> None:
    """Have every destination refuse our credentials once: the workers stop until somebody looks."""
    receiver.mode("refuse")
    post_events(running, "pause", 1)

    def paused() -> bool:
        seen = running.admin("GET", "/v1/destinations").json["destinations"]
        return len(seen) == len(NEEDS) and all(one["paused"] for one in seen)

    wait_for(paused, what="pause")
