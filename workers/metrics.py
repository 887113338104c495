"""What `/metrics` of a worker says. Its supervisor tells for its session processes and its renderer, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from events import metrics as events_metrics
from schemas.events import DeclineReason, EndReason, FailureCode

REGISTRY = CollectorRegistry()
TOLD: Sequence[CollectorRegistry] = (REGISTRY, events_metrics.REGISTRY)
"""All that its /metrics says."""

PHASES = ("received", "joined", "published", "first_frame")
"""Of a start, as `session.first_frame` has them."""
_STARTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 15.0)

LEASE_AGE = Gauge(
    "greenroom_worker_lease_age_seconds",
    "Since the last state record was sent that Kafka has acknowledged. At 10 it starts nothing more, at 60 it exits.",
    registry=REGISTRY,
)
SLOTS = Gauge("greenroom_worker_slots", "Sessions that it may hold at once; 0 while it drains.", registry=REGISTRY)
HELD = Gauge("greenroom_worker_sessions", "Sessions that it holds.", registry=REGISTRY)
WARM = Gauge(
    "greenroom_worker_warm_processes", "Session processes that wait for a session, imports done.", registry=REGISTRY
)
RENDERER_UP = Gauge(
    "greenroom_worker_renderer_up",
    "1 while its renderer process can draw, or none is needed since it offers `mock` alone.",
    registry=REGISTRY,
)
RENDERER_ENDS = Counter(
    "greenroom_worker_renderer_ends", "How often its renderer process has ended unasked.", registry=REGISTRY
)
FIRST_FRAME = Histogram(
    "greenroom_first_frame_seconds",
    "From the customer's POST to a point on the way to the first frame, by that point; of first attempts. By the clocks"
    " of two machines where API and worker stand apart.",
    ["phase"],
    buckets=_STARTS,
    registry=REGISTRY,
)
ATTEMPTS = Counter(
    "greenroom_worker_attempts",
    "Attempts that are over, by how: the reason of an end, or the code of a failure.",
    ["result", "reason"],
    registry=REGISTRY,
)
DECLINED = Counter("greenroom_worker_declined", "Attempts that it has declined.", ["reason"], registry=REGISTRY)
FRAMES = Counter("greenroom_worker_frames", "Frames that were handed to rooms, as heartbeats tell.", registry=REGISTRY)
LATE = Counter(
    "greenroom_worker_late_frames",
    "Frames that came more than 60 ms after the one before, as heartbeats tell. Due is one each 40 ms.",
    registry=REGISTRY,
)
DROPPED = Counter(
    "greenroom_worker_dropped_frames", "Frames that were due in such gaps and never came.", registry=REGISTRY
)
BILLABLE = Counter(
    "greenroom_worker_billable_seconds",
    "Billable time of its sessions, as heartbeats tell. The ledger is what counts.",
    registry=REGISTRY,
)

for _phase in PHASES:
    FIRST_FRAME.labels(_phase)
for _reason in get_args(EndReason):
    ATTEMPTS.labels("ended", _reason)
for _code in get_args(FailureCode):
    ATTEMPTS.labels("failed", _code)
for _declined in get_args(DeclineReason):
    DECLINED.labels(_declined)
