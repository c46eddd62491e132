"""What a server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ROWS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 100_000)


class ServerMetrics:
    """Counters of one server.

    Args:
        waiting: Gives the rows that wait.
    """

    def __init__(self, waiting: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter(
            "jointrain_requests", "Requests answered", ["path", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "jointrain_request_seconds",
            "Seconds from a request's head to the end of its answer",
            ["path"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.rows = Counter("jointrain_rows", "Rows predicted", registry=self.registry)
        self.batch_rows = Histogram(
            "jointrain_batch_rows",
            "Rows predicted in one pass, of one or more requests",
            buckets=_ROWS,
            registry=self.registry,
        )
        self.notes = Counter(
            "jointrain_noted_requests",
            "Requests with something to be said of their rows, such as values never seen",
            registry=self.registry,
        )
        Gauge(
            "jointrain_waiting_rows", "Rows that wait or are being predicted",
            registry=self.registry,
        ).set_function(waiting)  # fmt: skip

    def batch(self, rows: int) -> None:
        """Count a batch."""
        self.rows.inc(rows)
        self.batch_rows.observe(rows)
