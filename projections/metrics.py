"""What `/metrics` of `greenroom project` says of each consumer of the log."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

LAG_EVENTS = Gauge(
    "greenroom_projection_lag_events",
    "Events that are in the log and not stored yet, of the partitions that this process works on.",
    ["consumer"],
    registry=REGISTRY,
)
LAG_SECONDS = Gauge(
    "greenroom_projection_lag_seconds",
    "For how long it may have been behind the log: 0 while it is known to be at its end. It grows while Kafka or the"
    " database is away, and while it stands still.",
    ["consumer"],
    registry=REGISTRY,
)
PARTITIONS = Gauge(
    "greenroom_projection_partitions",
    "Partitions that this process has been given: those that it works on (`owned`), and those that it leaves to another"
    " process which runs the same (`standby`).",
    ["consumer", "state"],
    registry=REGISTRY,
)
EVENTS = Counter(
    "greenroom_projection_events",
    "Events that were folded and stored, by what the fold made of them: `accepted`, or `refused` as nothing that can"
    " have happened.",
    ["consumer", "outcome"],
    registry=REGISTRY,
)
BATCH_SECONDS = Histogram(
    "greenroom_projection_batch_seconds",
    "What a batch took, from its first read state to its commit, of those that were stored.",
    ["consumer"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
    registry=REGISTRY,
)
DROPPED = Counter(
    "greenroom_projection_batches_dropped",
    "Batches that could not be stored, and came again.",
    ["consumer"],
    registry=REGISTRY,
)
PARKED = Gauge(
    "greenroom_parked_subjects",
    "Sessions and avatars that are left alone because only a newer version can read what the log says of them; of all"
    " processes, counted each 15 s.",
    ["consumer"],
    registry=REGISTRY,
)
