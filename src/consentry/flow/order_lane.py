"""The lane of one destination's orders: which may start, and which need not.

Pure bookkeeping, no clock and no store. Persons are compared by every identifier that was linked
to them: each identifier has a queue, in ledger order, and an order may start only as the head of
all of its queues, while nothing of that person is on the wire. So for one person orders go in
ledger order and nothing overtakes an erasure; different persons go side by side. There is no
number of orders at which this is given up.

The newest wins: at its turn, an order whose whole scope a later one covers is left out, if that
one still holds. So is one that no longer holds itself. An erasure is neither covered nor asked.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import NamedTuple

from msgspec.structs import replace

from consentry.core.delivery import Backoff, Grade, Outcome
from consentry.core.moment import SECOND, Moment
from consentry.core.order import AFTER, OrderState, Verb
from consentry.orders import Order

BACKOFF = Backoff(first_s=2.0, factor=2.0, longest_s=3600.0)
PROBING_LONGEST_S = 30.0
"""The longest pause between tries whether a destination that failed for one order after another
is back. One order tries it for all."""

SOONEST_S = 1.0
PART_OF_OUTAGE = 0.1

FAILURES_UNTIL_ILL = 5
MOST_UNLIKE = 100
"""How many orders are passed over in search of more that fit into one attempt."""

_SAYINGS = frozenset({Verb.SUPPRESS, Verb.GRANT})
Holds = Callable[[Order], bool]


def pause_s(outcome: Outcome, attempts: int, down_s: float, chance: float) -> float:
    """Seconds until an order is tried again, after ``attempts`` tries, ``down_s`` since the first.

    What is down is asked again after a tenth of the time that it has been: so it hears of what it
    missed soon after it is back, and hardly ever in vain. Who wants fewer calls, or another key,
    is left alone for twice as long each time; no failure waits for longer than that, so a clock
    that was set forward makes no long outage of a short one. ``chance`` in [0, 1) spreads the herd.
    """
    waits_s = BACKOFF.delay_s(attempts, chance)
    if outcome.grade is Grade.FAILED_RETRY:
        waits_s = min(waits_s, _until_asked_s(down_s, BACKOFF.longest_s, chance))
    return max(waits_s, outcome.retry_after_s or 0.0)


def _until_asked_s(down_s: float, longest_s: float, chance: float) -> float:
    return min(longest_s, max(SOONEST_S, down_s * PART_OF_OUTAGE)) * (0.5 + 0.5 * chance)


class Left(NamedTuple):
    """An order that need not be sent, and the later one that takes its place, if one does."""

    order: Order
    by: str | None


class Turn(NamedTuple):
    """What is to be done now: orders to send in one attempt, and orders that are left out."""

    batch: tuple[Order, ...] = ()
    left: tuple[Left, ...] = ()


class OrderLane:
    """Open orders of one destination. ``batch_max`` is the most that one attempt carries."""

    def __init__(self, batch_max: int = 1) -> None:
        self._batch_max = batch_max
        self._open: dict[int, Order] = {}
        self._queues: dict[object, list[int]] = {}
        self._flying: set[int] = set()
        self._leaving: set[int] = set()
        self._busy: dict[object, int] = {}  # identifiers of those on the wire
        self._due_at: dict[int, Moment] = {}
        self._due: list[tuple[Moment, int]] = []  # heap; what is no longer true is passed over
        self._look: set[int] = set()  # heads that something came behind
        self._failures = 0
        self._failing_since: Moment = 0
        self._not_before: Moment = 0

    def __len__(self) -> int:
        return len(self._open)

    @property
    def ill(self) -> bool:
        """Whether it failed for one order after another: then one is tried at a time."""
        return self._failures >= FAILURES_UNTIL_ILL

    @property
    def flying(self) -> frozenset[int]:
        """Numbers of the orders that are on the wire."""
        return frozenset(self._flying)

    def is_busy_with(self, number: int) -> bool:
        """Whether an order is on the wire, or what came of it is being written."""
        return number in self._flying or number in self._leaving

    # -- in and out ---------------------------------------------------------------------------
    def admit(self, orders: Iterable[Order]) -> None:
        """Open orders, each known once. A later one may make an earlier one needless at once."""
        for order in orders:
            if order.number in self._open:
                continue
            self._open[order.number] = order
            for key in _keys(order):
                queue = self._queues.setdefault(key, [])
                insort(queue, order.number)
                if queue[0] != order.number:
                    self._look.add(queue[0])
            self._schedule(order.number, order.next_at)

    def mark(self, order: Order) -> None:
        """Somebody was told that this one is open: whatever is written of it later says so too."""
        known = self._open.get(order.number)
        if known is not None:
            self._open[order.number] = replace(known, escalated=order.escalated)

    def hasten(self, order: Order) -> None:
        """Try one that waits now; one that is on the wire is left alone."""
        if order.number in self._open and not self.is_busy_with(order.number):
            self._schedule(order.number, order.next_at)

    def settle(self, number: int) -> None:
        """Nothing more is to be told: those behind it may start."""
        order = self._land(number)
        del self._open[number]
        del self._due_at[number]
        for key in _keys(order):
            self._queues[key].remove(number)
            self._head(key)

    def again(self, number: int, at: Moment) -> None:
        """What came of it could not be written: it waits as it stood, until a moment."""
        self._land(number)
        self._schedule(number, at)

    def put_back(self, order: Order) -> None:
        """It was tried, or was to be, and waits: as it stands now, of the same person."""
        self._land(order.number)
        self._open[order.number] = order
        self._schedule(order.number, order.next_at)

    def _land(self, number: int) -> Order:
        order = self._open[number]
        self._leaving.discard(number)
        if number in self._flying:
            self._flying.remove(number)
            for key in _keys(order):
                self._busy[key] -= 1
                if not self._busy[key]:
                    del self._busy[key]
                    self._head(key)
        return order

    def _head(self, key: object) -> None:
        """The first of a queue may start now, if it is the first of its others too."""
        queue = self._queues[key]
        if not queue:
            del self._queues[key]
        else:
            heappush(self._due, (self._due_at[queue[0]], queue[0]))

    def _schedule(self, number: int, at: Moment) -> None:
        self._due_at[number] = at
        heappush(self._due, (at, number))

    # -- how the destination fares --------------------------------------------------------------
    def heard(self, outcome: Outcome, now: Moment, chance: float) -> None:
        """What an attempt came to, for all others: an answer frees them, a failure slows them."""
        if AFTER[outcome.grade] is not OrderState.WAITING:
            if self.ill:
                for number in self._open.keys() - self._flying:
                    self._schedule(number, min(self._due_at[number], now))
            self._failures, self._not_before = 0, 0
            return
        if not self._failures:
            self._failing_since = now
        self._failures += 1
        wait_s = outcome.retry_after_s or 0.0
        if self.ill:
            down_s = (now - self._failing_since) / SECOND
            wait_s = max(wait_s, _until_asked_s(down_s, PROBING_LONGEST_S, chance))
        self._not_before = max(self._not_before, now + int(wait_s * SECOND))

    # -- choosing -----------------------------------------------------------------------------
    def next_due(self) -> Moment | None:
        """The first moment at which something may start by itself."""
        while self._due:
            at, number = self._due[0]
            if self._is_true(at, number):
                return max(at, self._not_before)
            heappop(self._due)
        return None

    def take(self, now: Moment, holds: Holds) -> Turn:
        """What may start now. Those taken are on the wire; those left out are yet to be settled.

        ``holds`` says whether an order still says what is so. What it raises propagates; then
        nothing was taken.
        """
        left: list[Left] = []
        batch: list[Order] = []
        passed: list[tuple[Moment, int]] = []
        try:
            for number in sorted(self._look):
                if needless := self._needless(number, holds):
                    left.append(needless)  # noqa: PERF401 - kept where the next one raises
            self._look.clear()
            self._fill(now, holds, batch, left, passed)
        except BaseException:
            for order in (*batch, *(one.order for one in left)):
                self.again(order.number, order.next_at)
            raise
        finally:
            for entry in passed:
                heappush(self._due, entry)
        return Turn(tuple(batch), tuple(left))

    def _fill(
        self,
        now: Moment,
        holds: Holds,
        batch: list[Order],
        left: list[Left],
        passed: list[tuple[Moment, int]],
    ) -> None:
        """What is due, as long as it fits. ``passed`` is put back by the caller."""
        while now >= self._not_before and len(batch) < self._batch_max:
            if not self._due or self._due[0][0] > now or len(passed) >= MOST_UNLIKE:
                return
            entry = heappop(self._due)
            if not self._is_true(*entry):
                continue
            order = self._open[entry[1]]
            if batch and not _alike(batch[0], order):
                passed.append(entry)
                continue
            passed.append(entry)  # for as long as nobody knows whether it holds
            needless = self._needless(order.number, holds)
            passed.pop()
            if needless is not None:
                left.append(needless)
            else:
                self._fly(order)
                batch.append(order)

    def _is_true(self, at: Moment, number: int) -> bool:
        return self._due_at.get(number) == at and self._at_its_turn(number)

    def _at_its_turn(self, number: int) -> bool:
        order = self._open.get(number)
        if order is None or number in self._flying or number in self._leaving:
            return False
        return all(self._queues[k][0] == number and k not in self._busy for k in _keys(order))

    def _needless(self, number: int, holds: Holds) -> Left | None:
        """Why an order whose turn it is need not be sent, if so."""
        if not self._at_its_turn(number):
            return None
        order = self._open[number]
        if order.verb is Verb.ERASE:
            return None
        by = self._newer(order, holds)
        if by is None and holds(order):
            return None
        self._leaving.add(number)
        return Left(order, by)

    def _newer(self, order: Order, holds: Holds) -> str | None:
        """The newest order that holds and covers this one."""
        for number in reversed(self._queues[_keys(order)[0]]):
            if number <= order.number:
                return None
            later = self._open[number]
            if number not in self._leaving and covers(later, order) and holds(later):
                return later.order_id
        return None

    def _fly(self, order: Order) -> None:
        self._flying.add(order.number)
        for key in _keys(order):
            self._busy[key] = self._busy.get(key, 0) + 1


def covers(later: Order, earlier: Order) -> bool:
    """Whether whoever follows the later order need not have followed the earlier one.

    What an erasure owes gives way to an erasure alone: another order may be told without whoever
    was erased.
    """
    if later.erasure and not earlier.erases:  # it says more than any of them
        return bool(earlier.named) and set(earlier.named) <= set(later.named)
    if earlier.erases and not later.erases:
        return False
    if later.verb not in _SAYINGS or earlier.verb not in _SAYINGS or not earlier.named:
        return False
    if later.whole is not earlier.whole or not set(earlier.named) <= set(later.named):
        return False
    return set(earlier.topics) <= set(later.topics)


def _alike(one: Order, other: Order) -> bool:
    """Whether one attempt may carry both."""
    return one.verb is other.verb and one.topics == other.topics


def _keys(order: Order) -> tuple[object, ...]:
    """What an order is queued under: whom it names first, since they are whom it is covered by."""
    return tuple(dict.fromkeys((*order.named, *order.nodes))) or (order.order_id,)
