"""What is counted, for Prometheus. Labels are names from the configuration, never of people."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from consentry.core.decision import MOST_RULINGS, Ruling
from consentry.flow.accept import Accepted
from consentry.flow.deliver import Settled
from consentry.ports import Tally
from consentry.web.order_meters import OrderMeters


class Meters:
    """One registry per running server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._rulings: Counts[Ruling] = Counts()
        self._types: Counts[tuple[str, str]] = Counts()
        self._tries: Counts[tuple[str, str]] = Counts()
        self._lasted: dict[str, Histogram] = {}
        make = self._counter
        self.accepted = make("events_accepted", "Events accepted and durable", "source", "type")
        self.refused = make("events_refused", "Messages refused", "source", "code")
        self.repeated = make("events_repeated", "Messages seen before", "source")
        self.decided = make(
            "decisions", "Decisions at acceptance", "destination", "decision", "reason"
        )
        self.choices = make("records", "Entries of the ledger", "type")
        self.erased = make(
            "erased_withheld", "Imports and reports that name somebody who was erased", "door"
        )
        self.attempts = make("attempts", "Attempts and last refusals", "destination", "grade")
        self.crossed = make("crossed", "Attempts overtaken by a withdrawal", "destination")
        self.refused_tokens = make("subject_tokens_refused", "Subject tokens refused", "source")
        self.sign_ups = make("sign_ups", "Sign-up forms, and what became of them", "fate")
        self.links_asked_for = make("links_asked_for", "Links asked for by address", "fate")
        self.mails = make("mails", "Tries to send mails and text messages", "kind", "fate")
        self.unknown_keys = make("unknown_keys", "Requests with an unknown key")
        self.unknown_categories = make(
            "unknown_categories", "Stamps and choices that name an unknown category"
        )
        self.leaks = make(
            "leaks", "Requests that pages tried without consent", "source", "tag", "via", "stopped"
        )
        self.reports_ignored = make("reports_ignored", "Reports about no request", "source")
        self.places = make("places", "Visitors' places, by how they were found", "how")
        self.notices = make(
            "notices", "Notices shown, closed and answered", "what", "region", "version", "language"
        )
        self.unknown_notices = make(
            "unknown_notices", "Choices whose notice was never archived, or was another one"
        )
        self.lag = Gauge(
            "consentry_lag_events",
            "Events not yet looked at, per destination",
            ["destination"],
            registry=self.registry,
        )
        self.oldest = Gauge(
            "consentry_queue_age_seconds",
            "Age of the oldest event that waits, per destination",
            ["destination"],
            registry=self.registry,
        )
        self.waiting = Gauge(
            "consentry_waiting_rows",
            "Deliveries that wait for a retry",
            ["destination"],
            registry=self.registry,
        )
        self.dead = Gauge(
            "consentry_dead_letters",
            "Deliveries that were given up, per destination",
            ["destination"],
            registry=self.registry,
        )
        self.paused = Gauge(
            "consentry_destination_paused",
            "1 while a destination is paused",
            ["destination"],
            registry=self.registry,
        )
        self.stuck = Gauge(
            "consentry_destination_stuck",
            "1 while a worker cannot go on by itself",
            ["destination"],
            registry=self.registry,
        )
        self.enforcing = Gauge(
            "consentry_enforcing",
            "1 while the consent state can be read and written",
            registry=self.registry,
        )
        self.addresses = Gauge(
            "consentry_address_file_usable",
            "1 while the file of places by address can be read; there is none where it is 0 too",
            registry=self.registry,
        )
        self.attempt_seconds = Histogram(
            "consentry_attempt_seconds",
            "How long attempts took",
            ["destination"],
            registry=self.registry,
        )

        self.orders = OrderMeters(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"consentry_{name}", text, labels, registry=self.registry)

    def count_accepted(self, source: str, accepted: Accepted) -> None:
        """What came of one request."""
        self._rulings.update([one.decisions.ruling for one in accepted.decided])
        self._types.update([(source, one.event.type) for one in accepted.decided])
        if len(self._rulings) > MOST_RULINGS:
            self._count_rulings()
        for _, malformed in accepted.refused:
            self.refused.labels(source, malformed.code).inc()
        if accepted.repeated:
            self.repeated.labels(source).inc(accepted.repeated)
        for record in accepted.records:
            self.choices.labels(record.type).inc()

    def count_notices(self, tallies: Iterable[Tally]) -> None:
        """What happened with notices."""
        for one in tallies:
            self.notices.labels(one.what, one.region, one.version, one.language).inc(one.times)

    def _count_rulings(self) -> None:
        """An event is counted under its type and its ruling; what that means, when it is asked."""
        for ruling, count in self._rulings.items():
            for ruled in ruling.each:
                word = "allow" if ruled.allow else "withhold"
                self.decided.labels(ruled.destination, word, ruled.reason).inc(count)
        self._rulings.clear()
        for (source, type_), count in self._types.items():
            self.accepted.labels(source, type_).inc(count)
        self._types.clear()
        for (destination, grade), count in self._tries.items():
            self.attempts.labels(destination, grade).inc(count)
        self._tries.clear()

    def count_attempt(self, destination: str, settled: Settled) -> None:
        """What one attempt came to."""
        attempt = settled.attempt
        self._tries[destination, attempt.grade] += 1
        if attempt.crossed:
            self.crossed.labels(destination).inc()
        if settled.outcome is not None:
            lasted = self._lasted.get(destination)
            if lasted is None:
                lasted = self._lasted[destination] = self.attempt_seconds.labels(destination)
            lasted.observe((attempt.ended_at - attempt.started_at) / 1_000_000)

    def exposition(self) -> bytes:
        """The text format."""
        self._count_rulings()
        return generate_latest(self.registry)
