"""The clock: the only place that asks what time it is."""

from __future__ import annotations

import time

from consentry.core.moment import Moment


class Clock:
    """Wall time in microseconds that never repeats and never goes back.

    The ledger is ordered by reception, so two receptions may not share a moment, and a wall
    clock that is set back may not let a withdrawal count as older than what it withdraws.
    """

    def __init__(self, not_before: Moment = 0) -> None:
        self._last = not_before

    def now(self) -> Moment:
        self._last = max(time.time_ns() // 1000, self._last + 1)
        return self._last
