"""What `/metrics` of a deliverer says of webhooks."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

ATTEMPTS = Counter(
    "greenroom_webhook_attempts",
    "What became of attempts: delivered, failed (of the receiver), hindered (by something of ours).",
    ["outcome"],
)
SECONDS = Histogram(
    "greenroom_webhook_attempt_seconds",
    "From the beginning of an attempt to the head of its answer.",
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0),
)
LAG = Histogram(
    "greenroom_webhook_lag_seconds",
    "From the event's fan-out to its receiver, of those that succeed at once and were not asked for again.",
    buckets=(0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0),
)
PENDING = Gauge(
    "greenroom_webhook_pending", "Deliveries that are still to be made, of all processes, counted to 100,000."
)
OLDEST_DUE = Gauge("greenroom_webhook_oldest_due_seconds", "How long the oldest has been due; of all processes.")
