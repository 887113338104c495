"""What `/metrics` of `greenroom build` says."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from events import metrics as events_metrics

REGISTRY = CollectorRegistry()
TOLD: Sequence[CollectorRegistry] = (REGISTRY, events_metrics.REGISTRY)
"""All that its /metrics says."""

WAITING = Gauge(
    "greenroom_avatars_waiting", "Portraits of its partitions that have no face and no verdict yet.", registry=REGISTRY
)
BUILT = Counter(
    "greenroom_avatars_built",
    "Verdicts in the log: `ready`, or `failed` for what the portrait is.",
    ["verdict"],
    registry=REGISTRY,
)
HINDERED = Counter(
    "greenroom_avatar_builds_hindered",
    "Builds that something of ours has failed; they are tried again.",
    registry=REGISTRY,
)
BUILD_SECONDS = Histogram(
    "greenroom_avatar_build_seconds",
    "What a verdict took, from the portrait on.",
    buckets=(0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0),
    registry=REGISTRY,
)

for _verdict in ("ready", "failed"):
    BUILT.labels(_verdict)
