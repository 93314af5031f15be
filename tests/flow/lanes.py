"""Lanes with a few events and rows, and the two ways in which a delivery starts."""

from __future__ import annotations

from consentry.core.delivery import Backoff, Grade, Outcome
from consentry.flow.lane import Lane
from consentry.ports import Delivery, Positioned
from tests.store.makers import device, event

BACKOFF = Backoff(first_s=2.0, factor=2.0, longest_s=8.0, give_up_after_s=20.0)
FAILED = Outcome(Grade.FAILED_RETRY, 503, "busy")
BUSY = Outcome(Grade.RATE_LIMITED, 429, "slow down", retry_after_s=7.0)


def new_lane(batch_max: int = 1, batch_bytes: int = 10_000) -> Lane:
    return Lane("shop", BACKOFF, batch_max=batch_max, batch_bytes=batch_bytes)


def event_of(position: int, subject: str, body: bytes = b"{}") -> Positioned:
    return Positioned(position, event(nodes=(device(subject),), body=body))


def with_events(subjects: str, batch_max: int = 1) -> Lane:
    lane = new_lane(batch_max)
    for position, subject in enumerate(subjects):
        lane.admit(event_of(position, subject))
        lane.read = position + 1
    return lane


def row(position: int, subject: str = "a", **fields: object) -> Delivery:
    given = {"state": "waiting", "attempts": 1, "first_at": 0, "next_at": 0} | fields
    return Delivery("shop", position, f"d:{subject}", **given)


def started(lane: Lane, now: int = 0) -> list[int]:
    return [one.position for one in lane.take_new(now)]


def retried(lane: Lane, subject: str, now: int) -> int:
    found = lane.take_retry(now)
    assert found is not None
    lane.fly(event_of(found.position, subject), found)
    return found.position


def read_on(lane: Lane, position: int, subject: str) -> None:
    lane.admit(event_of(position, subject))
    lane.read = position + 1
