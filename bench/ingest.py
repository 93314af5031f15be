"""Ingest over HTTP, durable, as a ratio to a bare ASGI application on the same server.

Both are processes of their own, driven in turn by the same loader over loopback; what is
compared is the CPU time of the serving process per request.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from statistics import median

from tests.running import WRITE_KEY, call, free_port, server, wait_for

TICKS = os.sysconf("SC_CLK_TCK")
CONNECTIONS = 32
SECONDS = 2.0
BARE = """
import uvicorn, sys
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"16"), (b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b'{"success":true}'})
uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", lifespan="off",
            log_config=None, access_log=False)
"""
_numbers = count()


def message() -> dict[str, object]:
    """About 1 KB, as analytics.js sends it."""
    n = next(_numbers)
    return {
        "type": "track",
        "event": "Product Viewed",
        "messageId": f"bench-{os.getpid()}-{n}",
        "anonymousId": f"a-{n % 5000}",
        "timestamp": "2026-11-01T10:00:00.000Z",
        "context": {
            "page": {"url": "https://shop.example/p/1", "path": "/p/1", "title": "A shirt"},
            "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/150.0",
            "library": {"name": "analytics.js", "version": "next-1.84.3"},
            "consent": {"categoryPreferences": {"analytics": n % 2 == 0, "advertising": False}},
        },
        "properties": {"products": [{"id": str(k), "price": k * 1.5} for k in range(12)]},
        "integrations": {},
    }


def request(path: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Basic {_basic()}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _basic() -> str:
    import base64

    return base64.b64encode(f"{WRITE_KEY}:".encode()).decode()


async def load(port: int, batch: int) -> int:
    """Requests answered with 200 in ``SECONDS``; any other answer ends the run."""
    done = 0
    deadline = time.monotonic() + SECONDS

    async def one() -> None:
        nonlocal done
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < deadline:
            if batch == 1:
                raw = request("/v1/track", json.dumps(message()).encode())
            else:
                body = {"batch": [message() for _ in range(batch)]}
                raw = request("/v1/batch", json.dumps(body).encode())
            writer.write(raw)
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head.split(b"\r\n", 1)[0]:
                raise SystemExit(f"not accepted: {head!r}")
            length = next(
                int(line.split(b":")[1])
                for line in head.lower().split(b"\r\n")
                if line.startswith(b"content-length")
            )
            await reader.readexactly(length)
            done += 1
        writer.close()

    await asyncio.gather(*(one() for _ in range(CONNECTIONS if batch == 1 else 8)))
    return done


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def micros_per_request(pid: int, port: int, batch: int) -> float:
    before = cpu_s(pid)
    done = asyncio.run(load(port, batch))
    return (cpu_s(pid) - before) / max(done, 1) * 1e6


@contextmanager
def bare() -> Iterator[tuple[int, int]]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", BARE, str(port)])
    try:
        wait_for(lambda: call(f"http://127.0.0.1:{port}", "POST", "/", b"{}").status == 200)
        yield process.pid, port
    finally:
        process.kill()
        process.wait()


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        bare() as (bare_pid, bare_port),
        # Nothing listens on port 9: deliveries fail and back off, so that ingest is measured.
        server(Path(folder), "http://127.0.0.1:9", workspace="shadow = true") as running,
    ):
        assert running.process is not None
        for batch in (1, 100):
            floor, ours = [], []
            for _ in range(3):
                floor.append(micros_per_request(bare_pid, bare_port, batch))
                ours.append(micros_per_request(running.process.pid, running.port, batch))
            ratio = median(a / b for a, b in zip(floor, ours, strict=True))
            name = "one event per request" if batch == 1 else f"batches of {batch}"
            print(f"ingest, {name:22} {median(ours) / batch:8.1f} us CPU per event, durable")
            print(
                f"  a bare application          {median(floor) / batch:8.1f} us; ratio {ratio:.2f}"
            )


if __name__ == "__main__":
    main()
