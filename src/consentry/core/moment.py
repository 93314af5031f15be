"""Moments: microseconds since 1970-01-01T00:00:00Z, as an integer.

Consent is decided by comparing times, hundreds of thousands of times a second, and a
comparison of integers cannot meet a naive datetime. Text is parsed at the door and
written at the door; in between there are only these.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TypeAlias

Moment: TypeAlias = int
"""Microseconds since the epoch, UTC."""

Microseconds: TypeAlias = int

SECOND: Microseconds = 1_000_000
HOUR: Microseconds = 3_600 * SECOND
DAY: Microseconds = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND


def from_datetime(value: datetime) -> Moment:
    """The moment of an aware datetime; a naive one is taken as UTC."""
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    since = value - _EPOCH
    return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds


def parse(text: str) -> Moment:
    """Parse RFC 3339, or ISO 8601 as SDKs write it (no zone means UTC).

    Raises ValueError when it is no date and time.
    """
    if len(text) < 10 or len(text) > 40:
        raise ValueError("not a date and time")
    try:
        parsed = from_datetime(datetime.fromisoformat(text))
    except OverflowError as error:
        raise ValueError("not a date and time") from error
    if not _FIRST <= parsed <= _LAST:
        raise ValueError("not within the years 1 to 9999, UTC")  # it could not be written again
    return parsed


def format_rfc3339(moment: Moment) -> str:
    """RFC 3339 in UTC with milliseconds, as Segment writes it."""
    second, rest = divmod(moment, SECOND)
    return f"{_to_the_second(second)}.{rest // 1000:03d}Z"


@lru_cache(maxsize=1024)
def format_exact(moment: Moment) -> str:
    """RFC 3339 in UTC with microseconds: for records, where order matters.

    One record's time is told of each of its categories.
    """
    second, rest = divmod(moment, SECOND)
    return f"{_to_the_second(second)}.{rest:06d}Z"


@lru_cache(maxsize=1024)
def _to_the_second(second: int) -> str:
    """What is written now is mostly of the second in which the last was."""
    value = _EPOCH + timedelta(seconds=second)
    return value.isoformat(timespec="seconds").removesuffix("+00:00")
