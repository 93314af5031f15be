"""A tap on the wire: it passes requests on to the stand-in and says when each of them started.

The stand-in's own clock is read when its process gets its turn. On a busy machine that may be
after a withdrawal was answered although the request had left before. So the tap asks the kernel
when the first byte of a request came in: on the loopback device that is within the sender's own
write (SO_TIMESTAMPNS, socket(7)). It changes nothing of what it passes on.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

from tests.crash.history import Send

_SO_TIMESTAMPNS = 35  # asm-generic/socket.h; Python does not name it
_RESET = struct.pack("ii", 1, 0)


class Tap:
    """Listens on a loopback port. ``told`` gets each send once it has ended, in any thread."""

    def __init__(self, target: int, told: Callable[[Send], None]) -> None:
        self.unstamped = 0
        self._target = target
        self._told = told
        self._open = 0
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        # The kernel stamps nothing until somebody asks; those who are accepted inherit it.
        self._listener.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        """Take no more; wait until everything that was passed on is told."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._changed:
            assert self._changed.wait_for(lambda: self._open == 0, 30), "requests stay open"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                with self._changed:
                    self._open += 1
                threading.Thread(target=self._pass_on, args=(near,), daemon=True).start()

    def _pass_on(self, near: socket.socket) -> None:
        try:
            with near, socket.create_connection(("127.0.0.1", self._target)) as far:
                for sock in (near, far):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with contextlib.suppress(OSError):
                    while self._exchange(near, far):
                        pass
                # Whichever side was reset, the other one hears the same.
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        finally:
            with self._changed:
                self._open -= 1
                self._changed.notify_all()

    def _exchange(self, near: socket.socket, far: socket.socket) -> bool:
        """One request and its answer; False at the end of the connection."""
        first, start = self._first_byte(near)
        if not first:
            return False
        head, rest = _head(near, first)
        event, destination = _named(head)
        status: int | None = None
        try:
            far.sendall(head + rest)
            for piece in _body(near, head, rest):
                far.sendall(piece)
            answer = _answered(near, far)
            status = int(answer.split(b" ", 2)[1])
        finally:
            # Else it was cut off before it named one, or is no event but an order.
            if event and not event.startswith("ord_"):
                self._told(Send(event, destination, start, time.monotonic_ns(), status))
        return True

    def _first_byte(self, near: socket.socket) -> tuple[bytes, int]:
        """Read alone, so that the stamp is that of the packet which it came in."""
        byte, ancillary, _, _ = near.recvmsg(1, 64)
        now = time.monotonic_ns()
        for _, kind, data in ancillary:
            if kind == _SO_TIMESTAMPNS:
                seconds, nanoseconds = struct.unpack("qq", data)
                ago = time.time_ns() - (seconds * 1_000_000_000 + nanoseconds)
                return byte, time.monotonic_ns() - ago
        self.unstamped += bool(byte)
        return byte, now


def _head(near: socket.socket, first: bytes) -> tuple[bytes, bytes]:
    data = first
    while b"\r\n\r\n" not in data:
        piece = near.recv(65536)
        if not piece:
            break  # cut off within its head: it is passed on as it is
        data += piece
    head, end, rest = data.partition(b"\r\n\r\n")
    return head + end, rest


def _named(head: bytes) -> tuple[str, str]:
    """Event and destination, from the headers and the path."""
    path = head.split(b" ", 2)[1].decode() if head.count(b" ") > 1 else ""
    return _header(head, b"webhook-id"), path.rpartition("/")[2]


def _header(head: bytes, name: bytes) -> str:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip().decode()
    return ""


def _body(near: socket.socket, head: bytes, rest: bytes) -> Iterator[bytes]:
    left = int(_header(head, b"content-length") or 0) - len(rest)
    while left > 0:
        piece = near.recv(min(left, 65536))
        if not piece:
            return
        left -= len(piece)
        yield piece


def _answered(near: socket.socket, far: socket.socket) -> bytes:
    """Pass the answer back; returns its head. Raises ConnectionError when it does not come."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _passed_back(near, far)
    head, end, rest = data.partition(b"\r\n\r\n")
    left = int(_header(head + end, b"content-length") or 0) - len(rest)
    while left > 0:
        left -= len(_passed_back(near, far))
    return head


def _passed_back(near: socket.socket, far: socket.socket) -> bytes:
    """The next piece of the answer. Nobody waits for it once the server has gone."""
    ready, _, _ = select.select([near, far], [], [])
    piece = far.recv(65536) if far in ready else near.recv(1, socket.MSG_PEEK) and b""
    if not piece:
        raise ConnectionError
    near.sendall(piece)
    return piece
