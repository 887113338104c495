"""What `/metrics` of a deliverer says of webhooks."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

ATTEMPTS = Counter(
    "greenroom_webhook_attempts",
    "What became of attempts: delivered, failed (of the receiver), hindered (by something of ours).",
    ["outcome"],
    registry=REGISTRY,
)
SECONDS = Histogram(
    "greenroom_webhook_attempt_seconds",
    "From the beginning of an attempt to the head of its answer.",
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0),
    registry=REGISTRY,
)
LAG = Histogram(
    "greenroom_webhook_lag_seconds",
    "From the event's fan-out to its receiver, of those that succeed at once and were not asked for again.",
    buckets=(0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0),
    registry=REGISTRY,
)
PENDING = Gauge(
    "greenroom_webhook_pending",
    "Deliveries that are still to be made, of all processes, counted each 15 s, to 100,000.",
    registry=REGISTRY,
)
OLDEST_DUE = Gauge(
    "greenroom_webhook_oldest_due_seconds",
    "How long the oldest has been due; of all processes, counted each 15 s.",
    registry=REGISTRY,
)
GIVEN_UP = Counter(
    "greenroom_webhook_given_up",
    "Deliveries that this process has given up as hindered too often by something of ours.",
    registry=REGISTRY,
)
IN_FLIGHT = Gauge("greenroom_webhook_in_flight", "Deliveries that this process has claimed.", registry=REGISTRY)
ROUND_AGE = Gauge(
    "greenroom_webhook_round_age_seconds",
    "How long ago this process last began a round: it does so each 2 s at least.",
    registry=REGISTRY,
)

for _outcome in ("delivered", "failed", "hindered"):
    ATTEMPTS.labels(_outcome)
