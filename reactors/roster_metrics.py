"""What `/metrics` of `greenroom project roster|all` says of workers, slots and decisions."""

from __future__ import annotations

from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge

from events.session_state import TERMINAL, Status

REGISTRY = CollectorRegistry()

WORKERS = Gauge(
    "greenroom_workers",
    "Workers that are not gone, by the phase that they were registered with. Each roster tells of all.",
    ["phase"],
    registry=REGISTRY,
)
SLOTS = Gauge(
    "greenroom_slots",
    "Slots that are given out, of all workers, counted each 15 s. Each roster tells of all.",
    registry=REGISTRY,
)
SLOTS_USED = Gauge(
    "greenroom_slots_used",
    "Those of them that a session holds, counted each 15 s. Each roster tells of all.",
    registry=REGISTRY,
)
SESSIONS = Gauge(
    "greenroom_sessions",
    "Sessions that are not over, by status, of the partitions that this roster decides for.",
    ["status"],
    registry=REGISTRY,
)
DECISIONS = Counter(
    "greenroom_roster_decisions",
    "What the roster has decided, by the type of its event and the reason in it. The fold refuses some.",
    ["type", "reason"],
    registry=REGISTRY,
)
AT_END_AGE = Gauge(
    "greenroom_roster_at_end_age_seconds",
    "How long ago the roster last knew all that workers say of themselves. While it is paused, or cut off from Kafka"
    " or the database, nobody is declared lost.",
    registry=REGISTRY,
)

PHASES = ("ready", "draining")
STATUSES: tuple[Status, ...] = tuple(status for status in get_args(Status) if status not in TERMINAL)
