"""What a destination is, as data."""

from __future__ import annotations

from dataclasses import dataclass

from consentry.core.delivery import Grade


@dataclass(frozen=True, slots=True)
class Spec:
    """The fixed facts of one kind of destination.

    ``batch_max`` is the most messages one request carries, ``batch_bytes`` the most bytes
    its body may have. The caller sends only event types of ``events`` and holds both
    limits. ``proves`` says in one sentence what an attempt can and cannot prove, and
    ``best`` is the highest grade it can reach. ``linger_s`` is how
    many seconds new events may wait for others, where every request leaves something behind,
    such as a file; retries do not wait.
    """

    kind: str
    title: str
    batch_max: int
    batch_bytes: int
    events: frozenset[str]
    proves: str
    best: Grade
    linger_s: float = 0.0


ALL_EVENTS = frozenset({"track", "identify", "page", "screen", "group", "alias"})
