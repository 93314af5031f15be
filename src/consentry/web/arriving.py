"""Bodies as they arrive: how long one may be, how long it may take, how much of all at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.requests import ClientDisconnect

from consentry.web.call import Asked, Call
from consentry.web.problems import Problem
from consentry.web.strict_json import gunzip

BODY_TIMEOUT_S = 30.0


@dataclass
class Room:
    """How many bytes of bodies may be in memory while they arrive, of all requests together.

    Whoever opens many connections and sends slowly may not fill the memory.
    """

    most: int
    taken: int = 0

    def take(self, count: int) -> None:
        """Raises Problem 503 when there is no more room; then nothing was taken."""
        if self.taken + count > self.most:
            message = "too many bodies are arriving at once"
            raise Problem(503, "overloaded", message, retry_after_s=1)
        self.taken += count

    def give_back(self, count: int) -> None:
        self.taken -= count


async def read_body(
    request: Asked,
    longest: int,
    room: Room | None = None,
    *,
    too_large: int = 413,
    within_s: float = BODY_TIMEOUT_S,
) -> bytes:
    """The body, unpacked, at most ``longest`` bytes, within ``within_s`` seconds. Raises Problem.

    While it arrives its bytes are taken from ``room``. ``too_large`` is the status of a longer
    one: 413, but 400 on the tracking paths, as Segment documents it.
    """
    try:
        return await _unpacked(request, longest, room or Room(longest), within_s)
    except Problem as problem:
        if problem.code == "too_large":
            problem.status = too_large
        raise


async def _unpacked(request: Asked, longest: int, room: Room, within_s: float) -> bytes:
    body = await _read(request, longest, room, within_s)
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding == "gzip":
        return gunzip(body, longest)
    if encoding not in ("identity", ""):
        raise Problem(400, "unsupported_encoding", "use gzip or no Content-Encoding")
    return body


async def _read(request: Asked, longest: int, room: Room, within_s: float) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > longest:
        raise Problem(400, "too_large", f"the body is larger than {longest} bytes")
    if isinstance(request, Call) and request.body is not None:
        if len(request.body) > longest:
            raise Problem(400, "too_large", f"the body is larger than {longest} bytes")
        return request.body
    chunks: list[bytes] = []
    size = taken = 0
    try:
        async with asyncio.timeout(within_s):
            async for chunk in request.stream():
                size += len(chunk)
                if size > longest:
                    raise Problem(400, "too_large", f"the body is larger than {longest} bytes")
                room.take(len(chunk))
                taken += len(chunk)
                chunks.append(chunk)
    except TimeoutError:
        raise Problem(408, "timeout", "the body did not arrive in time") from None
    except ClientDisconnect:
        raise Problem(400, "disconnected", "the connection ended before the body did") from None
    finally:
        room.give_back(taken)
    return b"".join(chunks)
