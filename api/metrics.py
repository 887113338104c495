"""What `/metrics` of an API process says beside what Python says of itself."""

from __future__ import annotations

from prometheus_client import Gauge, Histogram
from starlette.types import Scope

SECONDS = Histogram(
    "greenroom_request_seconds",
    "From a request to the first byte of its answer.",
    ["operation", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 8.0),
)
WAITING = Gauge("greenroom_creates_waiting", "Creates that wait for a free slot.")
STREAMS = Gauge("greenroom_streams", "Streams of events and long polls that are open.")


def operation(scope: Scope) -> str:
    """The operation's id; `none` where nothing is at the path: a label has few values, whatever callers ask for."""
    return getattr(scope.get("route"), "operation_id", None) or "none"
