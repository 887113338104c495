"""What `/metrics` of an API process says beside what Python says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import Scope

from events import metrics as events_metrics
from store import metrics as store_metrics

REGISTRY = CollectorRegistry()
TOLD: Sequence[CollectorRegistry] = (REGISTRY, events_metrics.REGISTRY, store_metrics.REGISTRY)
"""All of it."""

SECONDS = Histogram(
    "greenroom_request_seconds",
    "From a request to the first byte of its answer.",
    ["operation", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 8.0),
    registry=REGISTRY,
)
ERRORS = Counter(
    "greenroom_errors",
    "Errors that were answered, by their code; of those that a field's path is part of, by their type.",
    ["code"],
    registry=REGISTRY,
)
CREATES = Counter(
    "greenroom_creates",
    "Creates of sessions, by what became of them: `created`, `replayed` to a retry, or the code of the error.",
    ["outcome"],
    registry=REGISTRY,
)
WAITING = Gauge("greenroom_creates_waiting", "Creates that wait for a free slot.", registry=REGISTRY)
STREAMS = Gauge("greenroom_streams", "Streams of events and long polls that are open.", registry=REGISTRY)


@cache
def seconds(operation: str, status: str) -> Histogram:
    """Of one operation and status: finding it by its labels takes longer than the measuring."""
    return SECONDS.labels(operation, status)


@cache
def creates(outcome: str) -> Counter:
    return CREATES.labels(outcome)


for _outcome in ("created", "replayed"):
    creates(_outcome)


def operation(scope: Scope) -> str:
    """The operation's id; `none` where nothing is at the path: a label has few values, whatever callers ask for."""
    return getattr(scope.get("route"), "operation_id", None) or "none"
