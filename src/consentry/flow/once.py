"""A request with an Idempotency-Key is carried out once; whoever repeats it gets the same reply."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from consentry.flow.world import World


class KeyReused(Exception):
    """The Idempotency-Key was used before, with another body. Use a new key."""


@dataclass(frozen=True, slots=True)
class Once:
    """An Idempotency-Key with its door, and the SHA-256 of the request's body."""

    key: str
    digest: bytes


async def kept_reply(world: World, once: Once) -> dict[str, Any] | None:
    """What was answered before, None where nothing was. Waits for whoever is answering now.

    Raises KeyReused. Nothing may be awaited between this and ``answering``.
    """
    while (others := world.answering.get(once.key)) is not None:
        await others
    reply = world.store.reply_to(once.key)
    if reply is None:
        return None
    if reply.digest != once.digest:
        raise KeyReused
    body: dict[str, Any] = msgspec.json.decode(reply.body)
    return body


@contextmanager
def answering(world: World, once: Once) -> Iterator[None]:
    """While a request is carried out, others with its key wait for its reply."""
    done = world.answering[once.key] = asyncio.get_running_loop().create_future()
    try:
        yield
    finally:
        del world.answering[once.key]
        done.set_result(None)
