"""Floods of connections against the real server: choices go through, memory and files stay bounded."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import Iterator

import pytest

from tests.e2e.asking import BOTH, fresh, message, peak_kib, send, states, withdraw
from tests.running import WRITE_KEY, Server, call, wait_for

CONNECTIONS = 5000  # what the server holds at most
HEAD = b"POST /v1/batch HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module", autouse=True)
def _files() -> Iterator[None]:
    """As many files for this process as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 3 * CONNECTIONS
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def bearable() -> int:
    """How many connections both processes have files for; the server takes half of its own."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(CONNECTIONS, soft // 2 if soft != resource.RLIM_INFINITY else CONNECTIONS)


def files(server: Server) -> int:
    assert server.process is not None
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def connect(server: Server, said: bytes = b"") -> socket.socket:
    made = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    made.sendall(said)
    return made


def crowd(server: Server, held: contextlib.ExitStack, count: int) -> None:
    """Connections that say nothing, or begin a head, or owe a body."""
    said = (b"", HEAD, HEAD + b"Content-Length: 9\r\n\r\n{")
    for n in range(count):
        held.enter_context(connect(server, said[n % len(said)]))


def answers(server: Server) -> None:
    """Alive, and a withdrawal counts."""
    assert call(server.base, "GET", "/healthz").status == 200
    device = {"anonymousId": fresh("dev")}
    assert withdraw(server, device, key=WRITE_KEY).status == 201
    one = message(stamp=BOTH, **device)
    send(server, one)
    assert set(states(server, one["messageId"]).values()) == {"withheld"}


def test_a_crowd_that_says_nothing_keeps_nobody_out(acme: Server) -> None:
    most = bearable()
    assert most >= 500, "too few files are allowed to say anything"
    send(acme, message())
    before, idle = peak_kib(acme), files(acme)
    with contextlib.ExitStack() as held:
        crowd(acme, held, most)
        answers(acme)
        crowd(acme, held, most // 5)
        answers(acme)
        assert files(acme) <= most + idle + 10
        assert peak_kib(acme) - before < 200 * 1024
        # The silent ones are let go although they never leave.
        wait_for(
            lambda: files(acme) < idle + most // 2, timeout_s=60, what="connections given back"
        )
    wait_for(lambda: files(acme) <= idle + 10, timeout_s=60, what="every file given back")
    answers(acme)


def test_requests_sent_ahead_do_not_fill_the_memory(acme: Server) -> None:
    send(acme, message())
    before = peak_kib(acme)
    ahead = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 10_000
    with contextlib.ExitStack() as held:
        for _ in range(20):
            greedy = held.enter_context(connect(acme))
            with contextlib.suppress(ConnectionError, TimeoutError):
                greedy.settimeout(0.5)
                greedy.sendall(ahead)
        answers(acme)
    assert peak_kib(acme) - before < 32 * 1024
    assert '"internal_error"' not in acme.log


def test_endless_heads_do_not_fill_the_memory(acme: Server) -> None:
    send(acme, message())
    before = peak_kib(acme)
    for line in (b"X-%d: " % 1 + b"a" * 60_000, b"a:\r\n" * 15_000, b"GET /" + b"a" * 60_000):
        for _ in range(50):
            with connect(acme, HEAD) as greedy, contextlib.suppress(ConnectionError):
                for _ in range(20):
                    greedy.sendall(line)
    answers(acme)
    assert peak_kib(acme) - before < 32 * 1024
    assert '"internal_error"' not in acme.log
