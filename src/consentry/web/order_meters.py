"""What is counted of orders, for Prometheus. Labels are names from the configuration."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from consentry.core.order import OrderState
from consentry.erasures import Shredded
from consentry.flow.propagate import SUPERSEDED, Ended

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 900, 86_400, 259_200)
_ONE_SECOND = 1_000_000  # microseconds


class OrderMeters:
    """In the registry of a running server."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.first = Histogram(
            "consentry_order_first_attempt_seconds",
            "From the acknowledged choice to the first attempt at a destination",
            ["destination"],
            buckets=SECONDS,
            registry=registry,
        )
        self.whole = Histogram(
            "consentry_order_terminal_seconds",
            "From the acknowledged choice to a terminal outcome at a destination",
            ["destination"],
            buckets=SECONDS,
            registry=registry,
        )
        self.attempts = Counter(
            "consentry_order_attempts",
            "Attempts at orders, and orders left out",
            ["destination", "verb", "grade"],
            registry=registry,
        )
        self.crossed = Counter(
            "consentry_orders_crossed",
            "Attempts at orders that another choice overtook on the wire",
            ["destination"],
            registry=registry,
        )
        self.escalated = Counter(
            "consentry_orders_escalated",
            "Orders that were said aloud: open for long, or failed for good",
            ["destination", "after"],
            registry=registry,
        )
        self.erased = Counter(
            "consentry_erased",
            "What went of people who were erased",
            ["what"],
            registry=registry,
        )
        self.open = _gauge(registry, "orders_open", "Open orders")
        self.overdue = _gauge(registry, "orders_overdue", "Orders open for more than 15 minutes")
        self.oldest = _gauge(registry, "order_age_seconds", "Age of the oldest open order")
        self.drift = _gauge(
            registry,
            "orders_drift",
            "Orders whose destination holds something else than it was told",
        )

    def shredded(self, part: Shredded) -> None:
        """What one part of an erasure did."""
        for what in ("records", "replies", "events", "orders"):
            if count := getattr(part, what):
                self.erased.labels(what).inc(count)

    def count(self, ended: Ended) -> None:
        """What one attempt came to, or that it was not needed."""
        order, attempt = ended.order, ended.attempt
        name = order.destination
        superseded = order.state is OrderState.SUPERSEDED
        grade = SUPERSEDED if superseded else str(order.grade)
        self.attempts.labels(name, order.verb.value, grade).inc()
        if attempt is None:
            return
        if attempt.crossed:
            self.crossed.labels(name).inc()
        if order.attempts == 1:
            waited = attempt.started_at - order.acknowledged_at
            self.first.labels(name).observe(waited / _ONE_SECOND)
        if order.terminal_at is not None:
            took = order.terminal_at - order.acknowledged_at
            self.whole.labels(name).observe(took / _ONE_SECOND)


def _gauge(registry: CollectorRegistry, name: str, text: str) -> Gauge:
    return Gauge(f"consentry_{name}", text, ["destination"], registry=registry)
