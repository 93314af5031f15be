"""The clock: the only place that asks what time it is."""

from __future__ import annotations

import time
from collections.abc import Callable

from consentry.core.moment import Moment


class Clock:
    """Wall time in microseconds that never repeats and never goes back.

    The ledger is ordered by reception, so two receptions may not share a moment, and a wall
    clock that is set back may not let a withdrawal count as older than what it withdraws.
    ``wall_ns`` is the wall clock, ``elapsed_ns`` one that nobody can set; both in nanoseconds.
    """

    def __init__(
        self,
        not_before: Moment = 0,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
        elapsed_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.elapsed_ns = elapsed_ns
        self._wall_ns = wall_ns
        self._last = not_before

    def now(self) -> Moment:
        self._last = max(self._wall_ns() // 1000, self._last + 1)
        return self._last


class Timer:
    """What waits are measured with: the clock's time, but it goes on while the clock stands.

    After a wall clock was wrong once, ``Clock`` stands still until the wall has caught up, which
    may take a year. A retry in two seconds is due in two seconds all the same.
    """

    def __init__(self, clock: Clock, elapsed_ns: Callable[[], int] | None = None) -> None:
        self._clock = clock
        self._elapsed_ns = elapsed_ns or clock.elapsed_ns
        self._seen_ns = self._elapsed_ns()
        self._at = clock.now()

    def now(self) -> Moment:
        seen_ns = self._elapsed_ns()
        passed_us = (seen_ns - self._seen_ns) // 1000
        self._seen_ns += passed_us * 1000
        self._at = max(self._clock.now(), self._at + passed_us)
        return self._at
